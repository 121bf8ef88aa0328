"""The same elements in another order or shape: reshape, transpose, depth_to_space and space_to_depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.graph.graph import Graph, Node
from tulle.ops.attributes import Attribute
from tulle.ops.batches import reshaped
from tulle.ops.channels import Channels, same_if, same_size
from tulle.ops.layout import IMAGES, PLAIN
from tulle.ops.op import Example, Input, Op, Operator, equals_input
from tulle.ops.shapes import Shape, Shapes, image, operand, require
from tulle.ops.windows import picture

if TYPE_CHECKING:
    from tulle.tflite.call import Call

# ---- reshape


def _reshape_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x = operand(shapes, 0)
    require(np.prod(x, dtype=np.int64) == np.prod(stated, dtype=np.int64), f"cannot make {list(stated)} of it")
    return stated


def write_reshape(graph: Graph, node: Node) -> Operator:
    shape = graph.tensors[node.output].shape
    inputs = [node.inputs[0], np.array(shape, np.int32)]
    return Operator("RESHAPE", inputs, node.output, "ReshapeOptions", {"NewShape": shape})


def _read_reshape(call: Call) -> None:
    # The new shape is in an operand or in the options too; the output tensor has the resolved one.
    call.add("reshape", [call.input(0)])


def _reshape_example(random: np.random.Generator) -> Example:
    x = picture(random)
    _, height, width, channels = x.shape
    shapes = [(1, height * width, channels), (1, x.size), (height, width * channels), (1, width, height, channels)]
    return Example([x], shape=shapes[int(random.integers(0, len(shapes)))])


RESHAPE = Op(
    "reshape", "the same elements in another shape", (Input("x"),),
    _reshape_shape, lambda node, inputs, shape: inputs[0].reshape(shape), PLAIN, _reshape_example,
    channels=Channels(source=same_if(same_size)),
    open_shape=True,
    keeps_elements=True,
    identity=equals_input(),
    torch=lambda node, shapes, result: lambda x, *_: reshaped(x, result),
    to_tflite=write_reshape,
    from_tflite=dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _read_reshape),
)  # fmt: skip

# ---- transpose


def _transpose_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, perm = operand(shapes, 0), node.attrs["perm"]
    require(sorted(perm) == list(range(len(x))), f"{list(perm)} is not a permutation of its dimensions")
    return tuple(x[axis] for axis in perm)


def _write_transpose(graph: Graph, node: Node) -> Operator:
    inputs = [node.inputs[0], np.array(node.attrs["perm"], np.int32)]
    return Operator("TRANSPOSE", inputs, node.output, "TransposeOptions")


def _read_transpose(call: Call) -> None:
    call.add("transpose", [call.input(0)], perm=tuple(call.integers(1).reshape(-1).tolist()))


TRANSPOSE = Op(
    "transpose", "the dimensions in the order of `perm`", (Input("x"),),
    _transpose_shape, lambda node, inputs, shape: inputs[0].transpose(node.attrs["perm"]), PLAIN,
    lambda random: Example([picture(random)], {"perm": (0, *(int(axis) for axis in 1 + random.permutation(3)))}),
    (Attribute("perm", "integers", "perm"),),
    Channels(source=same_if(lambda graph, node: node.attrs["perm"][-1:] == (len(node.attrs["perm"]) - 1,))),
    keeps_elements=True,
    identity=equals_input(lambda node: node.attrs["perm"] == tuple(range(len(node.attrs["perm"])))),
    torch=lambda node, shapes, result: lambda x, *_: x.permute(node.attrs["perm"]),
    mixes_batch=lambda graph, node: node.attrs["perm"][0] != 0,
    to_tflite=_write_transpose,
    from_tflite={"TRANSPOSE": _read_transpose},
)  # fmt: skip

# ---- depth_to_space, space_to_depth


def _depth_to_space_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    (_, height, width, channels), block = image(shapes[0]), node.attrs["block"]
    require(block >= 1 and channels % (block * block) == 0, f"channels are not a multiple of block squared ({block}²)")
    return 1, height * block, width * block, channels // (block * block)


def _depth_to_space(node: Node, inputs: list[Any], shape: Shape) -> Any:
    """Of a NumPy array or a torch.Tensor with any batch."""
    (_, height, width, channels), block = shape, node.attrs["block"]
    blocks = inputs[0].reshape(-1, height // block, width // block, block, block, channels)
    return _swapped(blocks).reshape(-1, *shape[1:])


def _space_to_depth_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    (_, height, width, channels), block = image(shapes[0]), node.attrs["block"]
    fits = block >= 1 and height % block == width % block == 0
    require(fits, f"height and width are not multiples of block {block}")
    return 1, height // block, width // block, channels * block * block


def _space_to_depth(node: Node, inputs: list[Any], shape: Shape) -> Any:
    (_, height, width, channels), block = shape, node.attrs["block"]
    blocks = inputs[0].reshape(-1, height, block, width, block, channels // (block * block))
    return _swapped(blocks).reshape(-1, *shape[1:])


def _swapped(blocks: Any) -> Any:
    """Dimensions 2 and 3 of a NumPy array or a torch.Tensor swapped."""
    return blocks.swapaxes(2, 3)


def _block(name: str, summary: str, shape: Any, reference: Any, kind: str, options: str, example: Any) -> Op:
    def write(graph: Graph, node: Node) -> Operator:
        return Operator(kind, [node.inputs[0]], node.output, options, {"BlockSize": node.attrs["block"]})

    def read(call: Call) -> None:
        call.add(name, [call.input(0)], block=int(call.options(options).BlockSize()))

    return Op(
        name, summary, (Input("x"),), shape, reference, IMAGES, example,
        (Attribute("block", "whole", "block"),),
        keeps_elements=True,
        identity=equals_input(),
        torch=lambda node, shapes, result: lambda x, *_: reference(node, [x], result),
        to_tflite=write,
        from_tflite={kind: read},
    )  # fmt: skip


def _depth_example(random: np.random.Generator) -> Example:
    block = int(random.integers(1, 4))
    height, width, channels = (int(size) for size in random.integers(1, 8, 3))
    return Example([random.standard_normal((1, height, width, channels * block * block))], {"block": block})


def _space_example(random: np.random.Generator) -> Example:
    block = int(random.integers(1, 4))
    height, width, channels = (int(size) for size in random.integers(1, 8, 3))
    return Example([random.standard_normal((1, height * block, width * block, channels))], {"block": block})


DEPTH_TO_SPACE = _block(
    "depth_to_space", "blocks of pixels out of channels (DCR)",
    _depth_to_space_shape, _depth_to_space, "DEPTH_TO_SPACE", "DepthToSpaceOptions", _depth_example,
)  # fmt: skip
SPACE_TO_DEPTH = _block(
    "space_to_depth", "channels out of blocks of pixels",
    _space_to_depth_shape, _space_to_depth, "SPACE_TO_DEPTH", "SpaceToDepthOptions", _space_example,
)  # fmt: skip

OPS = (RESHAPE, TRANSPOSE, DEPTH_TO_SPACE, SPACE_TO_DEPTH)

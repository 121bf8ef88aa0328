"""Shape inference: what every op makes of its inputs' shapes, which is also what it demands of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tulle.errors import TulleError
from tulle.graph.geometry import explicit_padding, output_size
from tulle.graph.graph import Graph, Node

Shape = tuple[int, ...]

BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "greater", "equal", "mask")
POOLS = ("average_pool2d", "max_pool2d")
REDUCTIONS = ("mean", "sum", "reduce_max", "reduce_min")
RESIZES = ("resize_bilinear", "resize_nearest")
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "transpose_conv2d")


def output_shape(graph: Graph, node: Node) -> Shape:
    """The shape of the node's output, computed from its inputs and attributes.

    Where the op leaves it open (reshape, slice, resizes, transpose_conv2d) the output tensor's own shape is
    checked and returned. Raises TulleError if the inputs do not fit the op.
    """
    rule = _RULES.get(node.op)
    if rule is None:
        raise TulleError(f"{node.op} {node.name!r}: not an op that tulle knows")
    if not node.inputs or node.inputs[0] is None or len(node.outputs) != 1:
        raise TulleError(f"{node.op} {node.name!r}: needs at least one input and exactly one output")
    shapes = [None if name is None else graph.tensors[name].shape for name in node.inputs]
    try:
        return rule(node, shapes, graph.tensors[node.output].shape)
    except _Mismatch as error:
        listed = ", ".join("-" if shape is None else str(list(shape)) for shape in shapes)
        raise TulleError(f"{node.op} {node.name!r}: {error} (inputs {listed})") from None


def check_shapes(graph: Graph) -> Graph:
    """Raises TulleError unless every tensor has the shape that its op computes."""
    for node in graph:
        computed, stated = output_shape(graph, node), graph.tensors[node.output].shape
        if computed != stated:
            raise TulleError(
                f"{node.op} {node.name!r}: its output should be {list(computed)}, but is said to be {list(stated)}"
            )
    return graph


class _Mismatch(Exception):
    """Input shapes that an op cannot take."""


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise _Mismatch(problem)


def _image(shape: Shape | None) -> Shape:
    if shape is None or len(shape) != 4:
        raise _Mismatch("needs an image [1, H, W, C]")
    _require(shape[0] == 1, "batches other than 1 are not supported")
    return shape


def _operand(shapes: list[Shape | None], index: int, what: str) -> Shape:
    shape = shapes[index] if index < len(shapes) else None
    if shape is None:
        raise _Mismatch(f"has no {what}")
    return shape


def _check_bias(shapes: list[Shape | None], channels: int) -> None:
    if len(shapes) > 2 and shapes[2] is not None:
        _require(int(np.prod(shapes[2])) == channels, f"the bias needs {channels} values")


def _window(node: Node, size: tuple[int, int], kernel: Shape) -> tuple[int, int]:
    """Output height and width of a convolution or pool."""
    strides, dilations = node.attrs["strides"], node.attrs.get("dilations", (1, 1))
    _require(min(*strides, *dilations, *kernel) >= 1, "kernel, strides and dilations must be at least 1")
    top, bottom, left, right = explicit_padding(node.attrs["padding"], size, kernel, strides, dilations)
    height = output_size(size[0], kernel[0], strides[0], dilations[0], top + bottom)
    width = output_size(size[1], kernel[1], strides[1], dilations[1], left + right)
    _require(height >= 1 and width >= 1, f"its {kernel[0]}x{kernel[1]} window does not fit the image")
    return height, width


def _conv2d(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    _, height, width, channels = _image(shapes[0])
    weight = _operand(shapes, 1, "weights")
    _require(len(weight) == 4 and weight[3] == channels, f"weights must be [out, kh, kw, {channels}]")
    _check_bias(shapes, weight[0])
    result = (1, *_window(node, (height, width), weight[1:3]), weight[0])
    if len(shapes) > 3 and shapes[3] is not None:
        _require(shapes[3] == result, f"the residual must be {list(result)}")
    return result


def _depthwise_conv2d(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    _, height, width, channels = _image(shapes[0])
    weight = _operand(shapes, 1, "weights")
    fits = len(weight) == 4 and weight[0] == 1 and weight[3] > 0 and weight[3] % channels == 0
    _require(fits, f"weights must be [1, kh, kw, a multiple of {channels}]")
    _check_bias(shapes, weight[3])
    return 1, *_window(node, (height, width), weight[1:3]), weight[3]


def _transpose_conv2d(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    _, height, width, channels = _image(shapes[0])
    weight = _operand(shapes, 1, "weights")
    _require(len(weight) == 4 and weight[3] == channels, f"weights must be [out, kh, kw, {channels}]")
    _check_bias(shapes, weight[0])
    _require(len(stated) == 4 and stated[0] == 1 and stated[3] == weight[0], f"cannot make the output {list(stated)}")
    if isinstance(node.attrs["padding"], str):  # the forward convolution over the output must give the input back
        forward = _window(node, (stated[1], stated[2]), weight[1:3])
        _require(forward == (height, width), f"an output of {list(stated)} needs a {forward[0]}x{forward[1]} input")
    return stated


def _fully_connected(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x, weight = shapes[0], _operand(shapes, 1, "weights")
    assert x is not None
    fits = len(weight) == 2 and len(x) >= 1 and x[-1] == weight[1]
    _require(fits, "weights must be [out, last dimension of the input]")
    _check_bias(shapes, weight[0])
    if node.attrs.get("keep_num_dims"):
        return *x[:-1], weight[0]
    return int(np.prod(x[:-1], dtype=np.int64)), weight[0]


def _binary(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    try:
        return np.broadcast_shapes(_operand(shapes, 0, "first operand"), _operand(shapes, 1, "second operand"))
    except ValueError:
        raise _Mismatch("shapes do not broadcast") from None


def _pool(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    _, height, width, channels = _image(shapes[0])
    return 1, *_window(node, (height, width), node.attrs["kernel"]), channels


def _argmax(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x, axis = _operand(shapes, 0, "input"), node.attrs["axis"]
    _require(0 <= axis < len(x), f"axis {axis} is out of range")
    return (*x[:axis], *((1,) if node.attrs["keep_dims"] else ()), *x[axis + 1 :])


def _matmul(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    a, b = _operand(shapes, 0, "first operand"), _operand(shapes, 1, "second operand")
    _require(len(a) >= 2 and len(b) >= 2 and a[-1] == b[-2], "needs [..., m, k] and [..., k, n]")
    try:
        return *np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1]
    except ValueError:
        raise _Mismatch("shapes do not broadcast") from None


def _max_unpool2d(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    channels = _image(shapes[0])[3]
    _require(_operand(shapes, 1, "indices") == shapes[0], "values and indices must have one shape")
    fits = len(stated) == 4 and stated[0] == 1 and stated[3] == channels and min(stated) >= 1
    _require(fits, f"cannot make the output {list(stated)}")
    return stated


def _sample_bilinear(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    image, at = _image(shapes[0]), _operand(shapes, 1, "positions")
    _require(len(at) == 4 and at[0] == 1 and at[3] == 2, "positions must be [1, H, W, 2]")
    return 1, at[1], at[2], image[3]


def _reduce(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x, axes = _operand(shapes, 0, "input"), node.attrs["axes"]
    _require(all(0 <= axis < len(x) for axis in axes), f"axes {list(axes)} are out of range")
    if node.attrs["keep_dims"]:
        return tuple(1 if axis in axes else size for axis, size in enumerate(x))
    return tuple(size for axis, size in enumerate(x) if axis not in axes)


def _resize(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    image = _image(shapes[0])
    fits = len(stated) == 4 and stated[0] == 1 and stated[3] == image[3] and min(stated) >= 1
    _require(fits, f"cannot make the output {list(stated)}")
    return stated


def _concat(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    axis, first = node.attrs["axis"], _operand(shapes, 0, "input")
    _require(0 <= axis < len(first), f"axis {axis} is out of range")
    total = 0
    for shape in shapes:
        _require(shape is not None and len(shape) == len(first), "inputs must have one rank")
        assert shape is not None
        alike = shape[:axis] + shape[axis + 1 :] == first[:axis] + first[axis + 1 :]
        _require(alike, f"inputs differ beyond axis {axis}")
        total += shape[axis]
    return *first[:axis], total, *first[axis + 1 :]


def _pad(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x, pads = _operand(shapes, 0, "input"), node.attrs["pads"]
    _require(len(pads) == len(x), "needs a pair of paddings for every dimension")
    _require(all(before >= 0 and after >= 0 for before, after in pads), "paddings must not be negative")
    mode = node.attrs["pad_mode"]
    if mode != "constant":
        reach = [size - (mode == "reflect") for size in x]
        _require(all(max(pair) <= most for pair, most in zip(pads, reach, strict=True)), f"{mode} padding is too wide")
    return tuple(size + before + after for size, (before, after) in zip(x, pads, strict=True))


def _reshape(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x = _operand(shapes, 0, "input")
    _require(np.prod(x, dtype=np.int64) == np.prod(stated, dtype=np.int64), f"cannot make {list(stated)} of it")
    return stated


def _transpose(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x, perm = _operand(shapes, 0, "input"), node.attrs["perm"]
    _require(sorted(perm) == list(range(len(x))), f"{list(perm)} is not a permutation of its dimensions")
    return tuple(x[axis] for axis in perm)


def _slice(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x, begin, strides = _operand(shapes, 0, "input"), node.attrs["begin"], node.attrs["strides"]
    fits = len(begin) == len(strides) == len(stated) == len(x)
    _require(fits, "begin, strides and output must have the input's rank")
    for size, first, step, count in zip(x, begin, strides, stated, strict=True):
        fits = step != 0 and count >= 1 and 0 <= first < size and 0 <= first + (count - 1) * step < size
        _require(fits, f"begin {list(begin)} and strides {list(strides)} leave the input")
    return stated


def _same(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    return _operand(shapes, 0, "input")


def _activation(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    x = _operand(shapes, 0, "input")
    if node.attrs["activation"] == "prelu":
        alpha = _operand(shapes, 1, "alpha")
        try:
            fits = np.broadcast_shapes(x, alpha) == x
        except ValueError:
            fits = False
        _require(fits, "alpha does not broadcast to the input")
    return x


def _depth_to_space(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    (_, height, width, channels), block = _image(shapes[0]), node.attrs["block"]
    _require(block >= 1 and channels % (block * block) == 0, f"channels are not a multiple of block squared ({block}²)")
    return 1, height * block, width * block, channels // (block * block)


def _space_to_depth(node: Node, shapes: list[Shape | None], stated: Shape) -> Shape:
    (_, height, width, channels), block = _image(shapes[0]), node.attrs["block"]
    fits = block >= 1 and height % block == width % block == 0
    _require(fits, f"height and width are not multiples of block {block}")
    return 1, height // block, width // block, channels * block * block


_RULES: dict[str, Callable[[Node, list[Shape | None], Shape], Shape]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "transpose_conv2d": _transpose_conv2d,
    "fully_connected": _fully_connected,
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys((*POOLS, "max_pool2d_argmax"), _pool),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(RESIZES, _resize),
    "argmax": _argmax,
    "matmul": _matmul,
    "max_unpool2d": _max_unpool2d,
    "sample_bilinear": _sample_bilinear,
    "concat": _concat,
    "pad": _pad,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    **dict.fromkeys(("softmax", "to_chw", "to_plain", "dequantize", "densify"), _same),
    "activation": _activation,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
}

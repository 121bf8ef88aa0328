"""Images of another size: resize_bilinear and resize_nearest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import Unsupported
from tulle.graph.graph import Graph, Node
from tulle.ops.attributes import Attribute
from tulle.ops.batches import image_first, image_last, index_select
from tulle.ops.channels import Channels, same
from tulle.ops.layout import CHW
from tulle.ops.op import Example, Input, Op, Operator, equals_input
from tulle.ops.shapes import Shape, Shapes, operand, stated_image
from tulle.ops.windows import picture

if TYPE_CHECKING:
    from tulle.tflite.call import Call


def _positions(node: Node, size: int, out: int) -> np.ndarray:
    """Where in the input each output pixel lies, float32 as TensorFlow Lite computes it, since rounding decides."""
    aligned = node.attrs["align_corners"] and out > 1
    scale = np.float32(size - 1) / np.float32(out - 1) if aligned else np.float32(size) / np.float32(out)
    at = np.arange(out, dtype=np.float32)
    if not node.attrs["half_pixel_centers"]:
        return at * scale
    half = np.float32(0.5)
    return (at + half) * scale - (half if node.op == "resize_bilinear" else np.float32(0))


def _neighbours(node: Node, size: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every output pixel of a bilinear resize: the input pixels around it, and the share of the second."""
    position = _positions(node, size, out)
    low = np.maximum(np.floor(position), 0).astype(np.int64)
    return low, np.minimum(np.ceil(position), size - 1).astype(np.int64), position - low


def _nearest(node: Node, size: int, out: int) -> np.ndarray:
    """The input pixel of every output pixel."""
    position = _positions(node, size, out)
    # Half away from zero, not to even.
    nearest = np.floor(position + np.float32(0.5)) if node.attrs["align_corners"] else np.floor(position)
    return np.clip(nearest, 0, size - 1).astype(np.int64)


# ---- NumPy


def _resize_bilinear(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x = inputs[0]
    for axis in (1, 2):
        low, high, share = _neighbours(node, x.shape[axis], shape[axis])
        part = share.astype(x.dtype).reshape([-1 if dim == axis else 1 for dim in range(4)])
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x


def _resize_nearest(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x = inputs[0]
    for axis in (1, 2):
        x = x.take(_nearest(node, x.shape[axis], shape[axis]), axis)
    return x


# ---- PyTorch


def _torch_bilinear(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch
    import torch.nn.functional as F

    image = operand(shapes, 0)
    if node.attrs["half_pixel_centers"] and not node.attrs["align_corners"]:
        size = result[1:3]
        return lambda x, *_: image_last(F.interpolate(image_first(x), size, mode="bilinear", align_corners=False))
    steps: list[tuple[int, Any, Any, Any]] = []
    for axis in (1, 2):
        low, high, share = _neighbours(node, image[axis], result[axis])
        part = share.astype(np.float32).reshape([-1 if dim == axis else 1 for dim in range(4)])
        steps.append((axis, torch.from_numpy(low), torch.from_numpy(high), torch.from_numpy(part)))

    def function(x: Any, *_: Any) -> Any:
        for axis, low, high, share in steps:
            before, after = (x.index_select(axis, pick.to(x.device)) for pick in (low, high))
            x = torch.lerp(before, after, share.to(x))
        return x

    return function


def _torch_nearest(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch

    image = operand(shapes, 0)
    return index_select([(axis, torch.from_numpy(_nearest(node, image[axis], result[axis]))) for axis in (1, 2)])


# ---- TensorFlow Lite


def _write(kind: str, options_type: str) -> Callable[[Graph, Node], Operator]:
    def write(graph: Graph, node: Node) -> Operator:
        size = np.array(graph.tensors[node.output].shape[1:3], np.int32)
        options = {"AlignCorners": node.attrs["align_corners"], "HalfPixelCenters": node.attrs["half_pixel_centers"]}
        version = 3 if node.attrs["half_pixel_centers"] else 1
        return Operator(kind, [node.inputs[0], size], node.output, options_type, options, version)

    return write


def _read(op: str, options_name: str) -> Callable[[Call], None]:
    def read(call: Call) -> None:
        options = call.options(options_name)
        size = tuple(call.integers(1).reshape(-1).tolist())
        if size != call.output_shape[1:3]:
            raise Unsupported(f"its operand asks for {list(size)}, the output has {list(call.output_shape)}")
        call.add(
            op, [call.input(0)],
            align_corners=bool(options.AlignCorners()), half_pixel_centers=bool(options.HalfPixelCenters()),
        )  # fmt: skip

    return read


def _example(random: np.random.Generator) -> Example:
    x, mode = picture(random, least=1), random.choice(["", "align_corners", "half_pixel_centers"])
    height, width = (x.shape[1] * 2, x.shape[2] * 2) if random.random() < 0.4 else random.integers(1, 26, 2)
    attrs = {name: bool(mode == name) for name in ("align_corners", "half_pixel_centers")}
    return Example([x], attrs, shape=(1, int(height), int(width), x.shape[3]))


def _resize(name: str, summary: str, reference: Any, torch: Any, kind: str, options: str) -> Op:
    return Op(
        name, summary, (Input("x"),), stated_image, reference, CHW, _example,
        (
            Attribute("align_corners", "flag", "alignCorners"),
            Attribute("half_pixel_centers", "flag", "halfPixelCenters"),
        ),
        Channels(source=same),
        open_shape=True,
        identity=equals_input(),
        torch=torch,
        to_tflite=_write(kind, options),
        from_tflite={kind: _read(name, options)},
    )  # fmt: skip


OPS = (
    _resize(
        "resize_bilinear", "an image of another size, interpolated",
        _resize_bilinear, _torch_bilinear, "RESIZE_BILINEAR", "ResizeBilinearOptions",
    ),
    _resize(
        "resize_nearest", "an image of another size, of the nearest pixels",
        _resize_nearest, _torch_nearest, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions",
    ),
)  # fmt: skip

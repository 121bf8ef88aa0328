"""Tensors joined, bordered and cut: concat, pad and slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import Unsupported
from tulle.graph.graph import Graph, Node
from tulle.ops import attributes as attribute
from tulle.ops.attributes import Attribute
from tulle.ops.batches import index_select
from tulle.ops.channels import (
    Channels,
    Known,
    channel_count,
    handed_on,
    replace_constant,
    same,
    same_if,
    same_size,
    stretch,
)
from tulle.ops.layout import IMAGES, either
from tulle.ops.op import Example, Input, Op, Operator, equals_input
from tulle.ops.shapes import Shape, Shapes, operand, require
from tulle.ops.windows import fused_option, picture

if TYPE_CHECKING:
    from tulle.tflite.call import Call


def _integers(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


# ---- concat


def _concat_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    axis, first = node.attrs["axis"], operand(shapes, 0)
    require(0 <= axis < len(first), f"axis {axis} is out of range")
    total = 0
    for shape in shapes:
        require(shape is not None and len(shape) == len(first), "inputs must have one rank")
        assert shape is not None
        alike = shape[:axis] + shape[axis + 1 :] == first[:axis] + first[axis + 1 :]
        require(alike, f"inputs differ beyond axis {axis}")
        total += shape[axis]
    return *first[:axis], total, *first[axis + 1 :]


def _concat_fits_chw(graph: Graph, node: Node) -> bool:
    return node.attrs["axis"] != 0 and not any(graph.tensors[name].is_constant for name in node.inputs if name)


def _over_channels(graph: Graph, node: Node) -> bool:
    return node.attrs["axis"] == len(graph.tensors[node.output].shape) - 1


def _concat_source(graph: Graph, node: Node, position: int) -> np.ndarray | None:
    if not _over_channels(graph, node):
        return same(graph, node, position)
    start = sum(channel_count(graph, name) for name in node.inputs[:position])
    return stretch(channel_count(graph, node.output), start, channel_count(graph, node.inputs[position]))


def _concat_known(graph: Graph, node: Node, known: Known) -> np.ndarray:
    parts = [known[name or ""] for name in node.inputs]
    if _over_channels(graph, node):
        return np.concatenate(parts)
    first, *others = parts
    return np.where(np.all([first == other for other in others], axis=0), first, np.nan) if others else first


def _concat_keep(graph: Graph, node: Node, outputs: np.ndarray) -> None:
    sources = [_concat_source(graph, node, position) for position in range(len(node.inputs))]
    for position, source in enumerate(sources):
        data = graph.constant(node.inputs[position])
        if data is not None and source is not None:
            replace_constant(graph, node, position, data[..., outputs[source >= 0]])
    # A constant operand may have lost all it had.
    node.inputs = [name for name in node.inputs if graph.tensors[name or ""].size]


def _torch_concat(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch

    return lambda *xs: torch.cat(xs, node.attrs["axis"])


def _concat_mixes_batch(graph: Graph, node: Node) -> bool:
    return node.attrs["axis"] == 0 or any(graph.tensors[name].is_constant for name in node.inputs if name)


def _write_concat(graph: Graph, node: Node) -> Operator:
    options = {"Axis": node.attrs["axis"], **fused_option(node)}
    return Operator("CONCATENATION", list(node.inputs), node.output, "ConcatenationOptions", options)


def _read_concat(call: Call) -> None:
    options, rank = call.options("ConcatenationOptions"), len(call.shape(0))
    (axis,) = call.axes(np.array([options.Axis()]), rank)
    call.add("concat", [call.input(i) for i in range(len(call.inputs))], axis=axis, activation=call.activation(options))


def _concat_example(random: np.random.Generator) -> Example:
    x, axis = picture(random), int(random.integers(1, 4))
    parts = [x]
    for _ in range(int(random.integers(1, 4))):
        shape = list(x.shape)
        shape[axis] = int(random.integers(1, 10))
        parts.append(random.standard_normal(shape))
    return Example([*parts], {"axis": axis, "activation": "none"})


CONCAT = Op(
    "concat", "its inputs one after the other along an axis", (Input("x", constant="may"),),
    _concat_shape, lambda node, inputs, shape: np.concatenate(inputs, axis=node.attrs["axis"]),
    either("either for images, if no input is constant and the axis is not the first", _concat_fits_chw),
    _concat_example,
    (attribute.AXIS, *attribute.FUSED),
    Channels(lambda node: list(range(len(node.inputs))), _concat_source, _concat_known, _concat_keep),
    variadic=True,
    identity=equals_input(lambda node: len(node.inputs) == 1 and node.attrs.get("activation", "none") == "none"),
    torch=_torch_concat,
    mixes_batch=_concat_mixes_batch,
    to_tflite=_write_concat,
    tflite_fuses=True,
    from_tflite={"CONCATENATION": _read_concat},
)  # fmt: skip

# ---- pad


def _pad_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, pads = operand(shapes, 0), node.attrs["pads"]
    require(len(pads) == len(x), "needs a pair of paddings for every dimension")
    require(all(before >= 0 and after >= 0 for before, after in pads), "paddings must not be negative")
    mode = node.attrs["pad_mode"]
    if mode != "constant":
        reach = [size - (mode == "reflect") for size in x]
        require(all(max(pair) <= most for pair, most in zip(pads, reach, strict=True)), f"{mode} padding is too wide")
    return tuple(size + before + after for size, (before, after) in zip(x, pads, strict=True))


def _pad(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    if node.attrs["pad_mode"] == "constant":
        return np.pad(inputs[0], node.attrs["pads"], constant_values=node.attrs["pad_value"])
    return np.pad(inputs[0], node.attrs["pads"], mode=node.attrs["pad_mode"])


def _pad_source(graph: Graph, node: Node, position: int) -> np.ndarray | None:
    source, result = graph.tensors[node.inputs[position] or ""].shape, graph.tensors[node.output].shape
    if not source or not result:
        return None
    before, after = node.attrs["pads"][-1]
    mirrored = node.attrs["pad_mode"] != "constant" and before + after > 0
    return None if mirrored else stretch(result[-1], before, source[-1])


def _pad_known(graph: Graph, node: Node, known: Known) -> np.ndarray:
    values = handed_on(graph, node, known, _pad_source)
    if node.attrs["pad_mode"] != "constant":
        return values
    source, fill = _pad_source(graph, node, 0), node.attrs["pad_value"]
    assert source is not None
    around = any(before or after for before, after in node.attrs["pads"][:-1])
    values = np.where(around & (source >= 0) & (values != fill), np.nan, values)
    values[source < 0] = fill
    return values


def _pad_keep(graph: Graph, node: Node, outputs: np.ndarray) -> None:
    source = _pad_source(graph, node, 0)
    assert source is not None or outputs.all()
    if source is not None:
        place = np.flatnonzero(source >= 0)
        pair = (int(outputs[: place[0]].sum()), int(outputs[place[-1] + 1 :].sum()))
        node.attrs["pads"] = (*node.attrs["pads"][:-1], pair)


def _torch_pad(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch
    import torch.nn.functional as F

    pads = node.attrs["pads"]
    if node.attrs["pad_mode"] == "constant":
        flat = [size for pair in reversed(pads) for size in pair]
        return lambda x, *_: F.pad(x, flat, value=node.attrs["pad_value"])
    # PyTorch mirrors the last dimensions only, and not symmetrically: the places are those that NumPy finds.
    return index_select([
        (axis, torch.from_numpy(np.pad(np.arange(size), pad, mode=node.attrs["pad_mode"])))
        for axis, (size, pad) in enumerate(zip(operand(shapes, 0), pads, strict=True))
        if any(pad)
    ])  # fmt: skip


def _write_pad(graph: Graph, node: Node) -> Operator:
    x, pads = node.inputs[0], _integers(node.attrs["pads"])
    if node.attrs["pad_mode"] != "constant":
        options = {"Mode": node.attrs["pad_mode"]}
        return Operator("MIRROR_PAD", [x, pads], node.output, "MirrorPadOptions", options)
    if node.attrs["pad_value"] == 0:
        return Operator("PAD", [x, pads], node.output, "PadOptions")
    value = np.array([node.attrs["pad_value"]], np.float32)
    return Operator("PADV2", [x, pads, value], node.output, "PadV2Options")


def _read_pad(call: Call) -> None:
    value, mode = 0.0, "constant"
    if call.kind == "PADV2":
        data = call.graph.constant(call.input(2))
        if data is None or data.size != 1 or data.dtype.kind != "f":
            raise Unsupported("the value to pad with must be a constant float")
        value = float(data.reshape(-1)[0])
    elif call.kind == "MIRROR_PAD":
        reflect = call.name_of("MirrorPadMode", call.options("MirrorPadOptions").Mode()) == "REFLECT"
        mode = "reflect" if reflect else "symmetric"
    pads = call.integers(1)
    if pads.shape != (len(call.shape(0)), 2):
        raise Unsupported(f"paddings of shape {list(pads.shape)} do not fit the input {list(call.shape(0))}")
    pairs = tuple((int(before), int(after)) for before, after in pads)
    call.add("pad", [call.input(0)], pads=pairs, pad_value=value, pad_mode=mode)


def _pad_example(random: np.random.Generator) -> Example:
    x, mode = picture(random), str(random.choice(["constant", "reflect", "symmetric"]))
    pads = tuple((int(a), int(b)) for a, b in random.integers(0, 4, (3, 2)))
    if mode != "constant":
        pads = (*pads[:2], (0, 0))
    value = float(random.choice([0.0, 0.5])) if mode == "constant" else 0.0
    return Example([x], {"pads": ((0, 0), *pads), "pad_value": value, "pad_mode": mode})


PAD = Op(
    "pad", "a border of a value or of x mirrored", (Input("x"),),
    _pad_shape, _pad, IMAGES, _pad_example,
    (
        Attribute("pads", "pads", "pads"), Attribute("pad_value", "float32", "padValue", required=False),
        Attribute("pad_mode", "PadMode", "padMode"),
    ),
    Channels(source=_pad_source, known=_pad_known, keep=_pad_keep),
    identity=equals_input(),
    torch=_torch_pad,
    mixes_batch=lambda graph, node: tuple(node.attrs["pads"][0]) != (0, 0),
    to_tflite=_write_pad,
    from_tflite=dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _read_pad),
)  # fmt: skip

# ---- slice


def _slice_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, begin, strides = operand(shapes, 0), node.attrs["begin"], node.attrs["strides"]
    fits = len(begin) == len(strides) == len(stated) == len(x)
    require(fits, "begin, strides and output must have the input's rank")
    for size, first, step, count in zip(x, begin, strides, stated, strict=True):
        fits = step != 0 and count >= 1 and 0 <= first < size and 0 <= first + (count - 1) * step < size
        require(fits, f"begin {list(begin)} and strides {list(strides)} leave the input")
    return stated


def _slice(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    spans = zip(node.attrs["begin"], node.attrs["strides"], shape, strict=True)
    picked = (first + step * np.arange(count) for first, step, count in spans)
    return inputs[0][np.ix_(*picked)]


def _torch_slice(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch

    spans = zip(node.attrs["begin"], node.attrs["strides"], result, shapes[0] or (), strict=True)
    return index_select([
        (axis, torch.arange(count) * step + first)
        for axis, (first, step, count, size) in enumerate(spans)
        if (first, step, count) != (0, 1, size)
    ])  # fmt: skip


def _write_slice(graph: Graph, node: Node) -> Operator:
    begin, strides = _integers(node.attrs["begin"]), _integers(node.attrs["strides"])
    size = _integers(graph.tensors[node.output].shape)
    if (strides == 1).all():
        return Operator("SLICE", [node.inputs[0], begin, size], node.output, "SliceOptions")
    end = begin + (size - 1) * strides + np.sign(strides)
    size = _integers(graph.tensors[node.inputs[0] or ""].shape)
    end = np.where(end < 0, -size - 1, end)  # before the first: -1 would be the last
    return Operator("STRIDED_SLICE", [node.inputs[0], begin, end, strides], node.output, "StridedSliceOptions")


def _read_slice(call: Call) -> None:
    begin = tuple(call.integers(1).reshape(-1).tolist())
    size = call.integers(2).reshape(-1).tolist()
    if not len(begin) == len(size) == len(call.shape(0)):
        raise Unsupported(f"begin {list(begin)} and size {size} do not fit the input {list(call.shape(0))}")
    stated = tuple(
        whole - first if count == -1 else count for whole, first, count in zip(call.shape(0), begin, size, strict=True)
    )
    if stated != call.output_shape:
        raise Unsupported(f"begin and size give {list(stated)}, the output has {list(call.output_shape)}")
    call.add("slice", [call.input(0)], begin=begin, strides=(1,) * len(begin))


def _read_strided_slice(call: Call) -> None:
    options, shape = call.options("StridedSliceOptions"), call.shape(0)
    if options.EllipsisMask() or options.NewAxisMask():
        raise Unsupported("ellipsis and new axes are not supported")
    bounds = [call.integers(index).reshape(-1).tolist() for index in (1, 2, 3)]
    if any(len(values) != len(bounds[0]) for values in bounds) or len(bounds[0]) > len(shape):
        raise Unsupported(f"begin, end and strides do not fit the input {list(shape)}")
    begins, strides, sizes, kept = [], [], [], []
    for axis, size in enumerate(shape):
        first, last, step = (values[axis] for values in bounds) if axis < len(bounds[0]) else (0, size, 1)
        if options.Offset() and axis < len(bounds[0]):  # `end` counts from `begin`
            last += first
        if step == 0:
            raise Unsupported("a stride is 0")
        shrink = options.ShrinkAxisMask() >> axis & 1
        if shrink:
            step = 1
            first += size if first < 0 else 0
            last = first + 1
            if not 0 <= first < size:
                raise Unsupported(f"index {first} is outside axis {axis} of {list(shape)}")
        span = slice(
            None if options.BeginMask() >> axis & 1 and not shrink else first,
            None if options.EndMask() >> axis & 1 and not shrink else last,
            step,
        )
        picked = range(size)[span]
        if not picked:
            raise Unsupported(f"axis {axis} of {list(shape)} would be left empty")
        begins.append(picked.start)
        strides.append(step)
        sizes.append(len(picked))
        if not shrink:
            kept.append(len(picked))
    if tuple(kept) != call.output_shape:
        raise Unsupported(f"it gives {kept}, the output has {list(call.output_shape)}")
    if kept == sizes:
        call.add("slice", [call.input(0)], begin=tuple(begins), strides=tuple(strides))
        return
    attrs = {"begin": tuple(begins), "strides": tuple(strides)}
    call.add("reshape", [call.step("slice", "slice", [call.input(0)], tuple(sizes), **attrs)])


def _slice_example(random: np.random.Generator) -> Example:
    x, begin, strides, shape = picture(random), [], [], []
    for axis, size in enumerate(x.shape):
        step = int(random.choice([1, 1, 2, 3, -1])) if axis else 1
        first = int(random.integers(0, size))
        if step < 0 and random.random() < 0.5:  # all of them
            first = size - 1
        most = len(range(first, -1, step)) if step < 0 else len(range(first, size, step))
        begin.append(first)
        strides.append(step)
        shape.append(most if most == size else int(random.integers(1, most + 1)))
    return Example([x], {"begin": tuple(begin), "strides": tuple(strides)}, shape=tuple(shape))


SLICE = Op(
    "slice", "every `strides`-th element of each dimension from `begin` on, backwards where negative",
    (Input("x"),),
    _slice_shape, _slice, IMAGES, _slice_example,
    (Attribute("begin", "integers", "begin"), Attribute("strides", "integers", "strides")),
    Channels(source=same_if(lambda graph, node: same_size(graph, node) and node.attrs["strides"][-1] == 1)),
    open_shape=True,
    identity=equals_input(lambda node: all(step == 1 for step in node.attrs["strides"])),  # not one that reverses
    torch=_torch_slice,
    to_tflite=_write_slice,
    from_tflite={"SLICE": _read_slice, "STRIDED_SLICE": _read_strided_slice},
)  # fmt: skip

OPS = (CONCAT, PAD, SLICE)

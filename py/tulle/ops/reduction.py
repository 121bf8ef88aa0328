"""Reductions over dimensions, and what looks along one of them: argmax, topk, softmax and cumulative sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tulle.errors import Unsupported
from tulle.graph.graph import Graph, Node
from tulle.ops import attributes as attribute
from tulle.ops.batches import reshaped
from tulle.ops.channels import Channels, Known, handed_on, same_if
from tulle.ops.layout import EITHER, IMAGES, PLAIN, Layout
from tulle.ops.op import Example, Input, Op, Operator, equals_input
from tulle.ops.shapes import Shape, Shapes, operand, require, same_as_input
from tulle.ops.windows import picture

if TYPE_CHECKING:
    from tulle.onnx.operators import OnnxNode, Result
    from tulle.tflite.call import Call

# ---- mean, sum, reduce_max, reduce_min


def _reduced(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, axes = operand(shapes, 0), node.attrs["axes"]
    require(all(0 <= axis < len(x) for axis in axes), f"axes {list(axes)} are out of range")
    if node.attrs["keep_dims"]:
        return tuple(1 if axis in axes else size for axis, size in enumerate(x))
    return tuple(size for axis, size in enumerate(x) if axis not in axes)


def _demand(graph: Graph, node: Node) -> str:
    shape = graph.tensors[node.inputs[0] or ""].shape
    image = len(shape) == 4 and shape[0] == 1
    if image and node.attrs["axes"] == (1, 2):
        return "chw"
    return EITHER if image and node.attrs["axes"] == (3,) and node.attrs["keep_dims"] else "plain"


def _keeps_channels(graph: Graph, node: Node) -> bool:
    return len(graph.tensors[node.inputs[0] or ""].shape) - 1 not in node.attrs.get("axes", ())


_SOURCE = same_if(_keeps_channels)


def _known_sum(graph: Graph, node: Node, known: Known) -> np.ndarray:
    """So many times the value."""
    times = graph.tensors[node.inputs[0] or ""].size / max(1, graph.tensors[node.output].size)
    return handed_on(graph, node, known, _SOURCE) * times


def _torch(name: str) -> Callable[..., Any]:
    def build(node: Node, shapes: Shapes, result: Shape) -> Any:
        import torch

        function, axes, keep = getattr(torch, name), tuple(node.attrs["axes"]), bool(node.attrs["keep_dims"])
        # No axes would be all of them to PyTorch.
        return lambda x, *_: function(x, axes, keep) if axes else x

    return build


def _write(kind: str) -> Callable[[Graph, Node], Operator]:
    def write(graph: Graph, node: Node) -> Operator:
        inputs = [node.inputs[0], np.array(node.attrs["axes"], np.int32)]
        return Operator(kind, inputs, node.output, "ReducerOptions", {"KeepDims": node.attrs["keep_dims"]})

    return write


def _read(op: str) -> Callable[[Call], None]:
    def read(call: Call) -> None:
        axes = call.axes(call.integers(1), len(call.shape(0)))
        call.add(op, [call.input(0)], axes=axes, keep_dims=bool(call.options("ReducerOptions").KeepDims()))

    return read


def _example(random: np.random.Generator) -> Example:
    axes = [(1, 2), (3,), (1,), (2, 3)][int(random.integers(0, 4))]
    return Example([picture(random)], {"axes": axes, "keep_dims": bool(random.random() < 0.5)})


_LAYOUT = Layout(
    ("chw", "plain"),
    "over (H, W) of an image: chw in, and the result, which has H*W = 1, is both; over the channels of an image, "
    "dimensions kept: either; over anything else: plain",
    _demand,
)


def _reduction(name: str, summary: str, torch: str, kind: str, known: Any = None) -> Op:
    function = getattr(np, name.removeprefix("reduce_"))
    return Op(
        name, summary, (Input("x"),),
        _reduced,
        lambda node, inputs, shape: function(inputs[0], axis=node.attrs["axes"], keepdims=node.attrs["keep_dims"]),
        _LAYOUT, _example,
        (attribute.Attribute("axes", "integers", "axes"), attribute.KEEP_DIMS),
        Channels(source=_SOURCE, known=known),
        identity=equals_input(),  # over dimensions of size 1
        torch=_torch(torch),
        mixes_batch=lambda graph, node: 0 in node.attrs["axes"],
        to_tflite=_write(kind),
        from_tflite={kind: _read(name)},
    )  # fmt: skip


# ---- argmax


def _argmax_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, axis = operand(shapes, 0), node.attrs["axis"]
    require(0 <= axis < len(x), f"axis {axis} is out of range")
    return (*x[:axis], *((1,) if node.attrs["keep_dims"] else ()), *x[axis + 1 :])


def _argmax(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    return inputs[0].argmax(axis=node.attrs["axis"]).reshape(shape).astype(inputs[0].dtype)


def _argmax_example(random: np.random.Generator) -> Example:
    keep = bool(random.random() < 0.5)
    return Example([picture(random)], {"axis": int(random.integers(1, 4)), "keep_dims": keep})


def _read_argmax(call: Call) -> None:
    shape = call.shape(0)
    (axis,) = call.axes(call.integers(1).reshape(-1)[:1], len(shape))
    x = call.input(0)
    if call.kind == "ARG_MIN":
        x = call.step("opposite", "mul", [x, call.number(-1)], shape)
    call.whole(call.output)
    call.add("argmax", [x], axis=axis, keep_dims=len(call.output_shape) == len(shape))


ARGMAX = Op(
    "argmax", "the index of the first largest along an axis, as a float", (Input("x"),),
    _argmax_shape, _argmax, PLAIN, _argmax_example,
    (attribute.AXIS, attribute.KEEP_DIMS),
    torch=lambda node, shapes, result: lambda x, *_: reshaped(x.argmax(node.attrs["axis"]).to(x), result),
    mixes_batch=lambda graph, node: node.attrs["axis"] == 0,
    from_tflite={"ARG_MAX": _read_argmax, "ARG_MIN": _read_argmax},
)  # fmt: skip

# ---- topk: two ops, since every op has one output

# From here on float32 skips whole numbers.
_MOST_INDICES = 2**24


def _topk_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, axis = operand(shapes, 0), node.attrs["axis"]
    require(0 <= axis < len(x), f"axis {axis} is out of range")
    fits = len(stated) == len(x) and all(
        0 < kept <= size if d == axis else kept == size for d, (kept, size) in enumerate(zip(stated, x, strict=True))
    )
    require(fits, f"cannot make the output {list(stated)}: along axis {axis} it may have 1 to {x[axis]} elements")
    exact = node.op == "topk" or x[axis] <= _MOST_INDICES
    require(exact, f"indices of {x[axis]} elements are not exact as floats")
    return stated


def _first_of(node: Node, x: np.ndarray, k: int) -> np.ndarray:
    """Where along the axis the first k elements are. NumPy sorts NaN behind all numbers."""
    axis = node.attrs["axis"]
    if not node.attrs["largest"]:
        return np.argsort(x, axis=axis, kind="stable").take(range(k), axis)
    # Backwards twice, so that of equal elements the first stays the first.
    order = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    return (x.shape[axis] - 1 - order).take(range(k), axis)


def _topk(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    axis = node.attrs["axis"]
    return np.take_along_axis(inputs[0], _first_of(node, inputs[0], shape[axis]), axis)


def _topk_indices(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    return _first_of(node, inputs[0], shape[node.attrs["axis"]]).astype(inputs[0].dtype)


def _torch_topk(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch

    axis, largest, indices = node.attrs["axis"], node.attrs["largest"], node.op == "topk_indices"

    def function(x: Any, *_: Any) -> Any:
        values, places = torch.sort(x, dim=axis, descending=largest, stable=True)  # topk would take any of equal ones
        return (places.to(x) if indices else values).narrow(axis, 0, result[axis])

    return function


def _topk_example(random: np.random.Generator) -> Example:
    """Half of them of few different numbers, so that many are equal."""
    rank = int(random.choice([4, 4, 4, 1, 2, 3, 5, 6]))
    x = picture(random) if rank == 4 else random.standard_normal(random.integers(1, 6, rank))
    if random.random() < 0.5:
        x = np.round(2 * x) / 2
    axis = int(random.integers(0, rank))
    shape = list(x.shape)
    shape[axis] = int(random.integers(1, shape[axis] + 1))
    return Example([x], {"axis": axis, "largest": bool(random.random() < 0.5)}, shape=tuple(shape))


def _read_topk(call: Call) -> None:
    shape, values = call.shape(0), call.integers(1)
    if not shape or values.size != 1 or len(call.outputs) != 2:
        raise Unsupported(f"{values.size} numbers k, {len(call.outputs)} outputs and an input {list(shape)}")
    wanted = (*shape[:-1], int(values.reshape(-1)[0]))
    for op, output in zip(("topk", "topk_indices"), call.outputs, strict=True):
        stated = call.graph.tensors[output].shape
        if stated != wanted:
            raise Unsupported(f"it gives {list(wanted)}, the output has {list(stated)}")
        call.append(op, [call.input(0)], output, axis=len(shape) - 1, largest=True)
    call.whole(call.outputs[1])


def _import_topk(node: OnnxNode) -> Result:
    """`sorted` = 0 leaves the order open."""
    values = node.constant(1) if node.has(1) else np.array(node.attribute("k", 0))  # an attribute before opset 10
    if values.size != 1 or values.dtype.kind != "i":
        raise Unsupported("its k is not one integer")
    k, x, shape = int(values.reshape(-1)[0]), node.elements(0), node.shape(0)
    along = node.axis(node.attribute("axis", -1), len(shape))
    if not 1 <= k <= shape[along]:
        raise Unsupported(f"k is {k}, not from 1 to {shape[along]}")
    result = list(node.importer.graph.tensors[x.name].shape)
    axis = x.axis(along)
    result[axis] = k
    attrs = {"axis": axis, "largest": bool(node.attribute("largest", 1))}
    best, places = (node.add(op, [x.name], tuple(result), **attrs) for op in ("topk", "topk_indices"))
    node.importer.whole_numbers.add(places)
    return [x.like(best), x.like(places)]


def _topk_op(name: str, summary: str, reference: Any, **fields: Any) -> Op:
    return Op(
        name, summary, (Input("x"),), _topk_shape, reference, PLAIN, _topk_example,
        (attribute.AXIS, attribute.Attribute("largest", "flag", "largest")),
        open_shape=True,
        torch=_torch_topk,
        mixes_batch=lambda graph, node: node.attrs["axis"] == 0,
        **fields,
    )  # fmt: skip


TOPK = _topk_op(
    "topk", "the largest elements along an axis in order, or the smallest; of equal ones the first comes first, NaN is "
    "the largest", _topk, from_tflite={"TOPK_V2": _read_topk}, from_onnx={"TopK": _import_topk},
)  # fmt: skip
TOPK_INDICES = _topk_op("topk_indices", "where along the axis these elements are, as floats", _topk_indices)

# ---- softmax


def _softmax(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    x = inputs[0] * node.attrs["beta"]
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _torch_softmax(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch.nn.functional as F

    return lambda x, *_: F.softmax(x * node.attrs["beta"], -1)


def _write_softmax(graph: Graph, node: Node) -> Operator:
    return Operator("SOFTMAX", [node.inputs[0]], node.output, "SoftmaxOptions", {"Beta": node.attrs["beta"]})


def _read_softmax(call: Call) -> None:
    call.add("softmax", [call.input(0)], beta=float(call.options("SoftmaxOptions").Beta()))


SOFTMAX = Op(
    "softmax", "softmax of beta * x over the last dimension", (Input("x"),),
    same_as_input, _softmax, PLAIN,
    lambda random: Example([picture(random)], {"beta": float(random.choice([0.5, 1.0, 2.0]))}),
    (attribute.Attribute("beta", "number", "beta", required=False),),
    torch=_torch_softmax,
    mixes_batch=lambda graph, node: len(graph.tensors[node.output].shape) < 2,
    to_tflite=_write_softmax,
    from_tflite={"SOFTMAX": _read_softmax},
)  # fmt: skip

# ---- cumsum


def _cumsum_shape(node: Node, shapes: Shapes, stated: Shape) -> Shape:
    x, axis = operand(shapes, 0), node.attrs["axis"]
    require(0 <= axis < len(x), f"axis {axis} is out of range")
    return x


def _cumsum(node: Node, inputs: list[Any], shape: Shape) -> np.ndarray:
    axis, step = node.attrs["axis"], -1 if node.attrs["reverse"] else 1
    x = np.moveaxis(inputs[0], axis, 0)[::step]
    sums = np.cumsum(x, axis=0)
    if node.attrs["exclusive"]:
        sums = np.concatenate([np.zeros_like(sums[:1]), sums[:-1]])
    return np.moveaxis(sums[::step], 0, axis)


def _torch_cumsum(node: Node, shapes: Shapes, result: Shape) -> Any:
    import torch

    axis, exclusive, reverse = (node.attrs[name] for name in ("axis", "exclusive", "reverse"))

    def function(x: Any, *_: Any) -> Any:
        x = x.flip(axis) if reverse else x
        if exclusive:
            x = torch.cat([torch.zeros_like(x.narrow(axis, 0, 1)), x.narrow(axis, 0, x.shape[axis] - 1)], axis)
        sums = x.cumsum(axis)
        return sums.flip(axis) if reverse else sums

    return function


def _along_no_channels(graph: Graph, node: Node) -> bool:
    return bool(node.attrs["axis"] != len(graph.tensors[node.output].shape) - 1)


def _known_zeros(graph: Graph, node: Node, known: Known) -> np.ndarray:
    """Only sums of zeros are the same everywhere."""
    values = handed_on(graph, node, known, same_if(_along_no_channels))
    return np.where(values == 0, values, np.nan)


def _cumsum_identity(graph: Graph, node: Node) -> str | None:
    """Along a dimension of size 1."""
    single = graph.tensors[node.output].shape[node.attrs["axis"]] == 1 and not node.attrs["exclusive"]
    return equals_input()(graph, node) if single else None


def _cumsum_example(random: np.random.Generator) -> Example:
    rank = int(random.choice([4, 4, 4, 1, 2, 3, 5, 6]))
    x = picture(random) if rank == 4 else random.standard_normal(random.integers(1, 6, rank))
    exclusive, reverse = (bool(flag) for flag in random.random(2) < 0.5)
    return Example([x], {"axis": int(random.integers(0, rank)), "exclusive": exclusive, "reverse": reverse})


def _write_cumsum(graph: Graph, node: Node) -> Operator:
    options = {"Exclusive": node.attrs["exclusive"], "Reverse": node.attrs["reverse"]}
    inputs = [node.inputs[0], np.array(node.attrs["axis"], np.int32)]
    return Operator("CUMSUM", inputs, node.output, "CumsumOptions", options)


def _read_cumsum(call: Call) -> None:
    values, options = call.integers(1), call.options("CumsumOptions")
    if values.size != 1:
        raise Unsupported(f"its axis has {values.size} values instead of one")
    (axis,) = call.axes(values, len(call.shape(0)))
    exclusive, reverse = bool(options.Exclusive()), bool(options.Reverse())
    call.add("cumsum", [call.input(0)], axis=axis, exclusive=exclusive, reverse=reverse)


def _import_cumsum(node: OnnxNode) -> Result:
    values, x = node.constant(1), node.elements(0)
    if values.size != 1 or values.dtype.kind != "i":
        raise Unsupported("its axis is not one integer")
    axis = x.axis(node.axis(int(values.reshape(-1)[0]), len(node.shape(0))))
    exclusive, reverse = bool(node.attribute("exclusive", 0)), bool(node.attribute("reverse", 0))
    return x.like(node.add("cumsum", [x.name], axis=axis, exclusive=exclusive, reverse=reverse))


CUMSUM = Op(
    "cumsum", "the sums along an axis up to each element, without it if `exclusive`, from the end if `reverse`",
    (Input("x"),),
    _cumsum_shape, _cumsum, IMAGES, _cumsum_example,
    (attribute.AXIS, attribute.Attribute("exclusive", "flag", "exclusive"),
     attribute.Attribute("reverse", "flag", "reverse")),
    Channels(source=same_if(_along_no_channels), known=_known_zeros),
    identity=_cumsum_identity,
    torch=_torch_cumsum,
    mixes_batch=lambda graph, node: node.attrs["axis"] == 0,
    to_tflite=_write_cumsum,
    from_tflite={"CUMSUM": _read_cumsum},
    from_onnx={"CumSum": _import_cumsum},
)  # fmt: skip

OPS = (
    _reduction("mean", "the mean over some dimensions", "mean", "MEAN"),
    _reduction("sum", "the sum over some dimensions", "sum", "SUM", _known_sum),
    _reduction("reduce_max", "the maximum over some dimensions", "amax", "REDUCE_MAX"),
    _reduction("reduce_min", "the minimum over some dimensions", "amin", "REDUCE_MIN"),
    ARGMAX,
    TOPK,
    TOPK_INDICES,
    SOFTMAX,
    CUMSUM,
)

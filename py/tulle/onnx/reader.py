"""`read`: an ONNX model as a Graph. The file is untrusted: anything wrong with it raises TulleError."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tulle.errors import TulleError, Unsupported
from tulle.files import ModelFile, PathLike, in_memory
from tulle.graph import Graph, Tensor
from tulle.graph.shapes import check_shapes
from tulle.onnx.fold import evaluate
from tulle.onnx.functions import FUNCTIONS
from tulle.onnx.operators import CONVERTERS, FLOATS, OnnxNode
from tulle.onnx.values import TO_NHWC, Importer, Value
from tulle.ops import OPS
from tulle.tflite.quantized import RUNS

SINGLE = {kind: read for op in OPS.values() for kind, read in op.from_onnx.items()}
"""Operators that are one op of tulle."""

ALL_CONVERTERS = SINGLE | CONVERTERS | FUNCTIONS
DOMAINS = ("", "ai.onnx")
IMAGE_CHANNELS = (1, 3, 4)
NEEDS_IMAGES = frozenset(("Conv", "ConvInteger", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization",
                          "Resize", "Pad", "Sub", "Add", "Mul", "Div"))  # fmt: skip
HAND_ON = frozenset(("Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"))
MOVES = frozenset(("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split"))
BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError, RuntimeError,
          ArithmeticError, NotImplementedError)  # fmt: skip


def read(
    source: ModelFile,
    *,
    outputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Graph:
    """Reads a float ONNX model from a path or from its bytes.

    Args:
        outputs: names of tensors to read up to, instead of the model's own outputs. Only the nodes they need are
            read.
        input_shapes: by input name, shapes in ONNX's order for inputs with dynamic sizes.

    Image inputs [1, C, H, W] with 1, 3 or 4 channels become [1, H, W, C], which `notes` of the Graph says; all other
    inputs and outputs keep their shapes. A dynamic batch becomes 1.

    Raises TulleError, naming the file and the cause, if the onnx package is missing, the file cannot be read or is
    damaged, or sizes other than the batch are left dynamic; ops that tulle cannot run are listed together.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise TulleError("reading ONNX needs the onnx package: pip install 'tulle[onnx]'") from None
    given: PathLike | bytes = in_memory(source)
    label, name = ("model", "model") if isinstance(given, bytes) else (str(given), Path(given).stem)
    try:
        model = onnx.load_model_from_string(given) if isinstance(given, bytes) else onnx.load(given)
        if not model.graph.node:
            raise TulleError("it has no nodes, so it is no ONNX model")
        return _read(model, name, outputs, input_shapes or {})
    except TulleError as error:
        raise TulleError(f"{label}: {error}") from error
    except OSError as error:
        raise TulleError(f"{label}: cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise TulleError(f"{label}: it is not an ONNX file ({error})") from error
    except (*BROKEN, onnx.checker.ValidationError) as error:
        raise TulleError(f"{label}: the file is damaged ({type(error).__name__}: {error})") from error


def _read(model: Any, name: str, outputs: Sequence[str] | None, shapes: Mapping[str, Sequence[int]]) -> Graph:
    from onnx import numpy_helper

    proto = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.initializer}
    importer = Importer(name, sum(data.nbytes for data in constants.values()))
    if any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in proto.node):
        importer.graph.notes.append(f"the model is quantised: {RUNS}")
    ends = [info.name for info in proto.output] if outputs is None else list(outputs)
    if twice := [end for end in ends if ends.count(end) > 1]:
        raise TulleError(f"output {twice[0]!r} is listed twice")
    nodes, used = _needed(proto, ends)
    importer.values.update((name, Value(data=data)) for name, data in constants.items())
    if proto.sparse_initializer:
        raise TulleError("sparse initializers are not supported")
    for info in proto.input:
        # Older files list initializers among the inputs.
        if info.name not in importer.values and (outputs is None or info.name in used):
            _add_input(importer, info, proto, input_sizes(info, shapes.get(info.name)))
    if unknown := [name for name in shapes if name not in importer.graph.inputs]:
        raise TulleError(f"there is no input {unknown[0]!r} to give a shape to: there are {importer.graph.inputs}")
    _convert_nodes(importer, model, nodes, ends)
    graph = importer.graph
    for end in ends:
        if end not in importer.values:
            raise TulleError(f"output {end!r} is never computed")
        graph.outputs.append(_output(importer, end))
    if not graph.inputs or not graph.outputs:
        raise TulleError("the model has no inputs, or no outputs")
    return check_shapes(graph.check())


def external_files(path: str | os.PathLike[str]) -> set[Path]:
    """The files besides that hold weights of the model, as exporters write large ones."""
    import onnx

    proto = onnx.load(path, load_external_data=False).graph
    entries = [entry for tensor in proto.initializer for entry in tensor.external_data if entry.key == "location"]
    files = {Path(path).parent / entry.value for entry in entries}
    return {file for file in files if file.is_file()}


def _needed(proto: Any, ends: Sequence[str]) -> tuple[list[Any], set[str]]:
    """The nodes that the tensors `ends` depend on, in order, and the names of all tensors these read."""
    used, nodes = set(ends), []
    for node in reversed(proto.node):
        if used.intersection(name for name in node.output if name):
            nodes.append(node)
            used.update(_inputs(node))
    return nodes[::-1], used


def _inputs(node: Any) -> set[str]:
    """The tensors that a node reads, those included that the branches of an If read."""
    used = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            used |= _inputs(inner)
    return used


def _branch(importer: Importer, node: Any) -> list[Any] | None:
    """The nodes of the branch that an If with a known condition takes (exporters write it for squeeze); else None."""
    from onnx import helper, numpy_helper

    condition = importer.values.get(node.input[0]) if node.op_type == "If" and len(node.input) == 1 else None
    if condition is None or condition.data is None or condition.data.size != 1:
        return None
    name = "then_branch" if condition.data.reshape(-1)[0] else "else_branch"
    (branch,) = [attribute.g for attribute in node.attribute if attribute.name == name]
    for tensor in branch.initializer:
        importer.values[tensor.name] = Value(data=numpy_helper.to_array(tensor))
    ends = [info.name for info in branch.output]
    nodes, _ = _needed(branch, ends)
    return [*nodes, *(helper.make_node("Identity", [end], [out]) for end, out in zip(ends, node.output, strict=True))]


def input_sizes(info: Any, given: Sequence[int] | None = None) -> list[int]:
    """The input's shape in ONNX's order: the file's, with dynamic sizes as `given` and a dynamic batch of 1."""
    dims = info.type.tensor_type.shape.dim
    sizes, stated = [dim.dim_value for dim in dims], [dim.dim_param or dim.dim_value for dim in dims]
    if given is not None:
        fits = len(given) == len(sizes) or not info.type.tensor_type.HasField("shape")
        if not fits or any(size > 0 and size != new for size, new in zip(sizes, given, strict=False)):
            raise TulleError(f"input {info.name!r} has the shape {stated}: {list(given)} does not fit it")
        sizes = list(given)
    elif len(sizes) > 1 and sizes[0] <= 0:
        sizes[0] = 1
    if not sizes and info.type.tensor_type.HasField("shape"):
        raise TulleError(f"input {info.name!r} is a single number without dimensions, which is not supported")
    if any(size <= 0 for size in sizes) or not sizes:
        example = ",".join(str(size) if size > 0 else "SIZE" for size in sizes)
        raise TulleError(f"input {info.name!r} has the dynamic shape {stated}: "
                         f"choose one by --input-shape {info.name}={example or 'SIZE,...'}")  # fmt: skip
    if len(sizes) == 4 and sizes[0] != 1:
        raise TulleError(f"input {info.name!r} has shape {sizes}: only batch 1 is supported, "
                         "so export the model with batch 1 or with an open one")  # fmt: skip
    return sizes


def _add_input(importer: Importer, info: Any, proto: Any, sizes: list[int]) -> None:
    from onnx import TensorProto

    kind = info.type.tensor_type.elem_type
    whole = kind in (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16)
    if kind not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE) and not (
        whole and _is_cast(proto, info.name)
    ):
        raise TulleError(f"input {info.name!r} is {TensorProto.DataType.Name(kind).lower()}: it must be of floats, "
                         "so leave conversions and look-ups out when exporting the model")  # fmt: skip
    if whole:
        importer.graph.notes.append(f"{info.name!r} holds whole numbers, given as float32")
    elif kind != TensorProto.FLOAT:
        importer.graph.notes.append(f"input {info.name!r} is float32 now, and so is what is computed of it")
    image = is_picture(proto, info.name, sizes)
    shape = tuple(sizes[axis] for axis in TO_NHWC) if image else tuple(sizes)
    graph = importer.graph
    graph.inputs.append(graph.add_tensor(Tensor(info.name, shape)))
    importer.values[info.name] = Value(graph.inputs[-1], nhwc=image)
    if image:
        graph.notes.append(f"input {info.name!r} was {sizes} in ONNX and is {list(shape)} now, the order of pictures")


def _is_cast(proto: Any, name: str) -> bool:
    """Whether a tensor of integers is only moved and cast to floats, so that nothing is computed in integers."""
    names = {name}
    for node in proto.node:
        if not names.intersection(node.input):
            continue
        to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
        if node.op_type in MOVES and node.input[0] in names:
            names.update(node.output)
        elif node.op_type != "Shape" and (node.op_type != "Cast" or to not in FLOATS):
            return False
    return not names.intersection(info.name for info in proto.output)


def is_picture(proto: Any, name: str, sizes: Sequence[int]) -> bool:
    """Whether input `name`, of these sizes in ONNX's order, becomes [1, H, W, C] in the Graph."""
    return len(sizes) == 4 and sizes[1] in IMAGE_CHANNELS and _readers(proto, name) <= NEEDS_IMAGES


def _readers(proto: Any, name: str) -> set[str]:
    """The kinds of op that read the tensor's elements, directly or through ops that only pass them on."""
    readers, names = set(), {name}
    for node in proto.node:
        if names.intersection(node.input):
            if node.op_type in HAND_ON:
                names.add(node.output[0])
            elif node.op_type != "Shape":
                readers.add(node.op_type)
    return readers


def _convert_nodes(importer: Importer, model: Any, nodes: Sequence[Any], ends: Sequence[str]) -> None:
    unsupported: list[str] = []
    read = {name for proto in nodes for name in proto.input}
    border: dict[str, None] = {}  # tensors that unsupported nodes and what depends on them read, in order
    waiting = list(nodes)[::-1]
    index = -1
    while waiting:
        proto, index = waiting.pop(), index + 1
        chosen = _branch(importer, proto)
        if chosen is not None:
            read.update(name for inner in chosen for name in inner.input)
            waiting += chosen[::-1]
            continue
        label = proto.name or f"{proto.op_type}_{index}"
        node = OnnxNode(importer, proto, {entry.domain: entry.version for entry in model.opset_import}.get("", 1))
        if any(name and name not in importer.values for name in proto.input):
            if not unsupported:
                raise TulleError(f"{proto.op_type} {label!r}: an input is not computed before it is used")
            border.update(dict.fromkeys(proto.input))
            continue  # a consequence of a node left out
        importer.label = f"{proto.output[0]}/value" if proto.output[0] in ends else proto.output[0] or label
        try:
            constants = evaluate(node, model.opset_import)
            if constants is not None:
                importer.values.update(constants)
                continue
            converter = ALL_CONVERTERS.get(proto.op_type) if proto.domain in DOMAINS else None
            if converter is None:
                raise Unsupported("no such op")
            results = converter(node)
            results = results if isinstance(results, list) else [results]
            missing = [name for name in proto.output[len(results) :] if name in read or name in ends]
            if missing:
                raise Unsupported(f"its output {missing[0]!r} is not supported")
            importer.values.update((name, value) for name, value in zip(proto.output, results, strict=False) if name)
        except Unsupported as error:
            problem = "" if str(error) == "no such op" else f": {error}"
            unsupported.append(f"{proto.op_type} -> {label!r}{problem}")
            border.update(dict.fromkeys(proto.input))
    if unsupported:
        listed = "\n  ".join(unsupported)
        raise TulleError(f"{len(unsupported)} ops are not supported:\n  {listed}{_hint(importer, [*border, *ends])}")


def _hint(importer: Importer, border: Sequence[str]) -> str:
    """The tensors at which the part without unsupported nodes ends."""
    values = {name: importer.values[name] for name in dict.fromkeys(border) if name in importer.values}
    names = [name for name, value in values.items() if value.data is None and value.name not in importer.graph.inputs]
    if not names:
        return ""
    listed = ", ".join(map(repr, names[:20])) + (" ..." if len(names) > 20 else "")
    return f"\nThe part before them can be converted by itself; its outputs (option --outputs) are {listed}"


def _output(importer: Importer, name: str) -> str:
    """The Graph's tensor of a model output, under its own name."""
    importer.label = f"{name}/value"
    value = importer.values[name]
    if value.data is not None:
        raise TulleError(f"output {name!r} is a constant")
    result = importer.plain(value)
    graph = importer.graph
    if result in graph.inputs or result in graph.outputs:
        result = importer.add("reshape", [result], graph.tensors[result].shape)
    _rename(importer, result, name)
    return name


def _rename(importer: Importer, old: str, new: str) -> None:
    graph = importer.graph
    assert new == old or new not in graph.tensors, f"{new} is reserved for the output"
    tensor = graph.tensors.pop(old)
    tensor.name = new
    graph.tensors[new] = tensor
    for node in graph.nodes:
        node.inputs = [new if name == old else name for name in node.inputs]
        node.outputs = [new if name == old else name for name in node.outputs]
    for name, value in importer.values.items():
        if value.name == old:
            importer.values[name] = replace(value, name=new)

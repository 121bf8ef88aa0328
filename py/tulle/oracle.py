"""Runs an original model, for `verify`: in LiteRT, ONNX Runtime or, if neither is installed, a NumPy reference."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tulle.files import PathLike, file_kind, read_bytes
from tulle.graph import Graph, reference

Run = Callable[[list[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Oracle:
    """The original model.

    Attributes:
        name: of the runtime.
        run: its outputs for the inputs, both float32 and in the order and layout of the Graph.
        extents: the range of each quantised output's type, by name: nothing smaller than its steps can be compared.
        rounds: whether it rounds activations to integers.
        whole: by name, inputs of integers that stand for themselves, with the smallest and largest of their type.
    """

    name: str
    run: Run
    extents: dict[str, float] = field(default_factory=dict)
    rounds: bool = False
    whole: dict[str, tuple[int, int]] = field(default_factory=dict)


def oracle(source: PathLike, graph: Graph, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Oracle:
    """The original model in file `source`; `graph` is the same model as read by tulle, constants folded."""
    if file_kind(read_bytes(source)) == "onnx":
        return _onnx(source, graph, input_shapes or {})
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return _reference(graph, "install ai-edge-litert to compare with LiteRT")
    # The Graph's outputs may be inner tensors of the file's model.
    keep = _is_part(source, graph)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that keeping all tensors takes memory
            interpreter = Interpreter(
                model_content=read_bytes(source), num_threads=1, experimental_preserve_all_tensors=keep
            )
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:  # a custom op that LiteRT lacks
        return _reference(graph, f"LiteRT: {str(error).strip().splitlines()[0]}")
    details = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    details |= {detail["name"]: detail for detail in interpreter.get_output_details()}
    outputs = [details[name] for name in graph.outputs]
    inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        for detail in inputs.values():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        for name, array in zip(graph.inputs, arrays, strict=True):
            interpreter.set_tensor(inputs[name]["index"], _quantised(inputs[name], array))
        interpreter.invoke()
        return [_real(detail, interpreter.get_tensor(detail["index"])) for detail in outputs]

    extents = {detail["name"]: _extent(detail) for detail in outputs if detail["quantization"][0]}
    plain = [inputs[name] for name in graph.inputs if not inputs[name]["quantization"][0]]
    whole = {detail["name"]: ends for detail in plain if (ends := _range(detail["dtype"])) is not None}
    return Oracle("LiteRT", run, extents, rounds=any("quantised" in note for note in graph.notes), whole=whole)


def _range(dtype: Any) -> tuple[int, int] | None:
    """Of an integer type."""
    dtype = np.dtype(dtype)
    return (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) if dtype.kind in "iu" else None


def _is_part(source: PathLike, graph: Graph) -> bool:
    import tflite

    subgraph = tflite.Model.GetRootAs(read_bytes(source), 0).Subgraphs(0)
    own = {subgraph.Tensors(int(index)).Name() for index in subgraph.OutputsAsNumpy()}
    return not {name.encode() for name in graph.outputs} <= own


def _quantised(detail: dict[str, Any], array: np.ndarray) -> np.ndarray:
    scale, zero_point = detail["quantization"]
    if not scale:
        return array.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    stored = np.rint(array.astype(np.float64) / scale) + zero_point
    return np.clip(stored, limits.min, limits.max).astype(detail["dtype"])


def _real(detail: dict[str, Any], stored: np.ndarray) -> np.ndarray:
    scale, zero_point = detail["quantization"]
    return ((stored.astype(np.float64) - zero_point) * scale).astype(np.float32) if scale else stored


def _extent(detail: dict[str, Any]) -> float:
    limits = np.iinfo(detail["dtype"])
    return float((limits.max - limits.min) * detail["quantization"][0])


def _reference(graph: Graph, why: str) -> Oracle:
    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        outputs = reference.run(graph, dict(zip(graph.inputs, arrays, strict=True)), np.float32)
        return [outputs[name] for name in graph.outputs]

    return Oracle(f"tulle's NumPy reference ({why})", run)


def _onnx(source: PathLike, graph: Graph, shapes: Mapping[str, Sequence[int]]) -> Oracle:
    import onnx

    from tulle.onnx.reader import input_sizes, is_picture

    model = onnx.load(str(source))
    own = {info.name for info in model.graph.output}
    infos = [onnx.helper.make_empty_tensor_value_info(name) for name in graph.outputs]
    model.graph.output.extend(info for info in infos if info.name not in own)
    sizes = {
        info.name: tuple(input_sizes(info, shapes.get(info.name)))
        for info in model.graph.input
        if info.name in graph.inputs
    }
    pictures = {name for name in sizes if is_picture(model.graph, name, sizes[name])}
    dtypes = {
        info.name: onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type) for info in model.graph.input
    }

    def feed(arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs in ONNX's order: a Graph's image input is [1, H, W, C]."""
        named = dict(zip(graph.inputs, arrays, strict=True))
        return {
            name: np.ascontiguousarray(array.transpose(0, 3, 1, 2) if name in pictures else array, dtypes[name])
            for name, array in named.items()
        }

    whole = {name: ends for name in graph.inputs if (ends := _range(dtypes[name])) is not None}
    rounds = np.float16 in dtypes.values() or any("quantised" in note for note in graph.notes)
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(model)
        name = "ONNX's reference evaluator (install onnxruntime to compare with ONNX Runtime)"
        return Oracle(name, lambda arrays: list(evaluator.run(graph.outputs, feed(arrays))), rounds=rounds, whole=whole)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Oracle(
        "ONNX Runtime", lambda arrays: list(session.run(graph.outputs, feed(arrays))), rounds=rounds, whole=whole
    )

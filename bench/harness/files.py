"""A model file that somebody brings, ready to be measured: TFLite against its runtimes, ONNX against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import BenchError
from harness.models import INPUT_SETS, SEED, Feed, Files, Model, picture
from tulle import TulleError
from tulle.conversion import read_model
from tulle.files import file_kind
from tulle.graph import Graph
from tulle.graph.stats import layer_stats
from tulle.oracle import Oracle, oracle
from tulle.passes.fold_constants import fold_constants
from tulle.verification import ROUNDED_TOLERANCE

STRAY = 1e-2
"""See Model."""

DTYPES = {"FLOAT32": "float32", "INT8": "int8", "UINT8": "uint8", "INT32": "int32"}
"""Types of TFLite's inputs and outputs that the page can make arrays of."""


def prepare_file(name: str, path: Path, folder: Path) -> tuple[Model, int]:
    """Writes the file, its `.tulle` file, its inputs and what the oracle answers to `folder`; also returns the
    multiply-adds of an inference.

    Raises BenchError or TulleError if the file cannot be measured at all.
    """
    data = path.read_bytes()
    kind = file_kind(data)
    if kind not in ("tflite", "onnx"):
        raise BenchError(f"{path}: neither a TFLite nor an ONNX file")
    graph = fold_constants(read_model(path))
    maker = Files(name, folder, data)
    (folder / f"{name}.{kind}").write_bytes(data)
    files: dict[str, list[str]] = {kind: [f"{name}.{kind}"]}
    missing: dict[str, str] = {}
    formats = ["tulle"]
    if kind == "tflite" and _custom_ops(data):
        formats.append("tflite-builtin")
    for file_format in formats:
        try:
            files[file_format] = maker.make(file_format)
        except (BenchError, TulleError) as error:
            missing[file_format] = str(error)

    own, scales = _tflite_ports(data) if kind == "tflite" else (_onnx_inputs(path, graph), {})
    original = oracle(path, graph)
    values, expected = [], []
    generator = np.random.default_rng(SEED)
    for index in range(INPUT_SETS):
        reals = []
        for number, described in enumerate(own):
            stored, real = _values(described, original, generator)
            reals.append(real)
            turned = stored.transpose(0, 3, 1, 2) if described.get("turned") else stored
            (folder / f"{name}.{index}.{number}.own").write_bytes(np.ascontiguousarray(turned).tobytes())
            (folder / f"{name}.{index}.{number}.real").write_bytes(real.tobytes())
        values.append(reals)
        answers = original.run(reals)
        expected.append({n: np.asarray(a, np.float32) for n, a in zip(graph.outputs, answers, strict=True)})

    plain = Feed([{"name": i["name"], "shape": i["shape"], "dtype": "float32"} for i in own], "real")
    theirs = Feed([{"name": i["name"], "shape": i["file_shape"], "dtype": i["dtype"]} for i in own], "own")
    feeds = {"tulle": plain, "tflite-builtin": plain, kind: theirs}
    tolerance = ROUNDED_TOLERANCE if original.rounds else 1e-2
    macs = sum(row.macs for row in layer_stats(graph))
    stray = STRAY if any(node.op in ("max_pool2d_argmax", "argmax") for node in graph.nodes) else 0.0
    extents = dict(original.extents)
    if original.rounds:  # the steps of a probability are 1/256, all that a picture of noise gives may be less
        extents |= {n: 1.0 for n in graph.outputs if all(e[n].min() >= 0 and e[n].max() <= 1 for e in expected)}
    return (
        Model(name, files, missing, feeds, values, expected, tolerance, extents, stray, scales, original.name),
        macs,
    )


def _values(
    described: dict[str, Any], original: Oracle, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Values of an input, as the file takes them and as real numbers, both in the order of the Graph."""
    shape, name = tuple(described["shape"]), described["name"]
    if len(shape) == 4:
        values = picture(shape, 0.0, 1.0, generator)
    else:
        values = generator.random(shape, np.float32)
    if name in original.whole:
        values = np.rint(values)
    if described["scale"] is None:
        return values.astype(described["dtype"]), values
    scale, zero_point = described["scale"]
    limits = np.iinfo(described["dtype"])
    stored = np.rint(limits.min + values * (limits.max - limits.min)).astype(described["dtype"])
    return stored, ((stored.astype(np.float32) - zero_point) * np.float32(scale)).astype(np.float32)


def _subgraph(data: bytes) -> Any:
    import tflite

    return tflite.Model.GetRootAs(data, 0).Subgraphs(0)


def _custom_ops(data: bytes) -> bool:
    import tflite

    model = tflite.Model.GetRootAs(data, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return any(code.CustomCode() for code in codes)


def _tflite_ports(data: bytes) -> tuple[list[dict[str, Any]], dict[str, tuple[float, int]]]:
    """The inputs, and scale and zero point of the quantised outputs by name."""
    import tflite

    names = {value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
    subgraph = _subgraph(data)

    def scale(tensor: Any) -> tuple[float, int] | None:
        stored = tensor.Quantization()
        if stored is None or not stored.ScaleLength() or names[tensor.Type()] not in ("INT8", "UINT8"):
            return None
        return float(stored.Scale(0)), int(stored.ZeroPoint(0))

    inputs = []
    for index in subgraph.InputsAsNumpy():
        tensor = subgraph.Tensors(int(index))
        dtype = DTYPES.get(names[tensor.Type()])
        if dtype is None:
            raise BenchError(f"input {tensor.Name().decode()!r} is {names[tensor.Type()]}, which no page can give")
        shape = [max(int(size), 1) for size in tensor.ShapeAsNumpy()]
        inputs.append(
            {
                "name": tensor.Name().decode(),
                "shape": shape,
                "file_shape": shape,
                "dtype": dtype,
                "scale": scale(tensor),
            }
        )
    outputs = [subgraph.Tensors(int(index)) for index in subgraph.OutputsAsNumpy()]
    scales = {tensor.Name().decode(): scale(tensor) for tensor in outputs}
    return inputs, {name: pair for name, pair in scales.items() if pair is not None}


def _onnx_inputs(path: Path, graph: Graph) -> list[dict[str, Any]]:
    import onnx

    from tulle.onnx.reader import input_sizes, is_picture

    model = onnx.load(str(path))
    infos = {info.name: info for info in model.graph.input}
    inputs = []
    for name in graph.inputs:
        sizes = tuple(input_sizes(infos[name], None))
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(infos[name].type.tensor_type.elem_type)).name
        if dtype not in DTYPES.values():
            raise BenchError(f"input {name!r} is {dtype}, which the page cannot give")
        inputs.append(
            {
                "name": name,
                "shape": list(graph.tensors[name].shape),
                "file_shape": list(sizes),
                "dtype": dtype,
                "scale": None,
                "turned": is_picture(model.graph, name, sizes),
            }
        )
    return inputs

"""Quantised models as files: weights stay the integers they were, and inputs and outputs do where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tulle
from python.test_random_ops_quantised import quantised_network
from tflite_model import TfliteModel
from tulle import TulleError
from tulle.graph import Graph, Node, Quantization, Tensor
from tulle.pack import pack, unpack
from tulle.pack.recover import recover
from tulle.pack.schema import tulle_generated as schema
from tulle_file import file_of, records

SHAPE = (12, 3, 3, 10)
LITERT_STEP = 1


def integers(dtype: type, axis: int | None, zeros: float, seed: int = 0) -> np.ndarray:
    """float32 weights that are `dtype` times a scale for each index of `axis`, rounded once, as LiteRT dequantises."""
    random = np.random.default_rng(seed)
    count = 1 if axis is None else SHAPE[axis]
    along = [1] * len(SHAPE)
    if axis is not None:
        along[axis] = count
    whole = random.integers(-127, 128, SHAPE).astype(np.float32)
    if dtype is np.uint8:
        whole = random.integers(0, 256, SHAPE).astype(np.float32) - random.integers(1, 255, count).reshape(along)
    whole[random.random(SHAPE) < zeros] = 0
    return whole.astype(np.float32) * random.uniform(1e-4, 0.1, count).astype(np.float32).reshape(along)


@pytest.mark.parametrize("zeros", [0, 0.5, 0.95])
@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_weights_are_stored_as_the_integers_they_were(dtype: type, axis: int | None, zeros: float) -> None:
    weight = integers(dtype, axis, zeros)
    values, scales, zero_points = recover(weight) or (None, None, None)
    assert values is not None and scales is not None
    assert (scales.size, values.shape) == (1 if axis is None else SHAPE[axis], SHAPE)
    assert (zero_points is None) == (values.dtype == np.int8)
    assert dtype is np.uint8 or values.dtype == np.int8
    data = pack(conv_of(weight))
    assert np.array_equal(unpack(data).tensors["weight"].data, weight)
    assert len(data) < weight.size + 2500  # a byte a weight, and what the file takes without any
    assert_same_answers(conv_of(weight))


def test_the_largest_integers_and_zero_points_at_the_ends() -> None:
    for whole in ([-128, 0, 127, 1], [-255, 0, -1, -3], [255, 0, 7, 9], [-128, 127, 0, 0]):
        weight = (np.array(whole, np.float32) * np.float32(0.0123)).reshape(1, 4)
        wide = np.repeat(weight, 100, 0).reshape(400)
        values, scales, zero_points = recover(wide) or (None, None, None)
        assert values is not None and scales is not None, whole
        zero = 0 if zero_points is None else zero_points[0].astype(np.float32)
        assert np.array_equal((values.astype(np.float32) - zero) * scales[0], wide)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
@pytest.mark.parametrize("inner", [(), (1, 1), (3, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_square_weights_come_back_as_they_were(size: int, inner: tuple[int, ...], seed: int) -> None:
    """As many scales as both dimensions have indices are the first's; here each index of the last has its own."""
    random = np.random.default_rng(seed)
    scales = random.uniform(1e-3, 0.1, size).astype(np.float32)
    data = random.integers(-9, 10, (size, *inner, size)).astype(np.float32) * scales
    data[random.random(data.shape) < 0.5] = 0
    graph = Graph(inputs=["x"], outputs=["y"])
    graph.tensors["x"] = Tensor("x", data.shape)
    graph.tensors["y"] = Tensor("y", data.shape)
    graph.nodes.append(Node("mul", "y", ["x", graph.add_constant("w", data)], ["y"], {"activation": "none"}))
    packed = tulle.convert(graph).data
    np.testing.assert_array_equal(unpack(packed).tensors["w"].data.reshape(data.shape), data)


def test_other_weights_are_no_integers() -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((8, 16)).astype(np.float32)
    assert recover(weight) is None
    quantised = integers(np.int8, 0, 0).reshape(12, -1)
    quantised[5, 3] = np.nextafter(quantised[5, 3], np.float32(9))  # not what an integer times the scale rounds to
    assert recover(quantised) is None
    for odd in (np.nan, np.inf):
        quantised[5, 3] = odd
        assert recover(quantised) is None
    assert recover(np.array([[-200.0, 100.0] * 8], np.float32)) is not None
    assert recover(np.arange(-128, 200, dtype=np.float32)) is None  # more than 8 bits
    assert recover(np.float32(3).reshape(())) is None, "a single number"


def conv_of(weight: np.ndarray) -> Graph:
    graph = Graph("conv")
    graph.inputs = [graph.add_tensor(Tensor("image", (1, 8, 8, weight.shape[3])))]
    graph.add_tensor(Tensor("features", (1, 8, 8, len(weight)), layout="chw"))
    graph.add_tensor(Tensor("chw", (1, 8, 8, weight.shape[3]), layout="chw"))
    graph.outputs = [graph.add_tensor(Tensor("result", (1, 8, 8, len(weight))))]
    attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": (1, 1, 1, 1), "activation": "none", "sparsity": "dense"}
    graph.nodes = [
        Node("to_chw", "in", ["image"], ["chw"], {}),
        Node("conv2d", "conv", ["chw", graph.add_constant("weight", weight), None], ["features"], attrs),
        Node("to_plain", "out", ["features"], ["result"], {}),
    ]
    return graph


def assert_same_answers(graph: Graph) -> None:
    """The C library computes the same from integers as from float32 weights, bit by bit."""
    image = np.random.default_rng(1).standard_normal(graph.tensors["image"].shape).astype(np.float32)
    answers = []
    for weights in ("auto", "fp32"):
        with tulle.load(pack(graph, weights)) as model:
            answers.append(model(image)["result"])
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("sparsity", ["dense", "sparse"])
def test_the_least_integer_counts_as_a_nonzero(sparsity: str) -> None:
    """-128 has the bits of a float's -0. Where it was no nonzero, sparse rows were written beyond their memory."""
    weight = np.float32(0.01) * np.where(np.arange(200).reshape(20, 1, 1, 10) % 9, -128, 127).astype(np.float32)
    graph = conv_of(weight)
    graph.nodes[1].attrs |= {"padding": (0, 0, 0, 0), "sparsity": sparsity}
    assert_same_answers(graph)
    with tulle.load(pack(graph)) as model:
        assert model.profile()[1]["nnz"] == weight.size


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    model = records(data)
    change(model)
    return file_of(model)


def constant_of(model: Any) -> Any:
    return next(tensor.constant for tensor in model.tensors if tensor.constant is not None)


def spoil_scale(value: float) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        constant = constant_of(model)
        constant.scales = np.append(constant.scales[:-1], np.float32(value))

    return change


def spoil_zero_points(count: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        constant_of(model).zeroPoints = np.zeros(count, np.uint8) if count else None

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil_scale(float("nan")), "scale"),
        (spoil_scale(float("inf")), "scale"),
        (spoil_zero_points(0), "zero point"),
        (spoil_zero_points(11), "zero point"),
        (spoil_zero_points(13), "zero point"),
    ],
)
def test_scales_and_zero_points_that_do_not_fit_are_refused(change: Callable[[Any], None], message: str) -> None:
    data = changed(pack(conv_of(integers(np.uint8, 0, 0))), change)
    for read in (tulle.load, unpack):
        with pytest.raises(TulleError, match=message):
            read(data)


@pytest.mark.filterwarnings("error")
def test_scales_may_make_infinite_weights_in_every_reader() -> None:
    data = changed(pack(conv_of(integers(np.uint8, 0, 0))), spoil_scale(3e38))
    assert np.isinf(unpack(data).tensors["weight"].data).any()
    with tulle.load(data) as model:
        (info,) = model.inputs
        assert not np.isfinite(next(iter(model(np.ones(info.shape, np.float32)).values()))).all()


# ---- inputs and outputs ----


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integers_in_and_out_are_litert_s(dtype: type) -> None:
    """One step of the output is LiteRT's own rounding in between; here nearly all are equal."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    random = np.random.default_rng(3)
    data, scale, zero = quantised_network(random, dtype)
    interpreter = interpreter_module.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    theirs, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    with tulle.load(tulle.convert(data, quantized_io=True).data) as model:
        (given,), (taken,) = model.inputs, model.outputs
        assert (given.dtype, taken.dtype) == (np.dtype(dtype).name,) * 2
        assert (given.scale, given.zero_point) == theirs["quantization"]
        assert (taken.scale, taken.zero_point) == (scale, zero) == answer["quantization"]
        steps = []
        for _ in range(20):
            stored = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, given.shape).astype(dtype)
            interpreter.set_tensor(theirs["index"], stored)
            interpreter.invoke()
            got = model(stored)[taken.name]
            assert (got.dtype, got.shape) == (dtype, taken.shape)
            steps.append(np.abs(got.astype(int) - interpreter.get_tensor(answer["index"])))
        # The classifier's own step is 10 / 255, which moves a probability by up to 2.5 steps of 1 / 256.
        assert np.max(steps) <= 6
        assert np.mean(np.array(steps) <= LITERT_STEP) > 0.8


def rounding(dtype: str, scale: float, zero_point: int) -> bytes:
    """y = 2 x in integers."""
    graph = Graph("twice")
    graph.inputs = [graph.add_tensor(Tensor("x", (1, 600)))]
    graph.outputs = [graph.add_tensor(Tensor("y", (1, 600)))]
    two = graph.add_constant("two", np.array([2], np.float32))
    graph.nodes = [Node("mul", "mul", ["x", two], ["y"], {"activation": "none"})]
    graph.quantization = {"y": Quantization(dtype, scale, zero_point)}
    return pack(graph)


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -128), ("int8", 5), ("uint8", 0), ("uint8", 200)])
def test_outputs_are_rounded_as_tflite_does_and_clipped(dtype: str, zero_point: int) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-40, 40, (1, 600)).astype(np.float32)
    x[0, :300] = np.arange(-150, 150) / 8  # halves, which go away from zero
    x[0, 300:306] = np.inf, -np.inf, 1e30, -1e30, 0.24999999, -0.24999999
    info = np.iinfo(dtype)
    real = (2 * x).astype(np.float64) / 0.5
    expected = np.clip(np.trunc(real + np.copysign(0.5, real)) + zero_point, info.min, info.max)
    with tulle.load(rounding(dtype, 0.5, zero_point)) as model:
        np.testing.assert_array_equal(model(x)["y"], expected.astype(dtype), strict=True)
        x[:] = np.nan
        assert (model(x)["y"] == info.min).all()


def test_what_does_not_fit_is_refused() -> None:
    data, _, _ = quantised_network(np.random.default_rng(3), np.int8)
    with tulle.load(tulle.convert(data, quantized_io=True).data) as model:
        (info,) = model.inputs
        stored = np.zeros(info.shape, np.int8)
        with pytest.raises(TulleError, match=r"has dtype float32; it must be int8, or uint8 for an image"):
            model(stored.astype(np.float32))
        with pytest.raises(TulleError, match=r"has shape \(1, 16, 16, 2\)"):
            model(stored[..., :2])
        # Pictures still are pictures: int8 counts the same pixels from -128.
        pixels = np.random.default_rng(0).integers(0, 256, info.shape, np.uint8)
        (of_bytes,), (of_integers,) = model(pixels).values(), model((pixels.astype(int) - 128).astype(np.int8)).values()
        assert np.abs(of_bytes.astype(int) - of_integers).max() <= 1
    m = TfliteModel()
    floats = m.finish(m.op("RELU", [m.input((1, 4))], (1, 4)))
    with pytest.raises(TulleError, match="no inputs and outputs of quantised int8 or uint8"):
        tulle.convert(floats, quantized_io=True)
    with pytest.raises(TulleError, match="of a file, not of a Graph"):
        tulle.convert(tulle.tflite.read(data), quantized_io=True)


def test_without_numpy_integers_are_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _, _ = quantised_network(np.random.default_rng(3), np.int8)
    packed = tulle.convert(data, quantized_io=True).data
    stored = np.arange(768, dtype=np.uint8).view(np.int8)
    with tulle.load(packed) as model:
        expected = next(iter(model(stored.reshape(1, 16, 16, 3)).values()))
        monkeypatch.setattr(model, "_numpy", None)
        (got,) = model(memoryview(stored)).values()
        assert (got.format, got.shape) == ("b", (1, 10))
        assert got.tolist() == expected.tolist()


def test_the_file_says_so_and_older_readers_refuse_it() -> None:
    data, _, _ = quantised_network(np.random.default_rng(3), np.uint8)
    packed = tulle.convert(data, quantized_io=True).data
    assert schema.Model.GetRootAs(packed).Features(0) == b"quantized_io"
    assert not schema.Model.GetRootAs(tulle.convert(data).data).FeaturesLength()
    assert unpack(packed).quantization == tulle.tflite.read(data, quantized_io=True).quantization
    assert pack(unpack(packed)) == packed


def test_activations_keep_the_integers_that_they_are_rounded_to() -> None:
    data, _, _ = quantised_network(np.random.default_rng(3), np.int8)
    read = tulle.tflite.read(data)
    packed = tulle.convert(data).data
    levels = {name: tensor.levels for name, tensor in unpack(packed).tensors.items() if tensor.levels is not None}
    kept = levels.keys() & read.tensors.keys()  # the others were put in between
    assert len(kept) > 2
    assert all(levels[name] == read.tensors[name].levels for name in kept)
    assert pack(unpack(packed)) == packed


def test_onnx_activations_have_the_integers_of_quantize_linear() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from tulle.onnx import read

    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants = {"scale": np.float32(0.25), "zero": np.int8(-3), "other": np.float32(0.5), "none": np.uint8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["s"]),
        helper.make_node("QuantizeLinear", ["s", "other", "none"], ["t"]),
        helper.make_node("DequantizeLinear", ["t", "other", "none"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 8, 4, 4]) for name in "xy"]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:], initializers))
    graph = read(model.SerializeToString())
    levels = {tensor.levels for tensor in graph.tensors.values() if tensor.levels is not None}
    assert levels == {Quantization("int8", 0.25, -3), Quantization("uint8", 0.5, 0)}


def set_levels(constant: bool = False, **fields: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        record = next(tensor for tensor in model.tensors if (tensor.constant is not None) == constant)
        record.levels = record.levels or schema.QuantizationT()
        record.levels.type, record.levels.scale = schema.ValueType.int8, 0.5
        for name, value in fields.items():
            setattr(record.levels, name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_levels(scale=0.0),
        set_levels(scale=-1.0),
        set_levels(scale=float("nan")),
        set_levels(scale=float("inf")),
        set_levels(zeroPoint=128),
        set_levels(zeroPoint=-129),
        set_levels(type=schema.ValueType.fp32),
        set_levels(type=9),
        set_levels(constant=True),
    ],
)
def test_levels_that_are_none_are_refused(change: Callable[[Any], None]) -> None:
    data = changed(tulle.convert(quantised_network(np.random.default_rng(3), np.int8)[0]).data, change)
    with pytest.raises(TulleError, match=r"levels|cannot be read|damaged"):
        unpack(data)


def set_quantization(**fields: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        record = model.tensors[model.outputs[0]].quantization
        for name, value in fields.items():
            setattr(record, name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_quantization(scale=0.0),
        set_quantization(scale=-1.0),
        set_quantization(scale=float("nan")),
        set_quantization(scale=float("inf")),
        set_quantization(zeroPoint=128),
        set_quantization(zeroPoint=-129),
        set_quantization(type=schema.ValueType.fp32),
        set_quantization(type=schema.ValueType.fp16),
        set_quantization(type=9),
        lambda model: setattr(model, "features", None),
    ],
)
def test_quantizations_that_are_none_are_refused(change: Callable[[Any], None]) -> None:
    data = changed(rounding("int8", 0.5, 5), change)
    for read in (tulle.load, unpack):
        with pytest.raises(TulleError, match=r"quantization|cannot be read|damaged"):
            read(data)


def test_verify_compares_integers_as_numbers(tmp_path: Any) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    data, _, _ = quantised_network(np.random.default_rng(3), np.int8)
    source, target = tmp_path / "model.tflite", tmp_path / "model.tulle"
    source.write_bytes(data)
    tulle.convert(data, quantized_io=True).save(target)
    assert tulle.verify(source, target).passed


# ---- what quantisers write ----


def test_an_operator_code_in_the_newer_field_alone_is_read(litert: Callable) -> None:
    """ai-edge-quantizer writes DEQUANTIZE so."""
    random, m = np.random.default_rng(0), TfliteModel()
    stored = m.tensor((6, 8), np.int8, random.integers(-127, 128, (6, 8)), scale=[0.02])
    weight = m.op("DEQUANTIZE", [stored], (6, 8), "DequantizeOptions")
    x = m.input((1, 2, 2, 2))
    y = m.op("FULLY_CONNECTED", [x, weight, m.constant(random.standard_normal(6))], (1, 6), "FullyConnectedOptions")
    for code in m.codes:
        code.deprecatedBuiltinCode = 0 if code.builtinCode == 6 else code.builtinCode
    data = m.finish(y)
    image = random.standard_normal((1, 2, 2, 2)).astype(np.float32)
    (expected,) = litert(data, {f"t{x}": image}).values()
    with tulle.load(data) as model:
        np.testing.assert_allclose(next(iter(model(image).values())), expected, rtol=1e-5, atol=1e-6)


def test_biases_of_64_bits_are_read() -> None:
    """Models of int16 activations have them; their inputs and outputs stay float32."""
    random, m = np.random.default_rng(0), TfliteModel()
    x = m.input((1, 4, 4, 3), np.int16, scale=[1 / 4096], zero_point=[0])
    weight = m.tensor((5, 1, 1, 3), np.int8, random.integers(-127, 128, (5, 1, 1, 3)), scale=[0.01] * 5,
                      zero_point=[0] * 5)  # fmt: skip
    bias = m.tensor((5,), np.int64, random.integers(-(10**6), 10**6, 5), scale=[0.01 / 4096] * 5, zero_point=[0] * 5)
    y = m.op("CONV_2D", [x, weight, bias], (1, 4, 4, 5), "Conv2DOptions", 4, np.int16,
             {"scale": [1 / 1024], "zero_point": [0]}, strideH=1, strideW=1)  # fmt: skip
    data = m.finish(y)
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    interpreter = interpreter_module.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    stored = random.integers(-8000, 8000, (1, 4, 4, 3)).astype(np.int16)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]) / 1024
    with tulle.load(data) as model:
        (got,) = model(stored / np.float32(4096)).values()
    assert np.abs(got - expected).max() <= 1 / 1024
    with pytest.raises(TulleError, match="no inputs and outputs of quantised int8 or uint8"):
        tulle.convert(data, quantized_io=True)

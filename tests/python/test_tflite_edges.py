"""Corners of TFLite's operators that real models reach, each against LiteRT."""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest

import tulle
from tulle.errors import TulleError
from tulle.pack.limits import MAX_OP_INPUTS
from tulle.passes import split_concats

interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
from tflite_model import TfliteModel  # noqa: E402


def litert(data: bytes, x: np.ndarray) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = interpreter.Interpreter(model_content=data)
    model.allocate_tensors()
    model.set_tensor(model.get_input_details()[0]["index"], x)
    model.invoke()
    return [model.get_tensor(detail["index"]) for detail in model.get_output_details()]


def same_as_litert(m: TfliteModel, x: np.ndarray, *outputs: int, rtol: float = 1e-5) -> None:
    data = m.finish(*outputs)
    with tulle.load(data) as model:
        for expected, got in zip(litert(data, x), model(x).values(), strict=True):
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-5)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 8, 9, 10, 15, 16, 33, -1, -2, -9, -16])
def test_whole_powers_of_negative_numbers(exponent: int) -> None:
    m = TfliteModel()
    x = np.array([-2, -1.5, -1, -0.5, -1e-20, 0, 1e-20, 0.5, 1, 2], np.float32).reshape(1, 1, 5, 2)
    y = m.op("POW", [m.input(x.shape), m.constant(np.float32(exponent))], x.shape, "PowOptions")
    same_as_litert(m, x, y)


@pytest.mark.parametrize("value", [-np.inf, -3.4028235e38, np.inf, 0.0, 1.5])
@pytest.mark.parametrize("pads", [(0, 1), (1, 1), (2, 0), (4, 0)])
def test_pads_before_max_pools(value: float, pads: tuple[int, int]) -> None:
    x = noise(1, 6, 6, 3) - 3
    m, size = TfliteModel(), 6 + sum(pads)
    out = (size - 3) // 2 + 1
    pairs = m.constant(np.array([(0, 0), pads, pads, (0, 0)]), np.int32)
    padded = m.op("PADV2", [m.input(x.shape), pairs, m.constant(np.float32(value))], (1, size, size, 3), "PadV2Options")
    pooled = m.op("MAX_POOL_2D", [padded], (1, out, out, 3), "Pool2DOptions", padding=1, filterHeight=3, filterWidth=3,
                  strideH=2, strideW=2)  # fmt: skip
    data = m.finish(pooled)
    with tulle.load(data) as model:
        (expected,) = litert(data, x)
        np.testing.assert_array_equal(*model(x).values(), expected)
        again = tulle.tflite.write(tulle.read_tflite(data))
        np.testing.assert_array_equal(*litert(again, x), expected)
    merged = not any(node.op == "pad" for node in tulle.convert(data).graph)
    assert merged == (value < -3e38 and max(pads) < 3)


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_pads_that_are_not_numbers_stay_where_they_are(value: float) -> None:
    """Of channels too, which the search for dead channels must not multiply by zero."""
    x = noise(1, 4, 4, 3)
    m = TfliteModel()
    pairs = m.constant(np.array([(0, 0), (1, 0), (0, 2), (0, 1)]), np.int32)
    padded = m.op("PADV2", [m.input(x.shape), pairs, m.constant(np.float32(value))], (1, 5, 6, 4), "PadV2Options")
    mean = m.op("REDUCE_MIN", [padded, m.constant([1, 2], np.int32)], (1, 4), "ReducerOptions")
    same_as_litert(m, x, padded, mean)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("kind", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_reductions_of_tensors_with_an_inner_batch(kind: str, keep: bool) -> None:
    shape, x, m = (2, 4, 5, 3), noise(1, 4, 5, 6), TfliteModel()
    whole = m.constant(np.array(shape), np.int32)
    rows = m.op("RESHAPE", [m.input(x.shape), whole], shape, "ReshapeOptions", newShape=list(shape))
    outputs = []
    for axes in ((0,), (1,), (2,), (3,), (0, 1), (1, 2), (2, 3), (0, 3), (0, 1, 2), (1, 2, 3)):
        left = tuple(1 if d in axes else size for d, size in enumerate(shape) if keep or d not in axes)
        outputs.append(m.op(kind, [rows, m.constant(axes, np.int32)], left, "ReducerOptions", keepDims=keep))
    same_as_litert(m, x, *outputs)


@pytest.mark.parametrize("count", [64, 65, 128, 130, 4100])
def test_concatenations_of_many(count: int) -> None:
    assert split_concats.MOST == MAX_OP_INPUTS
    m, x = TfliteModel(), noise(1, 2, 2, 3)
    image = m.input(x.shape)
    other = m.op("RELU", [image], x.shape)
    parts = [(image, other)[index % 3 == 0] for index in range(count)]
    y = m.op("CONCATENATION", parts, (1, 2, 2, 3 * count), "ConcatenationOptions", axis=3)
    same_as_litert(m, x, y)


def test_nan_passes_through_maxima() -> None:
    """LiteRT loses it, NumPy does not, and docs/web.md promises that it passes."""
    shape, x = (1, 6, 6, 4), noise(1, 6, 6, 4)
    x[0, 2, 3, 1] = x[0, 5, 0, 3] = np.nan
    m = TfliteModel()
    image, outputs, expected = m.input(shape), [], []
    for size, stride in ((2, 2), (3, 1), (6, 6)):
        out = (6 - size) // stride + 1
        outputs.append(m.op("MAX_POOL_2D", [image], (1, out, out, 4), "Pool2DOptions", filterHeight=size,
                            filterWidth=size, strideH=stride, strideW=stride, padding=1))  # fmt: skip
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]
        expected.append(windows.max((-1, -2)))
    for kind, function in (("REDUCE_MAX", np.max), ("REDUCE_MIN", np.min)):
        for axes in ((1, 2), (1,), (2,), (3,), (1, 2, 3)):
            left = tuple(size for d, size in enumerate(shape) if d not in axes)
            outputs.append(m.op(kind, [image, m.constant(axes, np.int32)], left, "ReducerOptions"))
            expected.append(function(x, axis=axes))
    with tulle.load(m.finish(*outputs)) as model:
        for got, values in zip(model(x).values(), expected, strict=True):
            np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_nan_passes_through_2x2_maxima_at_every_place(place: tuple[int, int]) -> None:
    """11 outputs a row: two vectors and a tail of three."""
    x, m = noise(1, 4, 22, 2), TfliteModel()
    x[0, 2 + place[0], place[1] :: 4, 1] = np.nan
    y = m.op("MAX_POOL_2D", [m.input(x.shape)], (1, 2, 11, 2), "Pool2DOptions", filterHeight=2, filterWidth=2,
             strideH=2, strideW=2, padding=1)  # fmt: skip
    expected = x.reshape(1, 2, 2, 11, 2, 2).max((2, 4))
    assert np.isnan(expected).sum() == 6
    for variant in ("simd", "relaxed"):
        with tulle.load(m.finish(y), variant=variant) as model:
            (got,) = model(x).values()
        np.testing.assert_array_equal(got, expected)


def cumsum(shape: tuple[int, ...], axis: object, **flags: bool) -> TfliteModel:
    m = TfliteModel()
    m.outputs = [m.op("CUMSUM", [m.input(shape), m.constant(axis, np.int32)], shape, "CumsumOptions", **flags)]
    return m


@pytest.mark.parametrize("flags", [{}, {"exclusive": True}, {"reverse": True}, {"exclusive": True, "reverse": True}])
@pytest.mark.parametrize("shape", [(7,), (5, 1), (1, 7, 1, 3), (1, 1, 9, 2, 5, 3)])
def test_cumulative_sums_along_axes_counted_from_the_end(shape: tuple[int, ...], flags: dict[str, bool]) -> None:
    for axis in range(-len(shape), 0):
        m = cumsum(shape, axis, **flags)
        same_as_litert(m, noise(*shape), *m.outputs)


@pytest.mark.parametrize(("axis", "cause"), [(3, "out of range"), (-4, "out of range"), ([0, 1], "2 values")])
def test_cumulative_sums_along_no_axis_are_refused(axis: object, cause: str) -> None:
    m = cumsum((2, 3, 4), axis)
    with pytest.raises(TulleError, match=cause):
        tulle.convert(m.finish(*m.outputs))


def top(shape: tuple[int, ...], k: object, kept: tuple[int, ...]) -> TfliteModel:
    m = TfliteModel()
    m.outputs = m.op("TOPK_V2", [m.input(shape), m.constant(k, np.int32)], [kept, kept], "TopKV2Options",
                     dtype=[np.float32, np.int32])  # fmt: skip
    return m


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 1), (3, 31), (2, 3, 17), (1, 5, 3, 9)])
def test_the_largest_in_litert_s_order(shape: tuple[int, ...]) -> None:
    """Of equal numbers the first comes first; infinities are numbers."""
    x = np.random.default_rng(0).choice(np.array([-np.inf, -2, -0.0, 0.0, 1, 3, np.inf], np.float32), shape)
    for k in sorted({1, 2, shape[-1] - 1, shape[-1]} & {*range(1, shape[-1] + 1)}):
        m = top(shape, k, (*shape[:-1], k))
        same_as_litert(m, x, *m.outputs)


def test_nan_is_the_largest() -> None:
    """As in NumPy, PyTorch and ONNX Runtime; LiteRT puts it behind all numbers."""
    x, m = np.array([1, np.nan, np.inf, np.nan, 2], np.float32), top((5,), 4, (4,))
    with tulle.load(m.finish(*m.outputs)) as model:
        values, indices = model(x).values()
    np.testing.assert_array_equal(values, [np.nan, np.nan, np.inf, 2])
    np.testing.assert_array_equal(indices, [1, 3, 2, 4])


@pytest.mark.parametrize("wanted", [0, 1])
def test_one_of_both_outputs_costs_nothing_for_the_other(wanted: int) -> None:
    m = top((2, 9), 3, (2, 3))
    output = m.outputs[wanted]
    same_as_litert(m, noise(2, 9), output)
    graph = tulle.convert(m.finish(output)).graph
    assert [node.op for node in graph] == [("topk", "topk_indices")[wanted]]


@pytest.mark.parametrize(
    ("shape", "k", "kept", "cause"),
    [
        ((4, 5), 0, (4, 0), "empty shape"), ((4, 5), 6, (4, 6), "1 to 5 elements"),
        ((4, 5), -1, (4, 3), r"it gives \[4, -1\], the output has \[4, 3\]"),
        ((4, 5), 2, (4, 3), r"it gives \[4, 2\], the output has \[4, 3\]"),
        ((4, 5), 2**31 - 1, (4, 5), "it gives"), ((4, 5), [2, 2], (4, 2), "2 numbers k"), ((), 1, (1,), "1 numbers k"),
    ],
)  # fmt: skip
def test_more_than_there_are_is_refused(shape: tuple[int, ...], k: object, kept: tuple[int, ...], cause: str) -> None:
    m = top(shape, k, kept)
    with pytest.raises(TulleError, match=cause):
        tulle.convert(m.finish(*m.outputs))


def test_a_k_that_is_computed_is_refused() -> None:
    m = TfliteModel()
    inputs = [m.input((9,)), m.input((1,), np.int32)]
    both = m.op("TOPK_V2", inputs, [(3,), (3,)], "TopKV2Options", dtype=[np.float32, np.int32])
    with pytest.raises(TulleError, match="computed while running"):
        tulle.convert(m.finish(*both))


# ---- small files that describe large tensors -----------------------------------------------------------------------

HUGE = 2**28  # elements, the most that a .tulle file may hold in one tensor


def largest_of_a_row(m: TfliteModel) -> int:
    y = m.op("ARG_MAX", [m.input((1, 4 * HUGE)), m.constant(1, np.int32)], (1,), "ArgMaxOptions", dtype=np.int32)
    return m.op("CAST", [y], (1,), "CastOptions")


def numbers(m: TfliteModel) -> int:
    y = m.op("MUL", [m.input((1, HUGE)), m.constant([2.0])], (1, HUGE), "MulOptions")
    y = m.op("ADD", [y, m.constant([1.0])], (1, HUGE), "AddOptions")
    return m.op("REDUCE_MAX", [m.op("RELU", [y], (1, HUGE)), m.constant([1], np.int32)], (1,), "ReducerOptions")


def shuffle(m: TfliteModel) -> int:
    whole = (1, 4096, 4096, 16)
    y = m.input(whole)
    for shape, perm in (((1, 4096, 4096, 4, 4), (0, 1, 2, 4, 3)),) * 3:
        y = m.op("RESHAPE", [y, m.constant(shape, np.int32)], shape, "ReshapeOptions", newShape=list(shape))
        y = m.op("TRANSPOSE", [y, m.constant(perm, np.int32)], shape, "TransposeOptions")
        y = m.op("RESHAPE", [y, m.constant(whole, np.int32)], whole, "ReshapeOptions", newShape=list(whole))
    return m.op("MEAN", [y, m.constant([1, 2], np.int32)], (1, 16), "ReducerOptions")


def slices_of_a_constant(m: TfliteModel) -> int:
    """The same 4 MB read two thousand times."""
    rows, one = m.constant(np.ones((2**20, 1))), m.constant([1, 1], np.int32)
    y = m.input((1, 1))
    for index in range(2000):
        part = m.op("SLICE", [rows, m.constant([index, 0], np.int32), one], (1, 1), "SliceOptions")
        y = m.op("ADD", [y, part], (1, 1), "AddOptions")
    return y


@pytest.mark.parametrize(
    ("build", "cause"),
    [(largest_of_a_row, "elements"), (numbers, ""), (shuffle, ""), (slices_of_a_constant, "out of proportion")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_tables_do_not_grow_with_activations(build: Callable[[TfliteModel], int], cause: str) -> None:
    m = TfliteModel()
    data = m.finish(build(m))
    tracemalloc.start()
    start = time.perf_counter()
    try:
        tulle.convert(data)
        assert not cause
    except TulleError as error:
        assert cause and cause in str(error), error
    assert time.perf_counter() - start < 20
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


@pytest.mark.parametrize("padding", [0, 1])
def test_pools_of_squares(padding: int) -> None:
    m, x = TfliteModel(), noise(1, 7, 6, 3)
    shape = (1, 4, 3, 3) if padding == 0 else (1, 3, 2, 3)
    y = m.op("L2_POOL_2D", [m.input(x.shape)], shape, "Pool2DOptions", padding=padding, filterHeight=3, filterWidth=3,
             strideH=2, strideW=2)  # fmt: skip
    same_as_litert(m, x, y)


def test_filled_constants() -> None:
    m, x = TfliteModel(), noise(1, 3, 4, 5)
    filled = m.op("FILL", [m.constant(x.shape, np.int32), m.constant(np.float32(1.5))], x.shape, "FillOptions")
    same_as_litert(m, x, m.op("ADD", [m.input(x.shape), filled], x.shape, "AddOptions"))


# ---- quantised models ----------------------------------------------------------------------------------------------


def quantised(low: int, scale: float) -> tuple[TfliteModel, int, np.ndarray]:
    """A convolution of bytes whose output counts from `low` in steps of `scale`, and bytes that lead beyond that."""
    rng, m = np.random.default_rng(0), TfliteModel()
    x = m.input((1, 4, 4, 3), np.int8, scale=[0.04], zero_point=[0])
    w = m.tensor((2, 1, 1, 3), np.int8, rng.integers(-127, 128, (2, 1, 1, 3)), scale=[0.01, 0.01], zero_point=[0, 0])
    b = m.tensor((2,), np.int32, np.array([5000, -3000], np.int32), scale=[0.0004, 0.0004], zero_point=[0, 0])
    y = m.op(
        "CONV_2D", [x, w, b], (1, 4, 4, 2), "Conv2DOptions", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1,
        padding=0, dtype=np.int8, quantization={"scale": [scale], "zero_point": [low]},
    )  # fmt: skip
    return m, y, rng.integers(-128, 128, (1, 4, 4, 3)).astype(np.int8)


@pytest.mark.parametrize(("zero_point", "scale"), [(-128, 6 / 255), (0, 1 / 127.5), (-128, 1 / 255)])
def test_ranges_that_are_activations_are_kept_and_others_noted(zero_point: int, scale: float) -> None:
    """[0, 6], [-1, 1] and [0, 1], of which the last keeps its lower end only."""
    m, y, stored = quantised(zero_point, scale)
    data = m.finish(y)
    (raw,) = litert(data, stored)
    expected = (raw.astype(np.float32) - zero_point) * scale
    with tulle.load(data) as model:
        (got,) = model(stored * np.float32(0.04)).values()
    clipped = raw == 127
    assert clipped.any() and (raw == -128).any()
    whole = ~clipped if scale == 1 / 255 else np.full(raw.shape, True)
    np.testing.assert_allclose(got[whole], expected[whole], atol=1.01 * scale)
    assert any("clips to the range of its integers" in note for note in tulle.convert(data).graph.notes)


# ---- single numbers: tensors without dimensions ---------------------------------------------------------------------

UNARY: dict[str, dict] = {
    **{kind: {} for kind in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH", "LOGISTIC", "TANH", "ELU",
                             "ABS", "NEG", "SQUARE", "SIGN", "EXP", "LOG", "SQRT", "RSQRT")},
    "LEAKY_RELU": {"options": "LeakyReluOptions", "alpha": 0.3},
    "GELU": {"options": "GeluOptions", "approximate": True},
    "RESHAPE": {"options": "ReshapeOptions", "newShape": []},
    "CAST": {"options": "CastOptions", "inDataType": 0, "outDataType": 0},
}  # fmt: skip
BINARY = {
    "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions", "POW": "PowOptions",
    "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
}  # fmt: skip
COMPARISONS = {
    "GREATER": "GreaterOptions", "LESS": "LessOptions", "GREATER_EQUAL": "GreaterEqualOptions",
    "LESS_EQUAL": "LessEqualOptions", "EQUAL": "EqualOptions", "NOT_EQUAL": "NotEqualOptions",
}  # fmt: skip
LOGIC = {"LOGICAL_AND": "LogicalAndOptions", "LOGICAL_OR": "LogicalOrOptions"}
REDUCTIONS = ("SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN")
NOWHERE = np.zeros(0)  # the axes, or the multiples, of a tensor without dimensions


def test_single_numbers() -> None:
    """All operators that LiteRT runs on a tensor of rank 0, in one model each, for a number above and one below 0."""
    cases: dict[str, Callable[[TfliteModel, int], int]] = {}
    for kind, fields in UNARY.items():
        cases[kind] = lambda m, x, kind=kind, fields=fields: m.op(kind, [x], (), **fields)
    for kind, options in BINARY.items():
        for exponent in (2.0, 0.0, 3.0, -1.0, 1.7) if kind == "POW" else (2.0,):
            cases[f"{kind} {exponent}"] = lambda m, x, k=kind, o=options, c=exponent: m.op(k, [x, m.constant(c)], (), o)
        cases[f"constant {kind}"] = lambda m, x, k=kind, o=options: m.op(k, [m.constant(2.5), x], (), o)
        if kind == "POW":
            continue
        cases[f"{kind} of itself"] = lambda m, x, k=kind, o=options: m.op(k, [x, x], (), o)
        cases[f"{kind} and one"] = lambda m, x, k=kind, o=options: m.op(k, [x, m.constant([2.0])], (1,), o)
        cases[f"{kind} and many"] = lambda m, x, k=kind, o=options: m.op(k, [x, m.inputs[0]], (5,), o)

    def compared(m: TfliteModel, x: int, kind: str, limit: object = 0.0) -> int:
        return int(m.op(kind, [x, m.constant(limit)], np.shape(limit), COMPARISONS[kind], dtype=np.bool_))

    def as_float(m: TfliteModel, x: int) -> int:
        return int(m.op("CAST", [x], m.shape(x), "CastOptions", inDataType=6, outDataType=0))

    for kind in COMPARISONS:
        cases[kind] = lambda m, x, k=kind: as_float(m, compared(m, x, k))
        cases[f"{kind} and one"] = lambda m, x, k=kind: as_float(m, compared(m, x, k, [0.0]))
        cases[f"NOT {kind}"] = lambda m, x, k=kind: as_float(
            m, m.op("LOGICAL_NOT", [compared(m, x, k)], (), "LogicalNotOptions", dtype=np.bool_)
        )
        for select in ("SELECT", "SELECT_V2"):
            options = "SelectOptions" if select == "SELECT" else "SelectV2Options"
            cases[f"{select} {kind}"] = lambda m, x, k=kind, s=select, o=options: m.op(
                s, [compared(m, x, k), x, m.constant(7.0)], (), o
            )
        cases[f"SELECT many by {kind}"] = lambda m, x, k=kind: m.op(
            "SELECT", [compared(m, x, k), m.inputs[0], m.constant([7.0] * 5)], (5,), "SelectOptions"
        )
    for kind, options in LOGIC.items():
        cases[kind] = lambda m, x, k=kind, o=options: as_float(
            m, m.op(k, [compared(m, x, "GREATER"), compared(m, x, "LESS", 9.0)], (), o, dtype=np.bool_)
        )
    for kind in REDUCTIONS:
        cases[kind] = lambda m, x, k=kind: m.op(k, [x, m.constant(NOWHERE, np.int32)], (), "ReducerOptions")
    cases["PRELU"] = lambda m, x: m.op("PRELU", [x, m.constant(0.2)], ())
    cases["ADD_N"] = lambda m, x: m.op("ADD_N", [x, x, x], (), "AddNOptions")
    cases["TILE"] = lambda m, x: m.op("TILE", [x, m.constant(NOWHERE, np.int32)], (), "TileOptions")
    cases["PAD"] = lambda m, x: m.op("PAD", [x, m.constant(np.zeros((0, 2)), np.int32)], (), "PadOptions")
    cases["PACK"] = lambda m, x: m.op("PACK", [x, m.constant(1.0)], (2,), "PackOptions", valuesCount=2)
    cases["EXPAND_DIMS"] = lambda m, x: m.op("EXPAND_DIMS", [x, m.constant([0], np.int32)], (1,), "ExpandDimsOptions")
    cases["BROADCAST_TO"] = lambda m, x: m.op(
        "BROADCAST_TO", [x, m.constant([3, 2], np.int32)], (3, 2), "BroadcastToOptions", version=2
    )
    wrong = []
    for label, case in cases.items():
        for x in (np.array([0.3, 0.2, 0.9, -0.4, 0.5], np.float32), np.array([0.3, 0.2, -0.9, -0.4, -0.5], np.float32)):
            m = TfliteModel()
            total = m.op("SUM", [m.input(x.shape), m.constant([0], np.int32)], (), "ReducerOptions")
            data = m.finish(case(m, total))
            (expected,) = litert(data, x)
            try:
                with tulle.load(data) as model:
                    (got,) = model(x).values()
            except TulleError as error:
                wrong.append(f"{label}: {error}")
                continue
            if got.shape != expected.shape or not np.allclose(got, expected, atol=1e-5, equal_nan=True):
                wrong.append(f"{label}: {got!r} instead of {expected!r}")
    assert not wrong, "\n".join(wrong)


def test_a_single_number_as_input() -> None:
    for kind in ("ABS", "NEG", "RELU"):
        m = TfliteModel()
        same_as_litert(m, np.array(-3, np.float32), m.op(kind, [m.input(())], ()))

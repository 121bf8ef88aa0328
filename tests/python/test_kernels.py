"""Every op of the C library against the NumPy reference in float64: random small shapes, every tail, both builds.

Each case is a graph of one op, with the layout changes that it needs, run through the whole path: packed, loaded by
wasmtime, run three times. An output may differ from the reference by TOLERANCE of what its sum would be if nothing in
it cancelled out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import tulle
from c_lists import kernels
from tulle import load
from tulle.compression import compress
from tulle.graph import Graph, Node, Tensor, reference
from tulle.ops import BINARY, OPS
from tulle.pack import pack, unpack
from tulle.pack.schema import tulle_generated as schema
from tulle.runtime import Limits
from tulle.sparsify import Options, sparsify
from tulle.zoo import mobilenet_v2
from tulle_file import file_of, records

TOLERANCE = 1e-5
VARIANTS = ("simd", "relaxed")
ACTIVATIONS = (
    "none", "relu", "relu6", "relu_n1_to_1", "hard_swish", "sigmoid", "tanh", "leaky_relu", "elu", "prelu",
)  # fmt: skip
# What normalisation layers and attention are made of. swish and GELU are at home in convolutions too.
FUNCTIONS = ("exp", "log", "sqrt", "rsqrt", "erf", "softplus", "swish", "gelu", "gelu_tanh")
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 19, 23, 28, 32, 33)

pytestmark = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(autouse=True)
def tiles_of_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse tiles as V8 gets them, the widest; in wasmtime models have narrower ones."""
    monkeypatch.setattr("tulle.runtime.model.WASMTIME_TILE", 13)


def each(count: int) -> Any:
    """`count` seeds; every one is a case of its own."""
    return pytest.mark.parametrize("seed", range(count))


class Case:
    """A graph of one op that grows, and the random numbers of its test."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("case")

    def size(self, most: int = 33) -> int:
        return int(self.rng.choice([size for size in SIZES if size <= most]))

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def values(self, shape: Iterable[int], zeros: float = 0.0) -> np.ndarray:
        shape = tuple(shape)
        return np.where(self.rng.random(shape) < zeros, 0, self.rng.standard_normal(shape)).astype(np.float32)

    def input(self, *shape: int, chw: bool = False, **extra: Any) -> str:
        """A model input; with `chw`, what becomes of it in that layout."""
        name = self.graph.add_tensor(Tensor(f"input{len(self.graph.inputs)}", shape, **extra))
        self.graph.inputs.append(name)
        return self.op("to_chw", [name], shape, chw=True) if chw else name

    def constant(self, values: np.ndarray) -> str:
        return self.graph.add_constant("constant", values)

    def op(self, kind: str, inputs: list[str | None], shape: Iterable[int], *, chw: bool = False, **attrs: Any) -> str:
        output = self.graph.add_tensor(Tensor(kind, tuple(shape), layout="chw" if chw else "plain"))
        self.graph.nodes.append(Node(kind, output, inputs, [output], attrs))
        return output

    def fused(self, kind: str, inputs: list[str | None], activation: str, channels: int) -> dict[str, Any]:
        """Attributes of a fused activation; prelu's alpha goes behind the op's own inputs."""
        attrs: dict[str, Any] = {"activation": activation}
        if activation in ("leaky_relu", "elu"):
            attrs["alpha"] = float(self.rng.uniform(0.05, 1))
        if activation == "prelu":
            inputs.extend([None] * (OPS[kind].own_inputs - len(inputs)))
            inputs.append(self.constant(self.rng.uniform(-0.5, 1, self.pick((channels,), (1,))).astype(np.float32)))
        return attrs

    def run(self, output: str, variant: str, feed: dict[str, np.ndarray] | None = None) -> list[dict[str, Any]]:
        """Compares the model, up to `output`, with the reference. `feed`: inputs that must not be just any numbers.

        Returns the steps that ran: rows of the profile.
        """
        graph = self.graph
        if graph.tensors[output].layout == "chw":
            output = self.op("to_plain", [output], graph.tensors[output].shape)
        graph.outputs = [output]
        given = {name: self.values(graph.tensors[name].shape) for name in graph.inputs}
        given.update(feed or {})
        floats = {name: as_floats(graph.tensors[name], array) for name, array in given.items()}
        expected = reference.run(graph, floats)[output]
        bound = TOLERANCE * np.maximum(magnitude(graph, floats, output), np.abs(expected)) + 1e-6
        with load(pack(graph), variant=variant) as model:  # type: ignore[arg-type]
            first = model(given)[output]
            model({name: np.zeros_like(array) for name, array in given.items()})
            again = model(given)[output]
            steps = list(model.profile())
        np.testing.assert_array_equal(first, again, err_msg=f"a second run differs\n{graph}")
        worst = np.unravel_index(np.argmax(np.abs(first - expected) / bound), expected.shape)
        assert np.all(np.abs(first - expected) <= bound), (
            f"at {tuple(map(int, worst))}: {first[worst]} instead of {expected[worst]} (bound {bound[worst]:.2g}), "
            f"{np.mean(~(np.abs(first - expected) <= bound)):.0%} of the elements are wrong\n{graph}"
        )
        return steps


def paths(steps: Iterable[dict[str, Any]]) -> set[str]:
    return {step["path"] for step in steps}


def as_floats(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    """What the model makes of an input: images of bytes are normalised."""
    if array.dtype != np.uint8:
        return array
    return ((array[..., :3].astype(np.float64) - tensor.mean) / tensor.std).reshape(tensor.shape)


def magnitude(graph: Graph, inputs: dict[str, np.ndarray], output: str) -> np.ndarray:
    """What the output would be if all terms had one sign: the size of number that rounding happens at."""
    graph = graph.copy()
    for tensor in graph.tensors.values():
        if tensor.data is not None:
            tensor.data = np.abs(tensor.data)
    for node in graph.nodes:
        if node.op == "sub":
            node.op = "add"
        if "activation" in node.attrs and node.op != "activation":
            node.attrs["activation"] = "none"
            node.inputs = node.inputs[: OPS[node.op].own_inputs]
        if node.op == "activation":
            node.attrs["activation"] = "none"
        if node.op == "pad":
            node.attrs["pad_value"] = abs(node.attrs["pad_value"])
    return reference.run(graph, {name: np.abs(array) for name, array in inputs.items()})[output]


# ---- convolutions ---------------------------------------------------------------------------------------------------


def conv2d(
    case: Case, x: str, weight: np.ndarray, *, strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0), activation: str = "none", bias: bool = True,
    residual: bool = False, sparsity: str = "dense", kind: str = "conv2d",
) -> str:  # fmt: skip
    """Adds a convolution, or a depthwise one, whose output has the size that follows."""
    _, height, width, _ = case.graph.tensors[x].shape
    channels = weight.shape[3] if kind == "depthwise_conv2d" else weight.shape[0]
    rows = (height + sum(padding[:2]) - (weight.shape[1] - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (width + sum(padding[2:]) - (weight.shape[2] - 1) * dilations[1] - 1) // strides[1] + 1
    inputs: list[str | None] = [x, case.constant(weight)]
    inputs.append(case.constant(case.values((channels,))) if bias else None)
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "padding": padding}
    if kind == "conv2d":
        attrs["sparsity"] = sparsity
        if residual:
            inputs.append(case.input(1, rows, columns, channels, chw=True))
    attrs.update(case.fused(kind, inputs, activation, channels))
    return case.op(kind, inputs, (1, rows, columns, channels), chw=True, **attrs)


def window(case: Case, size: int) -> dict[str, Any]:
    """A random kernel, with strides, dilations and uneven paddings, that fits an image of size x size or larger."""
    kernel = case.pick(1, 2, 3, 3, 5, 7), case.pick(1, 2, 3, 3, 5, 7)
    strides = case.pick((1, 1), (1, 1), (2, 2), (2, 2), (3, 3), (1, 2), (3, 1))
    dilations = case.pick((1, 1), (1, 1), (1, 1), (2, 2), (1, 3))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [int(case.rng.integers(0, reach[i // 2])) for i in range(4)]
    for axis in (0, 1):  # at least one position of the window
        pads[2 * axis + 1] += max(0, reach[axis] - size - pads[2 * axis] - pads[2 * axis + 1])
    return {"kernel": kernel, "strides": strides, "dilations": dilations, "padding": tuple(pads)}


@pytest.mark.parametrize("zeros", [0, 0.5, 0.8, 0.95, 1])
@pytest.mark.parametrize("sparsity", ["sparse", "dense"])
def test_pointwise_over_every_number_of_pixels(variant: str, sparsity: str, zeros: float) -> None:
    """Every tail of the pixel tiles, alone and behind full tiles."""
    for pixels in [*range(1, 36), 47, 48, 49, 63, 64, 65, 95, 97, 127, 130, 196, 257]:
        case = Case(pixels, int(100 * zeros))
        height = 7 if pixels % 7 == 0 else 1
        x = case.input(1, height, pixels // height, 11, chw=True)
        y = conv2d(case, x, case.values((9, 1, 1, 11), zeros), sparsity=sparsity)
        case.run(y, variant)


@pytest.mark.parametrize("zeros", [0, 0.5, 0.8, 0.95, 1])
@pytest.mark.parametrize("sparsity", ["sparse", "dense"])
def test_pointwise_over_every_number_of_channels(variant: str, sparsity: str, zeros: float) -> None:
    wide = [(1, 1), (33, 65), (64, 32), (130, 3), (191, 5), (192, 8), (193, 7), (385, 6), (577, 9)]
    for channels_in, channels_out in [(i, 18 - i) for i in range(1, 18)] + wide:
        case = Case(channels_in, channels_out, int(100 * zeros))
        x = case.input(1, 5, 8, channels_in, chw=True)
        weight = case.values((channels_out, 1, 1, channels_in), zeros)
        case.run(conv2d(case, x, weight, sparsity=sparsity), variant)


@pytest.mark.parametrize("activation", ["none", "relu6", "hard_swish", "prelu"])
@pytest.mark.parametrize("sparsity", ["sparse", "dense"])
@pytest.mark.parametrize("shape", [(56, 56, 24, 72), (28, 28, 240, 40), (7, 7, 672, 112), (1, 1, 576, 1024)])
def test_pointwise_as_models_have_it(
    variant: str, shape: tuple[int, int, int, int], sparsity: str, activation: str
) -> None:
    """Maps of several tiles, more channels than one block of them, with and without a residual."""
    height, width, channels_in, channels_out = shape
    for residual in (False, True):
        case = Case(*shape)
        x = case.input(1, height, width, channels_in, chw=True)
        weight = case.values((channels_out, 1, 1, channels_in), 0.8)
        case.run(conv2d(case, x, weight, sparsity=sparsity, activation=activation, residual=residual), variant)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "relu_n1_to_1", "hard_swish", "tanh", "prelu"])
@pytest.mark.parametrize("inputs", [20, 113, 250])
def test_every_loop_over_sparse_rows(variant: str, inputs: int, activation: str) -> None:
    """Whatever rows begin with (bias, residual, the pass before) and end with, in tiles of 11, 12 and 13 vectors."""
    for pixels in (*range(41, 53), 97, 100, 196):
        for bias, residual in itertools.product((True, False), repeat=2):
            case = Case(pixels, inputs)
            x = case.input(1, 1, pixels, inputs, chw=True)
            weight = case.values((9, 1, 1, inputs), 0.9)
            weight[4] = 0
            y = conv2d(case, x, weight, sparsity="sparse", bias=bias, residual=residual, activation=activation)
            case.run(y, variant)


@pytest.mark.parametrize("density", [0, 0.02, 0.3, 0.95])
@pytest.mark.parametrize("values", ["fp32", "fp16", "int8", "int8, one scale"])
def test_sparse_rows_in_every_encoding(variant: str, values: str, density: float) -> None:
    """Rows of 70 elements begin within the bytes of a bitmask, and rows that are empty are not mentioned at all."""
    encodings = set()
    for size in (1, 7):
        case = Case(size, int(100 * density))
        x = case.input(1, size, size, 70, chw=True)
        weight = case.values((33, 1, 1, 70), 1 - density)
        weight[[0, 1, 5, 32]] = 0
        y = conv2d(case, x, weight, sparsity="sparse")
        case.graph.outputs = [case.op("to_plain", [y], case.graph.tensors[y].shape)]
        model = records(pack(case.graph, values.split(",")[0]))  # type: ignore[arg-type]
        for tensor in model.tensors:
            if tensor.constant is not None and len(tensor.shape) == 4:
                encodings.add(tensor.constant.encoding)
                if "one" in values and tensor.constant.scales is not None:
                    tensor.constant.scales = tensor.constant.scales[:1]
        data = file_of(model)
        given = {name: case.values(case.graph.tensors[name].shape) for name in case.graph.inputs}
        (expected,) = reference.run(unpack(data), given, np.float64).values()
        with load(data, variant=variant) as loaded:  # type: ignore[arg-type]
            (answer,) = loaded(given).values()
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-4)
    dense, bitmask, delta = schema.Encoding.dense, schema.Encoding.bitmask, schema.Encoding.delta
    assert encodings == {0: {delta}, 0.02: {delta}, 0.3: {bitmask}}.get(density, encodings & {bitmask, dense})


def test_relu_after_sparse_rows_keeps_nan(variant: str) -> None:
    for activation in ("none", "relu", "relu6"):
        case = Case(5)
        x = case.input(1, 7, 7, 3, chw=True)
        weight = np.array([[1, 0, 0], [0, 2, 1], [0, 0, 0]], np.float32)[:, None, None, :]
        y = conv2d(case, x, weight, sparsity="sparse", activation=activation)
        case.graph.outputs = [case.op("to_plain", [y], (1, 7, 7, 3))]
        values = np.ones((1, 7, 7, 3), np.float32)
        values[0, ::2, 1, 2] = np.nan
        with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
            (answer,) = model(values).values()
        expected = np.zeros((1, 7, 7, 3), bool)
        expected[0, ::2, 1, 1] = True
        np.testing.assert_array_equal(np.isnan(answer), expected)


@each(60)
def test_pointwise(variant: str, seed: int) -> None:
    case = Case(seed)
    x = case.input(1, case.size(), case.size(), case.size(), chw=True)
    weight = case.values((case.size(), 1, 1, case.graph.tensors[x].shape[3]), case.pick(0, 0.5, 0.8, 0.95, 1))
    y = conv2d(
        case, x, weight, sparsity=case.pick("sparse", "sparse", "dense"), bias=case.pick(True, False),
        residual=case.pick(True, False), activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
    )  # fmt: skip
    case.run(y, variant)


# Columns that rows share in pairs, by the letters of PAIRINGS; "_" is an empty row, "." one with columns of its own. A
# small letter lacks one of the columns of its capital.
PAIRINGS = (
    "AA", "AABBCCDDEE", "ABCDEFABCDEF", "AAAAA", "AABBC", "A.B.CA.C.B.", "..AA..", "_AA_BB__", "AAAABBBBCC..",
    "AaBbcC.dD",
)  # fmt: skip


def paired_rows(case: Case, pattern: str, inputs: int, share: float = 0.5) -> np.ndarray:
    """Weights whose rows share columns as the pattern says."""
    used = np.zeros((len(pattern), inputs), bool)
    shared: dict[str, np.ndarray] = {}
    for row, letter in enumerate(pattern):
        if letter == "_":
            continue
        columns = case.rng.permutation(inputs)[: round(share * inputs)]
        if letter != ".":
            columns = shared.setdefault(letter.upper(), columns)
        used[row, columns[letter.islower() :]] = True
    return np.where(used, case.values(used.shape), 0).astype(np.float32)[:, None, None, :]


@pytest.mark.parametrize("pattern", PAIRINGS)
def test_rows_that_share_columns_run_in_pairs(variant: str, pattern: str) -> None:
    """Every tail of the tiles of pairs, within a tile and behind full ones."""
    for pixels in [*range(2, 57), 63, 97, 130, 196, 257]:
        case = Case(pixels, len(pattern))
        height = 7 if pixels % 7 == 0 else 1
        x = case.input(1, height, pixels // height, 40, chw=True)
        steps = case.run(conv2d(case, x, paired_rows(case, pattern, 40), sparsity="sparse"), variant)
        assert ("pairs" in paths(steps)) == (pattern != "..AA..")


@pytest.mark.parametrize("inputs", [64, 191, 192, 193, 385, 577])
def test_pairs_in_several_passes(variant: str, inputs: int) -> None:
    for pattern in PAIRINGS:
        for residual in (False, True):
            case = Case(inputs, len(pattern))
            x = case.input(1, 7, 7, inputs, chw=True)
            weight = paired_rows(case, pattern, inputs, 0.3)
            case.run(conv2d(case, x, weight, sparsity="sparse", residual=residual, activation="relu6"), variant)


@each(60)
def test_pairs(variant: str, seed: int) -> None:
    case = Case(seed)
    x = case.input(1, case.size(), case.size() + 1, 48, chw=True)
    letters = [case.pick("A", "B", "C", "d", "D", ".", "_") for _ in range(case.pick(2, 3, 9, 16, 33))]
    y = conv2d(
        case, x, paired_rows(case, "".join(letters), 48), sparsity="sparse", bias=case.pick(True, False),
        residual=case.pick(True, False), activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
    )  # fmt: skip
    case.run(y, variant)


def test_few_nonzeros_do_not_run_in_pairs(variant: str) -> None:
    """They would be slower: see TULLE_SPMM_PAIR_LEAST."""
    for inputs, pairs in (({"relaxed": 5, "simd": 15}[variant], False), ({"relaxed": 6, "simd": 16}[variant], True)):
        case = Case(inputs)
        x = case.input(1, 7, 7, inputs, chw=True)
        steps = case.run(conv2d(case, x, case.values((8, 1, 1, inputs)), sparsity="sparse"), variant)
        assert ("pairs" in paths(steps)) == pairs


def test_an_infinite_input_passes_pairs_with_the_same_columns_by(variant: str) -> None:
    """A zero weight of both rows is skipped, not multiplied by it."""
    case = Case(7)
    weight = np.zeros((4, 1, 1, 40), np.float32)
    weight[:, :, :, :20] = 1
    x = case.input(1, 3, 3, 40, chw=True)
    case.graph.outputs = [case.op("to_plain", [conv2d(case, x, weight, bias=False, sparsity="sparse")], (1, 3, 3, 4))]
    values = np.ones((1, 3, 3, 40), np.float32)
    values[..., 20:] = np.inf
    with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
        (answer,) = model(values).values()
        assert "pairs" in paths(model.profile())
    np.testing.assert_array_equal(answer, np.full((1, 3, 3, 4), 20, np.float32))


def test_the_width_of_tiles_changes_no_bit(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(3)
    x = case.input(1, 11, 13, 30, chw=True)
    weight = case.values((20, 1, 1, 30), 0.7)
    weight[10:12] = np.where(weight[10] != 0, 1.5, 0)  # a pair
    y = conv2d(case, x, weight, sparsity="sparse", activation="hard_swish")
    case.graph.outputs = [case.op("to_plain", [y], (1, 11, 13, 20))]
    answers, ran = [], set()
    for tile in range(1, 14):
        monkeypatch.setattr("tulle.runtime.model.WASMTIME_TILE", tile)
        with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
            answers.append(
                next(iter(model(np.sin(np.arange(11 * 13 * 30, dtype=np.float32)).reshape(1, 11, 13, 30)).values()))
            )
            ran |= {step["kernel"] for step in model.profile()}
    assert {"f32_spmm", "f32_spmm_52x1"} <= ran
    assert all(np.array_equal(answers[0], answer) for answer in answers)


@pytest.mark.parametrize("values", ["auto", "int8"])
@pytest.mark.parametrize("block", [2, 4])
def test_models_that_sparsify_makes_in_blocks_run_in_pairs(variant: str, block: int, values: str) -> None:
    """In int8 too, which rounds one of two weights to zero here and there."""
    dense = mobilenet_v2(width=0.5, size=64)
    sparse = sparsify(dense, Options(sparsity=0.7, block=block)).graph
    data = compress(tulle.convert(sparse).data, values).data  # type: ignore[arg-type]
    with load(data, variant=variant) as model:  # type: ignore[arg-type]
        steps = [step for step in model.profile() if "project" in step["name"] and step["weights"] > 6000]
    assert len(steps) >= 7 and paths(steps) == {"pairs"}


@each(120)
def test_conv2d(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = case.size(), case.size(), case.size(17)
    options = window(case, min(shape[:2]))
    x = case.input(1, *shape, chw=True)
    weight = case.values((case.size(24), *options.pop("kernel"), shape[2]), case.pick(0, 0, 0.8))
    y = conv2d(
        case, x, weight, **options, bias=case.pick(True, False), residual=case.pick(True, False),
        activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
    )  # fmt: skip
    case.run(y, variant)


def winograd(case: Case, height: int, width: int, channels: tuple[int, int], kernel: tuple[int, int],
             padding: tuple[int, int, int, int] = (1, 1, 1, 1), **how: Any) -> str:  # fmt: skip
    """A convolution that Winograd's minimal filtering can take."""
    padding = tuple(min(padding[side], kernel[side // 2] - 1) for side in range(4))  # type: ignore[assignment]
    x = case.input(1, height, width, channels[0], chw=True)
    return conv2d(case, x, case.values((channels[1], *kernel, channels[0])), padding=padding, **how)


KERNELS_OF_3 = ((3, 3), (1, 3), (3, 1))


@each(60)
def test_winograd(variant: str, seed: int) -> None:
    """Every tail of tiles, blocks and vectors, with any padding, activation and residual."""
    case = Case(seed, 3)
    kernel = KERNELS_OF_3[seed % 3]
    top, bottom, left, right = (int(case.rng.integers(kernel[side // 2])) for side in range(4))
    height, width = int(case.rng.integers(6, 30)), int(case.rng.integers(6, 75))
    channels = int(case.rng.integers(40, 70)), int(case.rng.integers(40, 70))
    y = winograd(
        case, height, width, channels, kernel, (top, bottom, left, right), bias=case.pick(True, False),
        residual=case.pick(True, False), activation=(*ACTIVATIONS, *FUNCTIONS[-3:])[seed % 13],
    )  # fmt: skip
    assert "winograd" in paths(case.run(y, variant))


@pytest.mark.parametrize("kernel", KERNELS_OF_3)
def test_winograd_over_every_width(variant: str, kernel: tuple[int, int]) -> None:
    for size in range(8, 42):
        case = Case(size)
        y = winograd(case, 9 if size % 2 else size, size, (48, 49 + size % 6), kernel)
        assert "winograd" in paths(case.run(y, variant))


@pytest.mark.parametrize(
    ("kernel", "height", "width", "channels"),
    [
        ((3, 3), 6, 1100, (40, 16)),  # strips of a part of a row
        ((1, 3), 5, 2100, (200, 30)),
        ((3, 1), 9, 601, (200, 30)),
        ((3, 3), 61, 37, (64, 32)),  # strips of several rows, of which the last has fewer
        ((3, 1), 400, 3, (64, 64)),
        ((3, 3), 8, 8, (300, 40)),
    ],
)
def test_winograd_in_strips(
    variant: str, kernel: tuple[int, int], height: int, width: int, channels: tuple[int, int]
) -> None:
    case = Case(height, width)
    y = winograd(case, height, width, channels, kernel, activation="relu6", residual=True)
    assert "winograd" in paths(case.run(y, variant))


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e15])
@pytest.mark.parametrize("channels", [16, 64, 256])
def test_winograd_loses_few_bits(
    variant: str, channels: int, scale: float, record_property: Callable[[str, object], None]
) -> None:
    """Of the largest output, in a layer with weights of the usual size."""
    case = Case(channels)
    x = case.input(1, 28, 28, channels, chw=True)
    weight = case.values((channels, 3, 3, channels)) / np.float32(3 * channels**0.5)
    y = conv2d(case, x, weight, padding=(1, 1, 1, 1), bias=False)
    case.graph.outputs = [case.op("to_plain", [y], (1, 28, 28, channels))]
    given = {x: case.values((1, 28, 28, channels)) * np.float32(scale) for x in case.graph.inputs}
    (expected,) = reference.run(case.graph, given, np.float64).values()
    with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
        (answer,) = model(given).values()
        assert "winograd" in paths(model.profile())
    error = float(np.abs(answer - expected).max() / np.abs(expected).max())
    record_property("error", error)
    assert error < 4e-6


def test_winograd_spreads_a_nan_over_its_tile_only(variant: str) -> None:
    """Outputs that a NaN is part of are NaN, as everywhere; others at most five pixels away may be."""
    case = Case(1)
    y = winograd(case, 30, 30, (16, 16), (3, 3), activation="relu6")
    case.graph.outputs = [case.op("to_plain", [y], (1, 30, 30, 16))]
    for value in (np.nan, np.inf, -np.inf):
        values = case.values((1, 30, 30, 16))
        values[0, 13, 18, 5] = value
        with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
            (answer,) = model(values).values()
            assert "winograd" in paths(model.profile())
        if np.isnan(value):
            assert np.isnan(answer[0, 12:15, 17:20]).all()
        answer[0, 8:19, 13:24] = 0
        assert np.isfinite(answer).all()


def test_winograd_where_it_is_faster_and_there_is_memory(variant: str) -> None:
    def path(height: int, width: int, channels: int, memory: int = 1 << 30, **how: Any) -> set[str]:
        case = Case(height, channels)
        y = winograd(case, height, width, (channels, channels), (3, 3), **how)
        case.graph.outputs = [case.op("to_plain", [y], case.graph.tensors[y].shape)]
        limits = Limits(memory_bytes=memory)
        with load(pack(case.graph), variant=variant, limits=limits) as model:  # type: ignore[arg-type]
            return paths(model.profile()) & {"winograd", "conv"}

    assert path(28, 28, 128) == {"winograd"}
    assert path(28, 28, 128, memory=4 << 20) == {"conv"}
    assert path(4, 4, 512) == {"conv"}  # four times as many weights, each of which is used once
    assert path(3, 3, 64) == {"conv"}
    assert path(28, 28, 2) == {"conv"}
    assert path(28, 28, 64, strides=(2, 2)) == {"conv"}
    assert path(28, 28, 64, dilations=(2, 2)) == {"conv"}


@each(80)
def test_entry_convolution(variant: str, seed: int) -> None:
    """The first convolution reads the model's input as it is: rows of HWC floats."""
    case = Case(seed)
    shape = case.size(), case.size(), case.pick(1, 2, 3, 3, 3, 4)
    options = window(case, min(shape[:2]))
    x = case.input(1, *shape)
    weight = case.values((case.size(33), *options.pop("kernel"), shape[2]))
    case.run(conv2d(case, x, weight, **options, activation=ACTIVATIONS[seed % len(ACTIVATIONS)]), variant)


@each(40)
def test_entry_convolution_of_bytes(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = case.size(), case.size()
    options = window(case, min(shape))
    mean, std = case.pick((0.0, 1.0), (127.5, 127.5), (128.0, 64.0), (0.0, 255.0))
    x = case.input(1, *shape, 3, mean=mean, std=std)
    weight = case.values((case.size(33), *options.pop("kernel"), 3))
    y = conv2d(case, x, weight, **options, activation=case.pick("none", "relu6", "hard_swish"))
    pixels = case.rng.integers(0, 256, (*shape, case.pick(3, 4)), np.uint8)
    case.run(y, variant, {x: pixels})


@pytest.mark.parametrize("size", [(32, 32), (33, 31), (64, 48), (17, 70)])
@pytest.mark.parametrize("padding", [(0, 1, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_entry_convolution_as_models_have_it(
    variant: str, kernel: int, padding: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    """Stride 2 over RGB, larger than any tile, both as floats and as bytes."""
    for pixels in (False, True):
        case = Case(*size, kernel)
        x = case.input(1, *size, 3, mean=127.5, std=127.5)
        weight = case.values((24, kernel, kernel, 3))
        y = conv2d(case, x, weight, strides=(2, 2), padding=padding, activation="relu6")
        case.run(y, variant, {x: case.rng.integers(0, 256, (*size, 4), np.uint8)} if pixels else None)


@each(40)
def test_conv2d_in_groups(variant: str, seed: int) -> None:
    """Written as one convolution with zeros between the groups: what a block of outputs does not read is left out."""
    case = Case(seed)
    groups, inputs, outputs = case.pick(1, 2, 3, 8), case.pick(1, 2, 5), case.pick(1, 4, 6, 7)
    shape = case.size(), case.size(), groups * inputs
    options = window(case, min(shape[:2]))
    kernel = options.pop("kernel")
    weight = np.zeros((groups * outputs, *kernel, groups * inputs), np.float32)
    for g in range(groups):
        block = slice(g * outputs, (g + 1) * outputs), slice(None), slice(None), slice(g * inputs, (g + 1) * inputs)
        weight[block] = case.values((outputs, *kernel, inputs), case.pick(0, 0.3, 1))
    y = conv2d(
        case, case.input(1, *shape, chw=True), weight, **options, bias=case.pick(True, False),
        residual=case.pick(True, False), activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
    )  # fmt: skip
    case.run(y, variant)


def test_groups_are_not_multiplied_with_each_other(variant: str) -> None:
    case = Case(0)
    weight = np.zeros((48, 3, 3, 32), np.float32)
    for g in range(8):
        weight[6 * g : 6 * g + 6, :, :, 4 * g : 4 * g + 4] = case.values((6, 3, 3, 4))
    steps = case.run(conv2d(case, case.input(1, 9, 12, 32, chw=True), weight), variant)
    [macs] = [step["macs"] for step in steps if step["path"] == "conv"]
    most = 1 if variant == "relaxed" else 2  # groups that a block of 6 or 4 rows reads
    assert macs <= most * 7 * 10 * weight.size / 8


@each(120)
def test_depthwise_conv2d(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = case.size(), case.size(), case.size(17)
    options = window(case, min(shape[:2]))
    x = case.input(1, *shape, chw=True)
    weight = case.values((1, *options.pop("kernel"), shape[2] * case.pick(1, 1, 1, 2, 3)))
    y = conv2d(
        case, x, weight, **options, kind="depthwise_conv2d", bias=case.pick(True, False),
        activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
    )  # fmt: skip
    case.run(y, variant)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_over_every_width(variant: str, kernel: int, stride: int) -> None:
    """The kernels for 3x3 and 5x5 with the padding that "same" gives, whose borders are a business of their own."""
    heights = itertools.cycle((6, 7, 1, 4, 2, 13, 3, 8, 5))
    for width, height in [*zip(range(1, 42), heights, strict=False), (64, 9), (65, 3), (112, 25)]:
        case = Case(width, height)
        pads = []
        for size in (height, width):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads += [total // 2, total - total // 2]
        x = case.input(1, height, width, 3, chw=True)
        weight = case.values((1, kernel, kernel, 3))
        y = conv2d(
            case, x, weight, kind="depthwise_conv2d", strides=(stride, stride), padding=tuple(pads), activation="relu6"
        )
        case.run(y, variant)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_with_any_padding(variant: str, kernel: int, stride: int) -> None:
    """None, on one side only, more than the kernels without a padded copy take; several outputs of a channel too."""
    pads = itertools.product(range(kernel), repeat=4)
    for number, (top, bottom, left, right) in enumerate(itertools.islice(pads, 0, None, 5 if kernel == 3 else 13)):
        height, width = (1, 2, 5, 9, 10, 18)[number % 6], (3, 4, 7, 8, 14, 15, 21, 1)[number % 8]
        height, width = max(height, kernel - top - bottom), max(width, kernel - left - right)
        case = Case(number, kernel, stride)
        x = case.input(1, height, width, 3, chw=True)
        weight = case.values((1, kernel, kernel, 3 * case.pick(1, 2)))
        y = conv2d(
            case, x, weight, kind="depthwise_conv2d", strides=(stride, stride), padding=(top, bottom, left, right),
            activation=case.pick("none", "hard_swish", "prelu"),
        )  # fmt: skip
        case.run(y, variant)


@each(40)
def test_depthwise_with_any_window(variant: str, seed: int) -> None:
    """From padded planes: tiles of outputs below each other, or side by side where a map is flat, as a sequence is."""
    case = Case(seed)
    height, width = case.pick((1, 150), (1, 33), (2, 41), (5, 18), (9, 9), (13, 30), (21, 6), (64, 3), (40, 70))
    kernel = case.pick((1, 3), (1, 9), (7, 7), (2, 4), (5, 1), (4, 3))
    dilations, strides = case.pick((1, 1), (1, 1), (1, 2), (2, 3)), case.pick((1, 1), (1, 1), (2, 2), (1, 3))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(int(case.rng.integers(0, r)) for r in np.repeat(reach, 2))
    y = conv2d(
        case, case.input(1, max(height, reach[0]), max(width, reach[1]), 3, chw=True), case.values((1, *kernel, 3)),
        kind="depthwise_conv2d", strides=strides, dilations=dilations, padding=pads,
        activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
    )  # fmt: skip
    case.run(y, variant)


@pytest.mark.parametrize("pads", [(10, 5, 9, 5), (0, 15, 0, 15), (1, 14, 14, 1)])
def test_depthwise_windows_that_lie_in_the_padding(variant: str, pads: tuple[int, int, int, int]) -> None:
    case = Case(sum(pads))
    x = case.input(1, 1, 1, 5, chw=True)
    weight = case.values((1, 3, 3, 5))
    y = conv2d(case, x, weight, kind="depthwise_conv2d", strides=(16, 16), padding=pads, activation="none")
    case.run(y, variant)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_over_maps_whose_rows_share_cache_sets(variant: str, kernel: int, summed: bool) -> None:
    """They are computed some rows at a time."""
    for height, width in ((41, 256), (70, 128), (37, 260), (33, 512)):
        case = Case(height, kernel)
        x = case.input(1, height, width, 2, chw=True)
        y = depthwise_of(case, x, kernel, 1, "relu6")
        case.run(added(case, y, x) if summed else y, variant)


@each(20)
def test_depthwise_without_a_window(variant: str, seed: int) -> None:
    """As batch normalisation is left behind."""
    case = Case(seed)
    shape = case.pick((1, 1), (1, 2), (3, 5), (7, 7), (9, 4), (16, 31)) + (case.size(9),)
    x = case.input(1, *shape, chw=True)
    weight = case.values((1, 1, 1, shape[2] * case.pick(1, 1, 3)))
    y = conv2d(case, x, weight, kind="depthwise_conv2d", activation=ACTIVATIONS[seed % len(ACTIVATIONS)])
    assert "f32_dwconv1x1" in {step["kernel"] for step in case.run(y, variant)} or shape[:2] == (1, 1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_as_models_have_it(variant: str, kernel: int, stride: int) -> None:
    for size in (112, 57):
        case = Case(size, kernel)
        x = case.input(1, size, size, 5, chw=True)
        pad = kernel // 2
        y = conv2d(
            case, x, case.values((1, kernel, kernel, 5)), kind="depthwise_conv2d", strides=(stride, stride),
            padding=(pad, pad, pad, pad), activation="hard_swish",
        )  # fmt: skip
        case.run(y, variant)


@each(80)
def test_transpose_conv2d(variant: str, seed: int) -> None:
    case = Case(seed)
    height, width, channels_in, channels_out = case.size(17), case.size(17), case.size(17), case.size(17)
    kernel = case.pick((1, 1), (2, 2), (2, 2), (3, 3), (3, 2), (4, 4), (5, 5))
    strides = case.pick((1, 1), (2, 2), (2, 2), (3, 3), (1, 2))
    pads, output = [], []
    for size, k, stride in zip((height, width), kernel, strides, strict=True):
        full = (size - 1) * stride + k
        before = int(case.rng.integers(0, min(k, full)))
        after = int(case.rng.integers(0, min(k, full - before)))
        pads += [before, after]
        output.append(full - before - after)
    x = case.input(1, height, width, channels_in, chw=True)
    inputs: list[str | None] = [x, case.constant(case.values((channels_out, *kernel, channels_in)))]
    inputs.append(case.constant(case.values((channels_out,))) if case.pick(True, False) else None)
    attrs = case.fused("transpose_conv2d", inputs, ACTIVATIONS[seed % len(ACTIVATIONS)], channels_out)
    y = case.op(
        "transpose_conv2d", inputs, (1, *output, channels_out), chw=True, strides=strides, padding=tuple(pads), **attrs
    )
    case.run(y, variant)


@pytest.mark.parametrize("activation", ["prelu", "sigmoid"])
@pytest.mark.parametrize("channels", [(1, 1), (4, 4), (3, 2), (9, 7)])
def test_transpose_conv2d_of_windows_side_by_side(variant: str, channels: tuple[int, int], activation: str) -> None:
    for height, width in ((1, 1), (2, 3), (3, 4), (5, 9), (4, 16)):
        case = Case(height, width)
        inputs: list[str | None] = [case.input(1, height, width, channels[0], chw=True)]
        inputs += [case.constant(case.values((channels[1], 2, 2, channels[0]))), None]
        attrs = case.fused("transpose_conv2d", inputs, activation, channels[1])
        shape = (1, 2 * height, 2 * width, channels[1])
        y = case.op("transpose_conv2d", inputs, shape, chw=True, strides=(2, 2), padding=(0, 0, 0, 0), **attrs)
        assert "upsample_conv" in paths(case.run(y, variant))


@each(120)
def test_fully_connected(variant: str, seed: int) -> None:
    case = Case(seed)
    rows = case.pick((1,), (1,), (3,), (2, 5), (1, 1, 4), (33,), (5, 1, 19))
    channels_in, channels_out = case.pick(1, 3, 4, 17, 64, 130), case.pick(1, 2, 5, 8, 33, 63)
    zeros = case.pick(0, 0.5, 0.8, 0.95, 1)
    x = case.input(*rows, channels_in)
    inputs: list[str | None] = [x, case.constant(case.values((channels_out, channels_in), zeros))]
    inputs.append(case.constant(case.values((channels_out,))) if case.pick(True, False) else None)
    attrs = case.fused("fully_connected", inputs, ACTIVATIONS[seed % len(ACTIVATIONS)], channels_out)
    keep = case.pick(True, False)
    shape = (*rows, channels_out) if keep else (int(np.prod(rows)), channels_out)
    sparsity = case.pick("sparse", "dense")
    y = case.op("fully_connected", inputs, shape, sparsity=sparsity, keep_num_dims=keep, **attrs)
    case.run(y, variant)


# ---- elementwise ----------------------------------------------------------------------------------------------------


@each(14)
@pytest.mark.parametrize("kind", BINARY)
def test_binary_over_images(variant: str, kind: str, seed: int) -> None:
    case = Case(seed, BINARY.index(kind))
    shape = 1, case.size(), case.size(), case.size()
    a = case.input(*shape, chw=True)
    positive = case.rng.uniform(0.5, 2, (1, 1, 1, shape[3])).astype(np.float32)  # no division by next to nothing
    others = ("image", "channels", "pixels", "constant", "constant channels", "constant pixels", "number")
    other = others[seed % len(others)]
    feed = {}
    if other in ("image", "channels", "pixels"):
        b = case.input(*{"image": shape, "channels": (1, 1, 1, shape[3]), "pixels": (*shape[:3], 1)}[other], chw=True)
        source = case.graph.inputs[1]
        feed[source] = case.rng.uniform(0.5, 2, case.graph.tensors[source].shape).astype(np.float32)
    else:
        mask = case.rng.uniform(0.5, 2, (*shape[:3], 1)).astype(np.float32)
        values = {
            "constant": positive, "constant channels": positive.reshape(-1), "constant pixels": mask,
            "number": positive[0, 0, 0, :1],
        }  # fmt: skip
        b = case.constant(values[other])
    inputs: list[str | None] = [a, b]
    if seed >= 7:
        inputs.reverse()
        feed[case.graph.inputs[0]] = case.rng.uniform(0.5, 2, shape).astype(np.float32)
    attrs = case.fused(kind, inputs, case.pick(*ACTIVATIONS), shape[3])
    case.run(case.op(kind, inputs, shape, chw=True, **attrs), variant, feed)


@each(12)
@pytest.mark.parametrize("kind", BINARY)
def test_binary_with_broadcasting(variant: str, kind: str, seed: int) -> None:
    """In plain layout any NumPy broadcasting."""
    case = Case(seed, BINARY.index(kind))
    shape = tuple(case.size(9) for _ in range(case.pick(1, 2, 3, 4, 5)))
    masked = [tuple(1 if case.rng.random() < 0.4 else size for size in shape) for _ in range(2)]
    shapes = [masked[0], masked[1][case.pick(0, 0, len(shape) // 2) :]]
    result = np.broadcast_shapes(*shapes)
    b_values = case.rng.uniform(0.5, 2, shapes[1]).astype(np.float32)
    inputs: list[str | None] = [case.input(*shapes[0])]
    feed = {}
    if case.pick(True, False):
        inputs.append(case.input(*shapes[1]))
        feed["input1"] = b_values
    else:
        inputs.append(case.constant(b_values))
    if case.pick(True, False):
        inputs.reverse()
        feed["input0"] = case.rng.uniform(0.5, 2, shapes[0]).astype(np.float32)
    attrs = case.fused(kind, inputs, case.pick(*ACTIVATIONS), result[-1])
    case.run(case.op(kind, inputs, result, **attrs), variant, feed)


@pytest.mark.parametrize("chw", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation(variant: str, activation: str, chw: bool) -> None:
    for seed in range(6):
        case = Case(seed, chw)
        shape = (1, case.size(), case.size(), case.size()) if chw or seed % 2 else (case.size(), case.size())
        inputs: list[str | None] = [case.input(*shape, chw=chw)]
        attrs = case.fused("activation", inputs, activation, shape[-1])
        wide = (8 * case.values(shape)).astype(np.float32)
        wide.reshape(-1)[: 8 : 1 + seed] = 0
        case.run(case.op("activation", inputs, shape, chw=chw, **attrs), variant, {"input0": wide})


@pytest.mark.parametrize("chw", [True, False])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_function(variant: str, activation: str, chw: bool) -> None:
    for seed in range(4):
        case = Case(seed, chw)
        shape = (1, case.size(), case.size(), case.size()) if chw or seed % 2 else (case.size(), case.size())
        x = case.input(*shape, chw=chw)
        values = (4 * case.values(shape)).astype(np.float32)
        if activation in ("log", "sqrt", "rsqrt"):
            values = np.abs(values) + np.float32(1e-3)
        case.run(case.op("activation", [x], shape, chw=chw, activation=activation), variant, {"input0": values})


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_function_in_a_convolution(variant: str, activation: str) -> None:
    for seed, sparsity in enumerate(("sparse", "dense")):
        case = Case(seed)
        x = case.input(1, 5, 7, 9, chw=True)
        weight = np.abs(case.values((11, 1, 1, 9), zeros=0.5)) + np.float32(activation in ("log", "rsqrt")) / 10
        feed = {"input0": np.abs(case.values((1, 5, 7, 9)))}
        case.run(conv2d(case, x, weight, activation=activation, bias=False, sparsity=sparsity), variant, feed)


def test_functions_at_the_edge_of_floats(variant: str) -> None:
    """0, infinities and NaN come out as IEEE 754 and the C library of any machine have them."""
    values = np.array([0, 1e-38, 88.5, 88.8, -87.5, -104, 3e38, np.inf, np.nan], np.float32)
    for activation, inputs in {
        "exp": values,
        "log": np.abs(values),
        "sqrt": np.abs(values),
        "softplus": values,
    }.items():
        case = Case(0)
        y = case.op("activation", [case.input(len(inputs))], (len(inputs),), activation=activation)
        case.graph.outputs = [y]
        with np.errstate(all="ignore"):
            expected = reference.run(case.graph, {"input0": inputs})[y].astype(np.float32)
        with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
            np.testing.assert_allclose(model(inputs)[y], expected, rtol=1e-5, atol=1e-38, err_msg=activation)


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a not in ("none", "prelu")])
def test_activation_far_out(variant: str, activation: str) -> None:
    """Saturation is exact and infinity passes; nothing becomes NaN that is none in the reference."""
    case = Case(1)
    far = np.array([-np.inf, -3e38, -1e6, -200, -88.8, -87.3, -20, -9, -3, -1e-20, -0.0], np.float32)
    values = np.concatenate([far, -far[::-1]])
    x = case.input(len(values))
    y = case.op("activation", [x], values.shape, activation=activation, alpha=0.3)
    case.graph.outputs = [y]
    with np.errstate(all="ignore"):
        expected = reference.run(case.graph, {x: values})[y]
    with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
        result = model(values)[y]
    finite = np.isfinite(expected) & (np.abs(expected) < 3e38)
    np.testing.assert_allclose(result[finite], expected[finite], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(result[infinite], expected[infinite])


@each(6)
@pytest.mark.parametrize("axes", [(3,), (2,), (1,), (1, 2, 3)])
def test_an_extreme_of_nan_is_nan_and_argmax_passes_over_it(variant: str, axes: tuple[int, ...], seed: int) -> None:
    """A NaN at any place; argmax takes the first of equal ones, and a NaN only where it comes first."""
    case = Case(seed)
    shape = (1, case.size(9), case.size(20), case.size(33))
    values = case.rng.integers(0, 6, shape).astype(np.float32)
    values[case.rng.random(shape) < 0.02] = np.nan
    x = case.input(*shape)
    kept = tuple(1 if d in axes else size for d, size in enumerate(shape))
    case.graph.outputs = [case.op(kind, [x], kept, axes=axes, keep_dims=True) for kind in ("reduce_max", "reduce_min")]
    if len(axes) == 1:
        case.graph.outputs.append(case.op("argmax", [x], kept, axis=axes[0], keep_dims=True))
    with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
        largest, smallest, *places = model({x: values}).values()
    np.testing.assert_array_equal(largest, values.max(axes, keepdims=True))
    np.testing.assert_array_equal(smallest, values.min(axes, keepdims=True))
    if places:
        first = np.isnan(np.take(values, [0], axes[0]))
        expected = np.where(first, 0, np.argmax(np.nan_to_num(values, nan=-1), axes[0], keepdims=True))
        np.testing.assert_array_equal(places[0], expected)


@each(20)
def test_softmax(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = tuple(case.size(17) for _ in range(case.pick(1, 2, 3, 4)))
    x = case.input(*shape)
    wide = (case.pick(1, 20, 200) * case.values(shape)).astype(np.float32)
    case.run(case.op("softmax", [x], shape, beta=case.pick(1.0, 0.5, 2.0)), variant, {x: wide})


# ---- pools, reductions, resizes -------------------------------------------------------------------------------------


@each(40)
@pytest.mark.parametrize("kind", ["average_pool2d", "max_pool2d"])
def test_pool(variant: str, kind: str, seed: int) -> None:
    case = Case(seed)
    height, width, channels = case.size(), case.size(), case.size()
    options = window(case, min(height, width))
    kernel, strides = options["kernel"], options["strides"]
    if seed % 5 == 0:
        kernel, strides = (height, width), (1, 1)  # the whole image
    # Never a window that lies in the padding alone: it would have no mean.
    pads = [int(case.rng.integers(0, k)) if k > 1 and k <= size else 0 for k, size in
            zip(np.repeat(kernel, 2).tolist(), np.repeat((height, width), 2).tolist(), strict=True)]  # fmt: skip
    kernel = (min(kernel[0], height), min(kernel[1], width))
    rows = (height + pads[0] + pads[1] - kernel[0]) // strides[0] + 1
    columns = (width + pads[2] + pads[3] - kernel[1]) // strides[1] + 1
    x = case.input(1, height, width, channels, chw=True)
    inputs: list[str | None] = [x]
    y = case.op(
        kind, inputs, (1, rows, columns, channels), chw=True, kernel=kernel, strides=strides, padding=tuple(pads),
        activation=case.pick("none", "relu", "relu6"),
    )  # fmt: skip
    case.run(y, variant)


@each(12)
@pytest.mark.parametrize("kind", ["mean", "sum", "reduce_max", "reduce_min"])
def test_reduction_over_images(variant: str, kind: str, seed: int) -> None:
    case = Case(seed)
    channels = case.size()
    x = case.input(1, case.size(), case.size(), channels, chw=True)
    keep = seed % 2 == 0
    shape = (1, 1, 1, channels) if keep else (1, channels)
    case.run(case.op(kind, [x], shape, chw=keep, axes=(1, 2), keep_dims=keep), variant)


@each(12)
@pytest.mark.parametrize("kind", ["mean", "sum", "reduce_max", "reduce_min"])
def test_reduction_over_channels(variant: str, kind: str, seed: int) -> None:
    case = Case(seed)
    shape = (1, case.size(), case.size(), case.size())
    x = case.input(*shape, chw=True)
    case.run(case.op(kind, [x], (*shape[:3], 1), chw=True, axes=(3,), keep_dims=True), variant)


@each(30)
@pytest.mark.parametrize("kind", ["mean", "sum", "reduce_max", "reduce_min"])
def test_reduction(variant: str, kind: str, seed: int) -> None:
    case = Case(seed)
    shape = tuple(case.size(9) for _ in range(case.pick(1, 2, 3, 4, 5)))
    axes = tuple(axis for axis in range(len(shape)) if case.rng.random() < 0.5) or (len(shape) - 1,)
    if len(shape) == 4 and axes == (1, 2):
        axes = (1, 2, 3)
    keep = case.pick(True, False)
    result = [1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes]
    case.run(case.op(kind, [case.input(*shape)], result, axes=axes, keep_dims=keep), variant)


@each(20)
def test_argmax(variant: str, seed: int) -> None:
    """The first of equal values counts."""
    case = Case(seed)
    shape = tuple(case.size(9) for _ in range(case.pick(1, 2, 3, 4)))
    axis, keep = int(case.rng.integers(len(shape))), case.pick(True, False)
    result = [*shape[:axis], *([1] if keep else []), *shape[axis + 1 :]]
    values = case.rng.integers(-2, 3, shape).astype(np.float32)
    y = case.op("argmax", [case.input(*shape)], result, axis=axis, keep_dims=keep)
    case.run(y, variant, {"input0": values})


@each(40)
def test_topk(variant: str, seed: int) -> None:
    """Exactly: equal numbers, both zeros, infinities and NaN too."""
    case = Case(seed)
    shape = [case.size(9) for _ in range(case.pick(1, 2, 3, 4, 5, 6))]
    axis = int(case.rng.integers(len(shape)))
    size = shape[axis] = case.size() * case.pick(1, 1, 7)
    kept = tuple(
        case.pick(1, size, int(case.rng.integers(1, size + 1))) if d == axis else n for d, n in enumerate(shape)
    )
    attrs = {"axis": axis, "largest": case.pick(True, False)}
    x = case.values(shape)
    if seed % 2:
        odd = case.rng.choice(np.array([-np.inf, -2, -0.0, 0.0, 1e-40, 3, np.inf, np.nan], np.float32), shape)
        x = np.where(case.rng.random(shape) < case.pick(0.2, 1), odd, x)
    name = case.input(*shape)
    case.graph.outputs = [case.op(op, [name], kept, **attrs) for op in ("topk", "topk_indices")]

    def first(line: np.ndarray) -> list[int]:
        numbers = line if attrs["largest"] else -line
        order = sorted(
            range(size),
            key=lambda i: (np.isnan(line[i]) != attrs["largest"], 0 if np.isnan(line[i]) else -numbers[i], i),
        )
        return order[: kept[axis]]

    places = np.apply_along_axis(first, axis, x)
    with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
        for _ in range(2):
            best, where = model({name: x}).values()
            np.testing.assert_array_equal(where, places)
            np.testing.assert_array_equal(best.view(np.uint32), np.take_along_axis(x, places, axis).view(np.uint32))
    for output, values in zip(reference.run(case.graph, {name: x}).values(), (best, where), strict=True):
        np.testing.assert_array_equal(output, values)


@each(40)
def test_matmul(variant: str, seed: int) -> None:
    case = Case(seed)
    rows, depth, columns = case.size(), case.size(), case.size()
    batch = tuple(case.size(4) for _ in range(case.pick(0, 0, 1, 2, 3)))
    first = tuple(1 if case.rng.random() < 0.3 else size for size in batch)
    second = batch[case.pick(0, 0, len(batch) // 2) :]
    a = case.input(*(first if seed % 2 else batch), rows, depth)
    b_shape = (*(second if seed % 2 else first), depth, columns)
    b = case.constant(case.values(b_shape)) if case.pick(True, False, False) else case.input(*b_shape)
    result = np.broadcast_shapes(case.graph.tensors[a].shape[:-2], b_shape[:-2])
    case.run(case.op("matmul", [a, b], (*result, rows, columns)), variant)


@each(40)
def test_max_pool2d_argmax_and_back(variant: str, seed: int) -> None:
    """With equal values in a window, and with windows that overlap or leave gaps."""
    case = Case(seed)
    height, width, channels = case.size(), case.size(), case.size(9)
    kernel = (min(case.pick(1, 2, 2, 3), height), min(case.pick(1, 2, 2, 3), width))
    strides = case.pick(kernel, (1, 1), (2, 2), (3, 2))
    pads = tuple(int(case.rng.integers(0, k)) for k in np.repeat(kernel, 2))
    shape = (
        1, (height + pads[0] + pads[1] - kernel[0]) // strides[0] + 1,
        (width + pads[2] + pads[3] - kernel[1]) // strides[1] + 1, channels,
    )  # fmt: skip
    attrs = {"kernel": kernel, "strides": strides, "padding": pads}
    x = case.input(1, height, width, channels, chw=True)
    indices = case.op("max_pool2d_argmax", [x], shape, chw=True, activation="none", **attrs)
    feed = {"input0": case.rng.integers(0, 4, (1, height, width, channels)).astype(np.float32)}
    if seed % 2:
        case.run(indices, variant, feed)
        return
    values = case.input(*shape, chw=True)
    y = case.op("max_unpool2d", [values, indices], (1, height, width, channels), chw=True, **attrs)
    case.run(y, variant, feed)


def test_2x2_windows_over_every_width(variant: str) -> None:
    """Places, also where the last row or column has half a window; NaN is no maximum."""
    for width in range(1, 27):
        for height in (1, 2, 5):
            case = Case(width, height)
            small = (1, -(-height // 2), -(-width // 2), 3)
            pads = (0, height % 2, 0, width % 2)
            x = case.input(1, height, width, 3, chw=True)
            attrs = {"kernel": (2, 2), "strides": (2, 2), "padding": pads}
            y = case.op("max_pool2d_argmax", [x], small, chw=True, activation="none", **attrs)
            values = case.rng.integers(-2, 2, (1, height, width, 3)).astype(np.float32)
            values[case.rng.random(values.shape) < 0.2] = np.nan
            values[case.rng.random(values.shape) < 0.1] = -np.inf
            graph = case.graph
            graph.outputs = [case.op("to_plain", [y], small)]
            padded = np.pad(np.where(np.isnan(values), -np.inf, values), ((0, 0), pads[:2], pads[2:], (0, 0)),
                            constant_values=-np.inf)  # fmt: skip
            windows = padded.reshape(1, small[1], 2, small[2], 2, 3).transpose(0, 1, 3, 5, 2, 4).reshape(*small, 4)
            with load(pack(graph), variant=variant) as model:  # type: ignore[arg-type]
                np.testing.assert_array_equal(model({"input0": values})[graph.outputs[0]], windows.argmax(-1))


@each(8)
def test_max_unpool2d_of_2x2_windows(variant: str, seed: int) -> None:
    """Of any indices: whole ones, between two, beyond the window, none at all."""
    case = Case(seed)
    shape = (1, case.size(9), case.pick(1, 4, 6, 8, 11, 16), 3)
    x, at = case.input(*shape, chw=True), case.input(*shape, chw=True)
    whole = (1, 2 * shape[1], 2 * shape[2], 3)
    y = case.op("max_unpool2d", [x, at], whole, chw=True, kernel=(2, 2), strides=(2, 2), padding=(0, 0, 0, 0))
    case.graph.outputs = [case.op("to_plain", [y], whole)]
    values = case.values(shape)
    choices = np.array([0, 1, 2, 3, 3.75, 0.5, 4, -1, -0.5, np.nan, np.inf, -0.0], np.float32)
    indices = case.rng.choice(choices, shape)
    valid = (indices >= 0) & (indices < 4)
    place = np.where(valid, indices, 0).astype(int)
    expected = np.zeros((1, shape[1], 2, shape[2], 2, 3), np.float32)
    for n, row, column, channel in zip(*np.nonzero(valid), strict=True):
        k = place[n, row, column, channel]
        expected[n, row, k // 2, column, k % 2, channel] = values[n, row, column, channel]
    with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
        outputs = model({"input0": values, "input1": indices})
    np.testing.assert_array_equal(outputs[case.graph.outputs[0]], expected.reshape(whole))


def test_max_unpool2d_passes_over_indices_that_lead_nowhere(variant: str) -> None:
    case = Case(0)
    x, at = case.input(1, 2, 2, 1, chw=True), case.input(1, 2, 2, 1, chw=True)
    y = case.op(
        "max_unpool2d", [x, at], (1, 3, 3, 1), chw=True, kernel=(2, 2), strides=(2, 2), padding=(0, 0, 0, 0)
    )  # fmt: skip
    case.graph.outputs = [case.op("to_plain", [y], (1, 3, 3, 1))]
    image = np.array([1, 2, 3, 4], np.float32).reshape(1, 2, 2, 1)
    indices = np.array([np.nan, 1e30, -1, 3], np.float32).reshape(1, 2, 2, 1)
    with load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
        for case_indices in (indices, np.full_like(indices, np.inf), np.full_like(indices, 4)):
            outputs = model({"input0": image, "input1": case_indices})
            assert not outputs[case.graph.outputs[0]].any()  # 3 leads to row 3 of 3, the others out of the window


@each(30)
def test_sample_bilinear(variant: str, seed: int) -> None:
    case = Case(seed)
    height, width, channels, rows, columns = (case.size(17) for _ in range(5))
    x, at = case.input(1, height, width, channels, chw=True), case.input(1, rows, columns, 2, chw=True)
    low, high = np.array([-1, -1]), np.array([width, height])
    positions = case.rng.uniform(low, high, (1, rows, columns, 2)).astype(np.float32)
    whole = case.rng.random((1, rows, columns, 2)) < 0.3  # on a pixel, or on the border
    positions = np.where(whole, np.rint(positions), positions).astype(np.float32)
    positions[0, 0, 0] = np.nan if seed % 3 == 0 else positions[0, 0, 0]
    y = case.op("sample_bilinear", [x, at], (1, rows, columns, channels), chw=True)
    case.run(y, variant, {"input1": positions})


@pytest.mark.parametrize("options", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("kind", ["resize_bilinear", "resize_nearest"])
@each(12)
def test_resize(variant: str, seed: int, kind: str, options: tuple[bool, bool]) -> None:
    case = Case(seed)
    height, width, channels = case.size(), case.size(), case.size(9)
    factor = case.pick(None, 1, 2, 3)
    rows, columns = (factor * height, factor * width) if factor else (case.size(), case.size())
    x = case.input(1, height, width, channels, chw=True)
    attrs = {"align_corners": options[0], "half_pixel_centers": options[1]}
    case.run(case.op(kind, [x], (1, rows, columns, channels), chw=True, **attrs), variant)


# ---- additions that run with what they add up ------------------------------------------------------------------------


def depthwise_of(case: Case, x: str, kernel: int, stride: int, activation: str) -> str:
    _, height, width, channels = case.graph.tensors[x].shape
    weight = case.constant(case.values((1, kernel, kernel, channels)))
    pad, size = kernel // 2, ((height - 1) // stride + 1, (width - 1) // stride + 1)
    return case.op(
        "depthwise_conv2d", [x, weight, case.constant(case.values((channels,)))], (1, *size, channels), chw=True,
        strides=(stride, stride), dilations=(1, 1), padding=(pad, pad, pad, pad), activation=activation,
    )  # fmt: skip


def added(case: Case, a: str, b: str, activation: str = "none") -> str:
    operands: list[str | None] = [a, b] if case.rng.random() < 0.5 else [b, a]
    return case.op("add", operands, case.graph.tensors[a].shape, chw=True, activation=activation)


def gated(case: Case, x: str) -> str:
    shape = case.graph.tensors[x].shape
    operands: list[str | None] = [x, case.input(1, 1, 1, shape[3], chw=True)]
    return case.op("mul", operands[:: case.pick(1, -1)], shape, chw=True, activation="none")


def doubled(case: Case, x: str) -> str:
    _, height, width, channels = case.graph.tensors[x].shape
    how = {"align_corners": False, "half_pixel_centers": True}
    return case.op("resize_bilinear", [x], (1, 2 * height, 2 * width, channels), chw=True, **how)


@each(40)
def test_depthwise_sum(variant: str, seed: int) -> None:
    case = Case(seed, 1)
    height, width, channels = case.size() + 1, case.size(), case.size(9) + 1
    x = case.input(1, height, width, channels, chw=True)
    other = x if seed % 2 else case.input(1, height, width, channels, chw=True)
    y = depthwise_of(case, x, 3, 1, case.pick("none", "relu", "relu6", "relu_n1_to_1"))
    steps = case.run(added(case, y, other), variant)
    assert "depthwise_sum" in paths(steps) and "elementwise" not in paths(steps)


@each(40)
def test_resize_sum(variant: str, seed: int) -> None:
    case = Case(seed, 2)
    height, width, channels = case.size(17), case.size(17) + 3, case.size(9) + 1
    small = case.input(1, height, width, channels, chw=True)
    x = case.input(1, 2 * height, 2 * width, channels, chw=True)
    if seed % 2:
        x = gated(case, x)
    steps = case.run(added(case, doubled(case, small), x), variant)
    assert "resize_sum" in paths(steps) and "elementwise" not in paths(steps)


@each(20)
def test_gated_sum(variant: str, seed: int) -> None:
    case = Case(seed, 3)
    shape = (1, case.size() + 1, case.size(), case.size(9) + 1)
    x, other = case.input(*shape, chw=True), case.input(*shape, chw=True)
    steps = case.run(added(case, gated(case, x), x if seed % 3 == 0 else other), variant)
    assert "gated_sum" in paths(steps) and "elementwise" not in paths(steps)


def reader_of(case: Case, y: str) -> str:
    """A sum with y, and one more reader of y."""
    return case.op("maximum", [added(case, y, case.graph.nodes[0].output), y], case.graph.tensors[y].shape, chw=True,
                   activation="none")  # fmt: skip


ALONE = {
    "another reads it": lambda case, x: reader_of(case, depthwise_of(case, x, 3, 1, "relu")),
    "another reads the gated map": lambda case, x: reader_of(case, gated(case, x)),
    "added to itself": lambda case, x: added(case, y := depthwise_of(case, x, 3, 1, "none"), y),
    "an activation behind the sum": lambda case, x: added(case, depthwise_of(case, x, 3, 1, "none"), x, "relu"),
    "no clamp": lambda case, x: added(case, depthwise_of(case, x, 3, 1, "hard_swish"), x),
    "5x5": lambda case, x: added(case, depthwise_of(case, x, 5, 1, "relu"), x),
    "a number a channel": lambda case, x: added(
        case, depthwise_of(case, x, 3, 1, "relu"), case.input(1, 1, 1, 6, chw=True)
    ),
    "other sizes": lambda case, x: added(
        case,
        case.op("resize_bilinear", [case.input(1, 4, 9, 6, chw=True)], (1, 8, 17, 6), chw=True, align_corners=False,
                half_pixel_centers=True), x,
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", ALONE)
def test_sums_by_themselves(variant: str, why: str) -> None:
    case = Case(sum(map(ord, why)))
    output = ALONE[why](case, case.input(1, 8, 17, 6, chw=True))
    steps = case.run(output, variant)
    assert "elementwise" in paths(steps) and not paths(steps) & {"depthwise_sum", "resize_sum", "gated_sum"}


@each(10)
def test_sums_in_a_decoder(variant: str, seed: int) -> None:
    """Several in a row, whose maps share memory."""
    case = Case(seed, 4)
    channels, height, width = case.size(9) + 1, case.size(7), case.size(7) + 3
    x = case.input(1, height, width, channels, chw=True)
    for _ in range(3):
        height, width = 2 * height, 2 * width
        skip = gated(case, case.input(1, height, width, channels, chw=True))
        x = added(case, doubled(case, x), skip)
        x = added(case, depthwise_of(case, x, 3, 1, "relu6"), x)
    steps = case.run(x, variant)
    assert {"resize_sum", "depthwise_sum"} <= paths(steps) and "elementwise" not in paths(steps)


# ---- movement -------------------------------------------------------------------------------------------------------


@each(40)
def test_concat(variant: str, seed: int) -> None:
    case = Case(seed)
    chw = seed % 2 == 0
    shape = [1, case.size(), case.size(), case.size()] if chw else [case.size(9) for _ in range(case.pick(1, 2, 3, 4))]
    axis = case.pick(1, 2, 3, 3) if chw else int(case.rng.integers(len(shape)))
    inputs: list[str | None] = []
    total = 0
    for _ in range(case.pick(1, 2, 3, 5)):
        shape[axis] = case.size(9)
        total += shape[axis]
        constant = not chw and len(inputs) != 1 and case.rng.random() < 0.3
        inputs.append(case.constant(case.values(shape)) if constant else case.input(*shape, chw=chw))
    if not case.graph.inputs:  # a concat of constants alone would have been folded
        shape[axis] = 2
        total += 2
        inputs.append(case.input(*shape))
    shape[axis] = total
    case.run(case.op("concat", inputs, shape, chw=chw, axis=axis), variant)


@each(60)
def test_pad(variant: str, seed: int) -> None:
    case = Case(seed)
    chw = seed % 2 == 0
    mode = ("constant", "constant", "reflect", "symmetric")[seed // 2 % 4]
    shape = (
        (1, case.size(), case.size(), case.size()) if chw else tuple(case.size(9) for _ in range(case.pick(1, 3, 4)))
    )
    pads = []
    for axis, size in enumerate(shape):
        most = 4 if mode == "constant" else min(4, size - (mode == "reflect"))
        pads.append((0, 0) if chw and axis == 0 else tuple(map(int, case.rng.integers(0, most + 1, 2))))
    if seed % 3 == 0:
        pads[-1] = (0, 0)
    result = [size + before + after for size, (before, after) in zip(shape, pads, strict=True)]
    value = case.pick(0.0, -1.5) if mode == "constant" else 0.0
    x = case.input(*shape, chw=chw)
    y = case.op("pad", [x], result, chw=chw, pads=tuple(pads), pad_mode=mode, pad_value=value)
    case.run(y, variant)


@each(20)
def test_layout_changes(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = 1, case.size(), case.size(), case.size()
    case.run(case.input(*shape, chw=True), variant)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 13])
def test_layout_changes_of_few_channels(variant: str, channels: int) -> None:
    for height, width in ((1, 2), (1, 5), (3, 3), (4, 4), (7, 9), (2, 33)):
        case = Case(channels, height)
        case.run(case.input(1, height, width, channels, chw=True), variant)


@pytest.mark.parametrize("pads", [((0, 0), (0, 5)), ((0, 0), (2, 1)), ((1, 2), (0, 0)), ((0, 3), (1, 0))])
def test_pads_of_whole_slices(variant: str, pads: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Of rows and of channels, where the rest is copied in one piece."""
    for chw in (True, False):
        for width in (1, 4, 7):
            case = Case(width)
            everything = ((0, 0), pads[0], (0, 0), pads[1])
            shape = [n + sum(p) for n, p in zip((1, 5, width, 3), everything, strict=True)]
            x = case.input(1, 5, width, 3, chw=chw)
            y = case.op("pad", [x], shape, chw=chw, pads=everything, pad_mode="constant", pad_value=-1.5)
            case.run(y, variant)


@each(20)
def test_reshape(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = tuple(case.size(9) for _ in range(case.pick(1, 2, 3, 4, 5, 6)))
    size = int(np.prod(shape))
    result = case.pick((size,), (1, size), (1, 1, size, 1), shape[::-1])
    case.run(case.op("reshape", [case.input(*shape)], result), variant)


@each(40)
def test_transpose(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = tuple(case.size(7) for _ in range(case.pick(1, 2, 3, 4, 5, 6)))
    perm = tuple(map(int, case.rng.permutation(len(shape))))
    case.run(case.op("transpose", [case.input(*shape)], [shape[axis] for axis in perm], perm=perm), variant)


@each(40)
def test_slice(variant: str, seed: int) -> None:
    case = Case(seed)
    shape = tuple(case.size() if rank < 2 else case.size(5) for rank in range(case.pick(1, 2, 3, 4, 5)))
    begin = tuple(int(case.rng.integers(0, size)) for size in shape)
    strides = tuple(case.pick(1, 1, 2, 3) for _ in shape)
    counts = [int(case.rng.integers(1, 1 + -(-(size - first) // step))) for size, first, step in
              zip(shape, begin, strides, strict=True)]  # fmt: skip
    case.run(case.op("slice", [case.input(*shape)], counts, begin=begin, strides=strides), variant)


@each(30)
def test_slice_of_an_image(variant: str, seed: int) -> None:
    """In chw: of rows, columns and channels, in steps, and backwards."""
    case = Case(seed)
    shape = (1, case.size(), case.size(), case.size())
    begin, strides, counts = [0], [1], [1]
    for size in shape[1:]:
        step = case.pick(1, 1, 2, -1, -2)
        first = int(case.rng.integers(0, size))
        room = -(-(size - first) // step) if step > 0 else first // -step + 1
        begin.append(first)
        strides.append(step)
        counts.append(int(case.rng.integers(1, room + 1)))
    x = case.input(*shape, chw=True)
    case.run(case.op("slice", [x], counts, chw=True, begin=tuple(begin), strides=tuple(strides)), variant)


@each(24)
def test_depth_to_space_and_back(variant: str, seed: int) -> None:
    case = Case(seed)
    height, width, channels, block = case.size(9), case.size(9), case.size(9), case.pick(1, 2, 3, 4)
    wide, deep = (1, height * block, width * block, channels), (1, height, width, channels * block * block)
    kind, before, after = [("depth_to_space", deep, wide), ("space_to_depth", wide, deep)][seed % 2]
    chw = bool(case.pick(True, False))
    case.run(case.op(kind, [case.input(*before, chw=chw)], after, chw=chw, block=block), variant)


@each(4)
def test_bytes_for_an_op_that_reads_floats(variant: str, seed: int) -> None:
    case = Case(seed)
    height, width = case.size(), case.size()
    x = case.input(1, height, width, 3, mean=100.0, std=50.0)
    y = case.op("activation", [x], (1, height, width, 3), activation="relu")
    case.run(y, variant, {x: case.rng.integers(0, 256, (height, width, 3), np.uint8)})


# ---- every kernel of the list ----------------------------------------------------------------------------------------


def image(case: Case, channels: int = 6) -> str:
    return case.input(1, 8, 12, channels, chw=True)


def pointwise_case(outputs: int, zeros: float, sparsity: str) -> Callable[[Case], str]:
    return lambda case: conv2d(case, image(case, 40), case.values((outputs, 1, 1, 40), zeros), sparsity=sparsity)


def depthwise_case(kernel: int, stride: int) -> Callable[[Case], str]:
    return lambda case: depthwise_of(case, image(case), kernel, stride, "relu6")


def transpose_case(kernel: int, stride: int) -> Callable[[Case], str]:
    return lambda case: case.op(
        "transpose_conv2d", [image(case), case.constant(case.values((5, kernel, kernel, 6))), None],
        (1, 7 * stride + kernel, 11 * stride + kernel, 5), chw=True, strides=(stride, stride), padding=(0, 0, 0, 0),
        activation="none",
    )  # fmt: skip


def fully_connected(case: Case, sparsity: str, rows: int = 1) -> str:
    weight, shape = case.constant(case.values((9, 20), 0.5)), (rows, 9)
    return case.op("fully_connected", [case.input(rows, 20), weight, None], shape, sparsity=sparsity, activation="none")


def resize_case(kind: str) -> Callable[[Case], str]:
    how = {"align_corners": False, "half_pixel_centers": True}
    return lambda case: case.op(kind, [image(case)], (1, 16, 24, 6), chw=True, **how)


POOL: dict[str, Any] = {"kernel": (2, 2), "strides": (2, 2), "padding": (0, 0, 0, 0)}

# By the C names of wasm/kernels/kernels.inc. Those on bytes run in quantised networks: test_integers.py.
ON_BYTES = {kernel.c_name for kernel in kernels() if kernel.function.startswith("u8_")}
KERNEL_CASES: dict[str, Callable[[Case], str]] = {
    "SPMM": pointwise_case(7, 0.8, "sparse"),
    "SPMM_WIDE": pointwise_case(7, 0.8, "sparse"),
    "SPMM_PAIRS": lambda case: conv2d(case, image(case, 40), paired_rows(case, "AABB", 40), sparsity="sparse"),
    "SPMV": lambda case: fully_connected(case, "sparse"),
    "DOT": lambda case: fully_connected(case, "dense"),
    "BATCH": lambda case: fully_connected(case, "dense", rows=7),
    "GEMM": pointwise_case(7, 0, "dense"),
    "CONV": lambda case: conv2d(case, image(case), case.values((7, 5, 5, 6)), padding=(2, 2, 2, 2)),
    "WINOGRAD": lambda case: conv2d(case, image(case, 24), case.values((24, 3, 3, 24)), padding=(1, 1, 1, 1)),
    "CONV_HWC": lambda case: conv2d(case, case.input(1, 8, 12, 3), case.values((7, 3, 3, 3)), padding=(1, 1, 1, 1)),
    "UPSAMPLE_CONV": transpose_case(2, 2),
    "TRANSPOSE_CONV": transpose_case(3, 2),
    "DWCONV_3X3": depthwise_case(3, 1),
    "DWCONV_3X3S2": depthwise_case(3, 2),
    "DWCONV_5X5": depthwise_case(5, 1),
    "DWCONV_5X5S2": depthwise_case(5, 2),
    "DWCONV_1X1": depthwise_case(1, 1),
    "DWCONV": depthwise_case(7, 1),
    "DWCONV_SUM": lambda case: added(case, depthwise_of(case, x := image(case), 3, 1, "relu"), x),
    "RESIZE_SUM": lambda case: added(case, case.input(1, 16, 24, 6, chw=True), resize_case("resize_bilinear")(case)),
    "GATED_SUM": lambda case: added(case, image(case), gated(case, image(case))),
    "BINARY": lambda case: case.op("mul", [case.input(5, 7), case.input(7)], (5, 7), activation="none"),
    "POOL": lambda case: case.op("max_pool2d", [image(case)], (1, 4, 6, 6), chw=True, activation="none", **POOL),
    "UNPOOL": lambda case: case.op(
        "max_unpool2d",
        [case.input(1, 4, 6, 6, chw=True),
         case.op("max_pool2d_argmax", [image(case)], (1, 4, 6, 6), chw=True, activation="none", **POOL)],
        (1, 8, 12, 6), chw=True, **POOL,
    ),
    "RESIZE_BILINEAR": resize_case("resize_bilinear"),
    "RESIZE_NEAREST": resize_case("resize_nearest"),
    "GLOBAL_POOL": lambda case: case.op("mean", [image(case)], (1, 6), axes=(1, 2), keep_dims=False),
    "REDUCE": lambda case: case.op("sum", [case.input(5, 7, 3)], (5, 3), axes=(1,), keep_dims=False),
    "SAMPLE": lambda case: case.op(
        "sample_bilinear", [image(case), case.input(1, 3, 5, 2, chw=True)], (1, 3, 5, 6), chw=True
    ),
    "COPY": lambda case: case.op("transpose", [case.input(5, 7)], (7, 5), perm=(1, 0)),
    "PAD": lambda case: case.op(
        "pad", [case.input(5, 7)], (8, 7), pads=((1, 2), (0, 0)), pad_value=0.5, pad_mode="constant"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted({kernel.c_name for kernel in kernels()} - ON_BYTES))
def test_every_kernel_of_the_list(variant: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the build it is in, under the name and the path that the list gives it."""
    [listed] = [kernel for kernel in kernels(variant) if kernel.c_name == name]
    if name == "SPMM":
        monkeypatch.setattr("tulle.runtime.model.WASMTIME_TILE", 12)
    case = Case(3)
    steps = case.run(KERNEL_CASES[name](case), variant)
    assert (listed.name, listed.path) in {(step["kernel"], step["path"]) for step in steps}


@pytest.mark.parametrize("name", ["argmax", "cumsum", "matmul", "softmax", "topk"])
def test_the_kernel_of_one_op_goes_by_its_name(variant: str, name: str) -> None:
    graph, _ = OPS[name].example(np.random.default_rng(0)).graph(OPS[name])
    with load(tulle.convert(graph).data, variant=variant) as model:  # type: ignore[arg-type]
        [step] = [step for step in model.profile() if step["op"] == name]
    assert (step["kernel"], step["path"]) == (f"f32_{name}", name)

"""The `.tulle` writer and reader: what goes in comes out, aligned, deterministic, within the format's limits."""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import tulle
from paths import ROOT
from tulle import TulleError
from tulle.graph import Graph, Node, Tensor
from tulle.ops import OPS
from tulle.pack import limits, pack, unpack
from tulle.pack.attributes import names
from tulle.pack.encoding import decode, encode, store
from tulle.pack.schema import tulle_generated as schema
from tulle_file import file_of, records

CONV = {"strides": (2, 1), "dilations": (1, 2), "padding": (0, 1, 2, 3), "activation": "relu6", "sparsity": "sparse"}


def pruned(shape: tuple[int, ...], density: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < density, rng.standard_normal(shape), 0).astype(np.float32)


def conv_graph(weight: np.ndarray, bias: np.ndarray | None = None, **attrs: Any) -> Graph:
    """One convolution over a 16x16 image, lowered by hand."""
    graph = Graph("one conv")
    graph.inputs = [graph.add_tensor(Tensor("image", (1, 16, 16, weight.shape[3]), mean=127.5, std=127.5))]
    inputs: list[str | None] = ["image", graph.add_constant("weight", weight)]
    inputs.append(None if bias is None else graph.add_constant("bias", bias))
    height = (16 + 1 - weight.shape[1]) // 2 + 1
    width = 16 + 5 - 2 * (weight.shape[2] - 1)
    graph.add_tensor(Tensor("features", (1, height, width, len(weight)), layout="chw"))
    graph.outputs = [graph.add_tensor(Tensor("result", (1, height, width, len(weight))))]
    graph.nodes = [
        Node("conv2d", "conv", inputs, ["features"], {**CONV, **attrs}),
        Node("to_plain", "out", ["features"], ["result"], {}),
    ]
    return graph


def assert_same(a: Graph, b: Graph) -> None:
    assert (a.name, a.inputs, a.outputs) == (b.name, b.inputs, b.outputs)
    assert [vars(node) for node in a.nodes] == [vars(node) for node in b.nodes]
    assert set(a.tensors) == set(b.tensors)
    for name, tensor in a.tensors.items():
        other = b.tensors[name]
        assert (tensor.shape, tensor.layout, tensor.mean, tensor.std) == (
            other.shape, other.layout, other.mean, other.std,
        )  # fmt: skip
        if tensor.data is None:
            assert other.data is None
        else:
            np.testing.assert_array_equal(tensor.data, other.data, strict=True)


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
def test_round_trip(density: float) -> None:
    graph = conv_graph(pruned((7, 3, 3, 3), density), pruned((7,), 1))
    data = pack(graph)
    assert_same(unpack(data), graph)
    assert pack(unpack(data)) == data


def test_every_op_of_the_schema_can_be_stored() -> None:
    assert {name for name, op in OPS.items() if op.stored} == set(names(schema.OpKind))


def test_record_says_what_the_graph_says() -> None:
    """Read with the generated accessors alone, so that an error shared by writer and reader is seen."""
    data = pack(conv_graph(pruned((7, 3, 3, 3), 0.3), pruned((7,), 1)))
    model = schema.Model.GetRootAs(data)
    op = model.Ops(0)
    assert (model.Version(), model.Name(), model.TensorsLength(), model.OpsLength()) == (1, b"one conv", 5, 2)
    assert model.Producer().startswith(b"tulle ")
    assert op.Kind() == schema.OpKind.conv2d
    assert op.Activation() == schema.Activation.relu6
    assert op.Sparsity() == schema.Sparsity.sparse
    assert (op.StrideH(), op.StrideW(), op.DilationH(), op.DilationW()) == (2, 1, 1, 2)
    assert (op.PadTop(), op.PadBottom(), op.PadLeft(), op.PadRight()) == (0, 1, 2, 3)
    tensors = [model.Tensors(i) for i in range(5)]
    assert [tensors[i].Name() for i in op.InputsAsNumpy()] == [b"image", b"weight", b"bias"]
    assert [tensors[i].Name() for i in model.OutputsAsNumpy()] == [b"result"]
    assert [tensor.Layout() for tensor in tensors] == [0, 0, 0, schema.Layout.chw, 0]
    assert (tensors[0].InputMean(), tensors[0].InputStd()) == (127.5, 127.5)
    assert tensors[0].Constant() is None
    assert list(tensors[1].ShapeAsNumpy()) == [7, 3, 3, 3]


@pytest.mark.parametrize("size", [1, 3, 63, 64, 65, 1000])
def test_values_and_indices_begin_at_multiples_of_64(size: int) -> None:
    data = pack(conv_graph(pruned((size, 1, 1, 3), 0.4, seed=size), pruned((size,), 1)))
    model = schema.Model.GetRootAs(data)
    constants = [c for i in range(model.TensorsLength()) if (c := model.Tensors(i).Constant()) is not None]
    base = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    starts = []
    for constant in constants:
        for vector in (constant.ValuesAsNumpy(), constant.IndexAsNumpy()):
            if isinstance(vector, np.ndarray):
                starts.append(vector.__array_interface__["data"][0] - base)
    assert len(starts) >= 2
    assert all(start % limits.ALIGNMENT == 0 for start in starts), starts


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
@pytest.mark.parametrize("density", [0, 0.002, 0.05, 0.3, 0.97, 1])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 254, 255, 256, 257, 511, 5000])
def test_encoding_round_trip(size: int, density: float, dtype: str) -> None:
    values = pruned((size,), density, seed=size).astype(dtype)
    stored = encode(values)
    np.testing.assert_array_equal(decode(stored, (size,)), values, strict=True)
    assert stored.nbytes <= values.nbytes


def test_encoding_is_the_smallest() -> None:
    assert encode(pruned((4096,), 1)).encoding == schema.Encoding.dense
    assert encode(pruned((4096,), 0.3)).encoding == schema.Encoding.bitmask
    assert encode(pruned((4096,), 0.02)).encoding == schema.Encoding.delta


@pytest.mark.parametrize(
    ("places", "index"),
    [
        ([3, 300], [3, 255, 41]),
        ([254], [254]),
        ([255], [255, 0]),
        ([0, 256], [0, 255, 0]),
        ([600], [255, 255, 90]),
        ([], []),
    ],
)
def test_delta_index_is_as_specified(places: list[int], index: list[int]) -> None:
    values = np.zeros(2000, np.float32)
    values[places] = 1
    stored = encode(values)
    assert stored.encoding == schema.Encoding.delta
    assert (stored.index.tolist(), stored.count) == (index, len(places))


def test_bitmask_is_least_significant_bit_first() -> None:
    values = np.zeros(600, np.float32)
    values[::3] = 1
    stored = encode(values)
    assert stored.encoding == schema.Encoding.bitmask
    assert stored.index[:3].tolist() == [0b01001001, 0b10010010, 0b00100100]


def stored_types(data: bytes) -> dict[str, int]:
    model = schema.Model.GetRootAs(data)
    tensors = [model.Tensors(i) for i in range(model.TensorsLength())]
    return {t.Name().decode(): t.Constant().Type() for t in tensors if t.Constant() is not None}


def test_auto_weights_are_fp16_only_where_lossless() -> None:
    fp32, fp16 = schema.ValueType.fp32, schema.ValueType.fp16
    exact = pruned((7, 1, 1, 3), 0.9).astype(np.float16).astype(np.float32)
    exact[0, 0, 0] = 2**-24, -(2**-24), 65504  # smallest subnormals and the largest number
    bias = pruned((7,), 1)
    assert stored_types(pack(conv_graph(exact, bias))) == {"weight": fp16, "bias": fp32}
    assert stored_types(pack(conv_graph(exact, bias), weights="fp32")) == {"weight": fp32, "bias": fp32}
    assert_same(unpack(pack(conv_graph(exact, bias))), conv_graph(exact, bias))
    for spoiler in (2**-25, 65505, 1 + 2**-11, 3.0 * 2**-25):
        spoiled = exact.copy()
        spoiled[3, 0, 0, 1] = spoiler
        assert stored_types(pack(conv_graph(spoiled, bias)))["weight"] == fp32


def test_integers_that_do_not_give_the_values_back_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds them is not trusted: here columns of square weights have the scales, which a file gives to rows."""
    integers = np.random.default_rng(0).integers(-127, 128, (8, 8)).astype(np.int8)
    integers[0] = 127
    scales = np.float32(2.0 ** np.arange(-8, 0))
    data = integers * scales
    assert store("weight", np.ascontiguousarray(data.T), "auto", 0).type == schema.ValueType.int8
    monkeypatch.setattr("tulle.pack.encoding.recover", lambda _: (integers, scales, None))
    stored = store("weight", data, "auto", 0)
    assert stored.type != schema.ValueType.int8
    np.testing.assert_array_equal(decode(stored, data.shape), data)


def test_fp16_weights_are_rounded_and_biases_are_not() -> None:
    weight, bias = pruned((7, 1, 1, 3), 0.9), pruned((7,), 1)
    back = unpack(pack(conv_graph(weight, bias), weights="fp16"))
    np.testing.assert_array_equal(back.tensors["weight"].data, weight.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(back.tensors["bias"].data, bias)
    weight[2, 0, 0, 0] = 1e5
    with pytest.raises(TulleError, match=r"'weight' holds 100000, beyond float16"):
        pack(conv_graph(weight, bias), weights="fp16")


def test_limits_are_those_of_the_c_library() -> None:
    header = (ROOT / "wasm" / "runtime" / "net.h").read_text()
    for name in ("MAX_RANK", "MAX_OP_INPUTS", "MAX_ELEMENTS", "MAX_RECORDS"):
        match = re.search(rf"#define TULLE_{name} \(?(\d+)u?(?: << (\d+)\))?", header)
        assert match, name
        assert int(match[1]) << int(match[2] or 0) == getattr(limits, name), name


def broken(change: str) -> Graph:
    graph = conv_graph(pruned((4, 1, 1, 3), 1))
    node = graph.nodes[0]
    if change == "unknown attribute":
        node.attrs["groups"] = 2
    elif change == "missing attribute":
        del node.attrs["strides"]
    elif change == "unknown op":
        node.op = "densify"
    elif change == "padding not explicit":
        node.attrs["padding"] = "same"
    elif change == "unknown activation":
        node.attrs["activation"] = "maxout"
    elif change == "stride beyond 16 bits":
        node.attrs["strides"] = (70000, 1)
    elif change == "stride of 0":
        node.attrs["strides"] = (0, 1)
    elif change == "no layouts":
        graph.tensors["features"].layout = "plain"
    elif change == "integer weights":
        graph.tensors["weight"] = Tensor("weight", (4, 1, 1, 3), np.dtype(np.int8), np.ones((4, 1, 1, 3), np.int8))
    elif change == "shape that the op does not make":
        graph.tensors["features"].shape = (1, 5, 5, 4)
    elif change == "std of 0":
        graph.tensors["image"].std = 0
    elif change == "rank 7":
        graph.inputs = [*graph.inputs, graph.add_tensor(Tensor("deep", (1,) * 7))]
    return graph


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("unknown attribute", "'groups' is not known"),
        ("missing attribute", "'strides' is missing"),
        ("unknown op", "densify cannot be stored"),
        ("padding not explicit", "not explicit"),
        ("unknown activation", "'maxout' is not one of"),
        ("stride beyond 16 bits", "70000 is not a whole number from 1 to 65535"),
        ("stride of 0", "0 is not a whole number from 1"),
        ("no layouts", "conv"),
        ("integer weights", "float32"),
        ("shape that the op does not make", r"\[1, 5, 5, 4\]"),
        ("std of 0", "std 0"),
        ("rank 7", "6 dimensions"),
    ],
)
def test_what_cannot_be_stored_is_an_error_that_names_it(change: str, message: str) -> None:
    with pytest.raises(TulleError, match=message):
        pack(broken(change))


def test_unknown_weights_option() -> None:
    with pytest.raises(TulleError, match="'int4' is not one of auto, fp32, fp16"):
        pack(conv_graph(pruned((4, 1, 1, 3), 1)), weights="int4")  # type: ignore[arg-type]


def test_the_checksum_is_the_crc_32_of_the_file() -> None:
    data = pack(conv_graph(pruned((7, 3, 3, 3), 0.4), pruned((7,), 1)))
    stored = records_with_checksum(data).checksum
    place = data.index(stored.to_bytes(4, "little"))
    assert stored == zlib.crc32(data[:place] + bytes(4) + data[place + 4 :])
    tulle.load(data).close()


def records_with_checksum(data: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(data)


def test_any_byte_that_changes_on_the_way_is_noticed() -> None:
    data = pack(conv_graph(pruned((7, 3, 3, 3), 0.4), pruned((7,), 1)))
    reasons = set()
    for place in range(64, len(data)):  # bytes of the root table before may hide the checksum itself
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        for read in (unpack, tulle.load):
            with pytest.raises(TulleError, match=r"checksum|cut short") as error:
                read(bytes(damaged))
            reasons |= {reason for reason in ("checksum", "cut short") if reason in str(error.value)}
    assert len(reasons) == 2


def test_older_files_have_no_checksum() -> None:
    data = file_of(records(pack(conv_graph(pruned((7, 3, 3, 3), 0.4), pruned((7,), 1)))))
    assert records_with_checksum(data).checksum is None
    assert unpack(data).outputs == ["result"]
    tulle.load(data).close()


def test_damaged_files_never_raise_anything_else() -> None:
    data = pack(conv_graph(pruned((7, 3, 3, 3), 0.4), pruned((7,), 1)))
    for size in range(len(data)):
        with suppress(TulleError):  # cut within the last name, it still reads; the C library refuses that too
            unpack(data[:size])
    data = file_of(records(data))
    rng = np.random.default_rng(1)
    for _ in range(2000):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        with suppress(TulleError):
            unpack(bytes(damaged))


def test_newer_files_are_refused_by_name() -> None:
    def file(**fields: Any) -> bytes:
        model = records(pack(conv_graph(pruned((4, 1, 1, 3), 1))))
        for name, value in fields.items():
            setattr(model, name, value)
        return file_of(model)

    assert unpack(file()).outputs == ["result"]
    with pytest.raises(TulleError, match=r"version 2.*update tulle"):
        unpack(file(version=2))
    with pytest.raises(TulleError, match=r"'winograd'.*update tulle"):
        unpack(file(features=["winograd"]))

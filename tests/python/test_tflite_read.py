"""Reading .tflite files: real ones, and what is said about those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite as schema

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.graph import Graph, Node, reference
from tulle.graph.stats import total_macs
from tulle.ops import OPS
from tulle.ops.op import Operator
from tulle.passes.fold_constants import fold_constants
from tulle.tflite.reader import ALL_CONVERTERS, OPERATOR_NAMES
from tulle.tflite.writer import _Writer as Writer


def patched(data: bytes, change: Callable[[bytearray, schema.Model], None]) -> bytes:
    """A copy of a file with some of its numbers changed in place by `change`."""
    copy = bytearray(data)
    change(copy, schema.Model.GetRootAs(copy, 0))
    return bytes(copy)


def poke(data: bytearray, table: object, slot: int, values: bytes) -> None:
    """Overwrites field `slot` (vtable offset) of a FlatBuffers table; it must be there."""
    tab = table._tab  # type: ignore[attr-defined]
    offset = tab.Offset(slot)
    assert offset, "the field is left out, so it cannot be overwritten"
    data[tab.Pos + offset : tab.Pos + offset + len(values)] = values


def poke_vector(data: bytearray, table: object, slot: int, index: int, value: int) -> None:
    """Overwrites element `index` of an int32 vector."""
    tab = table._tab  # type: ignore[attr-defined]
    start = tab.Vector(tab.Offset(slot)) + 4 * index
    data[start : start + 4] = value.to_bytes(4, "little", signed=True)


def rename_op(code: int, new: int) -> Callable[[bytearray, schema.Model], None]:
    """Turns every operator of one builtin code into another."""

    def change(data: bytearray, model: schema.Model) -> None:
        for index in range(model.OperatorCodesLength()):
            entry = model.OperatorCodes(index)
            if entry.DeprecatedBuiltinCode() == code:
                poke(data, entry, 4, bytes([new]))
                poke(data, entry, 10, new.to_bytes(4, "little"))

    return change


class Verbose(flatbuffers.Builder):
    """Writes fields that have their default value too, so that tests can overwrite them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.ForceDefaults(True)


@pytest.fixture(scope="module")
def data() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flatbuffers, "Builder", Verbose)
        return tflite.write(networks.every_op(), weights="fp16")


def tensor(model: schema.Model, name: str) -> schema.Tensor:
    graph = model.Subgraphs(0)
    return next(t for t in map(graph.Tensors, range(graph.TensorsLength())) if t.Name() == name.encode())


# ---- what is read


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        ("hand_landmark_full", 330_968_800),
        ("hand_landmark_sparse", 330_896_224),
        ("palm_detection_full", 337_333_248),
        ("selfie_segmentation", 59_215_744),
    ],
)
def test_models_have_the_multiply_adds_that_their_layers_add_up_to(model: str, macs: int, model_path: Callable) -> None:
    assert total_macs(fold_constants(tflite.read(model_path(model)))) == macs


def test_path_and_bytes_give_the_same_graph(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "small.tflite"
    path.write_bytes(data)
    from_path, from_bytes = tflite.read(path), tflite.read(data)
    assert from_path.name == "small" and from_bytes.name == "model"
    assert str(from_path).splitlines()[1:] == str(from_bytes).splitlines()[1:]
    assert str(tflite.read(str(path))) == str(from_path)


def test_transpose_conv_bias_is_read_from_its_custom_options(model_path: Callable) -> None:
    graph = tflite.read(model_path("selfie_segmentation"))
    (node,) = [node for node in graph if node.op == "transpose_conv2d"]
    assert node.attrs == {"strides": (2, 2), "padding": "same", "activation": "none"}
    assert len(node.inputs) == 3
    assert graph.tensors[node.output].shape == (1, 256, 256, 1)


# ---- operators that the writer never writes, run by LiteRT as the oracle

Emitted = Callable[[Graph, Node], Operator]


def file_with(monkeypatch: pytest.MonkeyPatch, emitted: Emitted, shape: tuple[int, ...], out: tuple[int, ...]) -> bytes:
    """A file of one operator from input "x" to output "y", whatever `emitted` makes it."""
    build = networks.builder()
    x = build.input("x", shape)
    graph = build.finish(build.node("softmax", [x], "y", beta=1.0))
    graph.tensors["y"].shape = out
    monkeypatch.setitem(OPS, "softmax", replace(OPS["softmax"], to_tflite=emitted))
    return tflite.write(graph)


def strided_slice(begin: list[int], end: list[int], strides: list[int], **masks: int) -> Emitted:
    operands = [np.array(values, np.int32) for values in (begin, end, strides)]
    return lambda graph, node: Operator(
        "STRIDED_SLICE", [node.inputs[0], *operands], node.output, "StridedSliceOptions", masks
    )


def foreign(kind: str, operands: list[np.ndarray | None], options_type: str, **options: object) -> Emitted:
    return lambda graph, node: Operator(kind, [node.inputs[0], *operands], node.output, options_type, options)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


IMAGE = (1, 4, 5, 3)
# The operator, its input's shape and its output's.
FOREIGN: dict[str, tuple[Emitted, tuple[int, ...], tuple[int, ...]]] = {
    "begin and end masks": (
        strided_slice([2, 1, 1, 1], [1, 1, 3, 2], [1, 2, 1, 1], BeginMask=0b0011, EndMask=0b1011),
        IMAGE,
        (1, 2, 2, 2),
    ),
    "shrunk axis": (
        strided_slice([0, -2, 0, 0], [1, 0, 5, 3], [1, 1, 2, 1], ShrinkAxisMask=0b0010),
        IMAGE,
        (1, 3, 3),
    ),
    "negative begin and end": (strided_slice([0, -3, 0, -2], [1, -1, 9, 3], [1, 1, 1, 1]), IMAGE, (1, 2, 5, 2)),
    "fewer axes than the input": (strided_slice([0, 1], [1, 3], [1, 1]), IMAGE, (1, 2, 5, 3)),
    "squeeze": (foreign("SQUEEZE", [], "SqueezeOptions", SqueezeDims=(1, 2)), (1, 1, 1, 6), (1, 6)),
    "expand dims": (foreign("EXPAND_DIMS", [integers(1)], "ExpandDimsOptions"), (1, 5, 6), (1, 1, 5, 6)),
    "size to the end": (
        foreign("SLICE", [integers(0, 1, 2, 0), integers(1, -1, 2, -1)], "SliceOptions"),
        IMAGE,
        (1, 3, 2, 3),
    ),
    "axes from the end": (foreign("MEAN", [integers(-2, 1)], "ReducerOptions", KeepDims=False), IMAGE, (1, 3)),
    "an image into a fully connected layer": (
        foreign("FULLY_CONNECTED", [networks.noise_array((4, 30)), None], "FullyConnectedOptions"),
        (1, 2, 5, 3),
        (1, 4),
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_operator_equals_litert(case: str, monkeypatch: pytest.MonkeyPatch, litert: Callable) -> None:
    data = file_with(monkeypatch, *FOREIGN[case])
    graph = tflite.read(data)
    inputs = networks.noise(graph)
    assert networks.error(reference.run(graph, inputs), litert(data, inputs)) < 1e-6


@pytest.mark.parametrize(
    ("emitted", "out", "cause"),
    [
        (strided_slice([0, 0, 0, 0], [1, 4, 5, 3], [1, 1, 0, 1]), (1, 4, 5, 3), "stride is 0"),
        (strided_slice([0, 0, 0, 0], [1, 4, 5, 3], [1, 1, 1, 1], EllipsisMask=2), (1, 4, 5, 3), "ellipsis"),
        (strided_slice([0, 3, 0, 0], [1, 3, 5, 3], [1, 1, 1, 1]), (1, 1, 5, 3), "left empty"),
        (strided_slice([0, 9, 0, 0], [1, 9, 5, 3], [1] * 4, ShrinkAxisMask=2), (1, 5, 3), "index 9 is outside axis 1"),
        (strided_slice([0, 0], [1, 4, 5], [1, 1]), (1, 4, 5, 3), "do not fit the input"),
    ],
)
def test_slices_that_cannot_be_run_say_why(
    emitted: Emitted, out: tuple[int, ...], cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TulleError, match=f"STRIDED_SLICE -> 'y': .*{cause}"):
        tflite.read(file_with(monkeypatch, emitted, (1, 4, 5, 3), out))


# ---- what is refused


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is empty"),
        (b"TFL3", "4 bytes, which is too short"),
        (b"\x89PNG\r\n\x1a\n" * 4, "not a .tflite file"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 8, "damaged"),
        (b"\xff\xff\xff\xffTFL3" + b"\xff" * 64, "damaged"),
    ],
)
def test_other_files_are_refused_by_name(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(TulleError, match=cause) as error:
        tflite.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TulleError, match=r"nowhere\.tflite cannot be read: No such file"):
        tflite.read(tmp_path / "nowhere.tflite")
    with pytest.raises(TulleError, match="cannot be read"):
        tflite.read(tmp_path)


def test_a_truncated_model_is_damaged(model_path: Callable) -> None:
    data = model_path("hand_landmark_lite").read_bytes()
    with pytest.raises(TulleError, match="model: "):
        tflite.read(data[: len(data) // 2])


def test_unsupported_ops_are_listed_together_with_their_outputs(data: bytes) -> None:
    # Whichever three: what is unsupported today may be supported tomorrow.
    first, second, third = sorted(set(OPERATOR_NAMES.values()) - {*ALL_CONVERTERS, "CUSTOM"})[:3]

    def change(data: bytearray, model: schema.Model) -> None:
        for kind, name in (("SOFTMAX", first), ("PRELU", second), ("RESIZE_BILINEAR", third)):
            codes = schema.BuiltinOperator
            rename_op(getattr(codes, kind), getattr(codes, name))(data, model)

    with pytest.raises(TulleError) as error:
        tflite.read(patched(data, change))
    assert str(error.value).splitlines() == [
        "model: 3 ops are not supported:",
        f"  {second} -> 'prelu'",
        f"  {third} -> 'up'",
        f"  {first} -> 'probabilities'",
        "The part before them can be converted by itself; its outputs (option --outputs) are 'add'",
    ]
    assert tflite.read(patched(data, change), outputs=["add"]).outputs == ["add"]


def test_a_graph_ends_at_the_tensors_asked_for(data: bytes) -> None:
    whole = tflite.read(data)
    part = tflite.read(data, outputs=["up", "add"])
    assert part.outputs == ["up", "add"] and part.inputs == ["image"]
    assert not {"probabilities", "prelu"} <= set(part.tensors)
    image = {"image": np.random.default_rng(0).random(whole.tensors["image"].shape)}
    expected = reference.run(fold_constants(whole), image, keep=["up", "add"])
    got = reference.run(fold_constants(part), image)
    for name in part.outputs:
        np.testing.assert_array_equal(got[name], expected[name])
    with pytest.raises(TulleError, match="there is no tensor 'nowhere' to end at"):
        tflite.read(data, outputs=["nowhere"])


def test_batches_are_refused(data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        poke_vector(data, tensor(model, "image"), 4, 0, 2)

    with pytest.raises(
        TulleError, match=r"input 'image' has shape \[2, 8, 8, 3\]: only batch 1 is supported, so export"
    ):
        tflite.read(patched(data, change))


def test_dynamic_shapes_are_refused(data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        poke_vector(data, tensor(model, "image"), 4, 1, -1)

    with pytest.raises(TulleError, match=r"dynamic shape \[1, -1, 8, 3\]"):
        tflite.read(patched(data, change))


def test_quantised_activations_are_refused(data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        poke(data, tensor(model, "slice"), 6, bytes([schema.TensorType.INT8]))

    with pytest.raises(TulleError, match=r"only float32 activations are supported, not 'slice' \(int8\)"):
        tflite.read(patched(data, change))


def test_a_shape_that_its_op_does_not_compute_is_refused(data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        poke_vector(data, tensor(model, "entry"), 4, 1, 5)

    with pytest.raises(TulleError, match=r"conv2d 'entry': its output should be \[1, 4, 4, 8\]"):
        tflite.read(patched(data, change))


def test_a_constant_shorter_than_its_shape_is_refused(data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        poke_vector(data, tensor(model, "entry/weight/float16"), 4, 0, 9)

    with pytest.raises(
        TulleError, match=r"'entry/weight/float16': its buffer has 216 elements for shape \[9, 3, 3, 3\]"
    ):
        tflite.read(patched(data, change))


@pytest.mark.parametrize("index", [-2, 10_000])
def test_indices_out_of_range_are_refused(index: int, data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        graph = model.Subgraphs(0)
        poke_vector(data, graph.Operators(graph.OperatorsLength() - 1), 6, 0, index)

    with pytest.raises(TulleError, match=f"tensor {index} does not exist"):
        tflite.read(patched(data, change))


def test_an_op_that_reads_what_comes_later_is_refused(data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        graph = model.Subgraphs(0)
        last = graph.Operators(graph.OperatorsLength() - 1)
        poke_vector(data, last, 6, 0, last.Outputs(0))

    with pytest.raises(TulleError, match="'probabilities' is not computed before it is used"):
        tflite.read(patched(data, change))


def test_of_several_subgraphs_the_first_is_read(data: bytes) -> None:
    def change(data: bytearray, model: schema.Model) -> None:
        start = model._tab.Vector(model._tab.Offset(8))
        data[start - 4 : start] = (2).to_bytes(4, "little")

    graph = tflite.read(patched(data, change))
    assert graph.notes == ["the file has 2 subgraphs, of which the first is converted"]
    assert str(graph) == str(tflite.read(data))


# ---- files that describe more than they hold


def test_a_small_file_cannot_list_millions_of_operators() -> None:
    """One operator that a long vector points at again and again."""
    builder = flatbuffers.Builder(0)
    schema.OperatorStart(builder)
    operator = schema.OperatorEnd(builder)
    builder.StartVector(4, 200_000, 4)
    for _ in range(200_000):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    subgraph = schema.SubGraphEnd(builder)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    with pytest.raises(TulleError, match="200000 operators, more than the 16384"):
        tflite.read(bytes(builder.Output()))


def test_external_buffers_are_read_where_they_are_and_checked(model_path: Callable) -> None:
    """Files beyond 2 GB keep buffers behind the FlatBuffer, found by offset and size."""

    class External(Writer):
        values: list[bytes]

        def _buffer(self, data: bytes) -> int:
            if not data:
                return super()._buffer(data)
            self.values = [*getattr(self, "values", []), data]
            schema.BufferStart(self.builder)
            schema.BufferAddOffset(self.builder, 1000 + len(self.values))  # a placeholder to find again
            schema.BufferAddSize(self.builder, len(data))
            return schema.BufferEnd(self.builder)

    graph = networks.every_op()
    writer = External(graph, False, False)
    head = writer.finish()
    tail, places = bytearray(), {}
    for number, values in enumerate(writer.values, start=1001):
        places[number] = len(head) + len(tail)
        tail += values

    def place(data: bytearray, model: schema.Model) -> None:
        for index in range(1, model.BuffersLength()):
            buffer = model.Buffers(index)
            poke(data, buffer, 6, places[buffer.Offset()].to_bytes(8, "little"))

    data = patched(head, place) + bytes(tail)
    inputs = networks.noise(graph)
    actual = reference.run(tflite.read(data), inputs)
    assert networks.error(actual, reference.run(graph, inputs)) == 0
    with pytest.raises(TulleError, match="ends beyond the file's end"):
        tflite.read(data[:-8])

"""Files that try to break tulle, each with the error that it has to give: `ATTACKS`, made from the schema.

`tests/python`, `tests/browser`, `tests/pyodide` and `tests/native` each have a test_attacks.py that loads all of them;
`python tests/attacks/files.py FOLDER` writes them, to look at. Attributes of ops at their extremes: extremes.py.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[up]) for up in (1, 2)] + [
        str(Path(__file__).resolve().parents[2] / "py")
    ]

import flatbuffers
import numpy as np

import tulle
from attacks.builder import WINDOW, Builder
from tulle.graph import Tensor
from tulle.pack.schema import tulle_generated as schema
from tulle_file import Model, file_of, records


class Attack(NamedTuple):
    name: str
    data: bytes
    error: str
    """Part of the message, as a regular expression."""


ATTACKS: list[Attack] = []


def attack(error: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """The function makes a file that has to give this error."""

    def add(make: Callable[[], bytes]) -> Callable[[], bytes]:
        ATTACKS.append(Attack(make.__name__, make(), error))
        return make

    return add


# ---- files to start from -------------------------------------------------------------------------------------------


def small(weight_zeros: float = 0.0) -> Model:
    """An image [1, 4, 4, 16], a 1x1 convolution `conv2d`, an activation."""
    b = Builder()
    b.input("image", 1, 4, 4, 16)
    b.op("conv2d", (1, 4, 4, 16), b.constant(16, 1, 1, 16, zeros=weight_zeros), b.constant(16), **WINDOW)
    b.op("activation", (1, 4, 4, 16), activation="tanh")
    b.graph.outputs = [b.last]
    return records(tulle.convert(b.graph, weights="fp32").data)


def chain(ops: int = 3) -> Model:
    """Softmax after softmax of [1, 2]."""
    b = Builder()
    b.input("x", 1, 2)
    for _ in range(ops):
        b.op("softmax", (1, 2), beta=1.0)
    b.graph.outputs = [b.last]
    return records(tulle.convert(b.graph).data)


def many_weights() -> Any:
    b = Builder()
    b.input("x", 1, 64)
    b.op("fully_connected", (1, 64), b.constant(64, 64), None, activation="none")
    b.graph.outputs = [b.last]
    return b.graph


def weight(model: Model) -> Any:
    return next(t.constant for t in model.tensors if t.constant is not None and len(t.shape) > 1)


def matrix_of(shape: tuple[int, int], encoding: int, index: list[int], count: int) -> bytes:
    """A fully connected layer whose weight of this shape has such an index, and `count` ones as its values."""
    b = Builder()
    b.input("x", 1, shape[1])
    b.op("fully_connected", (1, shape[0]), b.constant(*shape), None, activation="none")
    b.graph.outputs = [b.last]
    model = records(tulle.convert(b.graph).data)
    constant = weight(model)
    constant.type, constant.encoding, constant.count = schema.ValueType.fp32, encoding, count
    constant.values = np.ones(count, "<f4").view(np.uint8)
    constant.index = np.array(index, np.uint8)
    return file_of(model)


def zero_weights(ops: int, size: int) -> bytes:
    """`ops` fully connected layers with one weight [size, size] between them, none of whose elements is stored."""
    b = Builder()
    b.input("x", 1, 8)
    shared = b.constant(8, 8)
    for _ in range(ops):
        b.op("fully_connected", (1, 8), shared, None, activation="none")
    b.graph.outputs = [b.last]
    model = records(tulle.convert(b.graph, sparse="always").data)
    for tensor in model.tensors:
        tensor.shape = np.array([size, size] if tensor.constant else [1, size], np.int32)
        if tensor.constant:
            tensor.constant.encoding, tensor.constant.count = schema.Encoding.delta, 0
            tensor.constant.values = tensor.constant.index = np.zeros(0, np.uint8)
    return file_of(model)


def patched(offset: int, word: int, model: Model | None = None) -> bytes:
    """A small file with another word of 4 bytes; one without a checksum, so that the word itself is on trial."""
    data = bytearray(file_of(model or small()))
    struct.pack_into("<I", data, offset, word & 0xFFFFFFFF)
    return bytes(data)


def root_of(data: bytes) -> int:
    return int(struct.unpack_from("<I", data)[0])


def vector_at(data: bytes, slot: int) -> int:
    """Where the length of a vector of the root table lies; `slot`: its number in the schema."""
    table = root_of(data)
    vtable = table - struct.unpack_from("<i", data, table)[0]
    field = table + struct.unpack_from("<H", data, vtable + 4 + 2 * slot)[0]
    return int(field + struct.unpack_from("<I", data, field)[0])


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes one name of 50 KB for all that are "shared", and one list of 100,000 numbers for every list [1, 0]."""

    def CreateString(self, text: str) -> int:
        if text != "shared":
            return int(super().CreateString(text))
        self.name = getattr(self, "name", None) or super().CreateString("long " * 10_000)
        return int(self.name)

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.tolist() != [1, 0]:
            return int(super().CreateNumpyVector(x))
        self.list = getattr(self, "list", None) or super().CreateNumpyVector(np.zeros(100_000, "<i4"))
        return int(self.list)


# ---- not what was written ------------------------------------------------------------------------------------------


@attack("its checksum is [0-9a-f]{8}, not [0-9a-f]{8} as when it was written")
def a_weight_changed_on_the_way() -> bytes:
    data = bytearray(tulle.convert(many_weights()).data)
    data[len(data) // 2] ^= 1
    return bytes(data)


@attack("damaged or cut short")
def cut_in_half() -> bytes:
    data = file_of(small())
    return data[: len(data) // 2]


@attack("its checksum is")
def bytes_appended() -> bytes:
    return bytes(tulle.convert(many_weights()).data) + bytes(64)


# ---- offsets -------------------------------------------------------------------------------------------------------


@attack("damaged or cut short")
def root_beyond_the_end() -> bytes:
    return patched(0, 1 << 20)


@attack("damaged or cut short")
def root_that_overflows() -> bytes:
    return patched(0, 0xFFFFFFFC)


@attack("damaged or cut short")
def root_in_the_middle_of_something() -> bytes:
    return patched(0, 33)


@attack("damaged or cut short")
def vtable_before_the_file() -> bytes:
    return patched(root_of(file_of(small())), 0x7FFFFFFF)


@attack("damaged or cut short")
def vtable_after_the_file() -> bytes:
    return patched(root_of(file_of(small())), -0x7FFFFFFF)


@attack("damaged or cut short")
def vector_longer_than_any_file() -> bytes:
    return patched(vector_at(file_of(small()), 4), 0xFFFFFFFF)


@attack("damaged or cut short")
def vector_whose_bytes_overflow() -> bytes:
    return patched(vector_at(file_of(small()), 5), 0x40000001)  # times 4 is 4


@attack("damaged or cut short")
def table_beyond_the_end() -> bytes:
    return patched(vector_at(file_of(small()), 4) + 4, 0x7FFFFFFC)


@attack("op 0 has no inputs or no outputs")
def table_that_is_its_own_list() -> bytes:
    return patched(vector_at(file_of(small()), 5) + 4, 0)


# ---- overlaps ------------------------------------------------------------------------------------------------------


@attack("names and weights overlap")
def one_long_name_for_all_ops() -> bytes:
    model = chain(1000)
    for op in model.ops:
        op.name = "shared"
    return file_of(model, SharingBuilder(1 << 16))


@attack("names and weights overlap")
def one_long_name_for_all_outputs() -> bytes:
    model = chain(2)
    model.tensors[-1].name = "long " * 10_000
    model.outputs = np.repeat(model.outputs, 10_000)
    return file_of(model)


@attack("an attribute list is too long")
def one_long_list_for_all_ops() -> bytes:
    b = Builder()
    b.input("x", 1, 2)
    b.op("transpose", (2, 1), perm=(1, 0))
    b.graph.outputs = [b.last]
    model = records(tulle.convert(b.graph).data)
    model.ops = model.ops * 5000
    return file_of(model, SharingBuilder(1 << 16))


class OneWeight(flatbuffers.Builder):  # type: ignore[misc]
    """Writes one vector of 64 KB for all constants."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype != np.uint8:
            return int(super().CreateNumpyVector(x))
        self.values = getattr(self, "values", None) or super().CreateNumpyVector(np.zeros(65536, np.uint8))
        return int(self.values)


@attack("names and weights overlap")
def one_weight_for_a_thousand_layers() -> bytes:
    b = Builder()
    b.input("x", 1, 2)
    for _ in range(1000):
        b.op("fully_connected", (1, 2), b.constant(2, 2), None, activation="none")
    b.graph.outputs = [b.last]
    model = records(tulle.convert(b.graph, weights="fp32").data)
    for tensor in model.tensors:
        tensor.shape = np.array([128, 128] if tensor.constant else [1, 128], np.int32)
        if tensor.constant:
            tensor.constant.encoding, tensor.constant.count = schema.Encoding.dense, 128 * 128
    return file_of(model, OneWeight(1 << 20))


@attack("writes tensor 'softmax', which has a value already")
def one_table_for_two_ops() -> bytes:
    model = chain(1)
    model.ops = [model.ops[0], model.ops[0]]
    return file_of(model)


# ---- shapes --------------------------------------------------------------------------------------------------------


def shaped(*shape: int, tensor: int = 0) -> bytes:
    model = chain()
    model.tensors[tensor].shape = np.array(shape, np.int32)
    return file_of(model)


@attack("dimension 0 is 2147483647")
def the_largest_dimension() -> bytes:
    return shaped(2**31 - 1)


@attack("dimension 1 is -2147483648")
def a_negative_dimension() -> bytes:
    return shaped(1, -(2**31))


@attack("dimension 1 is 0")
def a_dimension_of_nothing() -> bytes:
    return shaped(1, 0)


@attack("has more than 268435456 elements")
def one_element_too_many() -> bytes:
    return shaped(2, 1 << 27, 2)


@attack("has more than 268435456 elements")
def elements_that_overflow_to_nothing() -> bytes:
    return shaped(65536, 65536, 65536, 65536)


@attack("has more than 268435456 elements")
def elements_that_overflow_to_one() -> bytes:
    return shaped(641, 6700417, 65536, 65536)  # 641 * 6700417 is 2^32 + 1


@attack("has 7 dimensions; at most 6")
def seven_dimensions() -> bytes:
    return shaped(1, 1, 1, 1, 1, 1, 2)


@attack("has 200000 dimensions; at most 6")
def many_dimensions() -> bytes:
    return shaped(*[1] * 200_000)


@attack("softmax 'softmax': input and output differ in size")
def shapes_that_do_not_fit() -> bytes:
    return shaped(2, 2, tensor=1)


@attack(r"takes 1073\.7 MB, the limit is 536\.9 MB")
def a_tensor_of_a_gigabyte() -> bytes:
    model = chain()
    for tensor in model.tensors:
        tensor.shape = np.array([16384, 16384], np.int32)
    return file_of(model)


@attack(r"needs at least [\d.]+ MB of memory, the limit is 1073\.7 MB")
def tensors_of_two_gigabytes() -> bytes:
    model = chain()
    for tensor in model.tensors:
        tensor.shape = np.array([8192, 15000], np.int32)
    return file_of(model)


# ---- indices -------------------------------------------------------------------------------------------------------


def op_reads(*indices: int) -> bytes:
    model = chain()
    model.ops[1].inputs = np.array(indices, np.int32)
    return file_of(model)


for number in (4, 2**31 - 1, -2, -(2**31)):

    @attack(f"softmax 'softmax_1': input 0 names tensor {number} of 4")
    def an_input_out_of_range(number: int = number) -> bytes:
        return op_reads(number)

    @attack(f"softmax 'softmax_1': its output names tensor {number} of 4")
    def an_output_out_of_range(number: int = number) -> bytes:
        model = chain()
        model.ops[1].outputs = np.array([number], np.int32)
        return file_of(model)


@attack("input 0 names tensor -1 of 4")
def no_first_input() -> bytes:
    return op_reads(-1)


@attack("has 0 inputs; 1 to 64 are possible")
def no_input() -> bytes:
    return op_reads()


@attack("has 65 inputs; 1 to 64 are possible")
def an_input_too_many() -> bytes:
    return op_reads(*[0] * 65)


@attack("has 2 inputs; it takes 1 to 1")
def an_input_that_it_does_not_take() -> bytes:
    return op_reads(0, 0)


@attack("has 0 outputs, not 1")
def an_op_without_output() -> bytes:
    model = chain()
    model.ops[1].outputs = np.zeros(0, np.int32)
    return file_of(model)


def model_lists(inputs: list[int] | None = None, outputs: list[int] | None = None) -> bytes:
    model = chain()
    if inputs is not None:
        model.inputs = np.array(inputs, np.uint32)
    if outputs is not None:
        model.outputs = np.array(outputs, np.uint32)
    return file_of(model)


@attack("model input 0 names tensor 4294967295")
def a_model_input_out_of_range() -> bytes:
    return model_lists(inputs=[2**32 - 1])


@attack("model input 1 names tensor 0")
def a_model_input_twice() -> bytes:
    return model_lists(inputs=[0, 0])


@attack("model output 0 names tensor 4")
def a_model_output_out_of_range() -> bytes:
    return model_lists(outputs=[4])


@attack("the model has no outputs")
def no_model_output() -> bytes:
    return model_lists(outputs=[])


@attack("more than 16384 tensors or ops")
def too_many_outputs() -> bytes:
    return model_lists(outputs=[3] * 16385)


@attack("more than 16384 tensors or ops")
def too_many_ops() -> bytes:
    model = chain(1)
    model.ops = model.ops * 16385
    return file_of(model)


# ---- cycles --------------------------------------------------------------------------------------------------------


@attack("reads tensor 'softmax_1' before it is computed")
def an_op_that_reads_its_own_output() -> bytes:
    model = chain()
    model.ops[1].inputs = model.ops[1].outputs
    return file_of(model)


@attack("reads tensor 'softmax_1' before it is computed")
def two_ops_that_read_each_other() -> bytes:
    model = chain()
    model.ops[0].inputs = model.ops[1].outputs
    return file_of(model)


@attack("before it is computed")
def ops_in_reverse() -> bytes:
    model = chain()
    model.ops = model.ops[::-1]
    return file_of(model)


@attack("writes tensor 'x', which has a value already")
def an_op_that_writes_the_input() -> bytes:
    model = chain()
    model.ops[2].outputs = np.array([0], np.int32)
    return file_of(model)


@attack("which has a value already")
def an_op_that_writes_a_weight() -> bytes:
    model = small()
    model.ops[1].outputs = np.array([next(i for i, t in enumerate(model.tensors) if t.constant)], np.int32)
    return file_of(model)


# ---- weights -------------------------------------------------------------------------------------------------------


def stored(index: list[int], count: int, encoding: int = schema.Encoding.delta) -> bytes:
    return matrix_of((1, 1024), encoding, index, count)


for index, count in (
    ([254, 255, 255, 255, 4], 2),  # a value just past the end
    ([255] * 5, 0),  # zeros alone
    ([0] + [255] * 400, 1),  # zeros that would be written 100,000 elements past the end
    ([255] * 400 + [0], 1),
    ([0] * 1024 + [255], 1024),  # a filler after a value for every element
):

    @attack("its deltas lead beyond the last element")
    def a_delta_past_the_end(index: list[int] = index, count: int = count) -> bytes:
        return stored(index, count)


@attack("3 values stored where its index needs 2")
def more_values_than_deltas() -> bytes:
    return stored([0, 5], 3)


@attack("1 values stored where its index needs 2")
def fewer_values_than_deltas() -> bytes:
    return stored([0, 5], 1)


@attack("7 values stored where its index needs 8")
def fewer_values_than_bits() -> bytes:
    return stored([255] + [0] * 127, 7, schema.Encoding.bitmask)


@attack("9 values stored where its index needs 8")
def more_values_than_bits() -> bytes:
    return stored([255] + [0] * 127, 9, schema.Encoding.bitmask)


@attack("its bitmask has 127 bytes, its shape needs 128")
def a_bitmask_too_short() -> bytes:
    return stored([0] * 127, 0, schema.Encoding.bitmask)


@attack("its bitmask has bits set beyond the last element")
def bits_past_the_end() -> bytes:
    return matrix_of((3, 3), schema.Encoding.bitmask, [0, 2], 1)


@attack("1023 values stored where its index needs 1024")
def a_dense_weight_too_short() -> bytes:
    return stored([], 1023, schema.Encoding.dense)


@attack("bytes of values where 4294967295 values of 4 bytes were announced")
def a_count_that_overflows() -> bytes:
    model = small()
    weight(model).count = 2**32 - 1
    return file_of(model)


@attack("1024 bytes of values where 1073742080 values of 4 bytes were announced")
def a_count_whose_bytes_overflow_to_the_right_number() -> bytes:
    model = small()
    weight(model).count = 256 + (1 << 30)
    return file_of(model)


@attack("integer values without scales")
def no_scales() -> bytes:
    model = small()
    constant = weight(model)
    constant.type, constant.values = schema.ValueType.int8, np.zeros(256, np.uint8)
    return file_of(model)


@attack("5 scales fit neither its first nor its last dimension")
def scales_that_do_not_fit() -> bytes:
    model = small()
    constant = weight(model)
    constant.type, constant.values = schema.ValueType.int8, np.zeros(256, np.uint8)
    constant.scales = np.ones(5, np.float32)
    return file_of(model)


@attack("unknown value type 9 or encoding 0")
def an_unknown_value_type() -> bytes:
    model = small()
    weight(model).type = 9
    return file_of(model)


# ---- levels --------------------------------------------------------------------------------------------------------


def levels(tensor: int, scale: float, zero_point: int, kind: int = schema.ValueType.int8) -> bytes:
    model = small()
    model.tensors[tensor].levels = schema.QuantizationT()
    made = model.tensors[tensor].levels
    made.type, made.scale, made.zeroPoint = kind, scale, zero_point
    return file_of(model)


@attack("scale 0 and zero point 3 are no levels")
def levels_without_a_scale() -> bytes:
    return levels(-1, 0, 3)


@attack("scale inf and zero point 0 are no levels")
def levels_of_an_infinite_scale() -> bytes:
    return levels(-1, float("inf"), 0)


@attack("scale nan and zero point 0 are no levels")
def levels_of_no_scale() -> bytes:
    return levels(-1, float("nan"), 0)


@attack("scale 0.5 and zero point 2147483647 are no levels")
def levels_beyond_their_type() -> bytes:
    return levels(-1, 0.5, 2**31 - 1)


@attack("scale 0.5 and zero point -1 are no levels")
def levels_of_uint8_below_zero() -> bytes:
    return levels(-1, 0.5, -1, schema.ValueType.uint8)


@attack("levels of type 1, not int8 or uint8")
def levels_of_float16() -> bytes:
    return levels(-1, 0.5, 0, schema.ValueType.fp16)


@attack("is constant and has levels")
def levels_of_a_constant() -> bytes:
    model = small()
    return levels(next(i for i, t in enumerate(model.tensors) if t.constant is not None), 0.5, 0)


# ---- what a small file can make large ------------------------------------------------------------------------------


@attack("unpacked, the weights are out of proportion to the file's size")
def a_bomb_of_zeros() -> bytes:
    return zero_weights(1, 8192)


@attack("unpacked, the weights are out of proportion to the file's size")
def a_weight_that_every_layer_unpacks() -> bytes:
    return zero_weights(60, 2048)


@attack(r"a run takes up to [\d.]+ million multiply-adds, the limit is 100000\.0 million")
def a_product_of_days() -> bytes:
    b = Builder()
    b.input("a", 8, 8)
    b.op("matmul", (8, 8), "b")
    b.graph.inputs = ["a", b.graph.add_tensor(Tensor("b", (8, 8)))]
    b.graph.outputs = [b.last]
    model = records(tulle.convert(b.graph).data)
    for tensor in model.tensors:
        tensor.shape = np.array([8000, 8000], np.int32)
    return file_of(model)


@attack(r"a run takes up to [\d.]+ million multiply-adds, the limit is 100000\.0 million")
def rows_that_are_blended_again_and_again() -> bytes:
    """One wide row becomes one tall column."""
    b = Builder()
    b.input("x", 1, 8, 8, 2)
    b.op("resize_bilinear", (1, 8, 9, 2), align_corners=False, half_pixel_centers=False)
    b.op("max_pool2d", (1, 4, 4, 2), kernel=(2, 2), strides=(2, 2), padding="valid", activation="none")
    b.graph.outputs = [b.last]
    model = records(tulle.convert(b.graph).data)
    for tensor in model.tensors:
        if list(tensor.shape) == [1, 8, 8, 2]:
            tensor.shape = np.array([1, 1, 1 << 23, 2], np.int32)
        elif list(tensor.shape) == [1, 8, 9, 2]:
            tensor.shape = np.array([1, 1 << 23, 1, 2], np.int32)
    return file_of(model)


@attack(r"a run takes up to [\d.]+ million multiply-adds, the limit is 100000\.0 million")
def a_plane_of_padding() -> bytes:
    """Every row of outputs is computed from a padded plane of 800 MB."""
    b = Builder()
    b.input("x", 1, 3, 3, 8)
    b.op("conv2d", (1, 3, 3, 8), b.constant(8, 3, 3, 8), None, **WINDOW)
    b.graph.outputs = [b.last]
    model = records(tulle.convert(b.graph).data)
    for op in model.ops:
        op.padTop = op.padBottom = op.padLeft = op.padRight = 2500
        op.dilationH = op.dilationW = 2000
    for tensor in model.tensors:
        if list(tensor.shape) == [1, 3, 3, 8]:
            tensor.shape = np.array([1, 1003, 1003, 8] if tensor.name != "x" else [1, 3, 3, 8], np.int32)
    return file_of(model)


# ---- what only a later version knows -------------------------------------------------------------------------------


@attack("format version 4294967295, this tulle reads up to 1")
def a_later_version() -> bytes:
    model = small()
    model.version = 2**32 - 1
    return file_of(model)


@attack("needs the feature 'winograd', which this tulle does not have")
def a_feature() -> bytes:
    model = small()
    model.features = ["winograd"]
    return file_of(model)


@attack("is of kind 255, which this version of tulle does not know")
def an_unknown_kind() -> bytes:
    model = small()
    model.ops[0].kind = 255
    return file_of(model)


@attack("unknown layout 2")
def an_unknown_layout() -> bytes:
    model = small()
    model.tensors[0].layout = 2
    return file_of(model)


@attack("unknown sparsity 2")
def an_unknown_sparsity() -> bytes:
    model = small()
    model.ops[0].sparsity = 2
    return file_of(model)


# ---- layouts, constants, normalisation -----------------------------------------------------------------------------


@attack("is chw but not of shape")
def a_vector_in_channels() -> bytes:
    model = chain()
    model.tensors[1].layout = schema.Layout.chw
    return file_of(model)


@attack("is constant and chw; constants are plain")
def a_weight_in_channels() -> bytes:
    model = small()
    tensor = next(t for t in model.tensors if t.constant is not None and len(t.shape) == 4)
    tensor.shape, tensor.layout = np.array([1, 16, 16, 1], np.int32), schema.Layout.chw
    return file_of(model)


@attack("its weight 'image_chw' must be constant")
def a_weight_that_is_computed() -> bytes:
    model = small()
    model.ops[-1].inputs = model.ops[0].inputs
    conv = next(op for op in model.ops if op.kind == schema.OpKind.conv2d)
    conv.inputs = np.array([conv.inputs[0], conv.inputs[0]], np.int32)
    return file_of(model)


@attack("has no name or no shape")
def a_tensor_without_a_name() -> bytes:
    model = chain()
    model.tensors[1].name = None
    return file_of(model)


for mean, std in ((0.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))):

    @attack("cannot normalise an image")
    def a_normalisation_that_is_none(mean: float = mean, std: float = std) -> bytes:
        model = small()
        model.tensors[0].inputMean, model.tensors[0].inputStd = mean, std
        return file_of(model)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for place, case in enumerate(ATTACKS):
        (folder / f"{place:02}_{case.name}.tulle").write_bytes(case.data)
        print(f"{place:02} {case.name}: {case.error}")

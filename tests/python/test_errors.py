"""Damaged `.tulle` files: each is refused with a TulleError or is a model that runs; never a trap or a hang.

A trap would come as a TulleError too, but one that calls itself a bug.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tulle
from attacks.builder import WINDOW, Builder
from attacks.files import matrix_of, zero_weights
from tulle import TulleError
from tulle.graph import Graph
from tulle.ops import OPS
from tulle.pack import unpack
from tulle.pack.schema import tulle_generated as schema
from tulle_file import file_of, records

MOST_SECONDS = 10.0
NUMBERS = (0, 1, 2, 3, 7, 8, 127, 255, 256, 32767, 65535, 65536, 2**28, 2**31 - 1)


def many_ops() -> Graph:
    """Nearly every op, both layouts, all three encodings."""
    b = Builder()
    side = b.input("side", 4, 5)
    b.input("image", 1, 16, 16, 3)
    b.op("conv2d", (1, 8, 8, 8), b.constant(8, 3, 3, 3), b.constant(8), **{**WINDOW, "strides": (2, 2)})
    skip = b.op("conv2d", (1, 8, 8, 12), b.constant(12, 1, 1, 8, zeros=0.7), b.constant(12), **WINDOW)
    b.op("depthwise_conv2d", (1, 8, 8, 12), b.constant(1, 3, 3, 12), b.constant(12), **WINDOW)
    b.op("conv2d", (1, 8, 8, 12), b.constant(12, 1, 1, 12, zeros=0.98), None, **{**WINDOW, "activation": "none"})
    b.op("add", (1, 8, 8, 12), skip, activation="none")
    b.op("activation", (1, 8, 8, 12), b.constant(12), activation="prelu")
    scale = b.op("average_pool2d", (1, 1, 1, 12), kernel=(8, 8), strides=(1, 1), padding="valid", activation="none")
    b.op("mul", (1, 8, 8, 12), scale, x=skip, activation="none")
    b.op("max_pool2d", (1, 4, 4, 12), kernel=(2, 2), strides=(2, 2), padding="same", activation="none")
    b.op("resize_bilinear", (1, 7, 9, 12), align_corners=False, half_pixel_centers=True)
    b.op(
        "transpose_conv2d",
        (1, 14, 18, 4),
        b.constant(4, 2, 2, 12),
        None,
        strides=(2, 2),
        padding="same",
        activation="none",
    )
    wide = b.op("pad", (1, 16, 18, 6), pads=((0, 0), (1, 1), (0, 0), (0, 2)), pad_value=0.0, pad_mode="constant")
    b.op("resize_nearest", (1, 16, 18, 6), x=wide, align_corners=False, half_pixel_centers=False)
    b.op("concat", (1, 16, 18, 12), wide, axis=3, activation="none")
    b.op("space_to_depth", (1, 8, 9, 48), block=2)
    b.op("depth_to_space", (1, 16, 18, 12), block=2)
    b.op("slice", (1, 4, 3, 12), begin=(0, 2, 1, 0), strides=(1, 2, 3, 1))
    b.op("transpose", (1, 3, 4, 12), perm=(0, 2, 1, 3))
    b.op("reshape", (12, 12))
    b.op("fully_connected", (12, 5), b.constant(5, 12), b.constant(5), activation="none", keep_num_dims=True)
    b.op("softmax", (12, 5), beta=1.0)
    b.op("sum", (5,), axes=(0,), keep_dims=False)
    total = b.op("sub", (4, 5), x=side, activation="none")
    b.graph.nodes[-1].inputs.append(b.graph.nodes[-2].output)
    b.graph.outputs = [total, scale]
    return b.graph


@pytest.fixture(scope="module")
def file() -> bytes:
    return file_of(records(tulle.convert(many_ops()).data))


def attempt(data: bytes) -> str:
    """Loads and runs the file; "ok" or the error's message."""
    start = time.perf_counter()
    try:
        with tulle.load(data, variant="simd") as model:
            model({info.name: np.ones(info.shape, np.float32) for info in model.inputs})
            model({info.name: np.full(info.shape, np.nan, np.float32) for info in model.inputs})
        outcome = "ok"
    except TulleError as error:
        outcome = str(error)
    assert "bug in tulle" not in outcome, outcome
    assert outcome, "an error without a message"
    assert time.perf_counter() - start < MOST_SECONDS
    return outcome


def test_the_undamaged_file_runs(file: bytes) -> None:
    assert attempt(file) == "ok"


def test_truncated_files(file: bytes) -> None:
    end = len(file.rstrip(b"\0")) + 1  # the last string's zero; what follows is padding
    for size in sorted({*range(200), *range(end - 200, end), *range(0, end, 97)}):
        assert attempt(file[:size]) != "ok", size


def test_files_of_something_else(tmp_path: Path) -> None:
    for content, message in (
        (b"", "empty"),
        (b"x", "not a .tulle file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a .tulle file"),
        (bytes(1000), "not a .tulle file"),
        (struct.pack("<I4s", 2**31, b"TULL") + bytes(100), "damaged"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "schema version"),
    ):
        path = tmp_path / "model.tulle"
        path.write_bytes(content)
        with pytest.raises(TulleError, match=message) as caught:
            tulle.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(TulleError, match="cannot be read: No such file"):
        tulle.load(tmp_path / "nothing.tulle")
    with pytest.raises(TulleError, match=r"cannot be read: No such file .*download it first"):
        tulle.load("https://example.org/model.tulle")
    with pytest.raises(TulleError, match="cannot be read: Is a directory"):
        tulle.load(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_changed(file: bytes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(250):
        damaged = bytearray(file)
        for place in rng.integers(0, len(file), rng.integers(1, 5)):
            damaged[place] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
        outcomes.append(attempt(bytes(damaged)))
    assert any(outcome != "ok" for outcome in outcomes)


@pytest.mark.parametrize("seed", range(4))
def test_random_words_changed(file: bytes, seed: int) -> None:
    """Offsets and counts are words, and the start of the file is where most of them are."""
    rng = np.random.default_rng(100 + seed)
    words = len(file) // 4
    for _ in range(250):
        damaged = bytearray(file)
        place = 4 * int(rng.integers(words) if rng.random() < 0.5 else rng.integers(words) ** 2 // words)
        value = int(rng.choice([*NUMBERS, 2**32 - 1, 2**32 - 4, len(file), int(rng.integers(2**32))]))
        struct.pack_into("<I", damaged, place, value)
        attempt(bytes(damaged))


def fields(record: Any) -> Iterable[str]:
    return (name for name, value in vars(record).items() if value is None or not isinstance(value, str | bytes))


def spoil(rng: np.random.Generator, record: Any, name: str = "") -> None:
    """Gives one field of a record, any or that of this name, another value of its kind."""
    name = name or str(rng.choice(list(fields(record))))
    value = getattr(record, name)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        changed = np.frombuffer(value.tobytes(), np.uint8).copy()
        if rng.random() < 0.5 and changed.size:
            changed[rng.integers(changed.size)] = rng.integers(256)
            setattr(record, name, changed)
        else:
            setattr(record, name, changed[: rng.integers(changed.size + 1)])
    elif isinstance(value, np.ndarray) or name in ("axes", "begin", "strides", "perm", "pads"):
        numbers = [] if value is None else value.tolist()
        number = int(rng.choice([-1, -(2**31), *NUMBERS]))
        if numbers and rng.random() < 0.6:
            numbers[rng.integers(len(numbers))] = number
        elif numbers and rng.random() < 0.5:
            numbers.pop()
        else:
            numbers.extend([number] * int(rng.choice([1, 2, 100])))
        setattr(record, name, np.array(np.array(numbers, np.int64) & 0xFFFFFFFF, np.uint32).view(np.int32))
    elif isinstance(value, float):
        setattr(record, name, float(rng.choice([0, -1, 1e30, np.nan, np.inf, 1e-30])))
    elif isinstance(value, bool):
        setattr(record, name, not value)
    elif isinstance(value, int):
        most = {"kind": 255, "layout": 255, "type": 255, "encoding": 255, "count": 2**32 - 1}.get(name, 65535)
        if name in ("activation", "sparsity", "padMode"):
            most = 255
        number = int(rng.choice([number for number in NUMBERS if number <= most] or [0]))
        setattr(record, name, number if name != "axis" else int(rng.choice([-1, 0, 1, 5, 2**31 - 1])))


@pytest.mark.parametrize("seed", range(6))
def test_well_formed_files_that_make_no_sense(file: bytes, seed: int) -> None:
    """Fields changed and written again: FlatBuffers' verifier has no objection, so tulle's own checks are on trial."""
    rng = np.random.default_rng(200 + seed)
    refused = 0
    for _ in range(250):
        model = records(file)
        parts = [*model.ops, *model.tensors, *(t.constant for t in model.tensors if t.constant is not None)]
        for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
            spoil(rng, parts[rng.integers(len(parts))])
        if rng.random() < 0.1:
            model.ops = [model.ops[i] for i in rng.permutation(len(model.ops))]
        if rng.random() < 0.1:
            model.outputs = np.array([rng.integers(0, len(model.tensors) + 2)], np.uint32)
        refused += attempt(file_of(model)) != "ok"
    assert refused > 100, "the checks are hardly on trial"


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.stored and not op.layout.changes])
def test_ops_that_make_no_sense(name: str) -> None:
    """Every op by itself, so that one that is added is tried too: each of its attributes, and its tensors' shapes."""
    rng, op = np.random.default_rng(0), OPS[name]
    graph, _ = op.example(rng).graph(op)
    data = tulle.convert(graph, weights="fp32").data
    record = schema.OpT()
    own = [field for field in fields(record) if any(a.field and field.startswith(a.field) for a in op.attributes)]
    for field in own * 4 + ["shape"] * 8:
        model = records(data)
        spoil(rng, rng.choice(model.tensors if field == "shape" else model.ops), field)
        attempt(file_of(model))


@pytest.mark.parametrize(
    ("index", "count"),
    [
        ([254, 255, 255, 255, 3], 2),  # the last element
        ([255, 255, 255, 255], 0),  # 1020 zeros
        ([0, 255, 255, 255, 255], 1),  # 1021 elements
    ],
)
def test_delta_indices_within_the_shape(index: list[int], count: int) -> None:
    data = matrix_of((1, 1024), schema.Encoding.delta, index, count)
    with tulle.load(data, variant="simd") as model:
        (output,) = model({"x": np.ones((1, 1024), np.float32)}).values()
    assert output.item() == count
    assert np.count_nonzero(unpack(data).tensors["constant"].data) == count


# ---- what a small file can make large ------------------------------------------------------------------------------


def test_weights_in_proportion_to_the_file_are_read() -> None:
    assert attempt(zero_weights(4, 2048)) == "ok"


def test_what_is_honestly_large_or_sparse_is_read() -> None:
    """99.9 % zeros, scattered; and a layer that is pruned away."""
    rng = np.random.default_rng(0)
    b = Builder()
    b.input("x", 1, 4400)
    sparse = np.zeros((4400, 4400), np.float32)
    sparse[rng.random(sparse.shape, np.float32) < 0.001] = 1
    b.op("fully_connected", (1, 4400), b.graph.add_constant("w", sparse), None, activation="none")
    b.op("fully_connected", (1, 512), b.graph.add_constant("z", np.zeros((512, 4400), np.float32)),
         b.constant(512), activation="relu")  # fmt: skip
    b.graph.outputs = [b.graph.nodes[0].output, b.last]
    data = tulle.convert(b.graph).data
    assert len(data) < 400_000 and attempt(data) == "ok"
    assert np.array_equal(unpack(data).tensors["w"].data, sparse)


def test_constants_that_no_reader_would_take_are_not_written() -> None:
    b = Builder()
    b.input("x", 1, 4300)
    b.op("add", (4300, 4300), b.graph.add_constant("zeros", np.zeros((4300, 4300), np.float32)), activation="none")
    b.graph.outputs = [b.last]
    with pytest.raises(TulleError, match="no reader would take such a file"):
        tulle.convert(b.graph)


def test_thousands_of_outputs_and_of_one_name_take_no_time_to_speak_of() -> None:
    """4000 layers of one name, every one of them an output: work that grows with the square takes minutes."""
    b = Builder()
    x = b.input("x", 1, 2, 2, 4)
    b.graph.outputs = [b.op("activation", (1, 2, 2, 4), x=x, activation="tanh") for _ in range(4000)]
    assert len(set(b.graph.outputs)) == 4000 and b.graph.outputs[-1] == "activation_3999"
    start = time.process_time()
    data = tulle.convert(b.graph).data
    tulle.load(data, variant="simd").close()
    assert len(unpack(data).outputs) == 4000
    assert time.process_time() - start < 30

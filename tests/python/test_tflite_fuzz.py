"""Damaged .tflite files: whatever bytes come in, a Graph or a TulleError comes out, soon and in little memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import pytest

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.passes import lower
from tulle.sparsify import magnitude

MAX_SECONDS = 5  # for one file; they take milliseconds, but the machine may be busy
MAX_MEGABYTES = 400  # that the process may grow by


@pytest.fixture(scope="module")
def data() -> bytes:
    pruned = magnitude(networks.every_op(), 0.75, layers=["project", "narrow"])
    return tflite.write(pruned, weights="fp16", sparse=True)


def convert(data: bytes) -> bool:
    """Reads and lowers; True if that worked, False if it was refused. Anything else fails the test."""
    start = time.monotonic()
    try:
        lower(tflite.read(data))
        return True
    except TulleError:
        return False
    finally:
        assert time.monotonic() - start < MAX_SECONDS


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_the_file_is_good_before_it_is_damaged(data: bytes) -> None:
    assert convert(data)
    assert {"densify", "dequantize"} <= {node.op for node in tflite.read(data)}


def test_truncated_at_every_byte(data: bytes) -> None:
    assert not any(convert(data[:size]) for size in range(len(data) - 16))
    for size in range(len(data) - 16, len(data)):  # the end may be alignment that nothing refers to
        convert(data[:size])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow in weights that the damage made huge
@pytest.mark.parametrize("seed", range(3))
def test_random_damage(data: bytes, seed: int) -> None:
    random = np.random.default_rng(seed)
    before, outcomes = megabytes(), []
    for _ in range(700):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(len(data)))
            if random.random() < 0.7:
                damaged[place] = random.choice([0, 1, 127, 128, 255, int(random.integers(256))])
            else:  # a number that is likely to be an offset, a size or an index
                value = int(random.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(data), int(random.integers(2**20))]))
                damaged[place // 4 * 4 : place // 4 * 4 + 4] = value.to_bytes(4, "little")
        outcomes.append(convert(bytes(damaged)))
    assert any(outcomes) and not all(outcomes)
    assert megabytes() - before < MAX_MEGABYTES


def test_random_bytes_behind_a_good_header() -> None:
    random = np.random.default_rng(0)
    for size in (16, 100, 1000, 10_000):
        for _ in range(50):
            assert not convert(b"\x1c\0\0\0TFL3" + random.bytes(size))


def test_damage_in_a_real_file(model_path: Callable) -> None:
    data = model_path("hand_landmark_full").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(data)
        for place in random.integers(len(data) - 45_000, len(data), 20):  # operators and tensors lie at the end
            damaged[place] ^= 1 << int(random.integers(8))
        convert(bytes(damaged))

"""Every op on several threads: what is cut into tasks gives what one thread gives, bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tulle
from native.conftest import native_file
from native.hosts import LoadedLibrary
from python.test_kernels import Case, winograd
from tulle.ops import FAMILIES, OPS
from tulle.pack import pack


def large_picture(random: np.random.Generator, least: int = 5) -> np.ndarray:
    """In place of `picture` of `tulle.ops.windows`: small maps are not worth sharing and stay one task."""
    height, width = random.integers(60, 80, 2)
    return random.standard_normal((1, height, width, int(random.integers(4, 12))))


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.stored and not op.layout.changes])
def test_threads_change_no_bit_of_an_op(name: str, use_host: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for family in FAMILIES:
        monkeypatch.setattr(family, "picture", large_picture, raising=False)
    random, op = np.random.default_rng(0), OPS[name]
    for seed in range(4):
        graph, feeds = op.example(random).graph(op)
        data = tulle.convert(graph, weights="fp32", sparse="always" if seed % 2 else "never").data
        results = []
        for threads in (1, 3):
            use_host(lambda build, threads=threads: LoadedLibrary(native_file(f"libtulle-{build}.so"), threads))
            with tulle.load(data) as model:
                results.append(model(feeds)["y"])
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
@pytest.mark.parametrize(
    ("kernel", "height", "width", "channels"),
    [
        ((3, 3), 14, 14, (64, 40)),  # one strip: threads share its output channels
        ((3, 3), 57, 61, (48, 24)),  # a few strips
        ((3, 3), 40, 300, (64, 16)),  # many
        ((1, 3), 30, 33, (60, 70)),
        ((3, 1), 33, 30, (60, 70)),
    ],
)
def test_threads_change_no_bit_of_winograd(
    variant: str, kernel: tuple[int, int], height: int, width: int, channels: tuple[int, int], use_host: Callable
) -> None:
    case = Case(height, width)
    y = winograd(case, height, width, channels, kernel, activation="prelu", residual=True)
    case.graph.outputs = [case.op("to_plain", [y], case.graph.tensors[y].shape)]
    feeds = {name: case.values(case.graph.tensors[name].shape) for name in case.graph.inputs}
    results = []
    for threads in (1, 2, 3, 8):
        use_host(lambda build, threads=threads: LoadedLibrary(native_file(f"libtulle-{build}.so"), threads))
        with tulle.load(pack(case.graph), variant=variant) as model:  # type: ignore[arg-type]
            assert "winograd" in {step["path"] for step in model.profile()}
            results.append(model(feeds)["to_plain"])
    for result in results[1:]:
        np.testing.assert_array_equal(results[0], result)

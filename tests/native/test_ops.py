"""Every op on several threads: what is cut into tasks gives what one thread gives, bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tulle
from native.conftest import native_file
from native.hosts import LoadedLibrary
from tulle.ops import FAMILIES, OPS


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

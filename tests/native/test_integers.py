"""Quantised networks on bytes (tests/python/test_integers.py) on the native builds: activations up to 255, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import tulle
from native.conftest import native_file
from native.hosts import HostProcess, LoadedLibrary
from python.test_integers import ON_BYTES, check, kernels_of, maps_between, network, picture
from tulle.pack import pack

TOP = 255


@pytest.fixture(params=["relaxed", "asan"])
def build(request: pytest.FixtureRequest, use_host: Callable) -> Iterator[None]:
    if request.param == "asan":
        use_host(lambda build: HostProcess(native_file("tulle-host-asan")))
    else:
        use_host(lambda build: LoadedLibrary(native_file("libtulle-relaxed.so")))
    yield


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("seed", range(12))
def test_networks_compute_what_their_integers_say(seed: int) -> None:
    check(network(seed), seed, TOP)
    check(maps_between(seed), seed, TOP, least=1)


@pytest.mark.parametrize("seed", range(8))
def test_threads_change_no_bit(seed: int, use_host: Callable) -> None:
    graph = network(seed, scale=3) if seed % 2 else maps_between(seed, scale=3)
    data, results = pack(graph), []
    for threads in (1, 2, 4):
        use_host(lambda build, threads=threads: LoadedLibrary(native_file("libtulle-relaxed.so"), threads))
        with tulle.load(data) as model:
            assert any(kernel in ON_BYTES for kernel in kernels_of(model))
            results.append(model(picture(graph, seed)))
    for other in results[1:]:
        for name, values in results[0].items():
            np.testing.assert_array_equal(values, other[name])


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_have_no_race(threads: int, use_host: Callable, thorough: bool) -> None:
    use_host(lambda build: HostProcess(native_file("tulle-host-tsan"), threads))
    for seed in range(40 if thorough else 3):
        check(network(seed), seed, TOP)
        check(maps_between(seed), seed, TOP, least=1)


def test_sizes_of_32_bits(use_host: Callable, thorough: bool) -> None:
    use_host(lambda build: HostProcess(native_file("tulle-host-m32")))
    for seed in range(40 if thorough else 6):
        check(network(seed), seed, TOP)
        check(maps_between(seed), seed, TOP, least=1)

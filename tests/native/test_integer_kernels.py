"""The cases of the kernels on bytes (tests/python/test_integer_kernels.py) on the native builds, where activations may
be as large as 255, and under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import pytest

from native.conftest import native_file
from native.hosts import HostProcess, LoadedLibrary
from python.test_integer_kernels import *  # noqa: F403
from python.test_integer_kernels import PAIRS, UNSIGNED, Host, Kernels


@cache
def host(name: str) -> Host:
    if name == "asan":
        return HostProcess(native_file("tulle-host-asan"))
    return LoadedLibrary(native_file("libtulle-relaxed.so"))


@pytest.fixture(params=product(["relaxed", "asan"], [UNSIGNED, PAIRS]), ids=str)
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    name, dot = request.param
    kernels = Kernels(host(name), "P", dot)
    yield kernels
    kernels.free()

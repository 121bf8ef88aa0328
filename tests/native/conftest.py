"""Running the tests' models on the native builds instead of wasm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import missing
from native.hosts import BUILDS, HostProcess, LoadedLibrary
from paths import ROOT
from tulle.runtime.host import Build, Library, Variant

# Of so many of the kernels' cases one is run, unless all are asked for.
KERNEL_CASES = {"test_kernels.py": 6, "test_kernels_sanitized.py": 150, "test_integer_kernels.py": 12}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the kernels' cases a sample will do: all of them run on the wasm builds."""
    if config.getoption("--thorough"):
        return
    dropped = {id(item) for item in items if item.get_closest_marker("thorough")}
    for name, every in KERNEL_CASES.items():
        cases = [item for item in items if item.path == Path(__file__).with_name(name)]
        dropped.update(id(item) for index, item in enumerate(cases) if index % every)
    config.hook.pytest_deselected(items=[item for item in items if id(item) in dropped])
    items[:] = [item for item in items if id(item) not in dropped]


def native_file(name: str) -> Path:
    """A file of the native build; the test skips without it, or where this processor cannot run it."""
    if ("relaxed" in name or name.endswith("asan")) and " fma " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no fused multiply-add")
    path = BUILDS / name
    if not path.is_file():
        missing(f"no {path.relative_to(ROOT)}: run `make native`")
    return path


@pytest.fixture
def use_host(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Build], Library]], None]:
    """`use_host(opener)`: from now on models are loaded into `opener(build)`, build being "simd" or "relaxed"."""

    def use(opener: Callable[[Build], Library]) -> None:
        def open_library(variant: Variant) -> tuple[Library, Build]:
            build: Build = "simd" if variant == "simd" else "relaxed"
            return opener(build), build

        monkeypatch.setattr("tulle.runtime.model.open_library", open_library)

    return use


@pytest.fixture
def shared_library(use_host: Callable) -> None:
    """Models run in this process, on the library whose multiply-adds are those of the wasm build asked for."""
    use_host(lambda build: LoadedLibrary(native_file(f"libtulle-{build}.so")))


@pytest.fixture
def address_sanitizer(use_host: Callable) -> None:
    """Models run in a process with AddressSanitizer: of 32 bits for "simd", with fused multiply-adds for "relaxed"."""
    names = {"simd": "asan32", "relaxed": "asan"}
    use_host(lambda build: HostProcess(native_file(f"tulle-host-{names[build]}")))

"""Everyone who calls the C library knows the same functions: wasm/include/tulle.h is what they have to agree with."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import wasmtime

from paths import ROOT
from tulle.runtime import side_module

BUILDS = ("simd", "relaxed", "simd-threads", "relaxed-threads")
SCRIPT = (ROOT / "web" / "src" / "wasm.js").read_text()


def header() -> dict[str, tuple[list[str], bool]]:
    """Names of the parameters of each function, and whether it returns something."""
    text = re.sub(r"//.*", "", (ROOT / "wasm" / "include" / "tulle.h").read_text())
    functions = {}
    for result, name, parameters in re.findall(r"TULLE_API\s+([\w\s*]+?)\s*\b(tulle_\w+)\(([^)]*)\);", text):
        functions[name] = [part.split()[-1].lstrip("*") for part in parameters.split(",")], result != "void"
    assert len(functions) == len(re.findall(r"^TULLE_API", text, re.MULTILINE)) > 10
    return functions


def module(build: str) -> wasmtime.Module:
    config = wasmtime.Config()
    config.wasm_threads = config.wasm_relaxed_simd = True
    return wasmtime.Module(wasmtime.Engine(config), (ROOT / "web" / "dist" / f"tulle-{build}.wasm").read_bytes())


def test_the_script_declares_them() -> None:
    declared = {}
    for parameters, result, name in re.findall(r"@property \{\(([^)]*)\) => (\w+)\}(?:\n \*)? +(tulle_\w+)", SCRIPT):
        names = [part.partition(":") for part in parameters.split(",")]
        assert {kind.strip() for _, _, kind in names} == {"number"}
        declared[name] = [word.strip() for word, _, _ in names], result != "void"
    assert declared == header()


def test_ctypes_is_told_which_return_nothing() -> None:
    assert set(side_module._WITHOUT_RESULT) == {name for name, (_, result) in header().items() if not result}


def test_python_calls_them_with_as_many_arguments() -> None:
    functions, called = header(), set()
    for path in Path(side_module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call"):
                continue
            name = node.args[0]
            if isinstance(name, ast.Constant) and name.value != "_initialize":
                assert len(node.args) - 1 == len(functions[name.value][0]), f"{path}:{node.lineno}"
                called.add(name.value)
    assert {"tulle_model_load", "tulle_model_run"} <= called


@pytest.mark.parametrize("build", BUILDS)
def test_the_builds_export_them(build: str) -> None:
    exported = {}
    for item in module(build).exports:
        if item.name.startswith("tulle_"):
            assert isinstance(item.type, wasmtime.FuncType)
            assert {str(kind) for kind in [*item.type.params, *item.type.results]} <= {"i32"}
            exported[item.name] = len(item.type.params), bool(item.type.results)
    assert exported == {name: (len(parameters), result) for name, (parameters, result) in header().items()}


@pytest.mark.parametrize("build", [name for name in BUILDS if name.endswith("threads")])
def test_the_builds_with_threads_import_the_memory_that_the_script_makes(build: str) -> None:
    [limits] = re.findall(r"SHARED_MEMORY = \{ initial: (\d+), maximum: (\d+) \}", SCRIPT)
    [memory] = [item.type for item in module(build).imports if item.name == "memory"]
    assert isinstance(memory, wasmtime.MemoryType)
    assert (memory.limits.min, memory.limits.max) == tuple(map(int, limits))


def test_the_script_knows_the_most_threads() -> None:
    [most] = re.findall(r"#define TULLE_MAX_THREADS (\d+)", (ROOT / "wasm" / "include" / "tulle.h").read_text())
    assert f"MAX_THREADS = {most};" in (ROOT / "web" / "src" / "support.js").read_text()

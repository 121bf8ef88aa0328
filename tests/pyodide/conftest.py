"""Pyodide in Node and in Chromium, with everything it loads served from this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

import pyodide_wheels
from browser.server import Site
from paths import ROOT
from pyodide.complete import complete_pyodide
from pyodide.hosts import HERE, IN_WORKER, PURE, VERSIONS, PythonError, Run, pyodide_site, wheel_of
from sharing import folder_of_run, locked


@pytest.fixture(scope="session")
def wheels() -> dict[str, Path]:
    """tulle's wheel for each Pyodide, built from this checkout as it is."""
    command = [sys.executable, ROOT / "scripts" / "pyodide_wheels.py", "--minimal"]
    with locked("pyodide"):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        if "needs Python" in result.stderr or "npm pack" in result.stderr or "pip install" in result.stderr:
            pytest.skip(f"the wheels for Pyodide cannot be built here: {result.stderr.strip()}")
        pytest.fail(result.stdout + result.stderr)
    return {version: wheel_of(version) for version in VERSIONS}


@pytest.fixture(scope="session")
def pure_wheels() -> dict[str, str]:
    """File names of plain Python wheels in .cache/pyodide/wheels, by project."""
    folder = pyodide_wheels.HOME / "wheels"

    def find() -> dict[str, list[Path]]:
        return {name.partition("==")[0]: list(folder.glob(f"{name.replace('==', '-')}-*.whl")) for name in PURE}

    with locked("pyodide"):
        if not all(find().values()):
            options = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.13", "--dest", str(folder)]
            command = [sys.executable, "-m", "pip", "download", "--quiet", *options, *PURE]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                pytest.skip(f"micropip and the converter's wheels cannot be had: {result.stderr.strip()[-300:]}")
    return {name: paths[0].name for name, paths in find().items()}


@pytest.fixture(scope="session")
def pyodide_folder(pure_wheels: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pyodide with NumPy and micropip."""
    folder = folder_of_run(tmp_path_factory) / "pyodide"
    with locked("complete-pyodide"):
        if not folder.is_dir():
            complete_pyodide(
                folder, [pyodide_wheels.HOME / "wheels" / pure_wheels[name] for name in ("micropip", "packaging")]
            )
    return folder


# The package onnx wants ml_dtypes at its import, for kinds of numbers that no network here has. Pyodide's own site has
# its wheel, which is compiled; this stands in for it, since tests must not need that site.
NAMES = """bfloat16 float4_e2m1fn float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int2 int4
uint2 uint4 float6_e2m3fn float6_e3m2fn float8_e3m4 float8_e4m3 float8_e4m3b11fnuz int1 uint1"""
ML_DTYPES = "import numpy\n" + "\n".join(f"{name} = numpy.dtype([('{name}', 'u1')])" for name in NAMES.split())


def wheel(folder: Path, name: str, version: str, code: str) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


@pytest.fixture(scope="session")
def onnx_wheels(pyodide_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The package onnx for Pyodide, and what it needs."""
    folder = pyodide_wheels.HOME / "wheels"
    names = {"onnx-1.23.2-*": "onnx==1.23.2", "protobuf-7.36.2-py3*": "protobuf==7.36.2",
             "typing_extensions-4.16.0*": "typing_extensions==4.16.0"}  # fmt: skip
    with locked("onnx-wheels"):
        for pattern, requirement in names.items():
            if not list(folder.glob(pattern)):
                options = ["--no-deps", "--only-binary", ":all:", "--platform", "pyemscripten_2026_0_wasm32"]
                options += ["--implementation", "cp", "--python-version", "3.14", "--dest", str(folder)]
                command = [sys.executable, "-m", "pip", "download", "--quiet", *options, requirement]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                if result.returncode:
                    pytest.skip(f"the package onnx for Pyodide cannot be had: {result.stderr.strip()[-300:]}")
    stand_in = wheel(tmp_path_factory.mktemp("wheels"), "ml_dtypes", "0.5.4", ML_DTYPES)
    return [*(next(folder.glob(pattern)) for pattern in names), stand_in]


@pytest.fixture(scope="session")
def site(wheels: dict[str, Path]) -> Iterator[Site]:
    """Serves every Pyodide at /pyodide/VERSION, the wheels at /dist/ and /pyodide/wheels/; cross-origin isolated."""
    with pyodide_site() as site:
        yield site


@pytest.fixture
def in_node(site: Site) -> Run:
    """in_node(version, code, packages=..., ...) gives what the Python code in Pyodide in Node gives."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node: run this through make")

    def run(version: str, code: str, **options: Any) -> Any:
        # Node imports no scripts over HTTP.
        options |= {"code": code, "home": (pyodide_wheels.HOME / version).as_uri()}
        options["lib"] = str(pyodide_wheels.HOME / version)
        process = subprocess.run(
            [node, HERE / "runner.mjs"], input=json.dumps(options), capture_output=True, text=True, timeout=600
        )
        lines = process.stdout.splitlines()
        answer = json.loads(lines[-1]) if process.returncode == 0 and lines else {"error": process.stderr}
        if "error" in answer:
            raise PythonError(answer["error"])
        return answer["result"]

    return run


@pytest.fixture
def in_chromium(site: Site, chromium: Browser) -> Run:
    """As in_node, in a page; `on=` another site, `worker=True` in a worker."""

    def run(version: str, code: str, on: Site = site, worker: bool = False, **options: Any) -> Any:
        options |= {"code": code, "home": f"{on.url}/pyodide/{version}"}
        page = chromium.new_page()
        try:
            page.goto(on.url + "/page.html")
            call = "import('/tests/runner.mjs').then(({ run }) => run(options))"
            script = f"(options) => {call}.then((result) => ({{ result }}), ({{ message }}) => ({{ error: message }}))"
            answer = page.evaluate(script if not worker else IN_WORKER, options)
        finally:
            page.close()
        if "error" in answer:
            raise PythonError(answer["error"])
        return answer["result"]

    return run

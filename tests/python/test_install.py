"""What is published can be installed: the wheel without a compiler, the sdist with one, in clean environments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from paths import ROOT

pytestmark = pytest.mark.slow

PICTURE = ROOT / "demos" / "images" / "open-hand.jpg"


def run(*command: str | Path, **variables: str) -> str:
    """What the command prints; the test fails, or is skipped where a package cannot be fetched."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", check=False)
    if result.returncode and ("No matching distribution" in result.stderr or "ConnectionError" in result.stderr):
        pytest.skip(f"packages cannot be had: {result.stderr.strip()[-300:]}")
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def environment(python: str | Path, folder: Path) -> Path:
    """A clean virtual environment's bin folder."""
    run(python, "-m", "venv", folder)
    return folder / "bin"


def emcc() -> str:
    toolchain = ROOT / ".cache" / "toolchain" / "bin" / "emcc"
    return os.environ.get("EMCC") or (str(toolchain) if toolchain.exists() else shutil.which("emcc")) or ""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bin_folder = environment(sys.executable, tmp_path_factory.mktemp("tools"))
    run(bin_folder / "pip", "install", "--quiet", "hatchling", "twine")
    return bin_folder


@pytest.fixture(scope="module")
def dist(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built from this checkout."""
    if not (ROOT / "py/tulle/_wasm/tulle-simd.wasm").is_file() and not emcc():
        pytest.skip("no built wasm and no emcc: run `make build`")
    folder = tmp_path_factory.mktemp("dist")
    script = f"cd {ROOT} && {tools / 'hatchling'} build -d {folder}"
    run("sh", "-c", script, EMCC=emcc())
    return folder


def python_of(version: str) -> str:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    candidates = [f"python{version}", *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path and subprocess.run([path, "-c", "import ensurepip"], capture_output=True).returncode == 0:
            return path
    pytest.skip(f"no Python {version} here")


def test_archives_are_what_registries_take(dist: Path, tools: Path) -> None:
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    run(tools / "twine", "check", "--strict", wheel, sdist)
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"tulle/_wasm/tulle-simd.wasm", "tulle/_wasm/tulle-relaxed.wasm"} <= set(names)
    assert not any("_pyodide" in name for name in names)
    with tarfile.open(sdist) as tar:
        inside = tar.getnames()
    assert not any(name.endswith((".wasm", ".so")) or "/tests/" in name or "/demos/" in name for name in inside)
    assert (
        wheel.stat().st_size < 4.2e6 and sdist.stat().st_size < 1e6
    )  # 3.3 MB of the wheel are the hand tracker's networks


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_wheel_runs_a_model_in_a_clean_environment(
    version: str, dist: Path, tmp_path: Path, model_path: Callable[[str], Path]
) -> None:
    model = model_path("hand_landmark_lite")
    bin_folder = environment(python_of(version), tmp_path / "venv")
    (wheel,) = dist.glob("*.whl")
    run(bin_folder / "pip", "install", "--quiet", "--no-cache-dir", wheel, PATH="/usr/bin:/bin", EMCC="")
    # Neither the checkout nor a compiler is in sight.
    where = run(bin_folder / "python", "-c", "import tulle; print(tulle.__file__)").strip()
    assert where.startswith(str(tmp_path))
    printed = run(bin_folder / "tulle", "run", model, PICTURE, PATH="/usr/bin:/bin")
    assert "Identity" in printed


def test_sdist_compiles_where_there_is_emcc_and_says_so_where_there_is_none(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    bin_folder = environment(sys.executable, tmp_path / "venv")
    run(bin_folder / "pip", "install", "--quiet", "hatchling")
    build = [bin_folder / "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, sdist]
    without = {**os.environ, "PATH": f"{bin_folder}:/usr/bin:/bin", "EMCC": ""}
    if shutil.which("emcc", path="/usr/bin:/bin") is None:
        result = subprocess.run(build, capture_output=True, text=True, env=without, cwd=tmp_path, check=False)
        assert result.returncode != 0
        assert "finds no emcc: install Emscripten" in result.stdout + result.stderr
    if not emcc():
        pytest.skip("no emcc: run `make build`")
    # Where Emscripten lives in a Debian root of its own, that root sees the checkout.
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        run(*build, EMCC=emcc(), PATH=f"{bin_folder}:{os.environ['PATH']}", TMPDIR=folder)
    (wheel,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(wheel).getinfo("tulle/_wasm/tulle-relaxed.wasm").file_size > 50_000

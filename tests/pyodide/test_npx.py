"""`npx tulle`, from the packed package in an empty folder: the files it writes are those of Python's command."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from browser.conftest import built
from browser.test_package import npm, tarball
from conftest import missing
from tulle.cli import main
from tulle.inspection import describe

__all__ = ["built", "tarball"]  # fixtures

pytestmark = [pytest.mark.slow]

MODELS = (
    "hand_landmark_full", "hand_landmark_lite", "palm_detection_full", "palm_detection_lite", "selfie_segmentation",
    "selfie_segmentation_landscape", "hand_landmark_tulle", "selfie_segmentation_landscape_tulle_50",
    "selfie_segmentation_landscape_tulle_80", "selfie_segmentation_landscape_tulle_90",
)  # fmt: skip


@pytest.fixture(scope="module")
def empty(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package alone."""
    folder = tmp_path_factory.mktemp("npx")
    npm(folder, "install", "--no-audit", "--no-fund", str(tarball))
    return folder


@pytest.fixture(scope="module")
def folder(empty: Path, pyodide_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with Pyodide, which here has its NumPy already."""
    folder = tmp_path_factory.mktemp("npx-pyodide") / "folder"
    shutil.copytree(empty, folder, symlinks=True)
    shutil.copytree(pyodide_folder, folder / "node_modules" / "pyodide")
    return folder


def npx(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("npx") or missing("no npx: run `make node`")
    command = [program, "--no-install", "tulle", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def same_file(folder: Path, ours: list[str], python: list[str], target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs both commands there; what they write under `target` is the same, byte by byte."""
    done = npx(folder, *ours, "-o", target)
    assert done.returncode == 0, done.stderr
    written = (folder / target).read_bytes()
    (folder / target).unlink()
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(main, [*python, "-o", target], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert written == (folder / target).read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_convert_writes_pythons_bytes(
    name: str, folder: Path, model_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(model_path(name), folder / f"{name}.tflite")
    command = ["convert", f"{name}.tflite", "--input-mean", "-1.5", "--input-std", "255"]
    same_file(folder, command, command, f"{name}.tulle", monkeypatch)


@pytest.mark.parametrize("suffix", [".tulle", ".tflite"])
def test_sparsify_writes_pythons_bytes(
    suffix: str, folder: Path, model_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(model_path("selfie_segmentation"), folder / "selfie.tflite")
    command = ["sparsify", "selfie.tflite", "--sparsity", "0.8", "--method", "magnitude"]
    same_file(folder, command, command, f"sparse{suffix}", monkeypatch)


def test_inspect(folder: Path, model_path: Callable[[str], Path]) -> None:
    path = model_path("selfie_segmentation")
    done = npx(folder, "inspect", str(path), "--json")
    assert json.loads(done.stdout) == json.loads(json.dumps(describe(path).to_dict()))
    words = npx(folder, "inspect", str(path)).stdout
    assert words.startswith("selfie_segmentation: tflite file, 249.0 kB\n  input input_1: 1x256x256x3 float32\n")
    assert "depthwise_conv2d" in words


def test_errors(empty: Path, folder: Path, model_path: Callable[[str], Path]) -> None:
    path = str(model_path("selfie_segmentation"))
    (folder / "broken.tflite").write_bytes(Path(path).read_bytes()[:9999])
    (folder / "broken.tulle").unlink(missing_ok=True)
    for where, arguments, message in [
        (empty, ["convert", path, "-o", "x.tulle"], "npx -p tulle -p pyodide@314.0.7 tulle ..."),
        (folder, ["convert", "broken.tflite", "-o", "broken.tulle"], "Error: broken.tflite: "),
        (folder, ["convert", "nowhere.tflite", "-o", "x.tulle"], "nowhere.tflite cannot be read"),
        (folder, ["convert", path], "say what to write: -o OUT.tulle"),
        (folder, ["convert", path, "-o", "x.tflite"], "what is written is a .tulle file"),
        (folder, ["convert", path, "-o", "x.tulle", "--input-std", "two"], "--input-std is a number, not two"),
        (folder, ["convert", path, "-o", "x.tulle", "--wieghts", "fp16"], "Unknown option '--wieghts'"),
        (folder, ["sparsify", path, "-o", "x.tulle", "--method", "reconstruct"], "need the Python package"),
        (folder, ["verify", path], 'there is no command "verify"'),
    ]:
        done = npx(where, *arguments)
        assert done.returncode == 1 and message in done.stderr, (arguments, done.stderr)
        assert "    at " not in done.stderr, "a stack trace"
    assert not (folder / "broken.tulle").exists()

"""scripts/toolchain.py: which Emscripten it takes. (That the others can be set up shows wherever CI builds.)"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import toolchain
from common import SetupError


def emscripten(folder: Path, version: str) -> Path:
    """An `emcc` and `em++` that know nothing but their version and how to echo."""
    folder.mkdir(parents=True)
    for name in ("emcc", "em++"):
        script = folder / name
        line = f"{name} (Emscripten gcc/clang-like replacement) {version} (abc)"
        script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{line}" && exit\necho {name} "$@"\n')
        script.chmod(0o755)
    return folder / "emcc"


@pytest.fixture(autouse=True)
def no_emscripten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMCC", raising=False)
    monkeypatch.delenv("EMSDK", raising=False)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(toolchain, "BIN", tmp_path / "bin")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("emcc (Emscripten gcc/clang-like replacement + linker emulating GNU ld) 3.1.69 ()\nclang 19.1.7", (3, 1, 69)),
        ("emcc (Emscripten gcc/clang-like replacement) 4.0.12 (0f6a4b0)", (4, 0, 12)),
        ("command not found\n3.1.69", None),
        ("", None),
    ],
)
def test_versions(text: str, version: tuple[int, ...] | None) -> None:
    assert toolchain.parse_version(text) == version


def test_order_of_preference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = emscripten(tmp_path / "path", "3.1.70")
    in_emsdk = emscripten(tmp_path / "emsdk" / "upstream" / "emscripten", "4.0.1")
    asked = emscripten(tmp_path / "asked", "3.1.58")
    monkeypatch.setenv("PATH", f"{on_path.parent}{os.pathsep}{os.defpath}")
    assert toolchain.find_emcc() == on_path
    monkeypatch.setenv("EMSDK", str(tmp_path / "emsdk"))
    assert toolchain.find_emcc() == in_emsdk
    monkeypatch.setenv("EMCC", str(asked))
    assert toolchain.find_emcc() == asked


def test_an_old_one_is_passed_over_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = emscripten(tmp_path / "old", "3.1.57")
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.defpath}")
    assert toolchain.find_emcc() is None
    monkeypatch.setenv("EMCC", str(old))
    with pytest.raises(SetupError, match=r"found version 3\.1\.57, need 3\.1\.58"):
        toolchain.find_emcc()


def test_our_own_wrapper_is_not_taken_for_an_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = emscripten(tmp_path / "bin", "3.1.69")
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.defpath}")
    assert toolchain.find_emcc() is None


def test_wrappers_pass_arguments_on(tmp_path: Path) -> None:
    toolchain.use_installed(emscripten(tmp_path / "with space", "3.1.69"))
    result = subprocess.run([tmp_path / "bin" / "em++", "-c", "a b.cc"], capture_output=True, text=True, check=True)
    assert result.stdout == "em++ -c a b.cc\n"


# Stands in for the SDK's own program: a download that breaks off at the first try, then an Emscripten.
EMSDK_PY = """
import pathlib, sys
here = pathlib.Path(__file__).parent
command, version = sys.argv[1:]
if command == "install" and not (here / "tried").exists():
    (here / "tried").touch()
    sys.exit("download broke off")
if command == "install":
    folder = here / "upstream" / "emscripten"
    folder.mkdir(parents=True)
    for name in ("emcc", "em++"):
        (folder / name).write_text(f"#!/bin/sh\\necho {name} {version}\\n")
        (folder / name).chmod(0o755)
if command == "activate":
    (here / ".emscripten").touch()
"""


def test_an_interrupted_sdk_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "emsdk.py").write_text(EMSDK_PY)
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "sdk"], ["tag", toolchain.EMSDK_VERSION]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(toolchain, "EMSDK_REPOSITORY", repository.as_uri())
    monkeypatch.setattr(toolchain, "EMSDK", tmp_path / "emsdk")
    monkeypatch.setattr(toolchain, "LOG", tmp_path / "log")
    (tmp_path / "emsdk").mkdir()  # a clone that was cut short
    (tmp_path / "emsdk" / "half").touch()

    with pytest.raises(SetupError, match="download broke off"):
        toolchain.make_emsdk()
    toolchain.make_emsdk()
    assert toolchain.emcc_version(tmp_path / "bin" / "emcc") == (3, 1, 69)
    assert (tmp_path / "emsdk" / ".emscripten").exists()

    (tmp_path / "emsdk" / "emsdk.py").unlink()
    toolchain.make_emsdk()  # finished: not run again

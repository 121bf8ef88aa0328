"""scripts/pyodide_wheels.py: which cross-build environment it takes, and when it builds anew.

pyodide-build's own environment comes from a host that tests must not need, so a stand-in for its command plays both
hosts that can be reached and ones that cannot; that real wheels come out is what all other tests here show.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pyodide_wheels
from common import SetupError
from pyodide.hosts import VERSIONS

VERSION = VERSIONS[0]

# Writes down how it was called; `fail` names what does not work.
TOOL = """#!/bin/sh
echo "$@" >> {folder}/calls
case "$*" in {fail}) echo "no such host"; exit 1;; esac
mkdir -p {folder}/dist
if [ "$1" = build ]; then echo wheel > {folder}/dist/tulle-1-pyemscripten_2026_0_wasm32.whl; fi
if [ "$1" = xbuildenv ]; then while [ "$1" != --path ]; do shift; done; mkdir -p "$2"; fi
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of .cache/pyodide, with Pyodide's npm package, and of dist/."""
    package = pyodide_wheels.HOME / VERSION
    if not package.is_dir():
        pytest.skip(f"{package} is missing: run `make pyodide`")
    (tmp_path / VERSION).symlink_to(package)
    monkeypatch.setattr(pyodide_wheels, "HOME", tmp_path)
    monkeypatch.setattr(pyodide_wheels, "LOG", tmp_path / "setup.log")
    monkeypatch.setattr(pyodide_wheels, "DIST", tmp_path / "dist")
    return tmp_path


def build(folder: Path, fail: str, *, try_own: bool = True) -> list[str]:
    """Builds the wheel; the stand-in's calls."""
    tool = folder / "pyodide"
    tool.write_text(TOOL.format(folder=folder, fail=fail))
    tool.chmod(0o755)
    (folder / "calls").unlink(missing_ok=True)
    pyodide_wheels.build(tool, VERSION, try_own=try_own)
    return (folder / "calls").read_text().splitlines()


def test_own_cross_build_environment_is_fetched_once(folder: Path) -> None:
    own = f"{folder}/xbuildenv-own-{VERSION}"
    install, first = build(folder, "never")
    assert install == f"xbuildenv install {VERSION} --force --path {own}"
    assert first.startswith("build ") and first.endswith(f"--xbuildenv-path {own}")
    assert build(folder, "never") == [first]


@pytest.mark.parametrize("fail", ["*--force*", "build*-own-*"])
def test_minimal_one_takes_over_where_the_own_one_cannot_be_had_or_used(folder: Path, fail: str) -> None:
    *_, install, last = build(folder, fail)
    assert install.startswith("xbuildenv install --path") and f"file://{folder}/xbuildenv-{VERSION}.tar.gz" in install
    assert last.endswith(f"--xbuildenv-path {folder}/xbuildenv-{VERSION}")


def test_minimal_one_alone_asks_nobody(folder: Path) -> None:
    assert not any("--force" in call for call in build(folder, "never", try_own=False))


def test_failed_build_says_why_and_is_not_taken_for_done(folder: Path) -> None:
    with pytest.raises(SetupError, match="no such host"):
        build(folder, "build*")
    assert not pyodide_wheels.is_fresh(VERSION)


def test_wheel_is_fresh_until_it_or_its_sources_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pyodide_wheels.is_fresh(VERSION)
    build(folder, "never")
    assert pyodide_wheels.is_fresh(VERSION)
    monkeypatch.setattr(pyodide_wheels, "digest", lambda: "another")
    assert not pyodide_wheels.is_fresh(VERSION)
    monkeypatch.undo()
    monkeypatch.setattr(pyodide_wheels, "HOME", folder)
    monkeypatch.setattr(pyodide_wheels, "DIST", folder / "dist")
    pyodide_wheels.wheel_of(VERSION).write_text("damaged")
    assert not pyodide_wheels.is_fresh(VERSION)


def test_digest_sees_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyodide_wheels, "ROOT", tmp_path)
    seen = {pyodide_wheels.digest()}
    for name in ("py/tulle/a.py", "wasm/kernels/a.c", "web/src/a.js", "third_party/x/a.h", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        seen.add(pyodide_wheels.digest())
    assert len(seen) == 6
    (tmp_path / "py" / "tulle" / "__pycache__").mkdir()
    (tmp_path / "py" / "tulle" / "__pycache__" / "a.pyc").write_text("x")
    assert pyodide_wheels.digest() in seen

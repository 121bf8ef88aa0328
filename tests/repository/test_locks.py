"""The lock files: all that builds and tests install is pinned with hashes, and is what pyproject.toml asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from locks import LOCKS, NOT_LOCKED
from make_venv import LOCKED
from paths import ROOT

FILES = sorted(LOCKS.glob("*.txt"))


def packages(path: Path) -> dict[str, list[str]]:
    """The pinned versions of each package; fails where one has no hash."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", path.read_text(), flags=re.MULTILINE)[1:]:
        pin = re.match(r"([a-z0-9-]+)==([^ ;\\]+)", block)
        assert pin, block
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), f"{pin[0]} without a hash"
        found.setdefault(pin[1], []).append(pin[2])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_package_has_a_version_and_hashes_and_no_host(path: Path) -> None:
    assert packages(path)
    assert "://" not in path.read_text()


def test_what_the_extras_ask_for_is_locked() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none, and no lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, files in LOCKED.items():
        locked = {name for file in files for name in packages(LOCKS / f"{file}.txt")}
        assert len(locked) == sum(len(packages(LOCKS / f"{file}.txt")) for file in files), "one package in two files"
        asked = list(project["dependencies"])
        for name in filter(None, extra.strip("[]").split(",")):
            asked += project["optional-dependencies"][name]
        for requirement in asked:
            name = re.match(r"[\w.-]+", requirement)
            assert name
            normal = re.sub(r"[._-]+", "-", name[0]).lower()
            assert normal in locked or normal == "tulle" or NOT_LOCKED.match(normal), requirement
        assert {"hatchling", "editables"} <= locked


@pytest.mark.parametrize("folder", ["web", "bench"])
def test_npm_packages_have_their_hashes(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())
    installed = {name: package for name, package in lock["packages"].items() if name}
    assert installed
    assert [name for name, package in installed.items() if not package.get("integrity", "").startswith("sha512-")] == []

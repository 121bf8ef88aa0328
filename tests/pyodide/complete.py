"""A folder with Pyodide and the packages that the converter takes from it, as a page or a person would host it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

import pyodide_wheels
from paths import SHARED

VERSION = pyodide_wheels.VERSIONS[0]
NAME = re.compile(r"([\w.]+?)-\d")


def complete_pyodide(folder: Path, wheels: Iterable[Path] = ()) -> Path:
    """Fills a folder: Pyodide's npm package, NumPy from the shared folder, and further wheels; its list names them."""
    package = pyodide_wheels.HOME / VERSION
    if not package.is_dir():
        pytest.skip(f"{package} is missing: run `make pyodide`")
    lock = json.loads((package / "pyodide-lock.json").read_text())
    numpy = SHARED / "wheels" / lock["packages"]["numpy"]["file_name"]
    if not numpy.is_file():
        pytest.skip("no wheel of NumPy for Pyodide in the shared folder")
    shutil.copytree(package, folder)
    for wheel in (numpy, *wheels):
        shutil.copy(wheel, folder)
        name = NAME.match(wheel.name)
        assert name is not None
        entry = lock["packages"][name[1].replace("_", "-")]
        entry |= {"file_name": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock))
    return folder

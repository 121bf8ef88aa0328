#!/usr/bin/env python3
"""`make release-dry-run`: all of a release but its publication, in build/release. Nothing leaves this machine.

Checks that one version is stated everywhere and that CHANGELOG.md says what is in it, and makes the wheel, the sdist,
the npm package, the wheels for Pyodide (`make pyodide` comes first) and SHA256SUMS. The Python packages are made twice,
to see that they come out the same. CONTRIBUTING.md has the steps before and after.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from common import CACHE, ROOT, SetupError, main_guard, run_logged, say

OUT = ROOT / "build" / "release"
LOG = CACHE / "release.log"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", help="the tag to be released, vVERSION: then CHANGELOG.md needs a section of its own")
    arguments = parser.parse_args()
    version = check_version(arguments.tag)
    check_changelog(version, released=arguments.tag is not None)
    check_tree()
    shutil.rmtree(OUT, ignore_errors=True)
    python_packages(OUT)
    again = OUT / "again"
    python_packages(again)
    for file in again.iterdir():
        if digest(file) != digest(OUT / file.name):
            raise SetupError(f"{file.name} comes out differently each time: nobody could check it against the sources")
    shutil.rmtree(again)
    for wheel in sorted((ROOT / "dist").glob(f"tulle-{version}-*emscripten*.whl")):
        shutil.copy(wheel, OUT)
    command: list[str | Path] = ["npm", "pack", "--pack-destination", OUT, ROOT / "web"]
    run_logged("npm pack", command, LOG)
    sums = "".join(f"{digest(file)}  {file.name}\n" for file in sorted(OUT.iterdir()))
    (OUT / "SHA256SUMS").write_text(sums)
    say(f"tulle {version}, in {OUT.relative_to(ROOT)}; not published")
    print(sums, end="")


def check_version(tag: str | None) -> str:
    """The version; raises SetupError where another is stated."""
    python = re.search(r'__version__ = "(.+)"', (ROOT / "py/tulle/version.py").read_text())
    assert python
    lock = json.loads((ROOT / "web/package-lock.json").read_text())
    stated = {
        "py/tulle/version.py": python[1],
        "web/package.json": json.loads((ROOT / "web/package.json").read_text())["version"],
        "web/package-lock.json": lock["version"],
    }
    if tag is not None:
        stated["the tag"] = tag.removeprefix("v")
    if len(set(stated.values())) > 1:
        raise SetupError(f"several versions: {', '.join(f'{where} says {what}' for where, what in stated.items())}")
    return python[1]


def check_changelog(version: str, *, released: bool) -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    title = rf"{re.escape(version)}\] - \d{{4}}-\d\d-\d\d" if released else r"Unreleased\]"
    section = re.search(rf"^## \[{title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if section is None or not re.search(r"^- ", section[1], re.MULTILINE):
        raise SetupError(f"CHANGELOG.md says nothing of {version if released else 'what is not released yet'}")


def check_tree() -> None:
    """Raises SetupError for changes that are not committed: a release is made of a commit."""
    changes = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    if changes.stdout:
        raise SetupError(f"not committed:\n{changes.stdout}")


def python_packages(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [Path(sys.executable).with_name("hatchling"), "build", "-d", folder]
    run_logged(f"wheel and sdist in {folder.name}", command, LOG)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    with main_guard():
        main()

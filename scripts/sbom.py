#!/usr/bin/env python3
"""`make sbom`: what tulle is made of and built with, as CycloneDX lists in build/sbom/.

    python-runtime.cdx.json   what `pip install tulle` brings
    python-dev.cdx.json       what builds and tests it
    npm.cdx.json              what checks and documents the npm package, which has no dependencies itself
    bench.cdx.json            the peers of the benchmarks

Made from the lock files, whose hashes they hold. Vendored: third_party/. The C library is compiled by Emscripten, whose
version scripts/toolchain.py says.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import locks
from common import ROOT, SetupError, main_guard, say

OUT = ROOT / "build" / "sbom"


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    # What builds the wheel is in base.txt too, and no part of what is installed with it.
    python("python-runtime", ["base"])
    python("python-dev", ["base", "dev", "train"])
    npm("npm", ROOT / "web")
    npm("bench", ROOT / "bench")


def python(name: str, files: list[str]) -> None:
    text = "".join((locks.LOCKS / f"{file}.txt").read_text() for file in files)
    command: list[str | Path] = [
        locks.tools() / "cyclonedx-py",
        "requirements",
        "--output-reproducible",
        "--of",
        "JSON",
        "-",
    ]
    save(name, subprocess.run(command, input=text, capture_output=True, text=True))


def npm(name: str, folder: Path) -> None:
    command = ["npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only"]
    save(name, subprocess.run(command, cwd=folder, capture_output=True, text=True))


def save(name: str, result: subprocess.CompletedProcess[str]) -> None:
    if result.returncode:
        raise SetupError(f"the list {name} could not be made: {result.stderr.strip()}")
    parts = json.loads(result.stdout)
    if parts.get("bomFormat") != "CycloneDX":
        raise SetupError(f"the list {name} is no CycloneDX list")
    (OUT / f"{name}.cdx.json").write_text(json.dumps(parts, indent=1) + "\n")
    say(f"build/sbom/{name}.cdx.json: {len(parts.get('components', []))} components")


if __name__ == "__main__":
    with main_guard():
        main()

#!/usr/bin/env python3
"""Makes `web/dist/tulle-python.zip`: the Python converter that `tulle/convert` and `npx tulle` unpack in Pyodide.

It holds what tulle's wheel for Pyodide and the wheels of flatbuffers and tflite install, without what only training,
the command line and `load_async` use. Made again only if something in it has changed. Run with the Python of `.venv`.
"""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from common import ROOT, SetupError, main_guard, say

TARGET = ROOT / "web" / "dist" / "tulle-python.zip"
PACKAGE = ROOT / "py" / "tulle"
LEFT_OUT = {"_wasm", "_models", "cli", "train", "__pycache__"}
LIBRARIES = ("flatbuffers", "tflite")
DATE = (1980, 1, 1, 0, 0, 0)  # the same for all, so that equal contents are equal files


def build() -> None:
    """Brings the archive up to date. Raises SetupError if the C library cannot be compiled."""
    try:
        subprocess.run(["make", "--no-print-directory", "-f", "scripts/pyodide.mk", "-j2"], cwd=ROOT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"the C library cannot be compiled for Pyodide: {error}") from None
    files = dict(contents())
    if TARGET.is_file() and packed(TARGET) == {name: path.read_bytes() for name, path in files.items()}:
        return
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    partial = TARGET.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, DATE), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    partial.replace(TARGET)
    say(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size / 1e3:.0f} kB")


def contents() -> Iterator[tuple[str, Path]]:
    """Name in the archive, and file, of everything that belongs in it."""
    for path in PACKAGE.rglob("*"):
        place = path.relative_to(PACKAGE)
        if path.is_file() and not LEFT_OUT.intersection(place.parts):
            yield f"tulle/{place.as_posix()}", path
    for name in ("tulle-simd.so", "tulle-relaxed.so.wasm"):
        yield f"tulle/_pyodide/{name}", ROOT / "build" / "pyodide" / name
    for name in LIBRARIES:
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            if (
                path.suffix != ".pyc"
                and not file.parts[0].startswith("..")
                and file.name not in ("RECORD", "INSTALLER")
            ):
                yield file.as_posix(), path


def packed(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile:
        return {}


if __name__ == "__main__":
    with main_guard():
        build()

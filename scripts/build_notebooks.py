#!/usr/bin/env python3
"""Puts the notebooks with all they read (models, pictures) into build/notebooks, ready for Jupyter or JupyterLite.

Run with the Python of `.venv`, after `make models`.
"""

from __future__ import annotations

from pathlib import Path

import tulle
from common import CACHE, ROOT, SetupError, main_guard, say

SOURCE = ROOT / "demos" / "notebooks"
TARGET = ROOT / "build" / "notebooks"
CONVERTED = ("hand_landmark_sparse", "selfie_segmentation")  # pixels are fed as value / 255
PLAIN = ("hand_landmark_lite.tflite",)
PICTURES = ("open-hand.jpg",)


def contents() -> dict[str, bytes]:
    """What lies beside the notebooks, by file name."""
    files = {path.name: path.read_bytes() for path in SOURCE.glob("*.py")}
    for name in CONVERTED:
        files[f"{name}.tulle"] = tulle.convert(model(f"{name}.tflite"), input_mean=0, input_std=255).data
    files |= {name: model(name).read_bytes() for name in PLAIN}
    return files | {name: (ROOT / "demos" / "images" / name).read_bytes() for name in PICTURES}


def model(name: str) -> Path:
    path = CACHE / "models" / name
    if not path.is_file():
        raise SetupError(f"{path} is missing: run `make models`")
    return path


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    notebooks = {path.name: path.read_bytes() for path in SOURCE.glob("*.ipynb")}
    for name, data in (notebooks | contents()).items():
        (TARGET / name).write_bytes(data)
    say(f"{len(notebooks)} notebooks in {TARGET}")


if __name__ == "__main__":
    with main_guard():
        main()

#!/usr/bin/env python3
"""Converts the networks of tulle/hands and tulle/background: `web/models/*.tulle`, also part of the Python wheels.

The palm detector is MediaPipe's, the others are tulle's own sparse ones from demos/weights. A file is converted again
only when its TFLite file, the converter or this script has changed. Run with the Python of `.venv`, after
scripts/fetch_models.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import tulle
from common import CACHE, ROOT, SetupError, main_guard, say
from tulle.files import write_bytes

TARGET = ROOT / "web" / "models"
WEIGHTS = ROOT / "demos" / "weights"

# By name in web/models: the one place that says which network each package uses.
NETWORKS = {
    "palm_detection": CACHE / "models" / "palm_detection_lite.tflite",
    "hand_landmark": WEIGHTS / "hand_landmark_tulle.tflite",
    "selfie_segmentation": WEIGHTS / "selfie_segmentation_240x128_tulle.tflite",
}


def build() -> None:
    """Brings web/models up to date. Raises SetupError if a TFLite file is missing."""
    converter = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted((ROOT / "py" / "tulle").rglob("*.py")):
        converter.update(file.read_bytes())
    for name, source in NETWORKS.items():
        if not source.is_file():
            raise SetupError(f"{source} is missing: run `make models`")
        made_from = converter.copy()
        made_from.update(source.read_bytes())
        target, stamp = TARGET / f"{name}.tulle", ROOT / "build" / "models" / f"{name}.stamp"
        fresh = target.is_file() and stamp.is_file() and stamp.read_text() == made_from.hexdigest()
        if fresh:
            continue
        for folder in (TARGET, stamp.parent):
            folder.mkdir(parents=True, exist_ok=True)
        # MediaPipe feeds pixels as 0 to 1.
        write_bytes(target, tulle.convert(source, input_mean=0, input_std=255).data)
        write_bytes(stamp, made_from.hexdigest().encode())
        say(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    with main_guard():
        build()

"""The models that are measured, in every format a contender reads, their inputs and LiteRT's answers.

Everything is made anew in a working folder at each run, so that it always belongs to the code of the checkout.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.errors import BenchError
from harness.native import NativeLiteRT

CHECKOUT = Path(__file__).resolve().parents[2]
INPUT_SETS = 3
SEED = 20210309


@dataclass(frozen=True)
class Spec:
    """A model: where it comes from and the range of its input's values."""

    name: str
    low: float = 0.0
    high: float = 1.0


SPECS = {
    spec.name: spec
    for spec in (
        Spec("hand_landmark_full"),
        Spec("hand_landmark_lite"),
        Spec("hand_landmark_sparse"),
        Spec("selfie_segmentation"),
        Spec("selfie_segmentation_landscape"),
        Spec("mobilenet_v2", -1.0, 1.0),
    )
}


@dataclass
class Model:
    """A model ready to be measured.

    Attributes:
        files: paths below the working folder by format: "tflite", "tulle", "tulle-dense", "onnx", "tfjs"; a format
            that could not be made has its reason in `missing` instead. A format may take several files.
        inputs: name and shape of each, as the TFLite file has them.
        values: [set][input] float32 arrays.
        expected: [set] LiteRT's outputs by name.
    """

    name: str
    files: dict[str, list[str]]
    missing: dict[str, str]
    inputs: list[dict[str, Any]]
    values: list[list[np.ndarray]]
    expected: list[dict[str, np.ndarray]]


def _picture(shape: tuple[int, ...], low: float, high: float, generator: np.random.Generator) -> np.ndarray:
    """A seeded image of soft blobs with some noise: white noise alone is nothing that a model has been trained on."""
    _, height, width, channels = shape
    planes = []
    for _ in range(channels):
        coarse = Image.fromarray(generator.random((6, 6), dtype=np.float32))
        planes.append(np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)))
    image = np.stack(planes, axis=-1) * 0.9 + generator.random((height, width, channels), dtype=np.float32) * 0.1
    return (low + (high - low) * np.clip(image, 0, 1)).astype(np.float32)[None]


def _shared() -> Path:
    return Path(os.environ.get("TULLE_SHARED") or CHECKOUT.parent / "shared")


def tflite_bytes(spec: Spec) -> bytes:
    """The model as a TFLite file. Raises BenchError with what to do if it can't be had."""
    if spec.name == "mobilenet_v2":
        return _mobilenet_v2()
    for folder in (CHECKOUT / ".cache/models", _shared() / "models"):
        path = folder / f"{spec.name}.tflite"
        if path.is_file():
            return path.read_bytes()
    raise BenchError(f"{spec.name}.tflite is neither in .cache/models (run scripts/fetch_models.py) nor in ../shared/models")


def _mobilenet_v2() -> bytes:
    raise BenchError("not there yet")


def prepare(name: str, folder: Path, formats: set[str]) -> Model:
    """Writes the model in `formats`, its inputs and what LiteRT answers; a format that fails is noted, not raised."""
    spec = SPECS[name]
    tflite = tflite_bytes(spec)
    files = {"tflite": [f"{name}.tflite"]}
    missing: dict[str, str] = {}
    (folder / files["tflite"][0]).write_bytes(tflite)

    native = NativeLiteRT(folder / files["tflite"][0])
    generator = np.random.default_rng(SEED)
    values, expected = [], []
    for index in range(INPUT_SETS):
        values.append([_picture(tuple(i["shape"]), spec.low, spec.high, generator) for i in native.inputs])
        expected.append(native.run(values[-1]))
        for number, value in enumerate(values[-1]):
            (folder / f"{name}.{index}.{number}.f32").write_bytes(value.tobytes())
    return Model(name, files, missing, native.inputs, values, expected)

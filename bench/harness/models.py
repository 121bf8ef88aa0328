"""The models that are measured, in every format a contender reads, their inputs and LiteRT's answers.

Everything is made from scratch in a working folder at each run, so that it always matches the checkout's code.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.errors import BenchError
from harness.export_onnx import export_onnx
from harness.export_tfjs import export_tfjs
from harness.native import NativeLiteRT
from tulle import TulleError, convert, read_tflite
from tulle.passes.fold_constants import fold_constants
from tulle.tflite import write
from tulle.zoo import mobilenet_v2

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
        Spec("hand_landmark_tulle"),
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
        files: paths below the working folder by format: "tflite", "tflite-builtin" (custom ops replaced by TFLite's
            own), "tulle", "tulle-dense", "onnx", "tfjs"; a format that could not be made has its reason in `missing`
            instead. A format may take several files.
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
    """A seeded image of soft blobs with some noise: models have not been trained on anything like white noise alone."""
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
    for folder in (CHECKOUT / "demos/weights", CHECKOUT / ".cache/models", _shared() / "models"):
        path = folder / f"{spec.name}.tflite"
        if path.is_file():
            return path.read_bytes()
    raise BenchError(f"{spec.name}.tflite is neither in .cache/models (run `make models`) nor in ../shared/models")


def _mobilenet_v2() -> bytes:
    """MobileNetV2 as TFLite, with its published weights where ../shared has them and random ones otherwise; both take
    the same time."""
    weights = _shared() / "models/weights/mobilenet_v2_1.0_224.npz"
    return write(mobilenet_v2(weights if weights.is_file() else None))


class _Files:
    """Makes a model's file for each format that is asked for."""

    def __init__(self, name: str, folder: Path, tflite: bytes) -> None:
        self.name = name
        self.folder = folder
        self.tflite = tflite

    def make(self, file_format: str) -> list[str]:
        """Writes the model in a format; returns the file names. Raises BenchError or TulleError."""
        if file_format == "tflite":
            contents = {"tflite": self.tflite}
        elif file_format == "tulle":
            contents = {"tulle": convert(self.tflite).data}
        elif file_format == "tulle-dense":
            contents = {"dense.tulle": convert(self.tflite, sparse="never").data}
        else:
            # Only constants are folded: every other optimisation is left to the runtime that the file is for.
            graph = fold_constants(read_tflite(self.tflite))
            if file_format == "tflite-builtin":
                contents = {"builtin.tflite": write(graph, weights="fp16")}
            elif file_format == "onnx":
                contents = {"onnx": export_onnx(graph)}
            else:
                contents = dict(zip(("tfjs.json", "tfjs.bin"), export_tfjs(graph), strict=True))
        for suffix, content in contents.items():
            (self.folder / f"{self.name}.{suffix}").write_bytes(content)
        return [f"{self.name}.{suffix}" for suffix in contents]


def prepare(name: str, folder: Path, formats: set[str]) -> Model:
    """Writes the model in `formats`, its inputs and what LiteRT answers; a format that fails is noted, not raised.

    Raises BenchError if there is no TFLite file to start from.
    """
    spec = SPECS[name]
    maker = _Files(name, folder, tflite_bytes(spec))
    files, missing = {"tflite": maker.make("tflite")}, {}
    for file_format in sorted(formats - {"tflite"}):
        try:
            files[file_format] = maker.make(file_format)
        except (BenchError, TulleError) as error:
            missing[file_format] = str(error)

    native = NativeLiteRT(folder / files["tflite"][0])
    generator = np.random.default_rng(SEED)
    values, expected = [], []
    for index in range(INPUT_SETS):
        values.append([_picture(tuple(i["shape"]), spec.low, spec.high, generator) for i in native.inputs])
        expected.append(native.run(values[-1]))
        for number, value in enumerate(values[-1]):
            (folder / f"{name}.{index}.{number}.nhwc").write_bytes(value.tobytes())
            (folder / f"{name}.{index}.{number}.nchw").write_bytes(value.transpose(0, 3, 1, 2).tobytes())
    return Model(name, files, missing, native.inputs, values, expected)

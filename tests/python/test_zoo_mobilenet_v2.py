"""MobileNetV2 as a Graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import networks
from tulle import tflite
from tulle.errors import TulleError
from tulle.graph import reference
from tulle.graph.stats import total_macs, total_parameters
from tulle.passes import lower
from tulle.zoo import mobilenet_v2
from tulle.zoo.mobilenet_v2 import scaled

# ImageNet's class numbers of some of the pictures in the shared folder.
CLASSES = {
    "n01443537_goldfish": 1,
    "n01532829_house_finch": 12,
    "n01829413_hornbill": 93,
    "n01882714_koala": 105,
    "n02110341_dalmatian": 251,
    "n02397096_warthog": 343,
}


def image(path: Path) -> np.ndarray:
    """The middle of a picture as the network was trained on: (pixel - 128) / 128."""
    with Image.open(path) as picture:
        side = 0.875 * min(picture.size)
        left, top = ((size - side) / 2 for size in picture.size)
        box = (left, top, left + side, top + side)
        pixels = picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR, box=box)
    return ((np.asarray(pixels, np.float32) - 128) / 128)[np.newaxis]


def test_size_is_that_of_the_paper() -> None:
    graph = mobilenet_v2()
    assert total_macs(graph) == 300_775_552  # 300 M in the paper
    assert total_parameters(graph) == 3_489_097  # 3.4 M in the paper, with 1000 classes
    assert Counter(networks.ops(graph)) == {
        "conv2d": 36, "depthwise_conv2d": 17, "add": 10, "mean": 1, "reshape": 1, "softmax": 1,
    }  # fmt: skip
    assert graph.tensors["stage7/block1/project"].shape == (1, 7, 7, 320)


@pytest.mark.parametrize(("width", "size", "last"), [(0.35, 96, 1280), (1.4, 128, 1792)])
def test_width_and_size(width: float, size: int, last: int, litert: Callable) -> None:
    graph = mobilenet_v2(width=width, size=size, seed=1)
    assert graph.tensors["last"].shape[3] == last
    inputs = networks.noise(graph)
    expected = reference.run(graph, inputs)
    assert networks.error(litert(tflite.write(graph), inputs), expected) < 1e-4
    assert networks.error(reference.run(lower(graph), inputs), expected) < 1e-5


def test_channels_are_rounded_as_in_the_published_models() -> None:
    assert [scaled(32, width) for width in (0.35, 0.5, 0.75, 1.0, 1.4)] == [16, 16, 24, 32, 48]
    assert scaled(16, 0.1) == 8


def test_the_same_seed_gives_the_same_weights() -> None:
    one, same, other = (mobilenet_v2(width=0.35, size=32, seed=seed) for seed in (1, 1, 2))
    weight = "stage3/block1/expand/weight"
    np.testing.assert_array_equal(one.tensors[weight].data, same.tensors[weight].data)
    assert not np.array_equal(one.tensors[weight].data, other.tensors[weight].data)


def test_published_weights_recognise_pictures(shared_dir: Path, litert: Callable) -> None:
    weights = shared_dir / "models" / "weights" / "mobilenet_v2_1.0_224.npz"
    graph = mobilenet_v2(weights)
    lowered, data = lower(graph), tflite.write(graph)
    assert (lowered.tensors["input"].mean, lowered.tensors["input"].std) == (128, 128)
    for name, expected in CLASSES.items():
        inputs = {"input": image(shared_dir / "data" / "imagenet_sample" / f"{name}.JPEG")}
        by_litert = litert(data, inputs)
        assert by_litert["probabilities"].argmax() == expected + 1, name  # after the background class
        assert networks.error(reference.run(lowered, inputs, np.float32), by_litert) < 1e-5


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, shared_dir: Path) -> None:
    weights = shared_dir / "models" / "weights" / "mobilenet_v2_1.0_224.npz"
    with pytest.raises(
        TulleError, match=r"mobilenet_v2_1.0_224.npz: L001_CONV_2D has weights \(32, 3, 3, 3\) instead of \(16"
    ):
        mobilenet_v2(weights, width=0.35)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TulleError, match=r"cannot be read as an \.npz file"):
        mobilenet_v2(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(TulleError, match=r"cannot be read as an \.npz file"):
        mobilenet_v2(tmp_path / "text.npz")
    np.savez(tmp_path / "few.npz", L001_w=np.zeros((32, 3, 3, 3)), L001_b=np.zeros(32))
    with pytest.raises(TulleError, match="fewer layers than the architecture"):
        mobilenet_v2(tmp_path / "few.npz")


@pytest.mark.parametrize(("width", "size"), [(0.0, 224), (1.0, 0)])
def test_impossible_sizes_are_refused(width: float, size: int) -> None:
    with pytest.raises(TulleError, match="must be positive"):
        mobilenet_v2(width=width, size=size)

"""Published classifiers on real photographs: tulle must name the class that LiteRT names, on every one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tulle
from tulle import zoo

pytestmark = pytest.mark.slow

# The weights of each in the shared folder.
CLASSIFIERS = {
    "mobilenet_v1": "mobilenet_v1_1.0_224",
    "mobilenet_v2": "mobilenet_v2_1.0_224",
    "efficientnet_lite0": "efficientnet-lite0",
}
# ImageNet's class numbers of some of the pictures.
CLASSES = {
    "n01443537_goldfish": 1,
    "n01532829_house_finch": 12,
    "n01829413_hornbill": 93,
    "n01882714_koala": 105,
    "n02110341_dalmatian": 251,
    "n02397096_warthog": 343,
}


def photographs(folder: Path) -> dict[str, np.ndarray]:
    """The middle of every picture by name, 224x224, as bytes."""
    result = {}
    for path in sorted(folder.glob("*.JPEG")):
        with Image.open(path) as picture:
            side = 0.875 * min(picture.size)
            left, top = ((size - side) / 2 for size in picture.size)
            box = (left, top, left + side, top + side)
            cut = picture.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC, box=box)
            result[path.stem] = np.asarray(cut)
    return result


@pytest.fixture(scope="module")
def imagenet(shared_dir: Path) -> dict[str, np.ndarray]:
    folder = shared_dir / "data" / "imagenet_sample"
    pictures = photographs(folder)
    if not pictures:
        pytest.skip(f"no photographs in {folder}")
    return pictures


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_top_1_equals_litert_s(name: str, imagenet: dict[str, np.ndarray], shared_dir: Path) -> None:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    weights = shared_dir / "models" / "weights" / f"{CLASSIFIERS[name]}.npz"
    if not weights.is_file():
        pytest.skip(f"no {weights}")
    graph = zoo.ARCHITECTURES[name].build(weights)
    interpreter = interpreter_module.Interpreter(model_content=tulle.tflite.write(graph), num_threads=1)
    interpreter.allocate_tensors()
    x, y = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    image = graph.tensors["input"]
    background = graph.tensors[graph.outputs[0]].shape[1] - 1000  # a class before the others, or none
    differ, classes = [], {}
    with tulle.load(graph) as model:
        for picture, pixels in imagenet.items():
            (got,) = model(pixels).values()
            interpreter.set_tensor(x, ((pixels[None].astype(np.float32) - image.mean) / image.std).astype(np.float32))
            interpreter.invoke()
            classes[picture] = int(got.argmax())
            if got.argmax() != interpreter.get_tensor(y).argmax():
                differ.append(picture)
    assert not differ
    recognised = [classes[picture] - background == number for picture, number in CLASSES.items() if picture in classes]
    assert sum(recognised) >= len(recognised) - 1, "are the weights in order?"

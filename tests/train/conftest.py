"""A small model and pictures to train it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import networks
from tulle.graph import Graph

PICTURES = 40


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 pictures of soft blobs, in two folders, beside a file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    (folder / "notes.txt").write_text("not a picture")
    random = np.random.default_rng(0)
    for number in range(PICTURES):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((40, 30), Image.Resampling.BICUBIC)
        image.save(folder / ("more" if number % 2 else "") / f"picture{number}.png")
    return folder


@pytest.fixture
def teacher() -> Graph:
    """24x24 pixels to four numbers and a probability, with three layers to prune."""
    build = networks.builder(seed=3)
    x = build.input("image", (1, 24, 24, 3), mean=0, std=255)
    x = build.conv2d(x, "entry", 16, kernel=3, stride=2, activation="relu6")
    x = build.inverted_residual(x, "block", 3, 16, 3, 1)
    x = build.conv2d(x, "last", 32, activation="relu6")
    x = build.node("mean", [x], "pool", axes=(1, 2), keep_dims=False)
    numbers = build.fully_connected(x, "numbers", 4)
    logit = build.fully_connected(x, "logit", 1)
    return build.finish(numbers, build.node("activation", [logit], "probability", activation="sigmoid"))

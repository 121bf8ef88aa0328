"""Dilated convolutions between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND, against LiteRT."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tulle
from tflite_model import TfliteModel

LiteRT = Callable[..., dict[str, np.ndarray]]


def network(block: int, kind: str, keep: int = 0) -> tuple[bytes, tuple[int, ...]]:
    """9x11 pixels, padded as for "same"; `keep` more crops than padding."""
    random, m = np.random.default_rng(block), TfliteModel()
    height, width, channels, outputs = 9, 11, 5, 5 if kind == "DEPTHWISE_CONV_2D" else 7
    x = m.input((1, height, width, channels))
    pads = [[block, block + -(height + 2 * block) % block], [block, block + -(width + 2 * block) % block]]
    rows, columns = height + sum(pads[0]), width + sum(pads[1])
    small = (block * block, rows // block, columns // block, channels)
    blocks = m.constant([block, block], np.int32)
    y = m.op("SPACE_TO_BATCH_ND", [x, blocks, m.constant(pads, np.int32)], small, "SpaceToBatchNDOptions")
    shape = (1, 3, 3, outputs) if kind == "DEPTHWISE_CONV_2D" else (outputs, 3, 3, channels)
    options = "DepthwiseConv2DOptions" if kind == "DEPTHWISE_CONV_2D" else "Conv2DOptions"
    inputs = [y, m.constant(random.standard_normal(shape) / 5), m.constant(random.standard_normal(outputs))]
    made = (small[0], small[1] - 2, small[2] - 2, outputs)
    extra = {"depthMultiplier": 1} if kind == "DEPTHWISE_CONV_2D" else {}
    y = m.op(kind, inputs, made, options, padding=1, strideH=1, strideW=1, fusedActivationFunction=1, **extra)
    crops = [[keep, pads[0][1] - block], [keep, pads[1][1] - block]]
    out = (1, made[1] * block - sum(crops[0]), made[2] * block - sum(crops[1]), outputs)
    y = m.op("BATCH_TO_SPACE_ND", [y, blocks, m.constant(crops, np.int32)], out, "BatchToSpaceNDOptions")
    return m.finish(y), out


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("block", [2, 3])
def test_the_three_become_one_dilated_convolution(kind: str, block: int, litert: LiteRT) -> None:
    data, _ = network(block, kind)
    graph = tulle.read_tflite(data)
    assert len(graph.nodes) == 1 and graph.nodes[0].attrs["dilations"] == (block, block)
    image = np.random.default_rng(0).standard_normal((1, 9, 11, 5)).astype(np.float32)
    (expected,) = litert(data, {"t0": image}).values()
    with tulle.load(data) as model:
        (got,) = model(image).values()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_what_is_not_that_pattern_is_refused() -> None:
    with pytest.raises(tulle.TulleError, match="crops more than was padded"):
        tulle.convert(network(2, "CONV_2D", keep=3)[0])
    m = TfliteModel()
    x, two = m.input((1, 4, 4, 3)), m.constant([2, 2], np.int32)
    none = m.constant([[0, 0], [0, 0]], np.int32)
    data = m.finish(m.op("SPACE_TO_BATCH_ND", [x, two, none], (4, 2, 2, 3), "SpaceToBatchNDOptions"))
    with pytest.raises(tulle.TulleError, match="space_to_batch"):
        tulle.convert(data)

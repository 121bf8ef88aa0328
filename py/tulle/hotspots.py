"""`measure`: where a dense network's time goes: to 1x1 convolutions, and to every other kind of op."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tulle.conversion import read_model
from tulle.errors import TulleError
from tulle.files import PathLike, file_kind, read_bytes
from tulle.graph import Graph
from tulle.pack import pack, unpack
from tulle.passes import lower
from tulle.runtime import load
from tulle.runtime.host import Variant
from tulle.zoo import ARCHITECTURES

POINTWISE = "conv2d 1x1"

# The share of 1x1 convolutions that the article gives (Google, "Accelerating Neural Networks on Mobile and Web with
# Sparse Inference", 2021), measured with XNNPACK on a phone.
ARTICLE = {
    "mobilenet_v1": 0.85,
    "mobilenet_v2": 0.71,
    "mobilenet_v3_large": 0.71,
    "efficientnet_lite0": 0.66,
}


@dataclass(frozen=True)
class KindShare:
    """All ops of one kind: how many, their multiply-adds, median time of one run, and share of the run's time."""

    kind: str
    count: int
    macs: int
    milliseconds: float
    share: float


@dataclass(frozen=True)
class ModelShare:
    """A network's time by kind of op, most first; `article` is the share of 1x1 convolutions that the article gives."""

    name: str
    variant: str
    milliseconds: float
    pointwise: float
    article: float | None
    kinds: list[KindShare]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


def measure(source: PathLike, *, runs: int = 20, variant: Variant = "auto") -> ModelShare:
    """Runs a network with every layer dense, through wasmtime on one thread, and sums up its profile by kind of op.

    Args:
        source: a .tflite or .tulle file, or the name of an architecture of the zoo (random weights).
        runs: counted runs, after one to warm up; each op's time is the median.

    Raises TulleError if the source cannot be read or runs is not positive.
    """
    if runs < 1:
        raise TulleError(f"runs={runs} must be at least 1")
    network = prepare(source)
    random = np.random.default_rng(0)
    with load(network.data, variant=variant) as model:
        inputs = {info.name: random.random(info.shape, np.float32) for info in model.inputs}
        model(inputs)
        profiles = []
        for _ in range(runs):
            profiles.append(model.profile())
        used = model.variant
    steps = [
        {**of_one[0], "ms": float(np.median([step["ms"] for step in of_one]))} for of_one in zip(*profiles, strict=True)
    ]
    return add_up(network, used, steps)


@dataclass(frozen=True)
class Network:
    """The model to measure: a `.tulle` file with every layer dense, and the kind of each of its ops, by name."""

    name: str
    data: bytes
    kinds: dict[str, str]


def prepare(source: PathLike) -> Network:
    """The network to measure for a .tflite or .tulle file or the name of an architecture of the zoo."""
    name, graph = _graph(source)
    lowered = lower(graph, sparse="never")
    return Network(name, pack(lowered), {node.name: _kind(lowered, node.op, node.inputs) for node in lowered})


def add_up(network: Network, variant: str, steps: Iterable[Mapping[str, Any]]) -> ModelShare:
    """A profile by kind of op; `steps` as `Model.profile` or the browser's `model.profile()` has them."""
    rows: dict[str, list[float]] = {}
    for step in steps:
        row = rows.setdefault(network.kinds.get(step["name"], step["op"]), [0, 0, 0])
        row[0] += 1
        row[1] += step["macs"]
        row[2] += step["ms"]
    total = sum(time for _, _, time in rows.values())
    shares = sorted(
        (KindShare(kind, int(count), int(macs), time, time / total if total else 0.0)
         for kind, (count, macs, time) in rows.items()),
        key=lambda row: -row.share,
    )  # fmt: skip
    pointwise = sum(row.share for row in shares if row.kind == POINTWISE)
    return ModelShare(network.name, variant, total, pointwise, ARTICLE.get(network.name), shares)


def _graph(source: PathLike) -> tuple[str, Graph]:
    if str(source) in ARCHITECTURES:
        return str(source), ARCHITECTURES[str(source)].build()
    data = read_bytes(source)
    graph = unpack(data) if file_kind(data) == "tulle" else read_model(source)
    return graph.name, graph


def _kind(graph: Graph, op: str, inputs: list[str | None]) -> str:
    if op != "conv2d":
        return op
    _, height, width, _ = graph.tensors[inputs[1] or ""].shape
    return f"conv2d {height}x{width}"

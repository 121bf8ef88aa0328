"""Sparsifies layer by layer on each layer's actual inputs, so that later layers compensate for errors of earlier
ones."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike, read_bytes, write_bytes
from tulle.graph import Graph
from tulle.sparsify.budget import Keep
from tulle.sparsify.layers import Layer, layer_weight
from tulle.sparsify.magnitude import prune_weight
from tulle.sparsify.solve import output_error, solve
from tulle.sparsify.walk import can_walk, prepare, walk

Progress = Callable[[range, str], Iterable[int]]
"""Wraps a loop to show its progress; the second argument describes the work."""


def sweep(
    graph: Graph,
    layers: Sequence[Layer],
    keep: Keep,
    images: Sequence[np.ndarray],
    *,
    reconstruct: bool,
    half: bool,
    seed: int,
    done: WorkFile,
    progress: Progress,
) -> tuple[Graph, dict[str, float]]:
    """The sparse graph, and the error of each layer's output.

    Args:
        graph: without DEQUANTIZE and DENSIFY.
        keep: number of weights that each layer keeps.
        reconstruct: whether to solve for the weights; if not, the largest are kept unchanged.
        half: whether to round new weights to float16.
        done: layers that an earlier run has finished; those of this run are added.
    """
    dense, sparse = prepare(graph, layers), prepare(graph, layers)
    result, errors = graph.copy(), {}
    for layer in layers:
        if not can_walk(graph, layer):
            pruned = prune_weight(layer_weight(graph, layer), keep[layer.name], layer.block)
            for copy in (sparse, result):
                copy.tensors[layer.weight].data = pruned
    walked = [layer for layer in layers if can_walk(graph, layer)]
    steps = walk(dense, sparse, walked, images, seed)
    for _ in progress(range(len(walked)), "Reconstructing" if reconstruct else "Pruning"):
        if done.complete(walked):  # no later layer needs it
            break
        layer, sight = next(steps)
        if layer.name not in done.layers:
            before = layer_weight(graph, layer)
            shape = (layer.outputs, layer.inputs)
            if reconstruct:
                weights = solve(sight, before.reshape(shape), keep[layer.name], layer.block)
                if half:
                    weights[:, :-1] = _as_half(weights[:, :-1])
            else:
                bias = layer_bias(graph, layer)
                pruned = prune_weight(before, keep[layer.name], layer.block).reshape(shape)
                weights = np.concatenate([pruned, bias[:, None]], axis=1)
            done.add(layer, weights.astype(np.float32), output_error(sight, weights))
        set_layer(sparse, layer, done.layers[layer.name][0])
    for layer in walked:
        weights, errors[layer.name] = done.layers[layer.name]
        set_layer(result, layer, weights)
    return result, errors


class WorkFile:
    """Finished layers, in a file that is rewritten after each, so that an interrupted run can continue."""

    def __init__(self, path: PathLike | None, fingerprint: str) -> None:
        """Reads the file if there is one. Raises TulleError if it is damaged or of a run with other settings."""
        self.path = None if path is None else Path(path)
        self.fingerprint = fingerprint
        self.keep: Keep | None = None
        self.layers: dict[str, tuple[np.ndarray, float]] = {}
        if self.path is not None and self.path.exists():
            self._read(read_bytes(self.path))

    def decide(self, keep: Keep) -> None:
        """Notes how many weights each layer keeps."""
        self.keep = dict(keep)
        self._write()

    def add(self, layer: Layer, weights: np.ndarray, error: float) -> None:
        """Notes a layer's new weights and bias, float32 [outputs, inputs + 1], and its error."""
        self.layers[layer.name] = weights, error
        self._write()

    def complete(self, layers: Sequence[Layer]) -> bool:
        return all(layer.name in self.layers for layer in layers)

    def _write(self) -> None:
        if self.path is None:
            return
        buffer, keep = io.BytesIO(), self.keep or {}
        arrays = {
            "fingerprint": np.array(self.fingerprint),
            "names": np.array(list(keep)),
            "keep": np.array(list(keep.values()), np.int64),
            "done": np.array(list(self.layers)),
            "errors": np.array([error for _, error in self.layers.values()], np.float64),
            **{f"weights{index}": weights for index, (weights, _) in enumerate(self.layers.values())},
        }
        np.savez(buffer, **arrays)  # type: ignore[arg-type] # NumPy's types take names for its own options
        write_bytes(self.path, buffer.getvalue())

    def _read(self, data: bytes) -> None:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                if str(file["fingerprint"]) != self.fingerprint:
                    raise TulleError(
                        f"{self.path} was left by a run with another model, other options or other images; "
                        "remove it to start over"
                    )
                self.keep = {str(name): int(count) for name, count in zip(file["names"], file["keep"], strict=True)}
                for index, (name, error) in enumerate(zip(file["done"], file["errors"], strict=True)):
                    self.layers[str(name)] = file[f"weights{index}"], float(error)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as problem:
            raise TulleError(f"{self.path} is damaged ({problem}); remove it to start over") from None


def fingerprint(graph: Graph, settings: Mapping[str, object], images: Sequence[np.ndarray]) -> str:
    """A digest of everything that determines a run's result."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    digest.update(str(graph).encode())
    for tensor in graph.tensors.values():
        if tensor.data is not None:
            digest.update(tensor.data.tobytes())
    for image in images:
        digest.update(repr((image.shape, image.dtype)).encode())
        digest.update(image.tobytes())
    return digest.hexdigest()


def _as_half(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -65504, 65504).astype(np.float16).astype(np.float64)


def layer_bias(graph: Graph, layer: Layer) -> np.ndarray:
    node = next(node for node in graph if node.name == layer.name)
    data = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros(layer.outputs, np.float32) if data is None else data.reshape(-1)


def set_layer(graph: Graph, layer: Layer, weights: np.ndarray) -> None:
    """Sets a layer's weights and gives it its own bias."""
    tensor = graph.tensors[layer.weight]
    tensor.data = np.ascontiguousarray(weights[:, :-1]).reshape(tensor.shape)
    bias = np.ascontiguousarray(weights[:, -1])
    node = next(node for node in graph if node.name == layer.name)
    name = f"{layer.weight}/bias"
    if name in graph.tensors:
        graph.tensors[name].data = bias
    else:
        node.inputs[2:3] = [graph.add_constant(name, bias)]

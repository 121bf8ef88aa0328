"""Decoding of TFLite's sparse constants (`SparsityParameters` in the TFLite schema) to dense arrays.

A sparse tensor of rank r with b block dimensions is a dense one of rank r + b, traversed level by level in
`traversal_order`. A level is dense (every index) or CSR (under parent p, the indices from `segments[p]` to
`segments[p + 1]`). Block dimension r + i subdivides the original dimension `block_map[i]`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tflite

from tulle.errors import TulleError
from tulle.tflite.file import MAX_RANK, File

_INDEX_VECTORS = {
    tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
    tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
    tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
}


def decode(file: File, sparsity: Any, shape: tuple[int, ...], values: np.ndarray) -> np.ndarray:
    """The dense array of `shape` that `sparsity` and `values` (1-D, the stored elements in walking order) describe.

    Raises TulleError if any index, count or order violates the schema.
    """
    order = file.vector(sparsity.TraversalOrderAsNumpy(), "traversal order")
    block_map = file.vector(sparsity.BlockMapAsNumpy(), "block map")
    rank, depth = len(shape), len(shape) + len(block_map)
    if depth > 2 * MAX_RANK or sorted(order) != list(range(depth)):
        raise TulleError(f"traversal order {list(order)} does not list {rank} dimensions and {len(block_map)} blocks")
    if len(set(block_map)) != len(block_map) or any(not 0 <= dim < rank for dim in block_map):
        raise TulleError(f"block map {list(block_map)} does not name dimensions of {list(shape)}")
    if sparsity.DimMetadataLength() != depth:
        raise TulleError(f"{sparsity.DimMetadataLength()} dimensions are described instead of {depth}")
    levels = [sparsity.DimMetadata(level) for level in range(depth)]
    sizes, steps = _dimensions(levels, order, block_map, shape)

    # The start in the flat dense array of each position of the levels traversed so far.
    offsets = np.zeros(1, np.int64)
    for level, (metadata, dim) in enumerate(zip(levels, order, strict=True)):
        if metadata.Format() == tflite.DimensionType.DENSE:
            # Every position needs a value or a segment bound at a lower level, so there are fewer than bytes.
            if len(offsets) * sizes[dim] > len(file.data):
                raise TulleError(f"level {level}: {len(offsets) * sizes[dim]} positions are more than the file fills")
            offsets = np.add.outer(offsets, np.arange(sizes[dim], dtype=np.int64) * steps[dim]).reshape(-1)
        elif metadata.Format() == tflite.DimensionType.SPARSE_CSR:
            segments = _indices(file, metadata.ArraySegmentsType(), metadata.ArraySegments(), level)
            indices = _indices(file, metadata.ArrayIndicesType(), metadata.ArrayIndices(), level)
            bounds_fit = len(segments) == len(offsets) + 1 and segments[0] == 0 and segments[-1] == len(indices)
            if not bounds_fit or np.any(segments[1:] < segments[:-1]):
                raise TulleError(f"level {level}: segments do not cut {len(indices)} indices into {len(offsets)} rows")
            if np.any((indices < 0) | (indices >= sizes[dim])):
                raise TulleError(f"level {level}: an index is outside its dimension of {sizes[dim]}")
            offsets = np.repeat(offsets, np.diff(segments).astype(np.intp)) + indices * steps[dim]
        else:
            raise TulleError(f"level {level} has the unknown format {metadata.Format()}")

    if len(offsets) != len(values):
        raise TulleError(f"{len(offsets)} positions for {len(values)} values")
    dense = np.zeros(math.prod(shape), values.dtype)
    dense[offsets] = values
    return dense.reshape(shape)


def _dimensions(
    levels: list[Any], order: tuple[int, ...], block_map: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """Size of every expanded dimension (original ones counted in blocks, then the blocks) and its step in elements."""
    rank = len(shape)
    sizes = [*shape, *[1] * len(block_map)]
    steps = [math.prod(shape[dim + 1 :]) for dim in range(rank)]
    for block, dim in enumerate(block_map, start=rank):
        size = levels[order.index(block)].DenseSize()
        if size < 1 or shape[dim] % size:
            raise TulleError(f"blocks of {size} do not divide dimension {dim} of {list(shape)}")
        sizes[block], sizes[dim] = size, shape[dim] // size
        steps.append(steps[dim])
        steps[dim] *= size
    for level, (metadata, dim) in enumerate(zip(levels, order, strict=True)):
        if metadata.Format() == tflite.DimensionType.DENSE and metadata.DenseSize() != sizes[dim]:
            raise TulleError(f"level {level} has size {metadata.DenseSize()} instead of {sizes[dim]}")
    return sizes, steps


def _indices(file: File, kind: int, table: Any, level: int) -> np.ndarray:
    """A segment or index vector of any width, as int64."""
    if kind not in _INDEX_VECTORS or table is None:
        raise TulleError(f"level {level} has no segments or no indices")
    vector = _INDEX_VECTORS[kind]()
    vector.Init(table.Bytes, table.Pos)
    values = vector.ValuesAsNumpy()
    if not isinstance(values, np.ndarray):
        return np.empty(0, np.int64)
    file.spend(values.nbytes, "sparse indices")
    return values.astype(np.int64)

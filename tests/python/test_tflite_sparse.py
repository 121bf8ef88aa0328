"""Decoding of sparse constants in every traversal order, with blocks, and with indices that are wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
import pytest
import tflite as schema

import networks
from tulle.errors import TulleError
from tulle.tflite import sparse
from tulle.tflite.file import File


@dataclass
class Level:
    """One level as the schema has it: a size if dense, else segments and indices."""

    size: int = 0
    segments: np.ndarray | None = None
    indices: np.ndarray | None = None


def encode(
    dense: np.ndarray,
    order: Sequence[int],
    csr: Sequence[int],
    block_map: Sequence[int] = (),
    blocks: Sequence[int] = (),
) -> tuple[list[Level], np.ndarray]:
    """The levels and stored values of an array: the schema's definition taken literally, position by position.

    `csr` names the expanded dimensions to compress: there, an index is left out if all below it is zero.
    """
    shape = list(dense.shape)
    for dim, block in zip(block_map, blocks, strict=True):
        shape[dim] //= block
    split: list[int] = []
    axes: list[int] = []  # where each expanded dimension stands in `split`
    inner: dict[int, int] = {}
    for dim in range(dense.ndim):
        axes.append(len(split))
        split.append(shape[dim])
        if dim in block_map:
            inner[dim] = len(split)
            split.append(blocks[list(block_map).index(dim)])
    axes += [inner[dim] for dim in block_map]
    walked = dense.reshape(split).transpose([axes[dim] for dim in order])

    levels: list[Level] = []
    prefixes: list[tuple[int, ...]] = [()]
    for level, dim in enumerate(order):
        size = walked.shape[level]
        if dim not in csr:
            levels.append(Level(size=size))
            prefixes = [(*prefix, index) for prefix in prefixes for index in range(size)]
            continue
        below = [[index for index in range(size) if walked[(*prefix, index)].any()] for prefix in prefixes]
        segments = np.cumsum([0, *map(len, below)])
        levels.append(Level(segments=segments, indices=np.array(list(itertools.chain(*below)), int)))
        prefixes = [(*prefix, index) for prefix, kept in zip(prefixes, below, strict=True) for index in kept]
    return levels, np.array([walked[prefix] for prefix in prefixes], dense.dtype)


def parameters(
    order: Sequence[int], block_map: Sequence[int], levels: Sequence[Level], kind: str = "Int32Vector"
) -> object:
    """SparsityParameters of those levels, read back from a FlatBuffer."""
    builder = flatbuffers.Builder(0)
    dtype = {"Int32Vector": np.int32, "Uint16Vector": np.uint16, "Uint8Vector": np.uint8}[kind]

    def vector(values: np.ndarray) -> int:
        offset = builder.CreateNumpyVector(np.asarray(values).astype(dtype))
        getattr(schema, f"{kind}Start")(builder)
        getattr(schema, f"{kind}AddValues")(builder, offset)
        return getattr(schema, f"{kind}End")(builder)

    tables = []
    for level in levels:
        pair = None if level.segments is None else (vector(level.segments), vector(level.indices))
        schema.DimensionMetadataStart(builder)
        schema.DimensionMetadataAddFormat(builder, 0 if pair is None else 1)
        schema.DimensionMetadataAddDenseSize(builder, level.size)
        if pair is not None:
            schema.DimensionMetadataAddArraySegmentsType(builder, getattr(schema.SparseIndexVector, kind))
            schema.DimensionMetadataAddArraySegments(builder, pair[0])
            schema.DimensionMetadataAddArrayIndicesType(builder, getattr(schema.SparseIndexVector, kind))
            schema.DimensionMetadataAddArrayIndices(builder, pair[1])
        tables.append(schema.DimensionMetadataEnd(builder))
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    metadata = builder.EndVector()
    order_vector = builder.CreateNumpyVector(np.array(order, np.int32))
    block_vector = builder.CreateNumpyVector(np.array(block_map, np.int32))
    schema.SparsityParametersStart(builder)
    schema.SparsityParametersAddTraversalOrder(builder, order_vector)
    schema.SparsityParametersAddBlockMap(builder, block_vector)
    schema.SparsityParametersAddDimMetadata(builder, metadata)
    builder.Finish(schema.SparsityParametersEnd(builder))
    return schema.SparsityParameters.GetRootAs(bytes(builder.Output()), 0)


@pytest.fixture(scope="module")
def file() -> File:
    """Some file: what is decoded is held against its size."""
    from tulle import tflite

    return File(tflite.write(networks.every_op()))


def zeros_in(shape: tuple[int, ...], share: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random(shape) < share, 0, random.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("kind", ["Int32Vector", "Uint16Vector", "Uint8Vector"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_of_levels(order: tuple[int, ...], kind: str, file: File) -> None:
    for seed, csr in enumerate(itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in range(4))):
        dense = zeros_in((3, 4, 5), 0.8, seed)
        levels, values = encode(dense, order, csr)
        np.testing.assert_array_equal(
            sparse.decode(file, parameters(order, (), levels, kind), dense.shape, values), dense
        )


@pytest.mark.parametrize(
    ("shape", "block_map", "blocks", "order", "csr"),
    [
        ((4, 6), (0,), (2,), (0, 1, 2), (1,)),
        ((4, 6), (1,), (3,), (0, 1, 2), (1,)),
        ((4, 6), (0, 1), (2, 3), (0, 1, 2, 3), (1,)),
        ((4, 6), (1, 0), (3, 2), (1, 0, 3, 2), (0,)),
        ((8, 1, 1, 6), (0,), (4,), (0, 1, 2, 3, 4), (3,)),
        ((8, 1, 1, 6), (3, 0), (2, 4), (0, 3, 1, 2, 4, 5), (0, 3)),
    ],
)
def test_blocks(
    shape: tuple[int, ...], block_map: tuple[int, ...], blocks: tuple[int, ...], order: tuple[int, ...],
    csr: tuple[int, ...], file: File,
) -> None:  # fmt: skip
    dense = zeros_in(shape, 0.7, 0)
    levels, values = encode(dense, order, csr, block_map, blocks)
    for level, dim in zip(levels, order, strict=True):
        if dim >= len(shape):
            assert level.size == blocks[dim - len(shape)]
    np.testing.assert_array_equal(sparse.decode(file, parameters(order, block_map, levels), shape, values), dense)


def test_no_nonzeros_at_all(file: File) -> None:
    dense = np.zeros((3, 4), np.float32)
    levels, values = encode(dense, (0, 1), (1,))
    assert values.size == 0
    np.testing.assert_array_equal(sparse.decode(file, parameters((0, 1), (), levels), dense.shape, values), dense)


Change = Callable[[list[Level]], object]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda levels: levels[1].indices.__setitem__(0, 5), "an index is outside its dimension of 5"),
        (lambda levels: levels[1].indices.__setitem__(0, -1), "an index is outside its dimension of 5"),
        (lambda levels: levels[1].segments.__setitem__(1, 100), "segments do not cut"),
        (lambda levels: levels[1].segments.__setitem__(0, 1), "segments do not cut"),
        (lambda levels: levels[1].segments.__setitem__(-1, 3), "segments do not cut"),
        (lambda levels: setattr(levels[1], "segments", levels[1].segments[:-1]), "segments do not cut"),
        (lambda levels: setattr(levels[0], "size", 5), "level 0 has size 5 instead of 4"),
        (lambda levels: levels.pop(), "1 dimensions are described instead of 2"),
    ],
)
def test_wrong_levels_are_refused(change: Change, cause: str, file: File) -> None:
    dense = zeros_in((4, 5), 0.5, 0)
    levels, values = encode(dense, (0, 1), (1,))
    change(levels)
    with pytest.raises(TulleError, match=cause):
        sparse.decode(file, parameters((0, 1), (), levels), dense.shape, values)


@pytest.mark.parametrize(
    ("order", "block_map", "cause"),
    [
        ((0, 0), (), "traversal order"),
        ((0, 1, 2), (), "traversal order"),
        ((0, 1, 2), (2,), "block map"),
        ((0, 1, 2, 3), (0, 0), "block map"),
    ],
)
def test_wrong_orders_are_refused(order: tuple[int, ...], block_map: tuple[int, ...], cause: str, file: File) -> None:
    dense = zeros_in((4, 5), 0.5, 0)
    levels, values = encode(dense, (0, 1), (1,))
    with pytest.raises(TulleError, match=cause):
        sparse.decode(file, parameters(order, block_map, levels), dense.shape, values)


def test_blocks_that_do_not_divide_are_refused(file: File) -> None:
    levels = [Level(size=4), Level(size=5), Level(size=3)]
    with pytest.raises(TulleError, match="blocks of 3 do not divide dimension 1"):
        sparse.decode(file, parameters((0, 1, 2), (1,), levels), (4, 5), np.zeros(20, np.float32))


def test_missing_values_are_refused(file: File) -> None:
    dense = zeros_in((4, 5), 0.5, 0)
    levels, values = encode(dense, (0, 1), (1,))
    with pytest.raises(TulleError, match=f"{len(values)} positions for {len(values) - 1} values"):
        sparse.decode(file, parameters((0, 1), (), levels), dense.shape, values[:-1])


def test_more_positions_than_the_file_has_bytes_are_refused(file: File) -> None:
    levels = [Level(size=100_000), Level(size=100_000)]
    with pytest.raises(TulleError, match="100000 positions are more than the file fills"):
        sparse.decode(file, parameters((0, 1), (), levels), (100_000, 100_000), np.zeros(1, np.float32))

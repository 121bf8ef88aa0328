"""The cost model of 1x1 convolutions, which decides whether a layer runs sparse or dense.

A layer's time is a sum of terms, each the number of some operations of the kernel times the cost of one. The costs are
fitted by least squares to measured times (`python bench/kernels.py --fit`) and stored, with their origin, in
cost_model.json. They are microseconds on one machine; the choice only uses the ratio of sparse to dense.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("cost_model.json")


def dense_terms(inputs: int, outputs: int, pixels: int) -> dict[str, float]:
    """The dense kernel's operations: multiply-adds, outputs stored and inputs packed (vectors of 4 pixels), weights."""
    vectors = -(-pixels // 4)
    return {
        "multiply_add": outputs * inputs * vectors,
        "output": outputs * vectors,
        "input": inputs * vectors,
        "weight": outputs * inputs,
        "call": 1,
    }


def sparse_terms(inputs: int, outputs: int, pixels: int, nonzeros: int, paired: int = 0) -> dict[str, float]:
    """The sparse kernels' operations, in vectors of 4 pixels: multiply-adds, outputs stored, inputs brought to cache.

    `paired` of the nonzeros are in pairs of outputs (see `paired_nonzeros`), whose multiply-adds are cheaper.
    Reading the nonzeros again for each tile of pixels is not a term: its fitted cost is negligible.
    """
    vectors = -(-pixels // 4)
    return {
        "multiply_add": (nonzeros - paired) * vectors,
        "paired_multiply_add": paired * vectors,
        "output": outputs * vectors,
        "input": inputs * vectors,
        "call": 1,
    }


PAIR_LEAST = 6
"""The least nonzeros of outputs that run in pairs: TULLE_SPMM_PAIR_LEAST (wasm/kernels/kernels.h), relaxed SIMD."""


def paired_nonzeros(weight: np.ndarray) -> int:
    """How many nonzeros of weights [outputs, ..., inputs] are in pairs of outputs with the same nonzero columns.

    The planner (wasm/ops/pairs.c) also pairs neighbours whose columns are nearly the same.
    """
    used = weight.reshape(len(weight), -1) != 0
    columns, outputs = np.unique(used[used.sum(axis=1) >= PAIR_LEAST], axis=0, return_counts=True)
    return int((columns.sum(axis=1) * (outputs // 2 * 2)).sum())


LEAST_ZEROS = 0.1
"""The share of zeros below which every layer runs dense."""


@dataclass(frozen=True)
class CostModel:
    """Microseconds per unit of each term, and the share of zeros from which sparse is faster over a single pixel."""

    dense: dict[str, float]
    sparse: dict[str, float]
    vector_break_even: float

    def dense_us(self, inputs: int, outputs: int, pixels: int) -> float:
        """Predicted microseconds of the dense 1x1 convolution."""
        return sum(self.dense[term] * count for term, count in dense_terms(inputs, outputs, pixels).items())

    def sparse_us(self, inputs: int, outputs: int, pixels: int, nonzeros: int, paired: int = 0) -> float:
        """Predicted microseconds of the sparse 1x1 convolution."""
        terms = sparse_terms(inputs, outputs, pixels, nonzeros, paired)
        return sum(self.sparse[term] * count for term, count in terms.items())

    def prefers_sparse(
        self, inputs: int, outputs: int, pixels: int, nonzeros: int, paired: int = 0, dense_gain: float = 1
    ) -> bool:
        """Whether a layer of this many channels is expected to be faster sparse. `dense_gain`: how many times as fast
        as the model says the dense one is.

        Over one pixel, as in fully connected layers, both kernels are matrix-vector products, and only the share of
        zeros counts. Weights with hardly any zeros are dense: the sparse kernels use twice the memory, and what they
        gain on a few such layers is less than the model's error.
        """
        if nonzeros > (1 - LEAST_ZEROS) * inputs * outputs:
            return False
        if pixels == 1:
            return (1 - nonzeros / (inputs * outputs)) >= 1 - (1 - self.vector_break_even) / dense_gain
        dense = self.dense_us(inputs, outputs, pixels) / dense_gain
        return self.sparse_us(inputs, outputs, pixels, nonzeros, paired) < dense


def is_faster_sparse(weight: np.ndarray, pixels: int, dense_gain: float = 1) -> bool:
    """Whether `fitted` expects weights [outputs, ..., inputs] to run faster sparse; see `CostModel.prefers_sparse`."""
    nonzeros, paired = int(np.count_nonzero(weight)), paired_nonzeros(weight)
    return fitted().prefers_sparse(weight.shape[-1], len(weight), pixels, nonzeros, paired, dense_gain)


@cache
def fitted() -> CostModel:
    """The cost model with the costs of cost_model.json."""
    record = json.loads(PATH.read_text())
    return CostModel(record["dense"], record["sparse"], record["vector_break_even"])

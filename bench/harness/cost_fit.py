"""Fits the cost model (py/tulle/passes/cost_model.py) to measured times, and tells how good its choices are."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tulle.passes.cost_model import PATH, CostModel, dense_terms, sparse_terms

Json = dict[str, Any]

LEAST_VECTOR_WEIGHTS = 4096
"""Smaller matrix-vector products take less than a microsecond, too little to compare kernels by."""


def least_squares(terms: list[dict[str, float]], times: list[float]) -> dict[str, float]:
    """Non-negative costs that predict `times` best as sums over `terms`, by least squares of the relative errors.

    Terms whose cost would be negative are removed one at a time, the most negative first.
    """
    names = list(terms[0])
    counts = np.array([[row[name] for name in names] for row in terms]) / np.array(times)[:, None]
    scale = np.linalg.norm(counts, axis=0)
    kept = list(range(len(names)))
    while True:
        solution = np.linalg.lstsq(counts[:, kept] / scale[kept], np.ones(len(times)), rcond=None)[0]
        if solution.min() >= 0:
            break
        kept.pop(int(solution.argmin()))
    costs = dict.fromkeys(names, 0.0)
    for column, value in zip(kept, solution, strict=True):
        costs[names[column]] = float(value / scale[column])
    return costs


def vector_break_even(rows: list[Json]) -> float:
    """The share of zeros from which sparse is faster over one pixel, as a geometric mean over the shapes; 1 if never.

    `rows` are the sparse ones. Between two measured shares the logarithm of the ratio is interpolated linearly.
    """
    points = sorted(
        (zeros, float(np.mean(np.log([r["over_dense"] for r in rows if r["zeros"] == zeros]))))
        for zeros in {r["zeros"] for r in rows}
    )
    for (low, before), (high, after) in pairwise(points):
        if before < 0 <= after:
            return round(low + (high - low) * before / (before - after), 3)
    return 0.0 if points and points[0][1] >= 0 else 1.0


def _counts(row: Json) -> bool:
    """Whether choices are judged on this row."""
    large = row["kind"] == "pointwise" or row["inputs"] * row["outputs"] >= LEAST_VECTOR_WEIGHTS
    return large and row["sparsity"] == "sparse"


def fit(rows: list[Json]) -> CostModel:
    """`rows` of the report, all of one variant."""
    pointwise = [row for row in rows if row["kind"] == "pointwise"]
    dense = [row for row in pointwise if row["sparsity"] == "dense"]
    sparse = [row for row in pointwise if row["sparsity"] == "sparse"]
    return CostModel(
        least_squares([dense_terms(r["inputs"], r["outputs"], r["pixels"]) for r in dense], [r["us"] for r in dense]),
        least_squares(
            [sparse_terms(r["inputs"], r["outputs"], r["pixels"], r["nonzeros"], r["paired"]) for r in sparse],
            [r["us"] for r in sparse],
        ),
        vector_break_even([row for row in rows if row["kind"] == "vector" and _counts(row)]),
    )


Rule = Callable[[int, int, int, int, int], bool]
"""Whether to run a layer sparse, from its inputs, outputs, pixels, nonzeros and those in pairs of outputs;
CostModel.prefers_sparse is one."""


def half_zeros(inputs: int, outputs: int, pixels: int, nonzeros: int, paired: int = 0) -> bool:
    """Sparse from half of the weights on: the simplest rule, for comparison."""
    return 2 * nonzeros <= inputs * outputs


def regret(rule: Rule, rows: list[Json]) -> Json:
    """How much longer the rule's choices take than the faster of the two, over every shape and sparsity of `rows` (of
    one variant): geometric mean and worst, by kind. Vectors count from LEAST_VECTOR_WEIGHTS on."""
    result: Json = {}
    for kind in ("pointwise", "vector"):
        ratios: list[tuple[float, Json]] = []
        for row in rows:
            if row["kind"] != kind or not _counts(row):
                continue
            chosen = rule(row["inputs"], row["outputs"], row["pixels"], row["nonzeros"], row["paired"])
            # Times relative to the sparse kernel's.
            ratios.append(((1.0 if chosen else row["over_dense"]) / min(1.0, row["over_dense"]), row))
        if ratios:
            worst, row = max(ratios, key=lambda item: item[0])
            result[kind] = {
                "choices": len(ratios),
                "wrong": sum(ratio > 1 for ratio, _ in ratios),
                "geomean": float(np.exp(np.mean(np.log([ratio for ratio, _ in ratios])))),
                "worst": worst,
                "worst_layer": f"{row['shape']}, {100 * row['zeros']:.0f} % zeros",
            }
    return result


def prediction_error(model: CostModel, rows: list[Json]) -> dict[str, float]:
    """Typical error of the predicted times of `rows`, root mean square of the logarithm as a factor less one."""
    logs: dict[str, list[float]] = {}
    for row in rows:
        if row["kind"] == "pointwise":
            size = row["inputs"], row["outputs"], row["pixels"]
            sparse = row["sparsity"] == "sparse"
            predicted = model.sparse_us(*size, row["nonzeros"], row["paired"]) if sparse else model.dense_us(*size)
            logs.setdefault(row["sparsity"], []).append(float(np.log(predicted / row["us"])))
    return {kind: float(np.exp(np.sqrt(np.mean(np.square(values)))) - 1) for kind, values in logs.items()}


def save(model: CostModel, provenance: Json) -> None:
    """Writes cost_model.json."""
    record = {
        "fitted": provenance,
        "dense": {term: float(f"{cost:.4g}") for term, cost in model.dense.items()},
        "sparse": {term: float(f"{cost:.4g}") for term, cost in model.sparse.items()},
        "vector_break_even": model.vector_break_even,
    }
    PATH.write_text(json.dumps(record, indent=2) + "\n")

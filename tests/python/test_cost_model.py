"""The cost model chooses well and is fitted right, and what it is fitted to is what it is taken for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from c_lists import kernels
from paths import ROOT
from tulle.graph.stats import layer_stats
from tulle.passes.cost_model import PAIR_LEAST, PATH, CostModel, dense_terms, fitted, paired_nonzeros, sparse_terms
from tulle.runtime import load
from tulle.zoo import ARCHITECTURES

# Costs like those of a real machine: a nonzero is dearer than a weight of a dense layer.
KNOWN = CostModel(
    dense={"multiply_add": 2e-4, "output": 1e-3, "input": 5e-4, "weight": 1e-4, "call": 0.5},
    sparse={"multiply_add": 2.5e-4, "paired_multiply_add": 1.5e-4, "output": 2e-3, "input": 4e-4, "call": 0.7},
    vector_break_even=0.6,
)


@pytest.fixture(autouse=True)
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes `import harness...` work."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    yield


def pointwise_shapes() -> list[tuple[int, int, int]]:
    """Inputs, outputs and pixels of every real 1x1 layer."""
    from harness.shapes import read_shapes

    return [(s.inputs, s.outputs, s.pixels) for s, _ in read_shapes() if s.kind == "pointwise"]


def rows(model: CostModel) -> list[dict[str, Any]]:
    """What bench/kernels.py would report on a machine with exactly these costs."""
    result = []
    for inputs, outputs, pixels in pointwise_shapes():
        size = {"kind": "pointwise", "shape": f"{inputs}x{outputs}x{pixels}"}
        size |= {"inputs": inputs, "outputs": outputs, "pixels": pixels}
        dense = model.dense_us(inputs, outputs, pixels)
        result.append({**size, "sparsity": "dense", "zeros": 0.0, "us": dense, "over_dense": 1.0})
        for zeros, block in [(z, 1) for z in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)] + [(0.5, 2), (0.8, 2)]:
            nonzeros = inputs * outputs - round(zeros * inputs * outputs)
            paired = nonzeros if block == 2 else 0
            us = model.sparse_us(inputs, outputs, pixels, nonzeros, paired)
            times = {"us": us, "over_dense": dense / us, "nonzeros": nonzeros, "paired": paired}
            result.append({**size, "sparsity": "sparse", "zeros": zeros, **times})
    return result


def test_the_fitted_costs_name_every_term_and_their_origin() -> None:
    record = json.loads(PATH.read_text())
    assert record["dense"].keys() == dense_terms(1, 1, 1).keys()
    assert record["sparse"].keys() == sparse_terms(1, 1, 1, 1).keys()
    assert min(*record["dense"].values(), *record["sparse"].values()) >= 0
    assert 0 < record["vector_break_even"] < 1
    assert {"cpu", "date", "host", "quiet", "layers", "regret"} <= record["fitted"].keys()


def test_real_layers_are_sparse_where_most_weights_are_zero_and_dense_where_none_is() -> None:
    model = fitted()
    for inputs, outputs, pixels in pointwise_shapes():
        weights = inputs * outputs
        assert model.prefers_sparse(inputs, outputs, pixels, weights // 5), (inputs, outputs, pixels)
        assert not model.prefers_sparse(inputs, outputs, pixels, weights), (inputs, outputs, pixels)


def test_nonzeros_of_outputs_with_the_same_columns_are_paired() -> None:
    weight = np.zeros((7, 1, 1, 9), np.float32)
    weight[[0, 3, 4], ..., :8] = 1  # three of 8: one is left over
    weight[[1, 6], ..., 1:8] = 2
    weight[[2, 5], ..., :5] = 3  # too few
    assert paired_nonzeros(weight) == 2 * 8 + 2 * 7
    model = fitted()
    assert model.sparse_us(64, 64, 196, 1000, 1000) < model.sparse_us(64, 64, 196, 1000)


def test_a_zero_more_never_turns_a_layer_dense() -> None:
    for inputs, outputs, pixels in [*pointwise_shapes()[::10], (64, 64, 1)]:
        choices = [fitted().prefers_sparse(inputs, outputs, pixels, n) for n in range(0, inputs * outputs + 1, 16)]
        assert choices == sorted(choices, reverse=True)


def test_the_choice_follows_the_size_of_the_layer() -> None:
    dense = {"multiply_add": 1.0, "output": 0.0, "input": 0.0, "weight": 0.0, "call": 0.0}
    model = CostModel(
        dense, {**dict.fromkeys(sparse_terms(1, 1, 1, 1), 0.0), "multiply_add": 1.0, "output": 100.0}, 0.6
    )
    # Storing an output costs as much as 100 inputs: too much for 64 of them, however many are zero.
    assert model.prefers_sparse(512, 64, 196, 512 * 64 // 2)
    assert not model.prefers_sparse(64, 512, 196, 512 * 64 // 2)


def test_one_pixel_depends_on_the_share_of_zeros_alone() -> None:
    assert KNOWN.prefers_sparse(100, 10, 1, 400) and not KNOWN.prefers_sparse(100, 10, 1, 401)


def test_fitting_finds_the_costs_behind_exact_times() -> None:
    from harness.cost_fit import fit, prediction_error, regret

    measured = rows(KNOWN)
    found = fit(measured)
    assert found.dense == pytest.approx(KNOWN.dense, rel=1e-6)
    assert found.sparse == pytest.approx(KNOWN.sparse, rel=1e-6)
    assert max(prediction_error(found, measured).values()) < 1e-6
    some_zeros = [row for row in measured if row["zeros"] > 0 or row["sparsity"] == "dense"]
    assert regret(KNOWN.prefers_sparse, some_zeros)["pointwise"]["wrong"] == 0


def test_no_cost_is_below_zero() -> None:
    from harness.cost_fit import least_squares

    # The exact answer would be a = 3, b = -1.
    terms = [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, {"a": 3.0, "b": 1.0}]
    costs = least_squares(terms, [2.0, 5.0, 8.0])
    assert costs["b"] == 0 and costs["a"] == pytest.approx(2.4, abs=0.2)


def test_regret_is_the_time_lost_by_wrong_choices() -> None:
    from harness.cost_fit import regret

    measured = [row for row in rows(KNOWN) if row["zeros"] in (0.0, 0.95)]
    lost = [max(1.0, 1 / row["over_dense"]) for row in measured if row["sparsity"] == "sparse"]
    result = regret(lambda *layer: True, measured)["pointwise"]
    assert result["choices"] == len(lost) and result["wrong"] == sum(ratio > 1 for ratio in lost) > 0
    assert result["geomean"] == pytest.approx(np.exp(np.mean(np.log(lost)))) and result["worst"] == max(lost)


def test_vectors_turn_sparse_where_the_ratio_crosses_one() -> None:
    from harness.cost_fit import vector_break_even

    def measured(ratios: dict[float, float]) -> list[dict[str, float]]:
        return [{"zeros": zeros, "over_dense": ratio} for zeros, ratio in ratios.items()]

    # log2 is -1 at 0.5 and 1 at 0.9: zero half way between.
    assert vector_break_even(measured({0.0: 0.25, 0.5: 0.5, 0.9: 2.0})) == 0.7
    assert vector_break_even(measured({0.0: 0.25, 0.9: 0.5})) == 1.0
    assert vector_break_even(measured({0.0: 1.5, 0.9: 4.0})) == 0.0


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "efficientnet_lite0"])
def test_shapes_add_up_to_the_models(name: str) -> None:
    from harness.shapes import read_shapes

    counted = sum(shape.macs * layers[name] for shape, layers in read_shapes() if name in layers)
    assert counted == sum(row.macs for row in layer_stats(ARCHITECTURES[name].build()))


@pytest.mark.parametrize("variant", ["relaxed", "simd"])
def test_the_peak_module_does_its_multiply_adds(variant: str) -> None:
    wasmtime = pytest.importorskip("wasmtime")
    from harness.peak import SUMS, peak_module

    store = wasmtime.Store()
    run = wasmtime.Instance(store, wasmtime.Module(store.engine, peak_module(variant)), []).exports(store)["run"]
    # Every sum s becomes s / 2 + 1 in each round.
    assert [run(store, rounds) for rounds in (1, 2, 3)] == [SUMS * total for total in (1.0, 1.5, 1.75)]


@pytest.mark.parametrize(
    "shape",
    [
        ("pointwise", 40, 22, 5, 7),
        ("vector", 40, 12, 1, 1),
        ("depthwise", 8, 8, 9, 9, (5, 5), (2, 2), (1, 2, 1, 2)),
        ("entry", 3, 8, 16, 16, (3, 3), (2, 2), (0, 1, 0, 1)),
        ("spatial", 8, 8, 6, 6, (3, 3), (1, 1), (1, 1, 1, 1)),
    ],
)
def test_kernel_models_run_what_they_say(shape: tuple[Any, ...]) -> None:
    from harness.kernel_models import build
    from harness.shapes import PATHS, SPARSE_PATHS, Shape

    model = build(Shape(*shape))
    with load(model.data) as loaded:
        loaded(np.ones(loaded.inputs[0].shape, np.float32))
        steps = {step["name"]: step for step in loaded.profile()}
    weights = int(np.prod(model.shape.weight_shape))
    assert len(model.steps) == {"pointwise": 12, "vector": 8}.get(model.shape.kind, 1)
    for case, names in model.steps.items():
        for step in map(steps.__getitem__, names):
            nonzeros = weights - round(case.zeros * weights / case.block) * case.block
            assert (step["weights"], step["nnz"]) == (weights, nonzeros)
            expected = model.shape.pixels * nonzeros if case.sparsity == "sparse" else model.shape.macs
            assert step["macs"] == expected
            assert step["path"] in PATHS[model.shape.kind]
            assert (step["path"] in SPARSE_PATHS) == (case.sparsity == "sparse")
            if case.block == 2:
                assert (step["path"] == "pairs") == (case.zeros < 0.9)  # of 40 inputs: too few are left there


def test_measured_paths_are_those_of_kernels() -> None:
    from harness.shapes import KINDS, PATHS, SPARSE_PATHS

    measured = [path for kind in KINDS for path in PATHS[kind]]
    assert set(PATHS) == set(KINDS)
    assert len(set(measured)) == len(measured) and set(measured) <= {kernel.path for kernel in kernels()}
    assert set(SPARSE_PATHS) <= set(measured)


def test_pairs_begin_where_those_of_the_relaxed_build_do() -> None:
    header = (ROOT / "wasm" / "kernels" / "kernels.h").read_text()
    [relaxed] = re.findall(r"#if TULLE_HAS_FMA\n(?:#define .*\n)*?#define TULLE_SPMM_PAIR_LEAST (\d+)", header)
    assert int(relaxed) == PAIR_LEAST

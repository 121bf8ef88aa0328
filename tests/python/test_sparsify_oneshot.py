"""`sparsify`: budgets, allocation, blocks, files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import networks
import tulle
from paths import ROOT
from tulle import tflite
from tulle.cli import main
from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.passes.fold_constants import fold_constants
from tulle.sparsify import Options, Sparsified, match_layers, prunable_layers, sparsify
from tulle.sparsify.budget import Budget, ErrorCurve, by_sensitivity
from tulle.sparsify.layers import Layer
from tulle.zoo import mobilenet_v2


@pytest.fixture(scope="module")
def network() -> Graph:
    return mobilenet_v2(width=0.35, size=64)


def left(result: Sparsified, key: str) -> float:
    return sum(getattr(layer, f"nonzero_{key}") for layer in result.layers)


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_a_share_of_the_weights_becomes_zero(network: Graph, allocation: str, block: int) -> None:
    result = sparsify(network, Options(sparsity=0.8, allocation=allocation, block=block))  # type: ignore[arg-type]
    assert result.zeros == pytest.approx(0.8, abs=2e-3)
    assert [layer.name for layer in result.layers] == prunable_layers(network)
    for layer in result.layers:
        data = result.graph.constant(f"{layer.name}/weight")
        assert data is not None and layer.zeros == np.count_nonzero(data == 0)


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_a_share_of_the_macs_is_left(network: Graph, allocation: str) -> None:
    result = sparsify(network, Options(target_macs=0.25, allocation=allocation))  # type: ignore[arg-type]
    share = left(result, "macs") / sum(layer.macs for layer in result.layers)
    assert 0.245 < share <= 0.2505


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_the_cost_model_says_that_a_time_is_met(network: Graph, allocation: str) -> None:
    dense = sum(layer.ms_dense for layer in sparsify(network, Options(sparsity=0)).layers)
    result = sparsify(network, Options(target_ms=dense / 2, allocation=allocation))  # type: ignore[arg-type]
    spent = sum(layer.ms for layer in result.layers)
    assert 0.49 * dense < spent <= 0.5 * dense + 1e-9
    # Enough time for the dense layers is no reason to prune.
    assert sparsify(network, Options(target_ms=2 * dense)).zeros == 0


@pytest.mark.parametrize("block", [2, 4])
def test_blocks_of_output_channels_share_their_columns(network: Graph, block: int) -> None:
    result = sparsify(network, Options(sparsity=0.7, block=block))
    for layer in result.layers:
        data = result.graph.constant(f"{layer.name}/weight")
        assert data is not None
        used = data.reshape(layer.outputs, layer.inputs) != 0
        for start in range(0, layer.outputs, block):
            rows = used[start : start + block]
            assert (rows == rows[0]).all()
        # The columns kept are those with the most energy.
    before = network.constant("last/weight")
    after = result.graph.constant("last/weight")
    assert before is not None and after is not None
    energy = (before.reshape(-1, block, before.shape[-1]).astype(float) ** 2).sum(axis=1)
    kept = after.reshape(-1, block, before.shape[-1])[:, 0] != 0
    assert energy[kept].min() >= energy[~kept].max()


def test_an_odd_number_of_channels_leaves_a_smaller_block() -> None:
    build = networks.builder()
    graph = build.finish(build.conv2d(build.input("x", (1, 4, 4, 6)), "odd", 7))
    data = sparsify(graph, Options(sparsity=0.5, block=4)).graph.constant("odd/weight")
    assert data is not None
    used = data.reshape(7, 6) != 0
    assert (used[:4] == used[0]).all() and (used[4:] == used[4]).all()


def test_levels_by_sensitivity_have_the_smallest_error_in_the_budget() -> None:
    layers = [Layer(name, name, 20, 50, pixels) for name, pixels in (("a", 100), ("b", 100), ("c", 400))]
    densities = np.linspace(0, 1, 21)
    weights = {"a": 10.0, "b": 1.0, "c": 2.0}
    curves = {name: ErrorCurve(densities, scale * (1 - densities) ** 3, least=0.1) for name, scale in weights.items()}
    budget = Budget("macs", 0.3)
    keep = by_sensitivity(layers, budget, curves)
    assert 0.29 < budget.spent(layers, keep) <= 0.3
    assert min(keep.values()) >= 100

    def error(shares: dict[str, float]) -> float:
        return sum(float(curves[name](np.array(share))) for name, share in shares.items())

    found = error({name: count / 1000 for name, count in keep.items()})
    for a in np.linspace(0.1, 1, 31):  # all other ways to spend as much
        for b in np.linspace(0.1, 1, 31):
            c = (0.3 * 600 - 100 * a - 100 * b) / 400
            if 0.1 <= c <= 1:
                assert found <= error({"a": a, "b": b, "c": c}) * 1.02


def test_layers_are_chosen_by_pattern(network: Graph) -> None:
    names = match_layers(network, ["*/expand", "last"])
    assert names[-1] == "last" and all(name.endswith("/expand") for name in names[:-1]) and len(names) > 10
    result = sparsify(network, Options(sparsity=0.5, layers=names))
    assert [layer.name for layer in result.layers] == names
    with pytest.raises(TulleError, match=r"'nothing\*' matches no 1x1 convolution; there are .*stage1/block1/project"):
        match_layers(network, ["nothing*"])


def test_float16_goes_in_and_comes_out(model_path: Callable, litert: Callable, tmp_path: Path) -> None:
    source = model_path("hand_landmark_full")
    outputs = {}
    for kind in ("tflite", "tulle"):
        target = tmp_path / f"sparse.{kind}"
        run = CliRunner().invoke(main, ["sparsify", str(source), "-o", str(target), "--sparsity", "0.8"])
        assert run.exit_code == 0, run.output
        assert target.stat().st_size < 0.5 * source.stat().st_size
        outputs[kind] = target
    graph = fold_constants(tflite.read(outputs["tflite"]))
    inputs = networks.patchwork(graph)
    expected = litert(outputs["tflite"], inputs)
    with tulle.load(outputs["tulle"]) as model:
        assert networks.error(model(inputs), expected, graph) < 1e-4


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"sparsity": 1.0}, "less than 1"),
        ({"sparsity": -0.1}, "at least 0"),
        ({"sparsity": float("nan")}, "at least 0"),
        ({"target_macs": 0.0}, "more than 0 and at most 1"),
        ({"target_macs": 1.5}, "more than 0 and at most 1"),
        ({"target_ms": -1.0}, "more than 0"),
        ({"target_ms": float("nan")}, "more than 0"),
        ({"target_ms": 1e-6}, "cannot be reached: the sparsest these layers can be still takes"),
        ({"sparsity": 0.5, "target_macs": 0.5}, "not several"),
        ({"block": 3}, "block must be 1, 2 or 4, not 3"),
        ({"allocation": "global"}, "allocation must be one of .*, not 'global'"),
        ({"layers": ["entry"]}, "not 1x1 convolutions of this model: entry"),
    ],
)
def test_wrong_options_are_refused(network: Graph, options: dict, cause: str) -> None:
    with pytest.raises(TulleError, match=cause):
        sparsify(network, Options(**options))


def test_magnitude_needs_what_pyodide_has_and_no_more(network: Graph, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(tflite.write(network))
    code = """
import sys
for absent in ("wasmtime", "PIL", "rich", "click"):
    sys.modules[absent] = None
import tulle
from tulle.sparsify import Options, magnitude, sparsify
graph = tulle.read_tflite(sys.argv[1])
tulle.convert(sparsify(graph, Options(sparsity=0.8, block=2)).graph)
tulle.convert(magnitude(graph, 0.8))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "py")}
    words = [sys.executable, "-c", code, str(tmp_path / "model.tflite")]
    subprocess.run(words, env=environment, check=True)


def test_a_model_without_pointwise_layers_is_refused() -> None:
    build = networks.builder()
    graph = build.finish(build.conv2d(build.input("x", (1, 8, 8, 3)), "entry", 4, kernel=3))
    with pytest.raises(TulleError, match="has no 1x1 convolutions to make sparse"):
        sparsify(graph)

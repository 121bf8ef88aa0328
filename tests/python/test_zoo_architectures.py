"""The architectures of the zoo: sizes as published, the same answers as LiteRT, and what cannot be built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import networks
import tulle
from tulle import tflite, zoo
from tulle.cli import main
from tulle.errors import TulleError
from tulle.graph.stats import total_macs, total_parameters

# Millions of multiply-adds and of parameters that the papers (for Lite: its release) give.
PUBLISHED = {
    "mobilenet_v1": (569, 4.2),
    "mobilenet_v2": (300, 3.4),
    "mobilenet_v3_large": (219, 5.4),
    "mobilenet_v3_small": (56, 2.5),
    "efficientnet_lite0": (407, 4.7),
    "efficientnet_lite1": (631, 5.4),
    "efficientnet_lite2": (899, 6.1),
    "efficientnet_lite3": (1440, 8.2),
    "efficientnet_lite4": (2640, 13.0),
}


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_sizes_are_those_published(name: str) -> None:
    graph = zoo.ARCHITECTURES[name].build()
    macs, parameters = PUBLISHED[name]
    assert total_macs(graph) / 1e6 == pytest.approx(macs, rel=0.06)  # Lite's release counts more than products
    assert total_parameters(graph) / 1e6 == pytest.approx(parameters, rel=0.03)


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_narrow_ones_agree_with_litert(name: str, litert: Callable) -> None:
    graph = zoo.ARCHITECTURES[name].build(width=0.35, size=97, seed=2)
    inputs = networks.noise(graph)
    expected = litert(tflite.write(graph), inputs)
    with tulle.load(graph) as model:
        assert networks.error(model(inputs), expected) < 1e-4


def test_state_dicts_with_batch_normalisation_are_folded(tmp_path: Path) -> None:
    graph = zoo.mobilenet_v1(width=0.25, size=32)
    random, arrays = np.random.default_rng(0), {}
    folded = {}
    for node in graph:
        if node.op not in ("conv2d", "depthwise_conv2d"):
            continue
        weight, name = graph.constant(node.inputs[1]), node.name
        order = (0, 3, 1, 2) if node.op == "conv2d" else (3, 0, 1, 2)
        arrays[f"{name}.weight"] = weight.transpose(order)
        gamma, beta, mean, variance = (random.random(node_channels(graph, node)) + 0.5 for _ in range(4))
        arrays |= {f"{name}_bn.weight": gamma, f"{name}_bn.bias": beta,
                   f"{name}_bn.running_mean": mean, f"{name}_bn.running_var": variance}  # fmt: skip
        folded[name] = beta - mean * gamma / np.sqrt(variance + 1e-3)
    np.savez(tmp_path / "weights.npz", **arrays)
    built = zoo.mobilenet_v1(tmp_path / "weights.npz", width=0.25, size=32)
    for name, bias in folded.items():
        np.testing.assert_allclose(built.constant(f"{name}/bias"), bias, rtol=1e-5)


def node_channels(graph: tulle.Graph, node: object) -> int:
    return graph.tensors[node.output].shape[-1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("arrays", [{"a.weight": np.ones(3)}, {}, {"L001_w": np.ones((8, 3, 3, 3))}])
def test_files_with_other_weights_are_refused(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(TulleError, match=r"weights\.npz"):
        zoo.mobilenet_v3_small(tmp_path / "weights.npz")


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(TulleError, match="EfficientNet-Lite5 does not exist"):
        zoo.efficientnet_lite(5)
    with pytest.raises(TulleError, match="must be positive"):
        zoo.mobilenet_v3_large(width=0)


def test_the_command_lists_and_builds(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["zoo", "list"])
    assert listed.exit_code == 0 and all(name in listed.output for name in zoo.ARCHITECTURES)
    target = tmp_path / "small.tflite"
    options = ["-o", str(target), "--width", "0.5", "--size", "64", "--weights", "fp16"]
    built = CliRunner().invoke(main, ["zoo", "build", "mobilenet_v3_small", *options])
    assert built.exit_code == 0 and "--input-mean 128" in built.output
    assert tflite.read(target).tensors["input"].shape == (1, 64, 64, 3)
    unknown = CliRunner().invoke(main, ["zoo", "build", "alexnet", "-o", str(target)])
    assert unknown.exit_code == 1 and "there is no architecture 'alexnet'" in unknown.output

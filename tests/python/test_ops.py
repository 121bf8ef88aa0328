"""Walks `tulle.ops`: every op's reference against LiteRT and PyTorch, and the C library against the reference.

Each op is tried on random nodes that its record makes (`Op.example`), in every layout that it runs in. An op that is
added to a family's module is tested here without another line.
"""

from __future__ import annotations

import numpy as np
import pytest

import random_models
import tulle
from tulle import tflite
from tulle.graph import Graph, Node, Tensor, reference
from tulle.graph.shapes import check_shapes
from tulle.ops import FAMILIES, OPS, Op
from tulle.ops.layout import EITHER
from tulle.pack import pack, unpack
from tulle.pack.attributes import names
from tulle.pack.schema import tulle_generated as schema
from tulle.passes.explicit_padding import explicit_padding
from tulle.passes.sparsity import choose_sparsity

SEEDS = 16
STORED = [name for name, op in OPS.items() if op.stored]
each_op = pytest.mark.parametrize("name", STORED)


def example(op: Op, seed: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """A random graph of one node and what to feed it."""
    return op.example(np.random.default_rng((seed, *op.name.encode()))).graph(op)


def expected(graph: Graph, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return reference.run(graph, feeds)["y"]


def assert_close(got: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    assert got.shape == wanted.shape
    reach = max(0.1, float(np.abs(wanted).max(initial=0)))
    assert float(np.abs(got.astype(np.float64) - wanted).max(initial=0)) <= tolerance * reach


# ---- the records


def test_every_op_of_the_schema_has_a_record() -> None:
    assert set(STORED) == set(names(schema.OpKind))
    assert sum(len(family.OPS) for family in FAMILIES) == len(OPS), "two records share a name"


@each_op
def test_a_record_is_whole(name: str) -> None:
    op = OPS[name]
    assert op.summary and op.layout.text and op.inputs
    assert not any(later.optional < earlier.optional for earlier, later in zip(op.inputs, op.inputs[1:], strict=False))
    fused = {attribute.name for attribute in op.attributes} >= {"activation", "alpha"}
    assert fused or not op.fuses_activation, "where would the activation be stored?"
    assert bool(op.weights) == any(entry.name == "weight" and entry.constant == "must" for entry in op.inputs)
    assert op.to_tflite is None or op.from_tflite or op.layout.changes, "what is written could not be read again"
    assert op.tflite_fuses <= (op.to_tflite is not None)


@each_op
def test_examples_vary_every_attribute_and_layout(name: str) -> None:
    """An example that always has the same stride or shape would test little."""
    op, demands = OPS[name], set()
    seen: dict[str, set[object]] = {}
    shapes = set()
    for seed in range(SEEDS):
        graph, _ = example(op, seed)
        [node] = graph.nodes
        demand = op.layout.demand(graph, node)
        demands |= {"chw", "plain"} if demand == EITHER else {demand}
        shapes.add(graph.tensors["x0"].shape)
        for key, value in node.attrs.items():
            seen.setdefault(key, set()).add(value)
    stored = {entry.name for entry in op.attributes} - {"activation", "alpha", "sparsity"}
    assert {key for key, values in seen.items() if len(values) > 1} >= stored
    assert demands == set(op.layout.choices) and len(shapes) > SEEDS / 2


@each_op
def test_shapes_and_attributes_survive_a_file(name: str) -> None:
    op = OPS[name]
    for seed in range(8):
        graph, _ = example(op, seed)
        check_shapes(graph)
        laid_out = in_layout(graph, layouts(graph)[0])
        again = unpack(pack(laid_out, "fp32"))
        for before, after in zip(laid_out, again, strict=True):
            stored = {entry.name for entry in OPS[before.op].attributes if not entry.from_shapes} & before.attrs.keys()
            assert {key: before.attrs[key] for key in stored} == {key: after.attrs[key] for key in stored}


# ---- channels


def values_of(name: str, seed: int, change: int | None = None) -> tuple[Graph, list[np.ndarray | None], np.ndarray]:
    """An example with some channels of x set to constants, and the op's result without its activation.

    `change`: a channel of x that gets other numbers.
    """
    op, random = OPS[name], np.random.default_rng(seed)
    graph, feeds = example(op, seed)
    [node] = graph.nodes
    arrays = [None if key is None else feeds.get(key, graph.constant(key)) for key in node.inputs]
    x = feeds["x0"]
    for channel in range(x.shape[-1] // 2):
        x[..., channel] = random.choice([0, 0.7, -0.7])
    if change is not None:
        x[..., change] += random.standard_normal(x.shape[:-1])
    shape = graph.tensors[node.output].shape
    return graph, arrays, op.reference(node, [None if a is None else a.astype(np.float64) for a in arrays], shape)


@each_op
def test_channels_are_made_of_what_the_record_says(name: str) -> None:
    """Channels said to be known have that value everywhere; one that is changed changes those made of it alone."""
    op = OPS[name]
    for seed in range(SEEDS):
        graph, arrays, result = values_of(name, seed)
        [node] = graph.nodes
        source = op.channels.source(explicit_padding(graph), node, 0) if 0 in op.channels.operands(node) else None
        if source is None or not result.shape:
            continue
        known = {key: np.full(graph.tensors[key].shape[-1:] or 1, np.nan) for key in graph.tensors}
        for key, array in zip(node.inputs, arrays, strict=True):
            if key and array is not None and array.ndim:
                flat = array.reshape(-1, array.shape[-1]).astype(np.float64)
                known[key] = np.where((flat == flat[0]).all(axis=0), flat[0], np.nan)
        values = op.channels.values(explicit_padding(graph), node, known)
        for channel in np.flatnonzero(~np.isnan(values)):
            np.testing.assert_allclose(result[..., channel], values[channel], rtol=1e-6, atol=1e-6)
        change = int(np.random.default_rng(seed).integers(arrays[0].shape[-1]))  # type: ignore[union-attr]
        changed = values_of(name, seed, change)[2]
        others = source != change
        np.testing.assert_array_equal(changed[..., others], result[..., others])


# ---- the reference


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.to_tflite])
def test_reference_agrees_with_litert(name: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    tried = 0
    for seed in range(SEEDS):
        graph, feeds = example(OPS[name], seed)
        try:
            data = tflite.write(graph)
        except tulle.TulleError:  # an activation that TensorFlow Lite has not
            continue
        wanted = expected(graph, feeds)
        got, inputs = random_models.run_litert(data, [*feeds.values()], delegate=False)
        assert inputs == [*feeds]
        assert_close(got["y"], wanted, 1e-4)
        assert_close(expected(tflite.read(data), feeds), wanted, 1e-6)  # what reads the operator
        tried += 1
    assert tried > SEEDS / 2


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.torch])
def test_pytorch_agrees_with_the_reference(name: str) -> None:
    torch = pytest.importorskip("torch")
    from tulle.train import from_graph

    for seed in range(SEEDS):
        graph, feeds = example(OPS[name], seed)
        module = from_graph(graph)
        with torch.no_grad():
            got = module({key: torch.from_numpy(value) for key, value in feeds.items()})["y"].numpy()
        assert_close(got, expected(graph, feeds), 1e-5)


# ---- the C library


def layouts(graph: Graph) -> list[str]:
    """What the op of the graph's one node runs in."""
    [node] = graph.nodes
    demand = OPS[node.op].layout.demand(graph, node)
    return ["chw", "plain"] if demand == EITHER else [demand]


def in_layout(graph: Graph, layout: str) -> Graph:
    """The graph lowered by hand: the op's inputs in `layout`, changed to it and back where that is chw."""
    graph = choose_sparsity(explicit_padding(graph))
    [node] = graph.nodes
    changes = OPS[node.op].layout.changes
    before, nodes = [], [node]
    if layout == "chw":
        for name in dict.fromkeys(name for name in node.inputs if name in graph.inputs):
            image = graph.add_tensor(Tensor(f"{name}_chw", graph.tensors[name].shape, layout="chw"))
            before.append(Node("to_chw", image, [name], [image]))
            node.inputs = [image if entry == name else entry for entry in node.inputs]
    result = graph.tensors["y"]
    if (changes[1] if changes else layout) == "chw" and len(result.shape) == 4:
        node.outputs = [graph.add_tensor(Tensor("y_chw", result.shape, layout="chw"))]
        nodes.append(Node("to_plain", "y", node.outputs, ["y"]))
    graph.nodes = [*before, *nodes]
    return graph


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
@each_op
def test_c_library_agrees_with_the_reference(name: str, variant: str) -> None:
    for seed in range(SEEDS):
        graph, feeds = example(OPS[name], seed)
        files = [pack(in_layout(graph, layout), "fp32") for layout in layouts(graph)]
        if not OPS[name].layout.changes:  # these `convert` adds itself
            files.append(tulle.convert(graph, weights="fp32", sparse="always" if seed % 2 else "never").data)
        for data in files:
            with tulle.load(data, variant=variant) as model:
                assert_close(model(feeds)["y"], expected(graph, feeds), 2e-5)

"""The limits of load(): files, tensors, ops and memory beyond them are refused by name, before memory is taken."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

import tulle
from browser.conftest import evaluate, expect_workers, tiny_graph
from browser.server import Site
from tulle.graph import Graph, Node, Tensor
from tulle.pack import pack
from tulle.passes import lower

pytestmark = pytest.mark.browser


def large_graph(size: int) -> Graph:
    """An image of 8 x 8 is enlarged to [1, size, size, 3], and made small again: a file of a few KB."""
    graph = Graph("large")
    graph.inputs = [graph.add_tensor(Tensor("x", (1, 8, 8, 3)))]
    one, two, both = (graph.add_tensor(Tensor(name, (1, size, size, 3))) for name in ("one", "two", "both"))
    graph.outputs = [graph.add_tensor(Tensor("y", (1, 1, 1, 3)))]
    resize = {"align_corners": False, "half_pixel_centers": False}
    graph.nodes = [
        Node("resize_nearest", "enlarge", ["x"], [one], resize),
        Node("resize_bilinear", "again", ["x"], [two], resize),
        Node("max_pool2d", "smooth", [one], [both], {"kernel": (3, 3), "strides": (1, 1), "padding": "same",
                                                    "activation": "none", "alpha": 0.0}),
        Node("sub", "difference", [both, two], ["d"], {"activation": "none", "alpha": 0.0}),
        Node("mean", "mean", ["d"], ["y"], {"axes": (1, 2), "keep_dims": True}),
    ]  # fmt: skip
    graph.add_tensor(Tensor("d", (1, size, size, 3)))
    return lower(graph)


def test_each_limit_is_named(page: Page, site: Site) -> None:
    site.put("/large.tulle", pack(large_graph(1024)))
    tiny = len(pack(tiny_graph()))
    result = evaluate(
        page,
        """
        const failed = async (source, limits) => {
          const { error, isTulleError } = await outcome(tulle.load(source, { threads: 1, limits }));
          return [error, isTulleError];
        };
        const file = await bytes('/tiny.tulle');
        return Promise.all([
          failed('/tiny.tulle', { fileBytes: 100 }),
          failed(file, { fileBytes: 100 }),
          failed(new Blob([file]), { fileBytes: 100 }),
          failed('/large.tulle', { ops: 2 }),
          failed('/large.tulle', { tensorBytes: 12_000_000 }),
          failed('/large.tulle', { memoryBytes: 20_000_000 }),
          failed('/large.tulle', { macs: 1_000_000 }),
          failed('/tiny.tulle', { macs: 2 ** 53 }),
          failed('/tiny.tulle', { memory: 1 }),
          failed('/tiny.tulle', { ops: -1 }),
          failed('/tiny.tulle', 3),
        ]);
        """,
    )
    assert all(kind for _, kind in result)
    limit = f"the file has {tiny / 1e6:.1f} MB, the limit is 0.0 MB"
    assert [message for message, _ in result][:3] == [
        f"cannot fetch /tiny.tulle: {limit}",
        f"cannot load the model in memory: {limit}",
        f"cannot fetch the model in a Blob: {limit}",
    ]
    assert result[3][0].startswith("cannot load /large.tulle: the model has ") and "ops, the limit is 2" in result[3][0]
    assert "takes 12.6 MB, the limit is 12.0 MB" in result[4][0]
    assert "the model needs at least " in result[5][0] and "MB of memory, the limit is 20.0 MB" in result[5][0]
    assert "a run takes up to " in result[6][0] and "multiply-adds, the limit is 1.0 million" in result[6][0]
    assert result[7][0] == "limit macs must be an integer from 1 to 2^53 - 1, not 9007199254740992"
    assert result[8][0].startswith(
        'there is no limit "memory"; there are fileBytes, tensorBytes, ops, memoryBytes, macs'
    )
    assert result[9][0] == "limit ops must be an integer from 1 to 2^32 - 1, not -1"
    assert result[10][0] == "limits are an object, not Number"
    expect_workers(page, 0)


@pytest.mark.parametrize("how", [{"threads": 2}, {"threads": 1}, {"worker": False}])
def test_memory_that_cannot_be_had(page: Page, site: Site, how: dict[str, object]) -> None:
    """By default refused by the limit; beyond it the engine's memory cannot grow. Other models run on."""
    site.put("/large.tulle", pack(large_graph(7720)))
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', how);
        const before = (await model.run(new Float32Array(48).fill(1)), model.info.memoryBytes);
        const limits = { tensorBytes: 2e9 };
        const polite = await outcome(tulle.load('/large.tulle', { ...how, limits }));
        await model.run(new Float32Array(48));
        const grown = model.info.memoryBytes - before;
        limits.memoryBytes = 4e9;
        await outcome(tulle.load('/large.tulle', { ...how, limits })); // for which one thread has memory
        const denied = await outcome(tulle.load('/large.tulle', { ...how, limits }));
        const { y } = await model.run(new Float32Array(48).fill(4));
        return { polite, denied: { error: denied.error, isTulleError: denied.isTulleError }, y: y[0], grown };
        """,
        how=how,
    )
    assert "the model needs at least 2145" in result["polite"]["error"], result
    assert result["polite"]["error"].endswith("MB of memory, the limit is 1073.7 MB")
    assert result["denied"]["isTulleError"] and "out of memory: " in result["denied"]["error"]
    assert result["y"] == 8
    assert result["grown"] < 1 << 20, "refused before it was allocated"


def test_python_has_the_same_limits() -> None:
    data = pack(large_graph(1024))
    for limits, message in [
        (tulle.runtime.Limits(file_bytes=100), "the file has 0.0 MB, the limit is 0.0 MB"),
        (tulle.runtime.Limits(ops=2), "ops, the limit is 2"),
        (tulle.runtime.Limits(tensor_bytes=12_000_000), "takes 12.6 MB, the limit is 12.0 MB"),
        (tulle.runtime.Limits(memory_bytes=20_000_000), "MB of memory, the limit is 20.0 MB"),
        (tulle.runtime.Limits(macs=1_000_000), "a run takes up to .* multiply-adds, the limit is 1.0 million"),
    ]:
        with pytest.raises(tulle.TulleError, match=message):
            tulle.load(data, limits=limits)
    with pytest.raises(tulle.TulleError, match="limit ops=0 is not an integer from 1"):
        tulle.runtime.Limits(ops=0)
    with tulle.load(data) as model:
        assert model(np.zeros((1, 8, 8, 3), np.float32))["y"].shape == (1, 1, 1, 3)

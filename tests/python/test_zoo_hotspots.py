"""`tulle hotspots`: the time of a network by kind of op."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import tulle
from tulle import zoo
from tulle.cli import main
from tulle.errors import TulleError
from tulle.graph.stats import total_macs
from tulle.hotspots import measure
from tulle.sparsify import magnitude


def test_shares_add_up_and_count_every_product() -> None:
    result = measure("mobilenet_v2", runs=2)
    assert sum(row.share for row in result.kinds) == pytest.approx(1)
    assert sum(row.macs for row in result.kinds) == total_macs(zoo.mobilenet_v2())
    assert result.article == 0.71
    assert 0.3 < result.pointwise < 0.95
    counts = {row.kind: row.count for row in result.kinds}
    assert counts["conv2d 1x1"] == 35 and counts["conv2d 3x3"] == 1 and counts["depthwise_conv2d"] == 17


def test_sparse_files_are_measured_dense(tmp_path: Path) -> None:
    """A .tulle file whose layers run sparse says nothing about the dense network, so it is lowered anew."""
    graph = zoo.mobilenet_v2(width=0.35, size=64)
    path = tmp_path / "sparse.tulle"
    tulle.convert(magnitude(graph, 0.5), sparse="always").save(path)
    outcome = CliRunner().invoke(main, ["hotspots", str(path), "--runs", "1", "--json"])
    assert outcome.exit_code == 0, outcome.output
    (result,) = json.loads(outcome.stdout)
    assert sum(row["macs"] for row in result["kinds"]) > 0.98 * total_macs(graph)  # but for dead channels
    with pytest.raises(TulleError, match="at least 1"):
        measure(path, runs=0)


@pytest.mark.parametrize("name", ["hotspots", "share"])  # `share` is what it was called before
def test_the_table_names_the_article_s_figure(name: str) -> None:
    outcome = CliRunner().invoke(main, [name, "mobilenet_v1", "--runs", "1"])
    assert outcome.exit_code == 0 and "85.0%" in outcome.output and "conv2d 1x1" in outcome.output

"""The kernel benchmark runs in the browser, and its figures hang together."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from paths import ROOT

pytestmark = pytest.mark.xdist_group("benchmarks")  # one at a time: they measure

KERNELS = ROOT / "bench/kernels.py"


def run(*arguments: str, chromium: str = "") -> subprocess.CompletedProcess[str]:
    for module in ("matplotlib", "onnx", "playwright", "ai_edge_litert"):
        pytest.importorskip(module, reason=f"the benchmark needs {module} (pip install -e '.[bench]')")
    environment = {**os.environ, "CHROMIUM": chromium} if chromium else None
    command = [sys.executable, str(KERNELS), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.browser
@pytest.mark.slow
def test_quick_run_measures_every_kind_of_kernel(chromium_path: str, tmp_path: Path) -> None:
    done = run("--quick", "--models", "mobilenet_v2", "--output", str(tmp_path), chromium=chromium_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernels.json", "kernels.md", "kernels.svg"]
    report = json.loads((tmp_path / "kernels.json").read_text())
    assert report["peak"].keys() == {"relaxed", "simd"} and min(report["peak"].values()) > 0.5
    rows = report["rows"]
    assert {(row["variant"], row["kind"]) for row in rows} == {
        (variant, kind) for variant in report["peak"] for kind in ("pointwise", "vector", "depthwise", "entry")
    }
    for row in rows:
        assert 0.2 < row["loads"] < 5
        assert row["us"] > 0 and 0 < row["share_of_peak"] < 1.2
        assert row["gmacs"] == pytest.approx(row["macs"] / row["us"] / 1e3)
    pointwise = [row for row in rows if row["kind"] == "pointwise"]
    assert sorted({row["zeros"] for row in pointwise}) == [0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95]
    # Of one layer a busy machine may say anything.
    assert statistics.median(row["over_dense"] for row in pointwise if row["zeros"] == 0.95) > 1
    for kinds in report["regret"]["cost model in use"].values():
        assert kinds["pointwise"]["worst"] >= kinds["pointwise"]["geomean"] >= 1
    assert [(m["model"], m["variant"]) for m in report["models"]] == [("mobilenet_v2", v) for v in report["peak"]]
    assert all(m["ms"] == pytest.approx(sum(m["ops"].values())) and m["ops"]["conv2d"] > 0 for m in report["models"])
    assert "relaxed" in (tmp_path / "kernels.md").read_text()
    ElementTree.parse(tmp_path / "kernels.svg")
    assert "1x1 convolution" in done.stdout


def test_bad_arguments_are_explained(tmp_path: Path) -> None:
    done = run("--kinds", "pointwise,hand")
    assert done.returncode == 2 and "hand" in done.stderr
    done = run("--fit", "--quick")
    assert done.returncode == 2 and "--fit needs" in done.stderr
    done = run("--models", "mobilenet_v1", "--kinds", "spatial", "--force", "--output", str(tmp_path / "none"))
    assert done.returncode == 1 and "no shape is of these kinds" in done.stderr
    assert not (tmp_path / "none").exists()

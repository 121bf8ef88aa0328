"""The ablation page in a real Chromium: its overlaps are LiteRT's and NumPy's, its shares are shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

import build_demo
from browser.visit import Visit, demo_server
from conftest import LiteRT
from paths import ROOT
from tulle.hotspots import ARTICLE
from tulle.pack import unpack
from tulle.sparsify import magnitude
from tulle.tflite import read, write

pytestmark = pytest.mark.browser

DENSE = "selfie_segmentation_landscape"
LEVELS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)


@pytest.fixture(scope="module")
def visit(chromium: Browser, built: Path, demo_models: Path) -> Iterator[Visit]:
    """The page once it has measured everything."""
    with demo_server() as address:
        context = chromium.new_context()
        yield Visit(context, address + "/demos/ablation/").started()
        context.close()


def rows(visit: Visit, table: str) -> list[list[str]]:
    return visit.page.evaluate(ROWS, table)


ROWS = """
(id) => [...document.getElementById(id).tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))
"""


def test_the_overlaps_are_those_of_litert(visit: Visit, models_dir: Path, litert: LiteRT) -> None:
    """Of the same networks, written as TFLite, on the same pictures; JPEG decoders differ a little."""
    graph = read(models_dir / f"{DENSE}.tflite")
    pictures = [
        np.asarray(Image.open(file).convert("RGB"), np.float32)[None] / 255
        for file in sorted((ROOT / "demos" / "images" / "person").glob("*.jpg"))
    ]
    assert len(pictures) == 8

    def masks(model: Path | bytes) -> np.ndarray:
        return np.stack([next(iter(litert(model, {"input_1": picture}).values())) > 0.5 for picture in pictures])

    dense = masks(models_dir / f"{DENSE}.tflite")
    shown = {int(row[0].split()[0]): float(row[5]) for row in rows(visit, "levels")[1:]}
    for zeros in (20, 50, 90):
        sparse = masks(write(magnitude(graph, zeros / 100)))
        both, either = ((operator(dense, sparse)).sum((1, 2, 3)) for operator in (np.logical_and, np.logical_or))
        assert shown[zeros] == pytest.approx(100 * np.mean(both / either), abs=1.0)

    solved = {int(row[0].split()[0]): row[6] for row in rows(visit, "levels")[1:]}
    for zeros in LEVELS[1:]:
        file = build_demo.SHIPPED / f"{DENSE}_tulle_{zeros}.tflite"
        if not file.is_file():
            assert solved[zeros] == "–"
            continue
        sparse = masks(file)
        both, either = ((operator(dense, sparse)).sum((1, 2, 3)) for operator in (np.logical_and, np.logical_or))
        assert float(solved[zeros]) == pytest.approx(100 * np.mean(both / either), abs=1.0)


def test_every_level_is_measured(visit: Visit) -> None:
    table = rows(visit, "levels")
    assert [row[0] for row in table] == ["dense", *(f"{zeros} %" for zeros in LEVELS[1:])]
    dense = float(table[0][3])
    for row in table:
        assert float(row[3]) > 0
        assert float(row[4]) == pytest.approx(dense / float(row[3]), abs=0.02)
    sizes = [float(row[2].split()[0]) for row in table]
    assert sizes == sorted(sizes, reverse=True)
    assert float(table[0][5]) == 100
    for plot in ("time-plot", "overlap-plot"):
        assert visit.page.locator(f"#{plot} circle.sparse").count() == len(LEVELS)
    assert visit.complaints == []


def test_the_shares_are_shares_of_the_time(visit: Visit) -> None:
    table = rows(visit, "shares")
    assert [row[2] for row in table] == [f"{share:.0%}".replace("%", " %") for share in ARTICLE.values()]
    for row, widths in zip(table, visit.page.evaluate(WIDTHS), strict=True):
        here, milliseconds = float(row[1].removesuffix(" %")), float(row[3])
        assert 30 < here < 100 and milliseconds > 0  # 1x1 convolutions have most of the work in all of them
        assert sum(widths) == pytest.approx(100, abs=0.1)
        assert widths[0] == pytest.approx(here, abs=0.6)


# Widths of the bars' parts, in percent.
WIDTHS = """
() => [...document.querySelectorAll('#shares .bar')]
  .map((bar) => [...bar.children].map((part) => parseFloat(part.style.width)))
"""


@pytest.mark.parametrize("name", ["hand_landmark_tulle", DENSE])
def test_the_kinds_are_those_of_the_graph(name: str, visit: Visit) -> None:
    """What the pages count as 1x1 convolution is one: also at a single pixel, where other kernels run."""
    graph = unpack((build_demo.TARGET / f"{name}.tulle").read_bytes())
    expected = {
        node.name for node in graph if node.op == "conv2d" and graph.tensors[node.inputs[1] or ""].shape[1:3] == (1, 1)
    }
    assert len(expected) > 10
    assert set(visit.page.evaluate(POINTWISE_STEPS, name)) == expected


POINTWISE_STEPS = """
async (name) => {
  const { kindOf, POINTWISE } = await import('/demos/lib/operations.js');
  const { load } = await import('/web/src/index.js');
  const model = await load(`/demos/models/${name}.tulle`);
  const steps = (await model.profile()).filter((row) => kindOf(row) === POINTWISE).map((row) => row.name);
  await model.close();
  return steps;
}
"""


def test_results_hold_both_tables_and_the_device(visit: Visit) -> None:
    results = visit.page.evaluate("tulleDemo.results()")
    assert results.count("\n|") == 2 * 2 + len(LEVELS) + len(ARTICLE)  # of each table its head, a rule, its rows
    assert "cross-origin isolated: true" in results

"""The compare page in a real Chromium: every network's answers are LiteRT's, and the figures belong together."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import build_demo
from browser.conftest import decode
from browser.visit import Visit, demo_server
from conftest import LiteRT

pytestmark = pytest.mark.browser

PAGE = "/demos/compare/"
HANDS = ("hand_landmark_full", "hand_landmark_lite", "hand_landmark_tulle")
PICTURES = (0, 3)
SIGMOIDS = ("Identity_1", "Identity_2")  # presence, handedness

EVALUATE = """
async (index) => {
  const encode = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength).toBase64();
  const { input, outputs } = await tulleDemo.evaluate(index);
  for (const values of Object.values(outputs)) for (const name in values) values[name] = encode(values[name]);
  return { pixels: encode(input.data), shape: [1, input.height, input.width, 4], outputs };
}
"""


@pytest.fixture(scope="session")
def catalogue(demo_models: Path) -> dict[str, dict[str, Any]]:
    """models.json, with all that it lists."""
    return json.loads((demo_models / "models.json").read_text())


@pytest.fixture(scope="module")
def address(built: Path, catalogue: dict[str, dict[str, Any]]) -> Iterator[str]:
    with demo_server() as address:
        yield address


OpenCompare = Callable[..., Visit]


@pytest.fixture
def open_compare(chromium: Browser, address: str) -> Iterator[OpenCompare]:
    """open_compare(setup=None) visits the page; `setup` is given it before it loads."""
    contexts = []

    def open_compare(setup: Callable[[Page], None] | None = None) -> Visit:
        contexts.append(chromium.new_context(permissions=["clipboard-read", "clipboard-write"]))
        return Visit(contexts[-1], address + PAGE, setup)

    yield open_compare
    for context in contexts:
        context.close()


def evaluate(page: Page, index: int) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """The input that the networks saw, [1, H, W, 3] from 0 to 1, and their outputs by network and name."""
    answer = page.evaluate(EVALUATE, index)
    pixels = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8).reshape(answer["shape"])
    outputs = {name: decode(values) for name, values in answer["outputs"].items()}
    return pixels[..., :3] / np.float32(255), outputs


def check_hands(page: Page, model_path: Callable[[str], Path], litert: LiteRT) -> None:
    """Asserts that each hand network's outputs are LiteRT's on the same pixels, within 1e-3 of each output's range."""
    for index in PICTURES:
        pixels, outputs = evaluate(page, index)
        assert set(HANDS) <= outputs.keys()
        for network in HANDS:
            expected = litert(model_path(network), {"input_1": pixels})
            for name, right in expected.items():
                scale = 1.0 if name in SIGMOIDS else float(np.ptp(right))
                error = float(np.abs(outputs[network][name] - right.ravel()).max())  # NaN fails the comparison
                assert error <= 1e-3 * scale, f"{network} {name}: off by {error}, its range is {scale}"


def test_the_hand_networks_answer_as_litert_does(
    open_compare: OpenCompare, model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    visit = open_compare().started()
    check_hands(visit.page, model_path, litert)
    assert visit.complaints == []


def test_a_wrong_network_is_noticed(
    open_compare: OpenCompare, model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    """The comparison above can fail: the distilled network's file holds the sparse one."""
    wrong = (build_demo.TARGET / "hand_landmark_tulle.tulle").read_bytes()

    def serve_wrong(page: Page) -> None:
        page.route("**/hand_landmark_lite.tulle", lambda route: route.fulfill(body=wrong))

    with pytest.raises(AssertionError, match="hand_landmark_lite Identity"):
        check_hands(open_compare(serve_wrong).started().page, model_path, litert)


def test_the_mask_networks_answer_as_litert_does(
    open_compare: OpenCompare, model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    visit = open_compare().started()
    page = visit.page
    page.get_by_text("Person mask").click()
    expect(page.locator("#lanes")).to_have_class("lanes selfie")
    expect(page.locator("#status")).to_contain_text("Taking turns", timeout=30_000)
    pixels, outputs = evaluate(page, 0)
    [right] = litert(model_path("selfie_segmentation_landscape"), {"input_1": pixels}).values()
    np.testing.assert_allclose(outputs["selfie_segmentation_landscape"]["segment_back"], right.ravel(), atol=2e-3)
    dense, sparse = (values["segment_back"] > 0.5 for values in outputs.values())
    expected = 100 * np.sum(dense & sparse) / np.sum(dense | sparse)
    # The page's own figure, of a picture that may be another one by now, is an overlap of the same kind.
    shown = page.locator("#figures tbody tr").nth(1).locator("td").last
    expect(shown).to_contain_text("%")
    assert 0 < float(shown.inner_text().removesuffix(" %")) <= 100
    assert 0 < expected < 100
    assert visit.complaints == []


def test_the_figures_belong_together(open_compare: OpenCompare, catalogue: dict[str, dict[str, Any]]) -> None:
    visit = open_compare().started()
    page = visit.page
    expect(page.locator("[data-value=frames]")).to_have_text("mean of 100 frames", timeout=90_000)
    page.click("#play")
    expect(page.locator("#play")).to_have_text("Play")
    networks = [facts for facts in catalogue.values() if facts["task"] == "hand"]
    rows = page.evaluate(ROWS, "figures")
    operations = page.evaluate(ROWS, "operations")
    assert [row[0] for row in rows] == [row[0] for row in operations] == [facts["title"] for facts in networks]
    dense = float(rows[0][1])
    for facts, row, parts in zip(networks, rows, operations, strict=True):
        mean, median, p90 = map(float, row[1:4])
        assert 0 < median <= p90 and mean > 0
        assert float(row[4].rstrip("×")) == pytest.approx(dense / mean, abs=0.02)
        assert float(row[5].split()[0]) == pytest.approx(facts["tulle_bytes"] / 1e6, abs=0.006)
        assert row[6] == f"{100 - 100 * facts['nonzero'] / facts['weights']:.0f} %"
        times = [float(cell) for cell in parts[1:]]
        assert sum(times[:-1]) == pytest.approx(times[-1], abs=0.03)
        # Of some of the same frames, each run once more for this: much the same, as far as the machine lets them be.
        assert 0.3 * mean < times[-1] < 2 * mean
    for series in ("dense", "distilled", "sparse"):
        assert (page.locator(f"#chart path.{series}.average").get_attribute("d") or "").count("L") > 50
    assert visit.complaints == []


ROWS = """
(id) => [...document.getElementById(id).tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))
"""


def test_settings_change_the_engine_and_hardly_the_answers(open_compare: OpenCompare) -> None:
    visit = open_compare().started()
    page = visit.page
    found = []
    for what, choice, words in (
        ("#threads", "1", "1 thread, relaxed build"),
        ("#threads", "2", "2 threads, relaxed build"),
        ("#variant", "simd", "2 threads, simd build"),
    ):
        page.select_option(what, choice)
        expect(page.locator("#status")).to_contain_text(words, timeout=60_000)
        found.append(evaluate(page, 0)[1])
    for network in HANDS:
        alone, both, simd = (outputs[network]["Identity"] for outputs in found)
        np.testing.assert_array_equal(alone, both)
        np.testing.assert_allclose(both, simd, atol=0.2)  # pixels of 224
    assert page.locator("#chart .mark").count() > 0
    assert visit.complaints == []


def test_the_results_can_be_copied(open_compare: OpenCompare) -> None:
    page = open_compare().started().page
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.search(r"^\| Sparse \| [\d.]+ \|", copied, re.MULTILINE)
    assert "cross-origin isolated: true" in copied and "Chrome" in copied


def test_moving_averages_are_numpys(open_compare: OpenCompare) -> None:
    page = open_compare().page
    numbers = np.random.default_rng(0).gamma(2.0, 5.0, 250)
    found = page.evaluate(AVERAGES, numbers.tolist())
    for count, statistics in found:
        last = numbers[:count][-100:]
        expected = [len(last), last[-1], last.mean(), np.median(last), np.percentile(last, 90)]
        np.testing.assert_allclose(statistics, expected, rtol=1e-12)
    assert [count for count, _ in found] == [1, 2, 99, 100, 101, 250]


AVERAGES = """
async (numbers) => {
  const { MovingAverage } = await import('/demos/lib/meter.js');
  const average = new MovingAverage();
  const found = [];
  numbers.forEach((number, i) => {
    average.push(number);
    if (![1, 2, 99, 100, 101, 250].includes(i + 1)) return;
    found.push([i + 1, [average.count, average.last, average.mean, average.median, average.p90]]);
  });
  return found;
}
"""

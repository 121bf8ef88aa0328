"""The skeletons that the pages draw lie on the hand, finger by finger: judged by the pixels that a visitor sees."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import tulle
from browser.visit import Visit, demo_server, wait_until
from paths import ROOT
from tulle.sparsify import magnitude

pytestmark = pytest.mark.browser

PICTURE = ROOT / "demos" / "images" / "open-hand.jpg"
# Where a person sees these in the picture: x, y from 0 to 1.
PLACES = {
    "thumb": (0.844, 0.433),
    "index finger": (0.572, 0.167),
    "middle finger": (0.422, 0.133),
    "ring finger": (0.339, 0.200),
    "little finger": (0.178, 0.333),
    "wrist": (0.480, 0.890),
}
NEAR = 0.06  # of the picture's side


@pytest.fixture(scope="module")
def address(built: Path, demo_models: Path) -> Iterator[str]:
    with demo_server() as address:
        yield address


def check_skeleton(page: Page, selector: str, square: tuple[float, float, float]) -> None:
    """Asserts that the canvas shows a skeleton on the hand of PICTURE, which is drawn in this square of it.

    Args:
        square: left, top and side, as parts of the canvas's width.
    """
    canvas = page.locator(selector).first
    shot = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
    ink = canvas.evaluate("(node) => getComputedStyle(node).color.match(/\\d+/g).map(Number)")
    rows, columns = np.nonzero(np.linalg.norm(shot - ink, axis=2) < 40)
    left, top, side = (value * shot.shape[1] for value in square)
    x, y = (columns + 0.5 - left) / side, (rows + 0.5 - top) / side
    assert len(x) > 0.005 * side**2, "hardly anything is drawn"
    for place, (right_x, right_y) in PLACES.items():
        assert np.hypot(x - right_x, y - right_y).min() < NEAR, f"nothing is drawn at the {place}"
    hand = skin()
    size = len(hand)
    inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    on_hand = np.zeros(len(x), bool)
    on_hand[inside] = hand[(y[inside] * size).astype(int), (x[inside] * size).astype(int)]
    assert on_hand.mean() > 0.97, f"{1 - on_hand.mean():.0%} of the lines lie beside the hand"


def skin() -> np.ndarray:
    """Which pixels of PICTURE show the hand or are next to it: its ground is grey. Bool [height, width]."""
    pixels = np.asarray(Image.open(PICTURE).convert("RGB")).astype(int)
    hand = pixels[..., 0] - pixels[..., 2] > 20
    assert 0.2 < hand.mean() < 0.5
    grown = hand.copy()
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            grown |= np.roll(hand, shift, axis)
    return grown


def show_front(page: Page) -> None:
    check_skeleton(page, "#hand", (0, 0, 1))


def show_hands(page: Page, folder: Path) -> None:
    """Gives the page PICTURE on a wall, as a visitor's own file."""
    wall = Image.new("RGB", (640, 400), (188, 186, 186))
    wall.paste(Image.open(PICTURE).convert("RGB").resize((240, 240), Image.Resampling.BICUBIC), (80, 100))
    wall.save(folder / "wall.png")
    page.set_input_files("#own", folder / "wall.png")
    expect(page.locator("#status")).to_have_text("wall.png, 640 × 400")
    wait_until(page, "tulleDemo.last.frame.width === 640 && tulleDemo.last.frame.height === 400")
    page.click("#play")
    wait_until(page, "tulleDemo.last.hands.length === 1")
    check_skeleton(page, ".view canvas", (80 / 640, 100 / 640, 240 / 640))


@pytest.mark.parametrize("network", ["as it is", "pruned by magnitude"])
@pytest.mark.parametrize("path", ["/demos/", "/demos/hands/"])
def test_the_skeleton_lies_on_the_hand(
    path: str,
    network: str,
    address: str,
    chromium: Browser,
    model_path: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """That of the network the pages come with; what a network answers that was only pruned does not pass for one."""

    def serve_pruned(page: Page) -> None:
        pruned = magnitude(tulle.read_tflite(model_path("hand_landmark_full")), 0.8)
        body = tulle.convert(pruned, input_mean=0, input_std=255).data
        page.route("**/hand_landmark_tulle.tulle", lambda route: route.fulfill(body=body))

    context = chromium.new_context(color_scheme="light", reduced_motion="reduce")
    visit = Visit(context, address + path, None if network == "as it is" else serve_pruned).started()
    show = show_front if path == "/demos/" else lambda page: show_hands(page, tmp_path)
    if network == "as it is":
        show(visit.page)
        assert visit.complaints == []
    else:
        with pytest.raises(AssertionError, match=r"nothing is drawn at|lie beside the hand"):
            show(visit.page)
    context.close()

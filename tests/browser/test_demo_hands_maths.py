"""The arithmetic of tulle/hands against NumPy in float64, on random numbers and without any network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from browser import hand_oracle
from browser.conftest import evaluate
from browser.hand_oracle import Palm, Region
from browser.server import Site
from paths import ROOT

pytestmark = pytest.mark.browser

PAGE = b"""<!doctype html>
<title>hands</title>
<link rel="icon" href="data:,">
<script type="module">
  import * as answer from '/web/src/hands/answer.js';
  import * as palms from '/web/src/hands/palms.js';
  import * as region from '/web/src/hands/region.js';
  import * as smoothing from '/web/src/hands/smoothing.js';
  Object.assign(window, { ...answer, ...palms, ...region, ...smoothing, ready: true });
</script>
"""


@pytest.fixture(scope="module")
def maths(chromium: Browser) -> Iterator[Page]:
    """A page with the modules' functions as globals."""
    with Site() as site:
        site.mount("/web/", ROOT / "web")
        site.put("/page.html", PAGE)
        page = chromium.new_page()
        page.goto(site.url + "/page.html")
        page.wait_for_function("window.ready")
        yield page
        page.close()


def test_anchors(maths: Page) -> None:
    found = np.array(maths.evaluate("[...anchorCentres()]")).reshape(-1, 2)
    np.testing.assert_allclose(found, hand_oracle.anchors(), atol=1e-7)
    assert found.shape == (2016, 2)


@pytest.mark.parametrize("seed", range(5))
def test_palms_are_decoded_and_merged(seed: int, maths: Page) -> None:
    """Of 2016 anchors some sixty have a score above one half, and many of these overlap."""
    random = np.random.default_rng(seed)
    logits = random.normal(-4, 2.1, 2016).astype(np.float32)
    boxes = random.normal(0, 10, (2016, 18)).astype(np.float32)
    boxes[:, 2:4] = random.uniform(30, 90, (2016, 2))
    find = "return findPalms(Float32Array.from(boxes), Float32Array.from(logits));"
    found = evaluate(maths, find, boxes=boxes.ravel().tolist(), logits=logits.tolist())
    expected = hand_oracle.palms(boxes, logits)
    assert 5 < len(expected) < int((logits > 0).sum())
    assert len(found) == len(expected)
    for palm, right in zip(found, expected, strict=True):
        assert palm["score"] == pytest.approx(right.score, abs=1e-6)
        box = [palm["box"][side] for side in ("left", "top", "right", "bottom")]
        np.testing.assert_allclose(box, right.box, atol=1e-5)
        np.testing.assert_allclose(palm["points"], right.points, atol=1e-5)


def test_no_palm_is_no_palm_and_other_outputs_are_refused(maths: Page) -> None:
    nothing = "return findPalms(new Float32Array(2016 * 18), new Float32Array(2016).fill(-100));"
    assert evaluate(maths, nothing) == []
    refuse = "try { findPalms(new Float32Array(63), new Float32Array(1)); } catch (error) { return error.message; }"
    assert "no palm detector" in evaluate(maths, refuse)


def check_region(found: dict[str, float], right: Region) -> None:
    assert (found["x"], found["y"], found["size"]) == pytest.approx((right.x, right.y, right.size), abs=1e-2)
    assert math.remainder(found["angle"] - right.angle, 2 * math.pi) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_regions_of_palms_and_landmarks(seed: int, maths: Page) -> None:
    random = np.random.default_rng(seed)
    left, top = random.uniform(0, 0.8, 2)
    width, height = random.uniform(0.05, 0.3, 2)
    palm = Palm(0.9, np.array([left, top, left + width, top + height]), random.uniform(0, 1, (7, 2)))
    seen = maths.evaluate("wholeFrame(640, 400)")
    check_region(seen, Region(320, 200, 640, 0))
    given: dict[str, Any] = {
        "score": palm.score,
        "box": dict(zip(("left", "top", "right", "bottom"), palm.box.tolist(), strict=True)),
        "points": palm.points.tolist(),
    }
    found = evaluate(maths, "return regionOfPalm(palm, seen);", palm=given, seen=seen)
    check_region(found, hand_oracle.region_of_palm(palm, Region(**seen)))

    points = random.uniform(50, 350, (21, 2))
    found = evaluate(maths, "return regionOfLandmarks(Float32Array.from(points));", points=points.ravel().tolist())
    check_region(found, hand_oracle.region_of_landmarks(points))


def test_the_first_of_overlapping_regions_stays(maths: Page) -> None:
    random = np.random.default_rng(1)
    regions = [Region(*random.uniform(0, 100, 2), random.uniform(30, 60), random.uniform(-3, 3)) for _ in range(30)]
    drop = (
        "return withoutDuplicates(regions.map((region) => ({ region }))).map(({ region }) => regions.indexOf(region));"
    )
    kept = evaluate(maths, drop, regions=[vars(region) for region in regions])
    assert [regions[i] for i in kept] == hand_oracle.distinct(regions, most=30)
    assert 5 < len(kept) < 30


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_network_is_read(mirrored: bool, maths: Page) -> None:
    """Landmarks are in the frame, world landmarks turned with the region; of a mirrored hand the other one is named."""
    random = np.random.default_rng(3)
    raw = random.uniform(0, 224, (21, 3)).astype(np.float32)
    world = random.normal(0, 0.05, (21, 3)).astype(np.float32)
    region = Region(200, 150, 90, 2.2)
    read = """
    const outputs = { Identity: raw, Identity_1: [0.9], Identity_2: [0.8], Identity_3: world };
    const arrays = Object.entries(outputs).map(([name, values]) => [name, Float32Array.from(values)]);
    const answer = readAnswer(Object.fromEntries(arrays), region, mirrored);
    return { ...answer, points: [...answer.points], world: [...answer.world] };
    """
    given = {"raw": raw.ravel().tolist(), "world": world.ravel().tolist(), "region": vars(region)}
    found = evaluate(maths, read, **given, mirrored=mirrored)
    points = region.to_frame(raw[:, :2].astype(np.float64) / 224)
    np.testing.assert_allclose(np.reshape(found["points"], (21, 2)), points, atol=1e-3)
    turned = np.concatenate([Region(0, 0, 1, 2.2).to_frame(world[:, :2] + 0.5), world[:, 2:]], 1)
    np.testing.assert_allclose(np.reshape(found["world"], (21, 3)), turned, atol=1e-6)
    assert found["presence"] == pytest.approx(0.9) and found["right"] == pytest.approx(0.2 if mirrored else 0.8)
    refuse = "try { readAnswer({ y: new Float32Array(3) }, region, false); } catch (error) { return error.message; }"
    assert "no hand landmark network: its outputs are y" in evaluate(maths, refuse, region=vars(region))


def test_the_one_euro_filter(maths: Page) -> None:
    """Against the filter's definition, written out for one number; a jump is followed, a tremor is not."""
    random = np.random.default_rng(2)
    values = 100 + random.normal(0, 0.5, 40)
    values[20:] += 80
    times = np.cumsum(random.uniform(20, 50, 40))
    scale = 200.0
    run = "const f = new OneEuroFilter(); return values.map((v, i) => f.apply(Float32Array.of(v), times[i], scale)[0]);"
    found = np.array(evaluate(maths, run, values=values.tolist(), times=times.tolist(), scale=scale))

    def share(cutoff: float, seconds: float) -> float:
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / seconds)

    expected = [float(np.float32(values[0]))]
    smooth, speed = values[0], 0.0
    for i in range(1, len(values)):
        seconds = (times[i] - times[i - 1]) / 1000
        speed += share(1.0, seconds) * ((values[i] - smooth) / seconds - speed)
        smooth += share(1.5 + 12 * abs(speed) / scale, seconds) * (values[i] - smooth)
        expected.append(smooth)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[5:20].std() < 0.7 * values[5:20].std()
    assert abs(found[26] - 180) < 3, "within a quarter of a second"

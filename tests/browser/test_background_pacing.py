"""How tulle/background spares a slow machine: the arithmetic of web/src/background/pacing.js, without a camera."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from browser.conftest import evaluate

pytestmark = pytest.mark.browser

# A camera and a machine of so many milliseconds a frame, `network` and `rest`. A frame that comes while another is
# under way waits, and is dropped when the next one comes.
SIMULATE = """
const { MOST_FRAMES, START, after, isDue, load } = await import('/web/src/background/pacing.js');
let pace = START;
let free = 0; // when the machine is
let before; // the last frame's time
let [dropped, oldest, sinceNetwork] = [0, 0, 0];
const every = [];
for (let i = 0; i < frames; i++) {
  const time = i * interval + (pauseAt && i > pauseAt ? 60_000 : 0);
  if (free > time + interval) { dropped++; every.push(pace.every); continue; }
  const start = Math.max(free, time);
  const costly = i < slowUntil;
  const runs = !paced || isDue(pace);
  sinceNetwork = runs ? 0 : sinceNetwork + 1;
  oldest = Math.max(oldest, sinceNetwork);
  const [n, r] = [costly ? network : network / 8, rest];
  free = start + r + (runs ? n : 0);
  const passed = before === undefined ? undefined : time - before;
  if (paced) pace = after(pace, { network: runs ? n : undefined, rest: r, interval: passed });
  before = time;
  every.push(pace.every);
}
return { every, dropped, oldest, load: load(pace, pace.every), most: MOST_FRAMES };
"""


def simulate(page: Page, **given: Any) -> dict[str, Any]:
    usual = {"interval": 33, "frames": 900, "slowUntil": 10**9, "pauseAt": 0, "paced": True}
    return evaluate(page, SIMULATE, **{**usual, **given})


def test_a_fast_machine_runs_the_network_on_every_frame(page: Page) -> None:
    found = simulate(page, network=6, rest=5)
    assert set(found["every"]) == {1}
    assert found["dropped"] == 0
    assert found["load"] == pytest.approx(11 / 33, rel=0.01)


@pytest.mark.parametrize(("network", "rest", "settles"), [(40, 10, 3), (24, 8, 2), (50, 15, 4)])
def test_a_slow_machine_keeps_the_videos_rate_and_lowers_the_networks(
    network: float, rest: float, settles: int, page: Page
) -> None:
    found = simulate(page, network=network, rest=rest)
    assert set(found["every"][200:]) == {settles}, "it settles, and does not swing"
    without = simulate(page, network=network, rest=rest, paced=False)
    assert found["oldest"] <= found["most"] - 1
    if network + rest > 33:
        assert without["dropped"] > 200
    assert found["dropped"] < 40


def test_where_nothing_helps_frames_are_dropped_and_masks_stay_young(page: Page) -> None:
    found = simulate(page, network=200, rest=50)
    assert found["every"][-1] == found["most"]
    assert found["dropped"] > 300
    assert found["oldest"] == found["most"] - 1


def test_the_network_runs_on_every_frame_again_when_there_is_room(page: Page) -> None:
    found = simulate(page, network=40, rest=8, slowUntil=300)
    assert max(found["every"][:300]) >= 2
    assert set(found["every"][600:]) == {1}


def test_a_pause_is_no_slow_camera(page: Page) -> None:
    found = simulate(page, network=6, rest=5, pauseAt=400)
    assert found["load"] == pytest.approx(11 / 33, rel=0.01)

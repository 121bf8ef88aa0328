"""demos/lib/source.js in a real Chromium: the frames it gives are those of the camera, clip, picture or animation."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from browser.camera import camera_browser, write_mjpeg
from browser.conftest import evaluate
from browser.server import Site
from paths import ROOT

pytestmark = pytest.mark.browser

PAGE = b"""<!doctype html>
<title>source</title>
<link rel="icon" href="data:,">
<input type="file" id="file"><div id="area" style="width:100px;height:100px"></div>
<script type="module">
  import { FrameSource, acceptFiles } from '/demos/lib/source.js';
  // Left half red, right half blue.
  const flag = (context, width, height) => {
    context.fillStyle = '#f00';
    context.fillRect(0, 0, width / 2, height);
    context.fillStyle = '#00f';
    context.fillRect(width / 2, 0, width / 2, height);
  };
  const animation = { kind: 'animation', title: 'Flag', width: 64, height: 48, draw: flag };
  const infos = [], errors = [];
  const onChange = (info) => infos.push(info);
  const source = new FrameSource({ fallback: animation, onChange, willReadFrequently: true });
  acceptFiles(source, { input: file, area, onError: (error) => errors.push(error.message) });
  const frames = source.frames();
  /** The pixels of the next frame that comes, RGBA. */
  async function next() {
    const { value, done } = await frames.next();
    if (done) return 'done';
    const { image, width, height, mirrored, capture } = value;
    const { data } = image.getContext('2d').getImageData(0, 0, width, height);
    return { pixels: new Uint8Array(data.buffer).toBase64(), width, height, mirrored, capture };
  }
  Object.assign(window, { source, animation, infos, errors, next, ready: true });
</script>
"""


@pytest.fixture(scope="module")
def demos() -> Iterator[Site]:
    with Site() as site:
        site.mount("/demos/", ROOT / "demos")
        site.put("/page.html", PAGE)
        site.put("/text.webm", b"no video")
        yield site


@pytest.fixture
def open_source(demos: Site) -> Iterator[Callable[..., Page]]:
    """open_source(browser, **context options) opens the page above."""
    contexts: list[BrowserContext] = []

    def open_source(browser: Browser, script: str = "", **options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.add_init_script(script)
        page.goto(demos.url + "/page.html")
        page.wait_for_function("window.ready")
        return page

    yield open_source
    for context in contexts:
        context.close()


def next_frame(page: Page) -> np.ndarray:
    """RGB, uint8 [height, width, 3]."""
    frame = page.evaluate("next()")
    pixels = np.frombuffer(base64.b64decode(frame["pixels"]), np.uint8)
    return pixels.reshape(frame["height"], frame["width"], 4)[..., :3]


def colours(frame: np.ndarray) -> tuple[str, str]:
    """Which of red, green and blue the left and the right half mostly are."""
    half = frame.shape[1] // 2
    left, right = ("rgb"[int(side.mean((0, 1)).argmax())] for side in (frame[:, :half], frame[:, half:]))
    return left, right


@pytest.fixture(scope="module")
def camera(chromium: Browser, chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A camera that shows green on the left, blue on the right."""
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[:, :80, 1] = frame[:, 80:, 2] = 220
    clip = write_mjpeg(tmp_path_factory.mktemp("camera") / "flag.mjpeg", [frame] * 10)
    with camera_browser(chromium, chromium_path, clip) as browser:
        yield browser


def test_camera_frames_are_mirrored_and_the_camera_is_let_go(camera: Browser, open_source: Callable[..., Page]) -> None:
    page = open_source(camera)
    page.evaluate("source.open({ kind: 'camera' })")
    for _ in range(5):
        assert colours(next_frame(page)) == ("b", "g")
    info = page.evaluate("source.info")
    assert (info["kind"], info["mirrored"]) == ("camera", True)
    assert page.evaluate("infos.at(-1).note") == ""
    streams = """
    const real = MediaStreamTrack.prototype.stop;
    window.stopped = 0;
    MediaStreamTrack.prototype.stop = function () { window.stopped++; return real.call(this); };
    await source.open(animation);
    return window.stopped;
    """
    assert evaluate(page, streams) == 1
    assert colours(next_frame(page)) == ("r", "b")


def test_an_unplugged_camera_is_replaced(camera: Browser, open_source: Callable[..., Page]) -> None:
    capture = """
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (options) => (window.stream = await real(options));
    """
    page = open_source(camera, capture)
    page.evaluate("source.open({ kind: 'camera' })")
    next_frame(page)
    page.evaluate("stream.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    page.wait_for_function("infos.at(-1).kind === 'animation'")
    assert page.evaluate("infos.at(-1).note") == "Camera: ended. Shown instead: Flag."
    assert colours(next_frame(page)) == ("r", "b")


def test_a_refused_camera_leads_to_the_fallback(chromium: Browser, open_source: Callable[..., Page]) -> None:
    page = open_source(chromium)
    page.evaluate("source.open({ kind: 'camera' })")
    assert page.evaluate("infos").pop()["note"].endswith("Shown instead: Flag.")
    assert colours(next_frame(page)) == ("r", "b")
    for error, words in {"NotAllowedError": "not allowed", "NotFoundError": "No camera", "Odd": "could not"}.items():
        refuse = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('so there', error); };"
        evaluate(page, refuse + "await source.open({ kind: 'camera' });", error=error)
        assert words in page.evaluate("infos.at(-1).note")
    evaluate(page, "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });")
    page.evaluate("source.open({ kind: 'camera' })")
    assert "https://" in page.evaluate("infos.at(-1).note")


def test_the_clip_plays_and_starts_over(chromium: Browser, open_source: Callable[..., Page]) -> None:
    page = open_source(chromium)
    page.evaluate("source.open({ kind: 'clip', url: '/demos/clips/carphone.webm', title: 'Clip' })")
    frames = [next_frame(page).astype(int) for _ in range(8)]
    assert frames[0].shape == (144, 192, 3)
    changes = [float(np.abs(a - b).mean()) for a, b in pairwise(frames)]
    assert max(changes) > 0.3, "the pictures move"
    # One frame of the clip: a dark suit at the bottom, a light sky at the top right.
    assert frames[0][100:, 60:90].mean() < 70 < 170 < frames[0][10:50, 160:].mean()

    page.evaluate("source.pause()")
    counting = "window.count = 0; (async () => { while (await next() !== 'done') count++; })();"
    evaluate(page, counting + "await new Promise((done) => setTimeout(done, 400));")
    assert page.evaluate("count") <= 1, "at most the one that had come before"
    page.evaluate("source.play()")
    page.wait_for_function("count > 5")


def test_files_become_frames_and_others_are_refused(
    chromium: Browser, open_source: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_source(chromium)
    wide = np.zeros((300, 2000, 3), np.uint8)
    wide[:, :1000, 1] = wide[:, 1000:, 0] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    page.set_input_files("#file", tmp_path / "wide.png")
    page.wait_for_function("infos.length === 1")
    frame = next_frame(page)
    assert frame.shape == (192, 1280, 3)
    assert colours(frame) == ("g", "r")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "text.webm").write_text("no video")
    page.set_input_files("#file", tmp_path / "text.jpg")
    page.wait_for_function("errors.length === 1")
    page.set_input_files("#file", tmp_path / "text.webm")
    page.wait_for_function("errors.length === 2")
    assert page.evaluate("errors") == [
        "text.jpg is not a picture that this browser can read.",
        "text.webm is not a video that this browser can play.",
    ]
    assert colours(next_frame(page)) == ("g", "r"), "what was shown before stays"
    page.set_input_files("#file", ROOT / "demos" / "clips" / "carphone.webm")
    page.wait_for_function("infos.at(-1).kind === 'video'")
    assert next_frame(page).shape == (144, 192, 3)


def test_a_dropped_file_is_opened(chromium: Browser, open_source: Callable[..., Page]) -> None:
    page = open_source(chromium)
    drop = """
    const canvas = new OffscreenCanvas(40, 30);
    canvas.getContext('2d').fillStyle = '#0f0';
    canvas.getContext('2d').fillRect(0, 0, 40, 30);
    const data = new DataTransfer();
    data.items.add(new File([await canvas.convertToBlob()], 'green.png', { type: 'image/png' }));
    const send = (kind) => area.dispatchEvent(new DragEvent(kind, { dataTransfer: data, cancelable: true }));
    const taken = !send('dragover');
    const marked = area.classList.contains('dropping');
    send('drop');
    return [taken, marked, area.classList.contains('dropping')];
    """
    assert evaluate(page, drop) == [True, True, False]
    page.wait_for_function("infos.length === 1")
    assert colours(next_frame(page)) == ("g", "g")


def test_of_two_that_are_opened_at_once_the_last_counts(chromium: Browser, open_source: Callable[..., Page]) -> None:
    page = open_source(chromium)
    both = """
    const clip = source.open({ kind: 'clip', url: '/demos/clips/carphone.webm', title: 'Clip' });
    await source.open(animation);
    await clip;
    return infos.map(({ title }) => title);
    """
    assert evaluate(page, both) == ["Flag"]
    assert colours(next_frame(page)) == ("r", "b")


def test_close_ends_the_loop(chromium: Browser, open_source: Callable[..., Page]) -> None:
    page = open_source(chromium)
    page.evaluate("source.open(animation)")
    next_frame(page)
    page.evaluate("source.close()")
    assert page.evaluate("next()") == "done"

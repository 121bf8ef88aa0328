"""tulle/hands in a real Chromium: hands as an independent pipeline finds them, whatever the picture comes from."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

import tulle
from browser import hand_oracle
from browser.camera import camera_browser, write_mjpeg
from browser.conftest import OpenPage, evaluate, expect_workers
from browser.server import Site
from browser.sources import same_picture
from browser.test_demo_hands import SCENES, scene
from conftest import PUBLISHED_SPARSE, LiteRT
from paths import ROOT
from tulle.hands import HandTracker

pytestmark = pytest.mark.browser

DETECTOR, NETWORK = "palm_detection_lite", ROOT / "demos" / "weights" / "hand_landmark_tulle.tflite"


@pytest.fixture
def hands_page(package_models: Path, site: Site, open_page: OpenPage) -> Page:
    """A page with `HandTracker`; scenes are at /NAME.png."""
    for name, picture in SCENES.items():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        site.put(f"/{name}.png", file.getvalue())
    page = open_page(site)
    page.evaluate("async () => { Object.assign(window, await import('/web/src/hands/index.js')); }")
    return page


@pytest.fixture
def pipeline(model_path: Callable[[str], Path], litert: LiteRT) -> Callable[..., list[list[hand_oracle.Hand]]]:
    """pipeline(frame, times): MediaPipe's published steps in NumPy and LiteRT."""

    def network(path: Path) -> hand_oracle.Network:
        return lambda pixels: litert(path, {"input_1": pixels.astype(np.float32)})

    detector, landmarks = network(model_path(DETECTOR)), network(NETWORK)
    return lambda frame, times: hand_oracle.track(frame.astype(np.float64), detector, landmarks, times)


TWICE = """
const tracker = await HandTracker.create(options);
const results = {};
for (const name of names) {
  const bitmap = await createImageBitmap(await (await fetch(`/${name}.png`)).blob());
  await tracker.reset();
  results[name] = [await tracker.detect(bitmap, 0), await tracker.detect(bitmap, 33)];
}
const { variant, threads, notes, memoryBytes } = tracker;
await tracker.close();
const plain = (answer) => ({ ...answer, points: [...answer.points], raw: [...answer.raw], world: [...answer.world] });
for (const { hands } of Object.values(results).flat()) {
  for (const hand of hands) hand.answers = hand.answers.map(plain);
}
return { results, variant, threads, notes, memoryBytes };
"""


def by_place(hands: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(hands, key=lambda hand: hand["region"]["x"])


def test_hands_are_where_mediapipes_steps_with_litert_find_them(
    hands_page: Page, pipeline: Callable[..., Any], record_property: Callable[[str, Any], None]
) -> None:
    found = evaluate(hands_page, TWICE, options={}, names=list(SCENES))
    assert found["variant"] == "relaxed" and found["notes"] == [] and found["memoryBytes"] > 1e6
    expect_workers(hands_page, 0)
    worst = 0.0
    for name, picture in SCENES.items():
        height, width, _ = picture.shape
        for result, right in zip(found["results"][name], pipeline(picture, 2), strict=True):
            hands = by_place(result["hands"])
            assert len(hands) == len(right), name
            for hand, other in zip(hands, sorted(right, key=lambda hand: hand.region.x), strict=True):
                pixels = np.array([[p["x"], p["y"], p["z"]] for p in hand["pixels"]])
                distances = np.linalg.norm(pixels[:, :2] - other.points, axis=1) / other.region.size
                worst = max(worst, float(distances.max()))
                assert distances.max() < 0.005, (name, distances)
                assert hand["presence"] == pytest.approx(other.presence, abs=0.01)
                assert (hand["handedness"] == "Right") == (other.right > 0.5)
                assert hand["score"] == pytest.approx(max(other.right, 1 - other.right), abs=0.01)
                normalised = np.array([[p["x"], p["y"], p["z"]] for p in hand["landmarks"]])
                np.testing.assert_allclose(normalised * [width, height, width], pixels, atol=1e-3)
                raw = np.reshape(hand["answers"][0]["raw"], (21, 3))
                np.testing.assert_allclose(pixels[:, 2], raw[:, 2] * hand["region"]["size"] / 224, atol=1e-3)
                world = np.array([[p["x"], p["y"], p["z"]] for p in hand["worldLandmarks"]])
                assert world.shape == (21, 3) and 0.05 < np.ptp(world[:, :2]) < 0.3, "metres"
    record_property("largest distance of a landmark, in hand squares", worst)


NETWORKS = {"dense": "hand_landmark_full", "distilled": "hand_landmark_lite", "sparse, tulle's": "hand_landmark_tulle",
            "sparse, published": PUBLISHED_SPARSE}  # fmt: skip
# Without one in which the palm detector sees none, LiteRT's neither.
PHOTOGRAPHS = ("open-hand", "four-fingers", "pointing", "finger-and-thumb", "thumb-and-two", "ring", "middle-down")
FOLLOW = """
const tracker = await HandTracker.create({ model, maxHands: 1 });
const found = [];
for (const [first, count] of sequences) {
  await tracker.reset();
  for (let i = first; i < first + count; i++) {
    const bitmap = await createImageBitmap(await (await fetch(`/frame${i}.png`)).blob());
    const { hands } = await tracker.detect(bitmap, 33 * i);
    found.push(hands.map(({ pixels, region }) => ({ pixels: pixels.map(({ x, y }) => [x, y]), size: region.size })));
  }
}
await tracker.close();
return found;
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_on_photographs_and_a_clip(
    hands_page: Page, site: Site, model_path: Callable[[str], Path], shared_dir: Path, litert: LiteRT, name: str,
    thorough: bool, record_property: Callable[[str, Any], None],
) -> None:  # fmt: skip
    """Photographs twice each, then a clip followed frame by frame: against LiteRT by MediaPipe's steps."""
    photographs = [
        np.asarray(Image.open(ROOT / "demos" / "images" / f"{each}.jpg").convert("RGB")) for each in PHOTOGRAPHS
    ]
    data = (shared_dir / "video" / "hand.mjpeg").read_bytes()
    clip = [np.asarray(Image.open(io.BytesIO(b"\xff\xd8\xff" + part)).convert("RGB"))
            for part in data.split(b"\xff\xd8\xff")[1:]]  # fmt: skip
    clip = clip[::3] if thorough else clip[:12]
    frames = [frame for each in photographs for frame in (each, each)] + clip
    for index, frame in enumerate(frames):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        site.put(f"/frame{index}.png", file.getvalue())
    network = model_path(NETWORKS[name])
    site.put("/network.tulle", tulle.convert(network, input_mean=0, input_std=255).data)
    sequences = [(2 * i, 2) for i in range(len(photographs))] + [(2 * len(photographs), len(clip))]
    found = evaluate(hands_page, FOLLOW, model="/network.tulle", sequences=sequences)
    assert {len(hands) for hands in found} == {1}, str([len(hands) for hands in found])

    def run(path: Path) -> hand_oracle.Network:
        return lambda pixels: litert(path, {"input_1": pixels.astype(np.float32)})

    detector, same, dense = run(model_path(DETECTOR)), run(network), run(model_path(NETWORKS["dense"]))
    for kind, parts in (("photographs", sequences[:-1]), ("clip", sequences[-1:])):
        # Followed freely, the rounding of one frame grows in the next: its landmarks say where the next one looks.
        for what, landmarker, freely in (("LiteRT", same, False), ("LiteRT, each followed by itself", same, True),
                                         ("LiteRT's dense network", dense, False)):  # fmt: skip
            pixels, shares = [], []
            for first, count in parts:
                ours = [np.array(hand["pixels"]) for (hand,) in found[first : first + count]]
                others = hand_oracle.follow(
                    frames[first : first + count], detector, landmarker, None if freely else ours
                )
                for points, other in zip(ours, others, strict=True):
                    pixels.extend(np.linalg.norm(points - other.points, axis=1))
                    shares.extend(np.linalg.norm(points - other.points, axis=1) / other.region.size)
            figures = {
                "mean pixels": np.mean(pixels),
                "largest": np.max(pixels),
                "mean % of the square": 100 * np.mean(shares),
            }
            record_property(f"{kind}, from {what}", {key: float(f"{value:.2g}") for key, value in figures.items()})
            if landmarker is same and not freely:
                assert max(shares) < 0.005, (kind, max(shares))


def test_python_finds_the_same_hands(hands_page: Page, record_property: Callable[[str, Any], None]) -> None:
    found = evaluate(hands_page, TWICE, options={"threads": 1}, names=list(SCENES))["results"]
    largest = 0.0
    with HandTracker() as tracker:
        for name, picture in SCENES.items():
            tracker.reset()
            for result in found[name]:
                hands = tracker.detect(picture)
                assert len(hands) == len(result["hands"])
                for ours, theirs in zip(hands, result["hands"], strict=True):
                    for array, points in (
                        (ours.pixels, theirs["pixels"]),
                        (ours.landmarks, theirs["landmarks"]),
                        (ours.world, theirs["worldLandmarks"]),
                    ):
                        assert array is not None
                        other = np.array([[p["x"], p["y"], p["z"]] for p in points])
                        assert np.abs(array - other).max() < 1e-3 * np.ptp(other), name
                    places = np.array([[p["x"], p["y"]] for p in theirs["pixels"]])
                    largest = max(largest, float(np.linalg.norm(ours.pixels[:, :2] - places, axis=1).max()))
                    assert ours.handedness == theirs["handedness"]
                    assert (ours.score, ours.presence) == pytest.approx((theirs["score"], theirs["presence"]), abs=1e-3)
    record_property("largest distance in pixels", largest)


def test_results_have_the_shape_of_mediapipes(hands_page: Page) -> None:
    first, _ = evaluate(hands_page, TWICE, options={"maxHands": 1}, names=["two"])["results"]["two"]
    (hand,) = first["hands"]
    assert first["landmarks"] == [hand["landmarks"]] and len(hand["landmarks"]) == 21
    assert first["worldLandmarks"] == [hand["worldLandmarks"]]
    category = {"score": hand["score"], "categoryName": hand["handedness"], "displayName": hand["handedness"]}
    assert first["handedness"] == first["handednesses"] == [[{"index": int(hand["handedness"] == "Left"), **category}]]
    assert first["timestamp"] == 0 and first["times"]["seen"] == 1
    assert first["times"]["read"] > 0 and first["times"]["detect"] > 0 and first["times"]["landmarks"][0] > 0


def test_answers_do_not_depend_on_threads(hands_page: Page) -> None:
    one, two = (evaluate(hands_page, TWICE, options={"threads": n}, names=["two"]) for n in (1, 2))
    assert (one["threads"], two["threads"]) == (1, 2)
    for a, b in zip(one["results"]["two"], two["results"]["two"], strict=True):
        assert a["hands"] == b["hands"]


SOURCES = (
    same_picture("/two.png")
    + """
const frame = new VideoFrame(canvas, { timestamp: 0 });
const tracker = await HandTracker.create({ threads: 1 });
const found = {};
for (const [name, source] of Object.entries({ imageData, bitmap, blob, image, canvas, offscreen, frame })) {
  await tracker.reset();
  const { hands } = await tracker.detect(source, 0);
  found[name] = JSON.stringify(hands.map(({ id, answers, ...rest }) => rest));
}
const mirrored = (await tracker.detect(canvas, 0, { mirrored: true })).hands.map(({ handedness }) => handedness);
const given = await createImageBitmap(blob);
await tracker.detect(given, 0, { transfer: true });
return { found, mirrored, alive: [bitmap.width, frame.format !== null, imageData.data.length, given.width] };
"""
)


def test_every_kind_of_picture_gives_the_same_hands(hands_page: Page) -> None:
    result = evaluate(hands_page, SOURCES)
    found = {name: json.loads(text) for name, text in result["found"].items()}
    right = [hand["handedness"] for hand in found["imageData"]]
    assert sorted(right) == ["Left", "Right"]
    assert all(hands == found["imageData"] for hands in found.values())
    assert sorted(result["mirrored"]) == ["Left", "Right"] and result["mirrored"] != right
    assert result["alive"] == [640, True, 640 * 400 * 4, 0]


def test_smoothing_steadies_what_trembles(hands_page: Page) -> None:
    found = evaluate(
        hands_page,
        """
        const bitmap = await createImageBitmap(await (await fetch('/one.png')).blob());
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        const context = canvas.getContext('2d', { willReadFrequently: true });
        const paths = [];
        for (const smoothing of [false, true]) {
          const tracker = await HandTracker.create({ smoothing, threads: 1 });
          const path = [];
          for (let i = 0; i < 40; i++) {
            context.drawImage(bitmap, (i * 7) % 5, 0);
            const { hands: [hand] } = await tracker.detect(canvas, 33 * i);
            path.push([hand.pixels[8].x, hand.answers[0].points[16], hand.landmarks[8].x * canvas.width]);
          }
          paths.push(path);
        }
        return paths;
        """,
    )
    plain, smooth = (np.array(path)[10:] for path in found)
    np.testing.assert_allclose(plain[:, 0], plain[:, 1], atol=1e-3)
    np.testing.assert_allclose(smooth[:, 1], plain[:, 1], atol=1e-3)
    np.testing.assert_allclose(smooth[:, 2], smooth[:, 0], atol=1e-3)
    assert smooth[:, 0].std() < 0.7 * plain[:, 0].std()
    assert smooth[:, 0].mean() == pytest.approx(plain[:, 0].mean(), abs=1)


TROUBLE = [
    ("HandTracker.create({ maxHands: 0 })", "maxHands must be an integer from 1 to 16, not 0"),
    ("HandTracker.create({ threads: 99 })", "threads must be an integer from 1 to 16"),
    ("HandTracker.create({ model: [] })", "model is an empty list"),
    ("HandTracker.create({ model: '/absent.tulle' })", "/absent.tulle: HTTP 404"),
    ("HandTracker.create({ detector: new Blob(['text']) })", "cannot load the model in a Blob"),
    ("tiny.detect(new OffscreenCanvas(9, 9))", "this is no palm detector"),
    ("tracker.detect(5)", "detect() takes a picture, as a video or canvas, not Number"),
    ("tracker.detect(document.createElement('video'))", "the video has no frame yet"),
    ("tracker.detect(new Blob(['text']))", "holds no picture that this browser reads"),
    ("closed.detect(new OffscreenCanvas(9, 9))", "the HandTracker is closed"),
]


def test_what_is_wrong_is_said(hands_page: Page) -> None:
    found = evaluate(
        hands_page,
        """
        const tracker = await HandTracker.create({ threads: 1 });
        const tiny = await HandTracker.create({ detector: '/tiny.tulle', threads: 1 });
        const closed = await HandTracker.create({ threads: 1 });
        await closed.close();
        await closed.close();
        const found = [];
        for (const text of trouble) found.push(await outcome(eval(text)));
        const { hands } = await tracker.detect(await (await fetch('/two.png')).blob());
        await tracker.close();
        await tiny.close();
        return { found, hands: hands.length };
        """,
        trouble=[text for text, _ in TROUBLE],
    )
    for (text, words), outcome in zip(TROUBLE, found["found"], strict=True):
        assert outcome.get("isTulleError"), (text, outcome)
        assert words in outcome["error"], (text, outcome["error"])
    assert found["hands"] == 2
    expect_workers(hands_page, 0)


CAMERA = """
const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
const video = Object.assign(document.createElement('video'), { muted: true, srcObject: stream });
await video.play();
const tracker = await HandTracker.create({ threads: 1, smoothing: true });
const seen = [];
let before;
for (let i = 0; i < frames; i++) {
  const { timestamp } = await new Promise((resolve) =>
    video.requestVideoFrameCallback((now, { mediaTime }) => resolve({ timestamp: 1000 * mediaTime })));
  seen.push((await tracker.detect(video, timestamp)).hands.length);
  if (i === 30) before = tracker.memoryBytes;
}
for (const track of stream.getTracks()) track.stop();
const memory = [before, tracker.memoryBytes];
await tracker.close();
return { memory, seen };
"""


def test_300_frames_of_a_camera_leave_nothing_behind(
    chromium: Browser, chromium_path: str, site: Site, package_models: Path, tmp_path: Path
) -> None:
    frames = [
        scene(("open-hand", 300 + 60 * np.sin(i / 8), 220, 15 * np.sin(i / 11), False), width=640, height=480)
        for i in range(60)
    ]
    clip = write_mjpeg(tmp_path / "hand.mjpeg", frames)
    with camera_browser(chromium, chromium_path, clip) as browser:
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(site.url + "/page.html")
        page.wait_for_function("window.ready")
        page.evaluate("async () => { Object.assign(window, await import('/web/src/hands/index.js')); }")
        result = evaluate(page, CAMERA, frames=300)
        page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(200)
    assert result["memory"][0] == result["memory"][1]
    assert np.mean(np.array(result["seen"]) == 1) > 0.95
    assert not [text for text in said if "VideoFrame" in text], said

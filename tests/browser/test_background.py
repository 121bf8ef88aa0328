"""tulle/background in a real Chromium: a camera in, a track out, through a call, and whatever happens to cameras."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from browser.camera import camera_browser, write_mjpeg
from browser.conftest import HERE, evaluate, expect_workers
from browser.server import Site
from browser.sources import same_picture
from conftest import LiteRT
from paths import ROOT, SHARED

pytestmark = pytest.mark.browser

DENSE = "selfie_segmentation_landscape"
GREEN = [0, 255, 0]
PEOPLE = sorted((ROOT / "demos" / "images" / "person").glob("*.jpg"))

# Helpers of the snippets below; `BackgroundProcessor` is the package's.
HELPERS = (HERE / "call.js").read_text()

MASK = (256, 144)  # width and height of the dense mask that frames are compared with


def pictures_of_people() -> list[np.ndarray]:
    """Four pictures, RGB, 640 x 360: of the shared camera clip where it is there, else of the bundled ones."""
    clip = SHARED / "video" / "person.mjpeg"
    if not clip.is_file():
        return [np.asarray(Image.open(person).convert("RGB").resize((640, 360))) for person in PEOPLE[::2][:4]]
    parts = clip.read_bytes().split(b"\xff\xd8\xff")[1:]
    chosen = [parts[i * (len(parts) - 1) // 3] for i in range(4)]
    images = [Image.open(io.BytesIO(b"\xff\xd8\xff" + part)) for part in chosen]
    return [np.asarray(image.convert("RGB").resize((640, 360))) for image in images]


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    return pictures_of_people()


@pytest.fixture(scope="module")
def camera(
    chromium: Browser, chromium_path: str, people: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A Chromium whose camera shows each of the pictures for a second."""
    frames = [person for person in people for _ in range(30)]
    clip = write_mjpeg(tmp_path_factory.mktemp("camera") / "people.mjpeg", frames)
    with camera_browser(chromium, chromium_path, clip) as browser:
        yield browser


Open = Callable[..., Page]


@pytest.fixture
def open_in(package_models: Path, site: Site) -> Iterator[Open]:
    """open_in(browser) opens a page with the package. Nothing may be thrown there unseen, nor said on its console."""
    contexts = []
    complaints: list[str] = []

    def open_in(browser: Browser) -> Page:
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(site.url + "/page.html")
        page.wait_for_function("window.ready")
        page.evaluate("async () => { Object.assign(window, await import('/web/src/background/index.js')); }")
        return page

    yield open_in
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def camera_page(camera: Browser, open_in: Open) -> Page:
    return open_in(camera)


def run(page: Page, body: str, **arguments: Any) -> Any:
    return evaluate(page, HELPERS + body, **arguments)


def pixels(text: str, width: int, height: int) -> np.ndarray:
    """RGB of what call.js gives for a frame."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


# The share of the person's colours in a pixel that is as likely person as not: the matte rises from 0.4 to 0.9
# (wasm/compose/matte.c), by the cubic that GLSL calls smoothstep.
HALF = 0.2**2 * (3 - 2 * 0.2)


def not_green(frame: np.ndarray) -> np.ndarray:
    """Where a frame whose background is green shows the person, by a probability above 0.5."""
    red, green, blue = (frame[..., i].astype(int) for i in range(3))
    return green - np.maximum(red, blue) < 255 * (1 - HALF)


def dense_mask(picture: np.ndarray, model_path: Callable[[str], Path], litert: LiteRT) -> np.ndarray:
    """Where the dense network, in LiteRT, sees the person."""
    small = np.asarray(Image.fromarray(picture).resize(MASK, Image.Resampling.BILINEAR))
    (mask,) = litert(model_path(DENSE), {"input_1": small[None] / np.float32(255)}).values()
    return mask[0, ..., 0] > 0.5


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def shown_picture(frame: np.ndarray, person: np.ndarray, pictures: list[np.ndarray]) -> int:
    """Which of the pictures a frame shows, by the person's pixels."""
    errors = [
        np.abs(np.asarray(Image.fromarray(picture).resize(MASK)).astype(int) - frame)[person].mean()
        for picture in pictures
    ]
    return int(np.argmin(errors))


# ---- a call ----


CALL = """
if (canvasOnly) delete globalThis.MediaStreamTrackGenerator; // as in Firefox
const [track] = (await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } })).getVideoTracks();
const processor = await BackgroundProcessor.create({ effect: 'colour', colour: [0, 255, 0], threads });
const call = await startCall(await processor.process(track));
await until(() => call.video.videoWidth >= 320, 'a received frame of some size');
await watch(call.video, 30, 0, 8, 8); // bandwidth is found out first
const seen = await watch(call.video, 24, 4, 256, 144);
const { stats } = processor;
call.end();
track.stop();
await until(() => processor.stats.open === 0, 'all frames are closed');
await processor.close();
return { seen, stats };
"""


@pytest.mark.parametrize(("canvas_only", "threads"), [(False, 1), (False, 2), (True, 1)])
def test_the_far_end_of_a_call_sees_the_person_alone(
    canvas_only: bool, threads: int, camera_page: Page, people: list[np.ndarray],
    model_path: Callable[[str], Path], litert: LiteRT, record_property: Callable[[str, Any], None],
) -> None:  # fmt: skip
    found = run(camera_page, CALL, canvasOnly=canvas_only, threads=threads)
    right = [dense_mask(person, model_path, litert) for person in people]
    agreement: dict[int, list[float]] = {}
    for text in found["seen"]:
        frame = pixels(text, *MASK)
        person = not_green(frame)
        which = shown_picture(frame, person, people)
        agreement.setdefault(which, []).append(iou(person, right[which]))
    record_property("iou", agreement)
    print({which: [round(value, 3) for value in values] for which, values in agreement.items()}, found["stats"])
    assert len(agreement) >= 2, "the camera's pictures follow one another"
    # A frame on the way from one picture to the next is of both.
    settled = [value for values in agreement.values() for value in sorted(values)[len(values) // 4 :]]
    assert min(settled) >= 0.9
    assert found["stats"]["way"] == ("canvas" if canvas_only else "streams")
    assert found["stats"]["frames"] > 50
    expect_workers(camera_page, 0)


# ---- what happens to tracks ----


SWITCH = """
const [track] = (await navigator.mediaDevices.getUserMedia({ video: true })).getVideoTracks();
const processor = await BackgroundProcessor.create({ threads: 1 });
const processed = await processor.process(track, { effect: 'colour', colour: [200, 20, 40] });
const video = await playing(processed);
const plain = await playing(track);
const picture = new ImageData(new Uint8ClampedArray(40 * 30 * 4).map((_, i) => [10, 60, 220, 255][i % 4]), 40, 30);
const found = {};
const looks = [
  { effect: 'colour' }, { effect: 'picture', picture }, { effect: 'blur', strength: 1 }, { effect: 'none' },
  { effect: 'colour' },
];
for (const [i, look] of looks.entries()) {
  await processor.update(look);
  await watch(video, 6, 0, 8, 8); // those under way
  [found[`${i} ${look.effect}`]] = await watch(video, 1, 0, 128, 72);
}
[found.camera] = await watch(plain, 1, 0, 128, 72);
const { effect, stats } = processor;
await processor.close();
track.stop();
return { found, effect, stats, ended: processed.readyState };
"""


def test_effects_change_while_the_track_runs(camera: Browser, open_in: Open, people: list[np.ndarray]) -> None:
    found = run(open_in(camera), SWITCH)
    frames = {name: pixels(text, 128, 72).astype(int) for name, text in found["found"].items()}
    corner = (slice(2, 12), slice(2, 12))  # none of the pictures has somebody there
    for name in ("0 colour", "4 colour"):
        np.testing.assert_allclose(frames[name][corner].mean((0, 1)), (200, 20, 40), atol=6)
    np.testing.assert_allclose(frames["1 picture"][corner].mean((0, 1)), (10, 60, 220), atol=6)
    sharp = [
        np.abs(np.diff(np.asarray(Image.fromarray(person).resize((128, 72))).astype(int), axis=1)) for person in people
    ]
    assert np.abs(np.diff(frames["2 blur"], axis=1))[:, :16].mean() < 0.7 * min(one[:, :16].mean() for one in sharp)
    shown = min(
        np.abs(np.asarray(Image.fromarray(person).resize((128, 72))).astype(int) - frames["3 none"]).mean()
        for person in people
    )
    assert shown < 12, "without an effect, the camera's picture"
    assert found["effect"] == "colour"
    assert found["ended"] == "ended"


SIZES = """
const processor = await BackgroundProcessor.create({ effect: 'colour', colour: [0, 255, 0], threads: 1 });
const image = await createImageBitmap(await (await fetch('/person.png')).blob());
const show = (context, { width, height }) => width && height && context.drawImage(image, 0, 0, width, height);
const camera = drawnTrack(640, 360, show);
const processed = await processor.process(camera.track);
let ended = 0;
processed.addEventListener('ended', () => ended++);
const video = await playing(processed);
const found = [];
for (const [width, height] of [[640, 360], [355, 201], [0, 0], [360, 640], [1280, 720], [640, 360]]) {
  Object.assign(camera.canvas, { width, height });
  if (!width) { await pause(400); continue; }
  const near = (a, b) => Math.abs(a - b) <= 1;
  await until(() => near(video.videoWidth, width) && near(video.videoHeight, height), `${width} x ${height}`);
  await watch(video, 12, 0, 8, 8); // the canvas was black first
  const [seen] = await watch(video, 1, 0, 256, 144);
  found.push({ width, height, seen });
}
const { stats } = processor;
camera.track.enabled = false; // black frames, as from a muted camera
await pause(300);
camera.track.enabled = true;
await watch(video, 3, 0, 8, 8);
camera.end();
if (canvasOnly) camera.track.dispatchEvent(new Event('ended')); // which the browser sends of a camera that is gone
await until(() => processed.readyState === 'ended', 'the processed track ends');
await pause(100);
const again = drawnTrack(320, 180, show);
const second = await playing(await processor.process(again.track));
await watch(second, 3, 0, 8, 8);
processor.stop();
const states = [ended, processor.stats.way];
again.end();
await until(() => processor.stats.open === 0, 'all frames are closed');
await processor.close();
return { found, stats, states };
"""


@pytest.mark.parametrize("canvas_only", [False, True])
def test_sizes_change_cameras_are_muted_and_tracks_end(
    canvas_only: bool, chromium: Browser, open_in: Open, site: Site, people: list[np.ndarray],
    model_path: Callable[[str], Path], litert: LiteRT,
) -> None:  # fmt: skip
    site.put("/person.png", png(people[0]))
    page = open_in(chromium)
    if canvas_only:
        page.evaluate("delete globalThis.MediaStreamTrackGenerator")
    found = run(page, SIZES, canvasOnly=canvas_only)
    right = dense_mask(people[0], model_path, litert)
    agreements = {
        (one["width"], one["height"]): iou(not_green(pixels(one["seen"], *MASK)), right) for one in found["found"]
    }
    print(agreements, found["stats"])
    assert min(agreements.values()) >= 0.85
    assert found["states"] == [1, "canvas" if canvas_only else "streams"]
    expect_workers(page, 0)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


DEATH = """
const start = async (onError) => {
  const processor = await BackgroundProcessor.create({ effect: 'blur', threads: 1, onError });
  const camera = drawnTrack(320, 180, (context) => context.fillRect(0, 0, 9, 9));
  const processed = await processor.process(camera.track);
  const video = await playing(processed);
  await watch(video, 3, 0, 8, 8);
  return { processor, camera, processed, video };
};
const said = [];
globalThis.run = await start((error) => said.push([error.name, error.message]));
globalThis.said = said;
"""


def test_a_dead_worker_ends_the_track_with_words(chromium: Browser, open_in: Open) -> None:
    page = open_in(chromium)
    run(page, DEATH)
    (worker,) = (worker for worker in page.workers if "background" in worker.url)
    worker.evaluate("() => { setTimeout(() => { throw new Error('broken here'); }); }")
    found = run(
        page,
        """
    await until(() => said.length, 'onError is called');
    await until(() => run.processed.readyState === 'ended', 'the track ends');
    run.camera.end();
    const after = await run.processor.update({ effect: 'none' }).catch((error) => error.message);
    await run.processor.close();
    return { said, after };
    """,
    )
    assert found["said"] == [["TulleError", found["after"]]]
    assert "the BackgroundProcessor stopped: " in found["after"] and "broken here" in found["after"]


def test_a_worker_that_hangs_is_noticed(chromium: Browser, open_in: Open) -> None:
    page = open_in(chromium)
    run(page, DEATH)
    (worker,) = (worker for worker in page.workers if "background" in worker.url)
    page.evaluate("() => { setTimeout(() => {}, 0); }")
    worker.evaluate("() => { setTimeout(() => { for (;;); }); }")
    found = run(
        page,
        """
    await until(() => said.length, 'onError is called');
    run.camera.end();
    return said;
    """,
    )
    assert found[0][1].startswith("the BackgroundProcessor stopped: its worker has not answered for 10 s")


# ---- single frames ----


KINDS = """
const processor = await BackgroundProcessor.create({ effect: 'colour', colour: [0, 255, 0], threads: 1 });
const planes = await (async () => {
  const frame = new VideoFrame(bitmap, { timestamp: 5000, alpha: 'discard' });
  const data = new Uint8Array(frame.allocationSize({ format: 'RGBA' }));
  await frame.copyTo(data, { format: 'RGBA' });
  frame.close();
  return data;
})();
const turned = new OffscreenCanvas(height, width);
const context = turned.getContext('2d');
context.translate(0, width);
context.rotate(-Math.PI / 2);
context.drawImage(bitmap, 0, 0);
const lying = context.getImageData(0, 0, height, width).data;
const sources = {
  ImageData: imageData, ImageBitmap: bitmap, canvas, offscreen, image, blob,
  VideoFrame: new VideoFrame(planes, { format: 'RGBX', codedWidth: width, codedHeight: height, timestamp: 5000 }),
  BGRX: new VideoFrame(planes.map((_, i) => planes[[i + 2, i, i - 2, i][i % 4]]),
    { format: 'BGRX', codedWidth: width, codedHeight: height, timestamp: 5000 }),
  turned: new VideoFrame(lying,
    { format: 'RGBX', codedWidth: height, codedHeight: width, timestamp: 5000, rotation: 90 }),
};
const found = {};
for (const [name, source] of Object.entries(sources)) {
  await processor.reset();
  const result = await processor.frame(source);
  const { displayWidth: w = result.width, displayHeight: h = result.height, timestamp } = result;
  const scratch = new OffscreenCanvas(w, h).getContext('2d');
  if (result instanceof ImageData) scratch.putImageData(result, 0, 0);
  else scratch.drawImage(result, 0, 0);
  const { data } = scratch.getImageData(0, 0, w, h);
  const mask = await processor.mask();
  found[name] = { data: new Uint8Array(data.buffer).toBase64(), mask: new Uint8Array(mask.data.buffer).toBase64(),
                  size: [w, h], kind: result.constructor.name, timestamp };
  result.close?.();
  source.close?.();
}
const { stats } = processor;
await processor.close();
return { found, stats };
"""


def test_every_kind_of_picture_is_processed_alike(
    chromium: Browser,
    open_in: Open,
    site: Site,
    people: list[np.ndarray],
    model_path: Callable[[str], Path],
    litert: LiteRT,
) -> None:
    site.put("/person.png", png(people[1]))
    result = run(open_in(chromium), same_picture("/person.png") + KINDS)
    found = result["found"]
    assert len(found) == 9
    reference = np.frombuffer(base64.b64decode(found["ImageData"]["data"]), np.uint8).reshape(360, 640, 4)[..., :3]
    assert (
        iou(not_green(np.asarray(Image.fromarray(reference).resize(MASK))), dense_mask(people[1], model_path, litert))
        > 0.9
    )
    for name, one in found.items():
        assert one["size"] == [640, 360], name
        assert one["kind"] == ("ImageData" if name == "ImageData" else "VideoFrame")
        got = np.frombuffer(base64.b64decode(one["data"]), np.uint8).reshape(360, 640, 4)[..., :3]
        # A VideoFrame of a canvas may be in other colours than the canvas: rounding.
        assert np.abs(got.astype(int) - reference).mean() < 1.5, name
        mask = np.frombuffer(base64.b64decode(one["mask"]), np.float32)
        assert mask.size == 240 * 128 and 0 <= mask.min() <= mask.max() <= 1
        if name in ("VideoFrame", "BGRX"):
            assert one["timestamp"] == 5000
    assert result["stats"]["open"] == 0 and result["stats"]["frames"] == 1, "reset() begins to count anew"


WRONG = """
const said = {};
const note = async (name, promise) => {
  try { await promise(); said[name] = 'nothing'; } catch (error) { said[name] = `${error.name}: ${error.message}`; }
};
const create = (options) => () => BackgroundProcessor.create(options);
await note('effect', create({ effect: 'sepia' }));
await note('strength', create({ strength: 2 }));
await note('colour', create({ colour: 'red' }));
await note('picture', create({ effect: 'picture' }));
await note('option', create({ blur: 1 }));
await note('threads', create({ threads: 0 }));
await note('model', create({ model: '/tiny.tulle' }));
await note('missing', create({ model: '/absent.tulle' }));
const processor = await BackgroundProcessor.create({ threads: 1 });
await note('track', () => processor.process({}));
await note('stream', () => processor.process(new MediaStream()));
const audio = new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0];
await note('audio', () => processor.process(audio));
const { track, end } = drawnTrack(64, 64, () => {});
end();
await note('ended', () => processor.process(track));
await note('frame', () => processor.frame('picture'));
const frame = new VideoFrame(new Uint8Array(16), { format: 'RGBX', codedWidth: 2, codedHeight: 2, timestamp: 0 });
frame.close();
await note('closed frame', () => processor.frame(frame));
await note('no picture', () => processor.update({ picture: new Blob(['text']) }));
await note('update', () => processor.update({ effect: 'blur', strength: NaN }));
await note('still works', async () => (await processor.frame(new ImageData(1, 1))).width);
await processor.close();
await processor.close();
await note('closed', () => processor.frame(new ImageData(4, 4)));
return said;
"""


def test_what_is_wrong_is_said(chromium: Browser, open_in: Open) -> None:
    page = open_in(chromium)
    # The browser itself reports the file that is not there.
    said = run(page, WRONG.replace("await note('missing', create({ model: '/absent.tulle' }));", ""))
    assert said.pop("still works") == "nothing"
    for name, text in said.items():
        assert text.startswith("TulleError: "), f"{name}: {text}"
    assert "none, blur, picture, colour, not sepia" in said["effect"]
    assert "0 to 1, not 2" in said["strength"]
    assert "needs the option picture" in said["picture"]
    assert 'no option "blur"' in said["option"]
    assert "not one of audio" in said["audio"]
    assert "the track has ended" in said["ended"]
    assert "is closed" in said["closed frame"]
    assert "cannot be read" in said["no picture"]
    assert "the BackgroundProcessor is closed" in said["closed"]
    expect_workers(page, 0)


# ---- for long ----


SOAK = """
const [track] = (await navigator.mediaDevices.getUserMedia({ video: true })).getVideoTracks();
const processor = await BackgroundProcessor.create({ effect: 'blur', threads: 2 });
const processed = await processor.process(track);
const video = await playing(processed);
const looks = [
  { effect: 'blur', strength: 0.3 }, { effect: 'colour', colour: [90, 90, 90] }, { effect: 'blur', strength: 1 },
];
const marks = [];
const began = performance.now();
for (let next = 100, i = 0; processor.stats.frames < frames;) {
  await pause(200);
  if (processor.stats.frames < next) continue;
  next += frames / 10;
  await processor.update(looks[i++ % looks.length]);
  const { frames: done, memoryBytes, dropped, open, networkEvery, fps } = processor.stats;
  marks.push({ done, memoryBytes, dropped, open, networkEvery, fps: Math.round(fps) });
}
const seconds = (performance.now() - began) / 1000;
track.stop();
await until(() => processed.readyState === 'ended', 'the track ends');
await pause(100);
const { open } = processor.stats;
await processor.close();
return { marks, open, seconds };
"""


@pytest.mark.slow
def test_soak(camera: Browser, open_in: Open, thorough: bool, record_property: Callable[[str, Any], None]) -> None:
    """Memory stays as it is, no frame is left open (Chromium would say so on the console), and nothing else is said."""
    page = open_in(camera)
    session = page.context.new_cdp_session(page)

    def heap() -> int:
        session.send("HeapProfiler.collectGarbage")
        used = session.send("Runtime.getHeapUsage")
        return int(used["usedSize"] + used.get("backingStorageSize", 0))

    run(page, SOAK, frames=150)
    first = heap()
    found = run(page, SOAK, frames=10_000 if thorough else 300)
    last = heap()
    record_property("soak", found)
    done = found["marks"][-1]["done"]
    print(f"{done} frames in {found['seconds']:.0f} s, heap {first} to {last} bytes: {found['marks']}")
    assert found["open"] == 0
    assert len({mark["memoryBytes"] for mark in found["marks"][1:]}) == 1, "the engine's memory does not grow"
    assert last - first < 1_000_000
    assert {mark["open"] for mark in found["marks"]} <= {0, 1, 2}
    expect_workers(page, 0)

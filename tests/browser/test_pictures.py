"""Pictures of every kind as a model's input: the same pixels from each, as Python's, and clear words otherwise."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from browser.camera import camera_browser, write_mjpeg
from browser.conftest import OpenPage, decode, evaluate, package_site
from browser.server import Site
from browser.sources import same_picture
from paths import ROOT
from tulle.graph import Graph, Node, Tensor
from tulle.image import Region, to_input
from tulle.pack import pack
from tulle.runtime import TensorInfo
from tulle.runtime.pictures import Format, View, sample

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 20, 28  # of the network's input
CROP = {"x": 30.5, "y": 12, "width": 70, "height": 40}
TURNED = {"crop": CROP, "rotation": 0.7, "flip": True, "fit": "contain"}
WHOLE: dict[str, Any] = {"fit": "cover"}
MUCH_SMALLER = {"crop": {"x": -10, "y": -20, "width": 160, "height": 100}, "border": "edge"}  # 5.7 pixels for one


def identity_graph(height: int = HEIGHT, width: int = WIDTH) -> Graph:
    """y = x for an image, whose pixels are fed as they are."""
    graph = Graph("identity")
    shape = (1, height, width, 3)
    graph.inputs = [graph.add_tensor(Tensor("x", shape, mean=0.0, std=1.0))]
    graph.outputs = [graph.add_tensor(Tensor("y", shape))]
    one = graph.add_constant("one", np.array([1], np.float32))
    graph.nodes = [Node("mul", "times", ["x", one], ["y"], {"activation": "none"})]
    return graph


def picture(height: int = 90, width: int = 140) -> np.ndarray:
    """uint8 [height, width, 3]: smooth, and different everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / 9 + y / 30), 128 + 100 * np.cos(y / 11), 40 + 160 * (x / width) * (y / height)]
    return np.stack(waves, -1).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def box_of(options: dict[str, Any], height: int, width: int) -> tuple[float, float, float, float]:
    crop = options.get("crop", {"x": 0, "y": 0, "width": width, "height": height})
    return crop["x"] + crop["width"] / 2, crop["y"] + crop["height"] / 2, crop["width"], crop["height"]


def others(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("fit", "flip", "border") if name in options}


def expected(pixels: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """What Python makes of the same options."""
    height, width, _ = pixels.shape
    x, y, wide, high = box_of(options, height, width)
    region = Region(x / width, y / height, wide / width, high / height, options.get("rotation", 0.0))
    info = TensorInfo("x", (1, HEIGHT, WIDTH, 3), takes_images=True)
    return to_input(pixels, info, region, **others(options)).ravel()


@pytest.fixture
def identity(site: Site) -> str:
    site.put("/picture.png", png(picture()))
    return site.put("/identity.tulle", pack(identity_graph()))


# One of each kind, of /picture.png.
SOURCES = (
    same_picture("/picture.png")
    + """
const opaque = Object.assign(document.createElement('canvas'), { width, height });
opaque.getContext('2d', { alpha: false }).drawImage(bitmap, 0, 0);
const sources = {
  ImageData: imageData, ImageBitmap: bitmap, Blob: blob, File: new File([blob], 'picture.png'), img: image, canvas,
  'opaque canvas': opaque, OffscreenCanvas: offscreen, VideoFrame: new VideoFrame(canvas, { timestamp: 0 }),
  RGBX: new VideoFrame(imageData.data, { format: 'RGBX', codedWidth: width, codedHeight: height, timestamp: 0 }),
};
"""
)


@pytest.mark.parametrize(
    "how", [{"threads": 1}, {"threads": 2}, {"worker": False}, {"variant": "simd", "threads": 1}], ids=str
)
def test_the_same_crop_from_every_kind_of_source(
    page: Page, identity: str, how: dict[str, Any], record_property: Callable[[str, Any], None]
) -> None:
    cases = [TURNED, WHOLE, MUCH_SMALLER, {}]
    found = evaluate(
        page,
        SOURCES
        + """
        const model = await tulle.load(identity, how);
        const found = {};
        for (const [kind, source] of Object.entries(sources)) {
          found[kind] = [];
          for (const options of cases) found[kind].push(encode(await model.run(source, options)));
        }
        const alive = [bitmap.width, sources.VideoFrame.format !== null, imageData.data.length];
        await model.close();
        return { found, alive };
        """,
        identity=identity,
        how=how,
        cases=cases,
    )
    assert found["alive"] == [140, True, 90 * 140 * 4], "what was given is the caller's own still"
    right = [expected(picture(), options) for options in cases]
    assert all(np.ptp(values) > 100 for values in right)
    largest: dict[str, float] = {}
    for kind, answers in found["found"].items():
        differences = [np.abs(decode(answer)["y"] - v).max() for answer, v in zip(answers, right, strict=True)]
        largest[kind] = round(float(max(differences)), 6)
        assert largest[kind] <= 1, f"{kind}: {differences} of 255"
    record_property("largest difference from Python, of 255", largest)


YUV = """
const model = await tulle.load(identity, { threads: 1 });
const data = new Uint8Array(await bytes(url));
const results = [];
for (const colorSpace of spaces) {
  const frame = new VideoFrame(data, { format, codedWidth: 140, codedHeight: 90, timestamp: 0, colorSpace });
  results.push(encode(await model.run(frame, options)));
  frame.close();
}
return results;
"""
MATRICES = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def planes(rgb: np.ndarray, matrix: str, full: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, U and V of a picture whose colours are constant over each square of two by two pixels."""
    kr, kb = MATRICES[matrix]
    r, g, b = np.moveaxis(rgb.astype(np.float64), -1, 0)
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    if not full:
        y, u, v = 16 + y * 219 / 255, u * 224 / 255, v * 224 / 255
    return tuple(np.rint(p).clip(0, 255).astype(np.uint8) for p in (y, u[::2, ::2] + 128, v[::2, ::2] + 128))  # type: ignore[return-value]


@pytest.mark.parametrize("format", ["I420", "NV12"])
@pytest.mark.parametrize("options", [TURNED, WHOLE, MUCH_SMALLER], ids=["turned", "whole", "much smaller"])
def test_yuv_is_read_as_its_colour_space_says(
    page: Page,
    site: Site,
    identity: str,
    format: Format,
    options: dict[str, Any],
    record_property: Callable[[str, Any], None],
) -> None:
    """Grey ramps and one colour: both planes are linear then, so that where chroma lies makes no difference."""
    ramp = np.arange(140)[None, :, None] * 0.5 + np.arange(90)[:, None, None] * 0.4
    rgb = ramp + np.array([90.0, 60.0, 20.0])
    largest = same = 0.0
    for matrix, full in itertools.product(MATRICES, (False, True)):
        y, u, v = planes(rgb, matrix, full)
        chroma = np.stack([u, v], -1) if format == "NV12" else np.stack([u, v])
        space = {"matrix": matrix, "primaries": "bt709", "transfer": "bt709", "fullRange": full}
        (found,) = evaluate(
            page,
            YUV,
            identity=identity,
            url=site.put(f"/{matrix}{full}{format}.yuv", y.tobytes() + chroma.tobytes()),
            spaces=[space],
            format=format,
            options=options,
        )
        data = y.tobytes() + chroma.tobytes()
        view = View(140, 90, box_of(options, 90, 140), options.get("rotation", 0.0), **others(options), full_range=full,
                    format=format, matrix="bt709" if matrix == "bt709" else "bt601")  # fmt: skip
        python = np.frombuffer(sample(data, view, HEIGHT, WIDTH), np.float32)
        same = max(same, float(np.abs(decode(found)["y"] - python).max()))
        right = expected(np.rint(rgb).astype(np.uint8), options)
        # In the outermost two pixels colour, which has half the resolution, fades sooner than brightness does.
        inside = expected(np.pad(np.full((86, 136, 3), 255, np.uint8), ((2, 2), (2, 2), (0, 0))), options) > 254.9
        assert inside.mean() > 0.3
        difference = np.abs(decode(found)["y"] - right)[inside]
        largest = max(largest, float(difference.max()))
        assert difference.max() < 2.5, (matrix, full)  # bytes are rounded, times up to 2
        assert difference.mean() < 1
    record_property("largest difference from Python, of 255", round(same, 6))
    record_property("largest difference from Python's of RGB, of 255", round(largest, 3))
    assert same < 1e-3


def test_a_video_is_what_a_canvas_shows_of_it(page: Page, site: Site, identity: str) -> None:
    """The element and its frame against the browser's own conversion of colours, from a real webm."""
    site.mount("/demos/", ROOT / "demos")
    found = evaluate(
        page,
        """
        const src = '/demos/clips/carphone.webm';
        const video = Object.assign(document.createElement('video'), { muted: true, src });
        await new Promise((resolve) => { video.requestVideoFrameCallback(resolve); });
        const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
        canvas.getContext('2d').drawImage(video, 0, 0);
        const results = [];
        for (const how of [{ threads: 1 }, { worker: false }]) {
          const model = await tulle.load(identity, how);
          const frame = new VideoFrame(video);
          for (const source of [canvas, video, frame]) results.push(encode(await model.run(source, options)));
          frame.close();
        }
        return results;
        """,
        identity=identity,
        options={"crop": {"x": 40, "y": 20, "width": 84, "height": 60}, "rotation": 0.2},
    )
    canvas, *others = (decode(answer)["y"] for answer in found)
    assert np.ptp(canvas) > 50
    for other in others:
        difference = np.abs(other - canvas)
        assert difference.mean() < 1.5 and np.quantile(difference, 0.99) < 8, "chroma is enlarged in another way"


def test_a_video_without_a_frame_is_never_taken_for_a_black_one(page: Page, site: Site, identity: str) -> None:
    """On a busy machine Chromium has no frame at one of fifty "loadeddata" events, where a canvas draws nothing."""
    site.mount("/demos/", ROOT / "demos")
    found = evaluate(
        page,
        """
        const model = await tulle.load(identity, { worker: false });
        const answers = [];
        for (let i = 0; i < 40; i++) {
          const src = `/demos/clips/carphone.webm?${i}`;
          const video = Object.assign(document.createElement('video'), { muted: true, src });
          await new Promise((resolve) => { video.onloadeddata = resolve; });
          const range = ({ y }) => Math.max(...y) - Math.min(...y);
          answers.push(await model.run(video).then(range, String));
          video.removeAttribute('src');
          video.load();
        }
        return answers;
        """,
        identity=identity,
    )
    assert len(found) == 40
    for answer in found:
        assert "no frame yet" in answer if isinstance(answer, str) else answer > 50


def test_what_is_partly_transparent_keeps_its_colours(page: Page, identity: str) -> None:
    """As a canvas hands it out: colours are those painted, within the rounding of half as many steps."""
    found = evaluate(
        page,
        """
        const canvas = Object.assign(document.createElement('canvas'), { width: 28, height: 20 });
        const context = canvas.getContext('2d');
        context.fillStyle = 'rgb(200 100 50 / 0.5)';
        context.fillRect(0, 0, 28, 20);
        const { data } = context.getImageData(0, 0, 1, 1);
        const image = new Image();
        image.src = canvas.toDataURL();
        await image.decode();
        const results = [];
        for (const how of [{ threads: 1 }, { worker: false }]) {
          const model = await tulle.load(identity, how);
          const bitmap = await createImageBitmap(canvas);
          for (const source of [canvas, image, bitmap]) results.push([...(await model.run(source)).y.slice(0, 3)]);
        }
        return { results, painted: [...data.slice(0, 3)] };
        """,
        identity=identity,
    )
    np.testing.assert_allclose(found["painted"], [200, 100, 50], atol=1)
    np.testing.assert_allclose(found["results"], [found["painted"]] * 6, atol=1)


def test_arrays_of_bytes_and_halves(page: Page, identity: str) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load(identity, { threads: 1 });
        const count = 20 * 28;
        const rgb = Uint8Array.from({ length: 3 * count }, (_, i) => (i * 31) % 256);
        const rgba = Uint8ClampedArray.from({ length: 4 * count },
          (_, i) => (i % 4 === 3 ? 7 : rgb[3 * (i >> 2) + i % 4]));
        const half = Float16Array.from({ length: 3 * count }, (_, i) => i / 16);
        return {
          bytes: await Promise.all([rgb, rgba, new ImageData(rgba, 28, 20), Float32Array.from(rgb)]
            .map(async (value) => encode(await model.run(value)))),
          half: encode(await model.run(half)), expected: encode({ y: Float32Array.from(half) }),
          wrong: await outcome(model.run(new Uint8Array(5))),
        };
        """,
        identity=identity,
    )
    assert result["bytes"] == [result["bytes"][0]] * 4
    assert result["half"] == result["expected"]
    assert "28 x 20 pixels are 1680 bytes (RGB) or 2240 (RGBA), not 5" in result["wrong"]["error"]


def test_runs_stay_in_order_while_pictures_are_read(page: Page, identity: str) -> None:
    """Reading a Blob takes a while; a run asked for after it, and closing, wait for it."""
    for how in ({"threads": 1}, {"worker": False}):
        order = evaluate(
            page,
            SOURCES
            + """
            const model = await tulle.load(identity, how);
            const order = [];
            const note = (name) => (result) => order.push([name, Object.keys(result ?? {}).length]);
            await Promise.all([
              model.run(blob).then(note('blob')),
              model.run(new Float32Array(20 * 28 * 3)).then(note('array')),
              model.run(sources.VideoFrame).then(note('frame')),
              model.close().then(note('closed')),
            ]);
            return order;
            """,
            identity=identity,
            how=how,
        )
        assert order == [["blob", 1], ["array", 1], ["frame", 1], ["closed", 0]]


def test_a_picture_is_taken_as_it_is_when_run_is_called(page: Page, identity: str) -> None:
    found = evaluate(
        page,
        SOURCES
        + """
        const model = await tulle.load(identity, { threads: 1 });
        const before = encode(await model.run(canvas));
        const runs = [model.run(canvas), model.run(imageData), model.run(sources.VideoFrame), model.run(bitmap)];
        canvas.getContext('2d').clearRect(0, 0, width, height);
        imageData.data.fill(0);
        sources.VideoFrame.close();
        bitmap.close();
        return { before, after: (await Promise.all(runs)).map(encode) };
        """,
        identity=identity,
    )
    assert found["after"] == [found["before"]] * 4


def test_transfer_gives_a_bitmap_away(page: Page, identity: str) -> None:
    found = evaluate(
        page,
        SOURCES
        + """
        const results = [];
        for (const how of [{ threads: 1 }, { worker: false }]) {
          const model = await tulle.load(identity, how);
          const mine = await createImageBitmap(blob);
          const kept = encode(await model.run(mine));
          const open = mine.width;
          results.push(kept.y === encode(await model.run(mine, { transfer: true })).y, open, mine.width);
        }
        return results;
        """,
        identity=identity,
    )
    assert found == [True, 140, 0] * 2


TROUBLE = [
    ("model.run(closedFrame)", "the VideoFrame is closed"),
    ("model.run(closedBitmap)", "the ImageBitmap is closed"),
    ("model.run(document.createElement('video'))", 'the video has no frame yet: wait for its "loadeddata" event'),
    ("model.run(new Image())", "the image could not be loaded: it has no src"),
    ("model.run(loading)", "the image is not loaded yet: await its decode()"),
    ("model.run(new OffscreenCanvas(0, 3))", "the OffscreenCanvas is empty: 0 x 3 pixels"),
    ("model.run(new Blob(['text'], { type: 'image/png' }))", "the Blob of type image/png holds no picture"),
    ("model.run(canvas, { crop: { x: 0, y: 0, width: 0, height: 5 } })", "crop is { x, y, width, height } in pixels"),
    ("model.run(canvas, { crop: { x: 0, y: 0, width: 5 } })", "height: undefined"),
    ("model.run(canvas, { crop: { x: 1e9, y: 0, width: 5, height: 5 } })", "further away or larger than 2^20 pixels"),
    ("model.run(canvas, { rotation: NaN })", "rotation is a number of radians, not NaN"),
    ("model.run(canvas, { fit: 'fill' })", "fit is one of stretch, contain, cover, not fill"),
    ("model.run(canvas, { border: 'white' })", "border is one of black, edge, not white"),
    ("model.run(canvas, { flip: 1 })", "flip is true or false, not 1"),
    ("model.run(canvas, { mirror: true })", 'run() has no option "mirror"'),
    ("model.run(new Float32Array(1680), { flip: true })", "flip is for pictures, not for Float32Array"),
    ("model.run([1, 2])", "takes a Float32Array or a picture, not Array"),
    ("model.run(new ArrayBuffer(8))", "takes a Float32Array or a picture, not ArrayBuffer"),
]


@pytest.mark.parametrize("how", [{"threads": 1}, {"worker": False}], ids=str)
def test_what_cannot_be_read_says_so_and_leaves_the_engine_whole(
    page: Page, identity: str, how: dict[str, Any]
) -> None:
    found = evaluate(
        page,
        SOURCES
        + """
        const model = await tulle.load(identity, how);
        const closedFrame = new VideoFrame(canvas, { timestamp: 0 });
        closedFrame.close();
        const closedBitmap = await createImageBitmap(blob);
        closedBitmap.close();
        const found = [];
        for (const text of trouble) {
          const loading = new Image();
          loading.src = '/picture.png?' + Math.random();
          found.push(await outcome(eval(text)));
        }
        const { y } = await model.run(canvas);
        return { found, whole: y.length };
        """,
        identity=identity,
        how=how,
        trouble=[text for text, _ in TROUBLE],
    )
    for (text, words), outcome in zip(TROUBLE, found["found"], strict=True):
        assert outcome.get("isTulleError"), (text, outcome)
        assert words in outcome["error"], (text, outcome["error"])
    assert found["whole"] == HEIGHT * WIDTH * 3


def test_pictures_of_another_origin_are_refused_in_words(open_page: OpenPage, built: Path) -> None:
    """A page that is not isolated may show such pictures, and may not read them."""
    with package_site(isolated=False) as site, Site(isolated=False) as other:
        other.put("/picture.png", png(picture()))
        site.put("/identity.tulle", pack(identity_graph()))
        found = evaluate(
            open_page(site),
            """
            const model = await tulle.load('/identity.tulle');
            const image = new Image();
            image.src = url;
            await image.decode();
            const canvas = Object.assign(document.createElement('canvas'), { width: 140, height: 90 });
            canvas.getContext('2d').drawImage(image, 0, 0);
            const found = [await outcome(model.run(image)), await outcome(model.run(canvas))];
            return [...found, (await model.run(new OffscreenCanvas(5, 5))).y.length];
            """,
            url=other.url + "/picture.png",
        )
    for kind, outcome in zip(("HTMLImageElement", "HTMLCanvasElement"), found, strict=False):
        assert outcome["isTulleError"]
        assert f"the {kind} holds pixels of another origin" in outcome["error"]
        assert 'crossorigin="anonymous"' in outcome["error"]
    assert found[2] == HEIGHT * WIDTH * 3


def test_a_model_without_pictures_says_so(page: Page, site: Site) -> None:
    graph = Graph("flat")
    graph.inputs = [graph.add_tensor(Tensor("x", (1, 5)))]
    graph.outputs = [graph.add_tensor(Tensor("y", (1, 5)))]
    graph.nodes = [Node("activation", "relu", ["x"], ["y"], {"activation": "relu"})]
    run = "const m = await tulle.load(url); return outcome(m.run(new OffscreenCanvas(3, 3)));"
    outcome = evaluate(page, run, url=site.put("/flat.tulle", pack(graph)))
    assert "takes no pictures, which need shape [1, height, width, 3]" in outcome["error"]


CAMERA = """
const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 160, height: 120 } });
const video = Object.assign(document.createElement('video'), { muted: true, srcObject: stream });
await video.play();
const model = await tulle.load(identity, how);
const sums = [];
for (let i = 0; i < frames; i++) {
  await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
  const { y } = await model.run(video, { rotation: i / 50, fit: 'cover' });
  sums.push(y.reduce((a, b) => a + b) / y.length);
  if (i === 20) window.before = model.info.memoryBytes;
}
for (const track of stream.getTracks()) track.stop();
const memory = [window.before, model.info.memoryBytes];
await model.close();
return { memory, sums };
"""


@pytest.mark.parametrize("how", [{"threads": 1}, {"worker": False}], ids=str)
def test_300_frames_of_a_camera_leave_nothing_behind(
    chromium: Browser, chromium_path: str, site: Site, identity: str, tmp_path: Path, how: dict[str, Any]
) -> None:
    """Chromium warns of every VideoFrame that is not closed, and its camera stops where frames are kept."""
    frames = [np.roll(picture(120, 160), 8 * i, axis=1) for i in range(20)]
    clip = write_mjpeg(tmp_path / "clip.mjpeg", frames)
    with camera_browser(chromium, chromium_path, clip) as browser:
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(site.url + "/page.html")
        page.wait_for_function("window.ready")
        result = evaluate(page, CAMERA, identity=identity, how=how, frames=300)
        page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(200)
    assert result["memory"][0] == result["memory"][1]
    assert len(set(result["sums"])) > 10 and min(result["sums"]) > 20, "the pictures move, and are not black"
    assert not [text for text in said if "VideoFrame" in text], said

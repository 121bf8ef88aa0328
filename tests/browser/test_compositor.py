"""Backgrounds in Chromium: the same bytes on one thread and two, and in wasmtime; VideoFrames; what is refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page

import tulle
from background_oracle import Colours
from browser.conftest import OpenPage, evaluate, package_site
from browser.server import Site
from python.test_background import frame_of, network, scene
from tulle.pack import pack
from tulle.passes import lower
from tulle.runtime.compositor import Compositor

pytestmark = pytest.mark.browser

# In a worker: the network for 1 or 2 threads, three frames with each effect; every result's planes without their gaps.
WORKER = b"""
import { Compositor } from '/web/src/background/compositor.js';

self.onmessage = async ({ data: { threads, variant, cases, picture } }) => {
  const results = [];
  const compositor = await Compositor.create('/bright.tulle', { threads, variant });
  compositor.picture({ data: new Uint8Array(picture.data), width: picture.width, height: picture.height });
  for (const { format, width, height, planes, matrix, fullRange, effect, strength } of cases) {
    for (const fresh of [true, true, false]) {
      const { bytes, layout } = compositor.input(format, width, height, { matrix, fullRange });
      bytes.fill(77);
      planes.forEach(({ data, columns }, index) => {
        const { offset, stride } = layout[index];
        for (let row = 0; row < data.length / columns; row++) {
          bytes.set(data.slice(row * columns, (row + 1) * columns), offset + row * stride);
        }
      });
      const result = compositor.run({ effect, strength, colour: [10, 170, 68], fresh });
      results.push(planes.map(({ data, columns }, index) => {
        const { offset, stride } = result.layout[index];
        const out = new Uint8Array(data.length);
        for (let row = 0; row < data.length / columns; row++) {
          out.set(result.bytes.slice(offset + row * stride, offset + row * stride + columns), row * columns);
        }
        return out;
      }));
    }
  }
  const { data, width, height } = compositor.mask();
  const used = compositor.model.threads;
  await compositor.close();
  self.postMessage({ results, mask: { data: Array.from(data), width, height }, used });
};
self.postMessage('ready');
"""
RUN = """
    const worker = new Worker('/composite-worker.js', { type: 'module' });
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const open = (plane) => ({ ...plane, data: bytes(plane.data) });
    const message = { threads, variant, cases: cases.map((one) => ({ ...one, planes: one.planes.map(open) })),
                      picture: open(picture) };
    const answer = await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => {
        if (data === 'ready') worker.postMessage(message);
        else resolve(data);
      };
      worker.onerror = ({ message }) => reject(new Error(message));
    });
    worker.terminate();
    const text = (data) => btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(''));
    return { ...answer, results: answer.results.map((planes) => planes.map(text)) };
"""
CASES = [
    (Colours("I420"), (97, 131), "blur", 0.5),
    (Colours("NV12", "bt709", True), (62, 75), "picture", 0.5),
    (Colours("RGBA"), (55, 40), "colour", 0.5),
    (Colours("RGBA"), (708, 711), "picture", 0.5),
    (Colours("I420"), (709, 714), "blur", 1.0),
    (Colours("NV12"), (1, 1), "blur", 0.1),
]


@pytest.fixture(scope="module")
def site(built: object) -> Iterator[Site]:
    with package_site() as site:
        site.put("/bright.tulle", pack(lower(network())))
        site.put("/composite-worker.js", WORKER)
        yield site


@pytest.fixture
def page(open_page: OpenPage, site: Site) -> Page:
    return open_page(site)


def encoded(plane: np.ndarray) -> dict[str, object]:
    return {"data": base64.b64encode(plane.tobytes()).decode(), "columns": plane.shape[1]}


def test_chromium_and_wasmtime_give_the_same_bytes(page: Page) -> None:
    random = np.random.default_rng(3)
    frames = [frame_of(scene(random, *size), colours) for colours, size, _, _ in CASES]
    picture = np.dstack([scene(random, 40, 70), np.full((40, 70), 255)]).astype(np.uint8)
    cases = [
        {
            "format": colours.format, "width": size[1], "height": size[0], "matrix": colours.matrix,
            "fullRange": colours.full_range, "effect": effect, "strength": strength,
            "planes": [encoded(plane) for plane in frame],
        }
        for (colours, size, effect, strength), frame in zip(CASES, frames, strict=True)
    ]  # fmt: skip
    given = {"data": base64.b64encode(picture.tobytes()).decode(), "width": 70, "height": 40}
    for variant in ("simd", "relaxed"):
        answers = [
            evaluate(page, RUN, threads=threads, variant=variant, cases=cases, picture=given) for threads in (1, 2)
        ]
        assert [answer["used"] for answer in answers] == [1, 2]
        assert answers[0]["results"] == answers[1]["results"]
        assert answers[0]["mask"] == answers[1]["mask"]
        results = iter(answers[0]["results"])
        with Compositor(tulle.load(network(), variant=variant)) as compositor:  # type: ignore[arg-type]
            compositor.set_picture(picture)
            for (colours, size, effect, strength), frame in zip(CASES, frames, strict=True):
                compositor.set_size(
                    colours.format,
                    size[1],
                    size[0],
                    matrix=colours.matrix,
                    full_range=colours.full_range,  # type: ignore[arg-type]
                )
                for fresh in (True, True, False):
                    expected = compositor(frame, effect, strength=strength, colour=(10, 170, 68), fresh=fresh)  # type: ignore[arg-type]
                    for plane, text in zip(expected, next(results), strict=True):
                        actual = np.frombuffer(base64.b64decode(text), np.uint8).reshape(plane.shape)
                        np.testing.assert_array_equal(actual, plane)
                    assert size == (1, 1) or any(
                        (plane != before).any() for plane, before in zip(expected, frame, strict=True)
                    )
            mask = np.array(answers[0]["mask"]["data"], np.float32).reshape(compositor.mask.shape)  # type: ignore[union-attr]
            np.testing.assert_array_equal(mask, compositor.mask)


def test_frames_are_read_and_made_in_the_engines_memory(page: Page) -> None:
    """VideoFrame.copyTo with the layout of input(), and a VideoFrame of the result with its own."""
    answer = evaluate(page, """
        const { Compositor } = await import('/web/src/background/compositor.js');
        const compositor = await Compositor.create('/bright.tulle');
        const canvas = new OffscreenCanvas(106, 70);
        const context = canvas.getContext('2d', { alpha: false });
        context.fillStyle = '#f0f0f0';
        context.fillRect(30, 10, 40, 50);
        const seen = [];
        const source = new VideoFrame(canvas, { timestamp: 5 });
        const planes = new Uint8Array(106 * 70 * 1.5).fill(128).fill(16, 0, 106 * 70);
        for (let y = 10; y < 60; y++) planes.fill(235, y * 106 + 30, y * 106 + 70);
        const frames = [
          new VideoFrame(planes, { format: 'I420', codedWidth: 106, codedHeight: 70, timestamp: 5 }), source,
        ];
        for (const [index, format] of ['I420', 'RGBA'].entries()) {
          const { bytes, layout } = compositor.input(format, 106, 70, { matrix: 'bt709' });
          await frames[index].copyTo(bytes, { layout, ...(format === 'RGBA' && { format }) });
          const result = compositor.run({ effect: 'colour', colour: [0, 0, 255] });
          const made = new VideoFrame(result.bytes.slice(), {
            format, codedWidth: 106, codedHeight: 70, timestamp: 5, layout: result.layout });
          const back = new Uint8Array(result.size);
          const places = await made.copyTo(back, { layout: result.layout });
          const at = (x, y) => places.map(({ offset, stride }, plane) => {
            const half = plane > 0 ? 2 : 1;
            const first = offset + Math.floor(y / half) * stride + (format === 'RGBA' ? 4 : 1) * Math.floor(x / half);
            return Array.from(back.slice(first, first + (format === 'RGBA' ? 3 : 1)));
          }).flat();
          const sane = Object.values(result.ms).every((ms) => ms >= 0);
          seen.push([at(50, 35), at(5, 5), Object.keys(result.ms).join(), sane]);
          made.close();
          frames[index].close();
        }
        await compositor.close();
        return seen;
    """)  # fmt: skip
    assert [row[:2] for row in answer] == [[[235, 128, 128], [32, 240, 118]], [[240, 240, 240], [0, 0, 255]]]
    assert all(parts == "input,network,mask,composite" and sane for _, _, parts, sane in answer)


def test_what_is_wrong_is_said(page: Page) -> None:
    said = evaluate(page, """
        const { Compositor } = await import('/web/src/background/compositor.js');
        const errors = {};
        const attempt = async (name, action) => {
          try {
            await action();
            errors[name] = 'nothing';
          } catch (error) {
            errors[name] = error instanceof tulle.TulleError ? error.message : `${error.name}: ${error.message}`;
          }
        };
        await attempt('network', () => Compositor.create('/tiny.tulle'));
        await attempt('worker', () => Compositor.create('/bright.tulle', { worker: true }));
        const compositor = await Compositor.create('/bright.tulle');
        await attempt('early', () => compositor.run());
        for (const [name, ...size] of [['zero', 0, 4], ['wide', 16385, 4], ['half', 4.5, 4], ['none', undefined, 4]]) {
          await attempt(name, () => compositor.input('I420', ...size));
        }
        await attempt('format', () => compositor.input('BGRA', 4, 4));
        await attempt('matrix', () => compositor.input('I420', 4, 4, { matrix: 'rgb' }));
        await attempt('huge', () => compositor.input('RGBA', 16384, 16384));
        await attempt('after', () => compositor.run());
        const { bytes } = compositor.input('I420', 5, 3);
        await attempt('effect', () => compositor.run({ effect: 'magic' }));
        await attempt('strength', () => compositor.run({ strength: 2 }));
        await attempt('colour', () => compositor.run({ effect: 'colour', colour: [1, 2] }));
        await attempt('option', () => compositor.run({ blur: 2 }));
        await attempt('picture', () => compositor.run({ effect: 'picture' }));
        await attempt('short', () => compositor.picture({ data: new Uint8Array(5), width: 1, height: 1 }));
        await attempt('strange', () => compositor.picture('beach.jpg'));
        const detached = new Uint8ClampedArray(16);
        structuredClone(detached.buffer, { transfer: [detached.buffer] });
        await attempt('detached', () => compositor.picture({ data: detached, width: 2, height: 2 }));
        const before = compositor.mask().data.length;
        compositor.run();
        const after = compositor.mask().data.length;
        compositor.reset();
        const forgotten = compositor.mask().data.length;
        await compositor.close();
        await compositor.close();
        await attempt('closed', () => compositor.run());
        return { errors, bytes: bytes.length, masks: [before, after, forgotten] };
    """)  # fmt: skip
    expected = {
        "network": "finds no people", "worker": "always runs in the thread", "early": "there is no frame yet",
        "zero": "not 0 x 4", "wide": "1 to 16384", "half": "not 4.5 x 4", "none": "not undefined x 4",
        "format": "not BGRA", "matrix": "not rgb", "huge": "out of memory for frames of this size",
        "after": "there is no frame yet", "effect": "not magic", "strength": "from 0 to 1", "colour": "three numbers",
        "option": 'no option "blur"', "picture": "there is no picture yet", "short": "not 5", "strange": "not String",
        "detached": "not 0", "closed": "is closed",
    }  # fmt: skip
    assert set(said["errors"]) == set(expected)
    for name, part in expected.items():
        assert part in said["errors"][name], (name, said["errors"][name])
    assert said["masks"] == [0, 18 * 31, 0]


def test_thousands_of_frames_take_no_memory(page: Page) -> None:
    memory = evaluate(page, """
        const { Compositor } = await import('/web/src/background/compositor.js');
        const compositor = await Compositor.create('/bright.tulle');
        compositor.picture({ data: new Uint8Array(4 * 50 * 40).fill(90), width: 50, height: 40 });
        const sizes = [];
        for (let i = 0; i < 3000; i++) {
          const { bytes } = compositor.input('I420', 160, 90);
          bytes.fill(i % 256);
          compositor.run({ effect: ['blur', 'picture', 'colour', 'none'][i % 4], fresh: i % 3 > 0 });
          if (i % 500 === 499) sizes.push(bytes.buffer.byteLength);
        }
        await compositor.close();
        return sizes;
    """)  # fmt: skip
    assert len(set(memory)) == 1

"""The pages in a real Firefox, driven over WebDriver BiDi: they open, and their networks answer as elsewhere."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

import tulle
from browser.conftest import decode
from browser.server import Site
from browser.test_background import HELPERS as CALL_HELPERS
from browser.test_background import MASK, dense_mask, iou, not_green
from browser.test_background import pixels as pixels_of
from conftest import LiteRT, missing
from paths import ROOT
from pyodide.conftest import pure_wheels, pyodide_folder

__all__ = ["pure_wheels", "pyodide_folder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DRIVER = Path(__file__).with_name("firefox.mjs")
OWN = "selfie_segmentation_landscape"
SIGMOIDS = ("Identity_1", "Identity_2")  # presence, handedness

# Opens a page and waits until it shows what it is there for.
READY = """async () => {
  await tulleDemo.ready;
  return { isolated: crossOriginIsolated, threads: document.querySelectorAll('#threads option').length,
           marked: performance.getEntriesByName('first-result').length };
}"""

# All networks of the compare page on its first picture, with the pixels they saw.
COMPARE = """async () => {
  const encode = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength).toBase64();
  const { input, outputs } = await tulleDemo.evaluate(0);
  for (const values of Object.values(outputs)) for (const name in values) values[name] = encode(values[name]);
  return { pixels: encode(input.data), outputs };
}"""

# One network on made-up pixels, the same in every browser, on the build whose arithmetic is the same everywhere: on two
# threads, without a worker, and on two threads without an engine worker.
SAME_PIXELS = """async () => {
  const { load } = await import(new URL('web/src/index.js', location.href));
  const url = new URL('models/hand_landmark_tulle.tulle', location.href);
  const input = Float32Array.from({ length: 224 * 224 * 3 }, (_, i) => ((i * 7919) % 256) / 255);
  const encode = ({ buffer }) => new Uint8Array(buffer).toBase64();
  const ways = [{ threads: 2 }, { worker: false }, { worker: false, threads: 2 }];
  return Promise.all(ways.map(async (how) => {
    const outputs = await (await load(url, { variant: 'simd', ...how })).run(input);
    return Object.fromEntries(Object.entries(outputs).map(([name, values]) => [name, encode(values)]));
  }));
}"""

# A TFLite file given to the page "Your model", and what the model that it becomes answers to the same made-up pixels.
OWN_MODEL = """async () => {
  const bytes = await (await fetch('/own.tflite')).arrayBuffer();
  const files = new DataTransfer();
  files.items.add(new File([bytes], 'own.tflite'));
  const input = document.querySelector('#file');
  input.files = files.files;
  input.dispatchEvent(new Event('change'));
  const text = (selector) => document.querySelector(selector).textContent;
  while (text('[data-value=name]') !== 'own' || text('#status') !== 'Ready') {
    if (!document.querySelector('#notice').hidden) throw new Error(text('#notice'));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const model = tulleDemo.model();
  const [{ name, shape }] = model.inputs;
  const size = shape.reduce((product, side) => product * side, 1);
  const outputs = await model.run({ [name]: Float32Array.from({ length: size }, (_, i) => ((i * 7919) % 256) / 255) });
  for (const name in outputs) outputs[name] = new Uint8Array(outputs[name].buffer).toBase64();
  return outputs;
}"""

# A camera that shows a person still, through tulle/background and a call, as the far end sees it.
PERSON = ROOT / "demos" / "images" / "person" / "1.jpg"
CALL = f"""async () => {{
  {CALL_HELPERS}
  document.getElementById('play').click(); // the page itself pauses
  const {{ BackgroundProcessor }} = await import(new URL('../web/src/background/index.js', location.href));
  const image = await createImageBitmap(await (await fetch(new URL('../images/person/1.jpg', location.href))).blob());
  const camera = drawnTrack(640, 360, (context) => context.drawImage(image, 0, 0, 640, 360));
  // The package's own is not part of the site.
  const model = new URL('../models/selfie_segmentation_landscape_tulle_50.tulle', location.href);
  const processor = await BackgroundProcessor.create({{ model, effect: 'colour', colour: [0, 255, 0] }});
  const processed = await processor.process(camera.track);
  const call = await startCall(processed);
  await watch(call.video, 30, 0, 8, 8);
  const seen = await watch(call.video, 8, 2, 256, 144);
  const {{ stats }} = processor;
  processor.stop();
  const ended = processed.readyState;
  call.end();
  camera.end();
  await until(() => processor.stats.open === 0, 'all frames are closed');
  await processor.close();
  return {{ seen, stats, ended }};
}}"""

# What each page is asked once it is ready.
QUESTIONS = {
    "": SAME_PIXELS,
    "hands/": "() => {}",
    "background/": CALL,
    "compare/": COMPARE,
    "ablation/": "() => {}",
    "model/": OWN_MODEL,
}


@pytest.fixture(scope="module")
def site(site_folder: Path, pyodide_folder: Path, model_path: Callable[[str], Path]) -> Iterator[Site]:
    with Site() as site:
        site.mount("/", site_folder)
        site.mount("/pyodide/", pyodide_folder)
        site.put("/own.tflite", model_path(OWN).read_bytes())
        yield site


@pytest.fixture(scope="module")
def answers(site: Site) -> dict[str, dict[str, Any]]:
    """What Firefox gave for a page: {value, complaints}; `answer` in the value is that of its question."""
    record = ROOT / ".cache" / "firefox-path"
    recorded = record.read_text().strip() if record.is_file() else None
    firefox = os.environ.get("FIREFOX") or recorded or missing("no Firefox: run `make firefox`")
    if not (ROOT / "web" / "node_modules" / "puppeteer-core").is_dir():
        missing("no puppeteer-core: run `make npm`")
    node = shutil.which("node") or missing("no Node: run `make node`")
    visits = [
        {
            "url": f"{site.url}/{page}",
            "before": f"globalThis.tullePython = {{ pyodide: '{site.url}/pyodide/' }}",
            "script": f"async () => ({{ ...await ({READY})(), answer: await ({question})() }})",
        }
        for page, question in QUESTIONS.items()
    ]
    done = subprocess.run(
        [node, DRIVER, firefox], input=json.dumps(visits), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(QUESTIONS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("page", QUESTIONS)
def test_a_page_opens(page: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[page]
    assert "error" not in answer, answer["error"]
    assert answer["complaints"] == []
    assert answer["value"]["isolated"] is True
    if page != "":
        assert answer["value"]["threads"] > 1


def test_the_networks_answer_as_litert_does(
    answers: dict[str, dict[str, Any]], model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    answer = answers["compare/"]
    assert "error" not in answer, answer["error"]
    given = answer["value"]["answer"]
    pixels = np.frombuffer(base64.b64decode(given["pixels"]), np.uint8).reshape(1, 224, 224, 4)
    for network in ("hand_landmark_full", "hand_landmark_lite", "hand_landmark_tulle"):
        expected = litert(model_path(network), {"input_1": pixels[..., :3] / np.float32(255)})
        found = decode(given["outputs"][network])
        assert expected["Identity_1"].item() > 0.9, "the picture shows a hand"
        for name, right in expected.items():
            scale = 1.0 if name in SIGMOIDS else float(np.ptp(right))
            np.testing.assert_allclose(found[name], right.ravel(), atol=1e-3 * scale, err_msg=f"{network} {name}")


def test_a_file_of_ones_own_is_converted_and_runs(
    answers: dict[str, dict[str, Any]], model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    answer = answers["model/"]
    assert "error" not in answer, answer["error"]
    (info,) = tulle.load(model_path(OWN)).inputs
    x = (np.arange(np.prod(info.shape)) * 7919 % 256 / np.float32(255)).astype(np.float32).reshape(info.shape)
    found = decode(answer["value"]["answer"])
    for name, expected in litert(model_path(OWN), {info.name: x}).items():
        np.testing.assert_allclose(found[name], expected.ravel(), atol=1e-3)


def test_the_far_end_of_a_call_sees_the_person_alone(
    answers: dict[str, dict[str, Any]], model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    answer = answers["background/"]
    assert "error" not in answer, answer["error"]
    found = answer["value"]["answer"]
    right = dense_mask(np.asarray(Image.open(PERSON).convert("RGB").resize((640, 360))), model_path, litert)
    agreement = [iou(not_green(pixels_of(text, *MASK)), right) for text in found["seen"]]
    print(agreement, found["stats"])
    assert min(agreement) >= 0.9
    assert found["stats"]["way"] == "canvas"
    assert found["stats"]["frames"] > 30
    assert found["ended"] == "ended"


def test_the_plain_build_answers_as_in_chromium_to_the_bit(
    answers: dict[str, dict[str, Any]], chromium: Browser, site: Site
) -> None:
    answer = answers[""]
    assert "error" not in answer, answer["error"]
    context = chromium.new_context()
    page = context.new_page()
    page.goto(site.url)
    expected, *others = page.evaluate(SAME_PIXELS)
    context.close()
    assert "Identity" in expected and len(answer["value"]["answer"]) == 1 + len(others)
    for name, values in decode(expected).items():
        assert np.isfinite(values).all()
        for found in (*others, *answer["value"]["answer"]):
            np.testing.assert_array_equal(decode(found)[name], values, err_msg=name)

"""The hand demo in a real Chromium: right landmarks, a filled panel, and clear words when something is off."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect

import build_demo
import serve
from browser.conftest import decode
from common import SetupError
from conftest import LiteRT
from paths import ROOT

pytestmark = pytest.mark.browser

SIDES = {"dense": "hand_landmark_full", "sparse": "hand_landmark_sparse"}
SIGMOIDS = ("Identity_1", "Identity_2")  # presence, handedness
PAGE = "/demos/hands/"
PICTURES = 8
SIZE = 224  # side of the networks' input in pixels


@pytest.fixture(scope="session")
def demo_models(model_path: Callable[[str], Path]) -> Path:
    """demos/models with both networks converted, as `make demo` leaves it."""
    for name in SIDES.values():
        model_path(name)
    build_demo.build()
    return build_demo.TARGET


@pytest.fixture(scope="module")
def address(built: Path, demo_models: Path) -> Iterator[str]:
    """Of the server that `make demo` starts, with everything built."""
    server = serve.make_server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class Visit:
    """A page of the demo, and what went wrong in it: `complaints` holds console errors and failed requests."""

    def __init__(self, context: BrowserContext, address: str, setup: Callable[[Page], None] | None = None) -> None:
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("requestfailed", lambda request: self.complaints.append(f"{request.failure}: {request.url}"))
        self.page.on(
            "response", lambda answer: answer.ok or self.complaints.append(f"HTTP {answer.status}: {answer.url}")
        )
        self.page.add_init_script(COUNT_LAYOUT_SHIFTS)
        if setup:
            setup(self.page)
        self.page.goto(address + PAGE)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def started(self) -> Visit:
        """Waits until both networks run."""
        self.page.evaluate("tulleDemo.ready")
        return self

    def value(self, name: str) -> str:
        return self.page.locator(f"[data-value={name}]").first.inner_text()


COUNT_LAYOUT_SHIFTS = """
globalThis.layoutShift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) layoutShift += entry.value;
}).observe({ type: 'layout-shift', buffered: true });
"""

OpenDemo = Callable[..., Visit]


def answer_instead(path: str, **answer: Any) -> Callable[[Page], None]:
    """Setup for open_demo: requests for a path of the server get this answer."""
    return lambda page: page.route(f"**/{path}", lambda route: route.fulfill(**answer))


@pytest.fixture
def open_demo(chromium: Browser, address: str) -> Iterator[OpenDemo]:
    """open_demo(setup=None, **context options) visits the demo; `setup` is given the page before it loads."""
    contexts = []

    def open_demo(setup: Callable[[Page], None] | None = None, **options: Any) -> Visit:
        contexts.append(chromium.new_context(**options))
        return Visit(contexts[-1], address, setup)

    yield open_demo
    for context in contexts:
        context.close()


# ---- right answers ----


@dataclass
class Answer:
    """What both networks answered on one picture: by side, by output name. `pixels` is RGBA, uint8 [224, 224, 4]."""

    pixels: np.ndarray
    outputs: dict[str, dict[str, np.ndarray]]


EVALUATE = """
async (index) => {
  const encode = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength).toBase64();
  const { input, ...outputs } = await tulleDemo.evaluate(index);
  for (const side of Object.values(outputs)) for (const name in side) side[name] = encode(side[name]);
  return { pixels: encode(input.data), ...outputs };
}
"""


def evaluate(page: Page, index: int) -> Answer:
    """Runs both networks of the page on a bundled picture."""
    answer = page.evaluate(EVALUATE, index)
    pixels = np.frombuffer(base64.b64decode(answer.pop("pixels")), np.uint8).reshape(SIZE, SIZE, 4)
    return Answer(pixels, {side: decode(outputs) for side, outputs in answer.items()})


def evaluate_all(page: Page) -> list[Answer]:
    assert page.evaluate("tulleDemo.pictures.length") == PICTURES
    return [evaluate(page, index) for index in range(PICTURES)]


def check_parity(side: str, answers: list[Answer], model: Path, litert: LiteRT) -> None:
    """Asserts that one network's outputs are LiteRT's on the same pixels, within 1e-3 of each output's range."""
    expected = [litert(model, {"input_1": answer.pixels[None, ..., :3] / np.float32(255)}) for answer in answers]
    for name in expected[0]:
        right = np.stack([outputs[name].ravel() for outputs in expected])
        found = np.stack([answer.outputs[side][name] for answer in answers])
        assert found.shape == right.shape
        scale = 1.0 if name in SIGMOIDS else float(right.max() - right.min())
        error = float(np.abs(found - right).max())  # NaN fails the comparison below
        assert error <= 1e-3 * scale, f"{side} {name}: off by {error}, the output's range is {scale}"


def test_both_networks_answer_as_litert_does(
    open_demo: OpenDemo, model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    visit = open_demo().started()
    answers = evaluate_all(visit.page)
    for side, name in SIDES.items():
        check_parity(side, answers, model_path(name), litert)
        presence = [answer.outputs[side]["Identity_1"][0] for answer in answers]
        assert min(presence) > 0.9, "every bundled picture shows a hand"
    assert visit.complaints == []


@pytest.mark.parametrize("side", SIDES)
def test_the_parity_check_notices_a_wrong_network(
    side: str, open_demo: OpenDemo, demo_models: Path, model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    other = next(name for key, name in SIDES.items() if key != side)
    wrong = answer_instead(f"{SIDES[side]}.tulle", body=(demo_models / f"{other}.tulle").read_bytes())
    answers = evaluate_all(open_demo(wrong).started().page)
    with pytest.raises(AssertionError, match=f"{side} Identity: off by"):
        check_parity(side, answers, model_path(SIDES[side]), litert)


def test_answers_do_not_depend_on_threads_and_hardly_on_the_build(open_demo: OpenDemo) -> None:
    visit = open_demo().started()
    page = visit.page
    found = {}
    for variant in ("relaxed", "simd"):
        for threads in ("1", "2"):
            page.select_option("#variant", variant)
            page.select_option("#threads", threads)
            expected = f"{threads} thread{'s' if threads == '2' else ''}, {variant} build"
            expect(page.locator("[data-value=sparse-runs]")).to_have_text(expected, timeout=30_000)
            answer = evaluate(page, 0)
            found[variant, threads] = [answer.outputs[side]["Identity"] for side in SIDES]
    for variant in ("relaxed", "simd"):
        np.testing.assert_array_equal(found[variant, "1"], found[variant, "2"])
    np.testing.assert_allclose(found["relaxed", "1"], found["simd", "1"], atol=0.1)  # pixels of 224
    expect(page.locator("#chart .mark")).not_to_have_count(0)
    assert visit.complaints == []


# ---- what a visitor sees ----


def test_the_panel_fills_with_plausible_figures(open_demo: OpenDemo, demo_models: Path) -> None:
    visit = open_demo().started()
    page = visit.page
    expect(page.locator("[data-value=speedup]")).not_to_have_text("–")
    expect(page.locator("[data-value=window]")).to_have_text("100", timeout=60_000)
    page.click("#play")  # so that all figures stand still
    expect(page.locator("#play")).to_have_text("Play")
    dense, sparse = float(visit.value("dense-ms")), float(visit.value("sparse-ms"))
    assert dense > 0 and sparse > 0
    assert float(visit.value("speedup")) == pytest.approx(dense / sparse, rel=0.05)  # of rounded figures

    catalogue = json.loads((demo_models / "models.json").read_text())
    facts = {side: catalogue[name] for side, name in SIDES.items()}
    for side in SIDES:
        assert float(visit.value(f"{side}-file")) == pytest.approx(facts[side]["tulle_bytes"] / 1e6, abs=0.006)
        assert visit.value(f"{side}-model").startswith(facts[side]["name"])
        assert facts[side]["source"] == visit.value(f"{side}-source")
        assert visit.value(f"{side}-runs").endswith("build")
        assert float(visit.value(f"{side}-presence").removesuffix(" %")) > 90
        kept = page.locator(f"#{side}-weights .kept").get_attribute("d") or ""
        assert kept.count("M") == round(100 * facts[side]["nonzero"] / facts[side]["weights"])
    assert 0 < float(visit.value("apart").split(" ")[0]) < 10

    for line in ("dense average", "sparse average", "dense single", "sparse single"):
        selector = "#chart path." + line.replace(" ", ".")
        assert (page.locator(selector).get_attribute("d") or "").count("L") > 50
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in page.evaluate(OPERATION_ROWS)}
    together = rows.pop("together")
    assert len(rows) == 4 and all(time > 0 for row in rows.values() for time in row)
    np.testing.assert_allclose(np.sum(list(rows.values()), axis=0), together, atol=0.03)
    # Over the same frames, the engine's own times add up to most of what the page waits for, and never to more.
    assert 0.3 * dense < together[0] < dense + 0.1
    assert 0.3 * sparse < together[1] < sparse + 0.1
    assert visit.complaints == []


OPERATION_ROWS = """
() => [...document.querySelectorAll('#ops-table tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText))
"""


@pytest.mark.parametrize("side", SIDES)
def test_landmarks_are_drawn_over_the_picture(side: str, open_demo: OpenDemo) -> None:
    visit = open_demo(color_scheme="light").started()
    visit.page.click("#play")
    x, y = evaluate(visit.page, 0).outputs[side]["Identity"].reshape(21, 3)[:, :2].T / SIZE
    # The rim of a joint's disc is in the network's colour: some pixel close to each landmark is.
    near = visit.page.evaluate(NEAREST_COLOUR, [f"#{side}-hand", x.tolist(), y.tolist()])
    assert max(near) < 60, near


# Distance in RGB from the canvas's CSS colour to the most similar pixel within 5 CSS pixels of each landmark.
NEAREST_COLOUR = """
([selector, xs, ys]) => {
  const canvas = document.querySelector(selector);
  const [r, g, b] = getComputedStyle(canvas).color.match(/\\d+/g).map(Number);
  const context = canvas.getContext('2d');
  return xs.map((x, i) => {
    const size = 11;
    const { data } = context.getImageData(x * canvas.width - 5, ys[i] * canvas.height - 5, size, size);
    let best = Infinity;
    for (let p = 0; p < data.length; p += 4) {
      best = Math.min(best, Math.hypot(data[p] - r, data[p + 1] - g, data[p + 2] - b));
    }
    return best;
  });
}
"""


def test_pictures_can_be_chosen_by_keyboard_and_paused(open_demo: OpenDemo) -> None:
    page = open_demo().started().page
    page.locator("#play").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#play")).to_have_text("Play")
    before = page.locator("#chart").inner_html()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#dense-hand")).to_have_attribute(
        "aria-label", "Two fingers, with the dense network's landmarks"
    )
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sparse-hand")).to_have_attribute("aria-label", "Ring, with the sparse network's landmarks")
    page.wait_for_timeout(500)
    assert page.locator("#chart").inner_html() == before, "a paused page measures nothing"


def test_every_control_has_a_name(open_demo: OpenDemo) -> None:
    page = open_demo().started().page
    for role, names in {
        "button": ["Pause", "Next picture"],
        "combobox": ["Threads", "Build"],
        "radio": ["Open hand", "Four fingers"],
        "img": ["Open hand, with the dense network's landmarks"],
    }.items():
        for name in names:
            expect(page.get_by_role(role, name=name, exact=True).first).to_be_attached()  # type: ignore[arg-type]
    expect(page.get_by_label("Your picture")).to_be_attached()


def test_pictures_stand_still_for_visitors_who_want_less_motion(open_demo: OpenDemo) -> None:
    page = open_demo(reduced_motion="reduce").started().page
    page.wait_for_timeout(4000)
    expect(page.get_by_role("radio", name="Open hand")).to_be_checked()


def test_own_picture(open_demo: OpenDemo, tmp_path: Path) -> None:
    visit = open_demo().started()
    visit.page.set_input_files("#own", ROOT / "demos" / "images" / "ring.jpg")
    expect(visit.page.locator("#dense-hand")).to_have_attribute(
        "aria-label", "ring.jpg, with the dense network's landmarks"
    )
    expect(visit.page.locator("[data-value=dense-presence]")).not_to_have_text("–")
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    visit.page.set_input_files("#own", text)
    expect(visit.page.locator("#status")).to_have_text("text.jpg is not an image that this browser can read.")
    assert visit.complaints == []


@pytest.mark.parametrize("width", [1366, 390])
def test_nothing_moves_while_loading_and_nothing_sticks_out(width: int, open_demo: OpenDemo) -> None:
    page = open_demo(viewport={"width": width, "height": 844}).started().page
    expect(page.locator("[data-value=speedup]")).not_to_have_text("–")
    assert page.evaluate("layoutShift") < 0.02
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_front_page_leads_to_the_demo(address: str, chromium: Browser) -> None:
    page = chromium.new_page()
    try:
        page.goto(address + "/demos/")
        page.get_by_role("link", name="hand").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The same hand, dense and sparse")
    finally:
        page.close()


# ---- when something is off ----


def test_without_isolation_one_thread_and_a_note(
    open_demo: OpenDemo, model_path: Callable[[str], Path], litert: LiteRT
) -> None:
    def strip_headers(route: Route) -> None:
        response = route.fetch()
        headers = {name: value for name, value in response.headers.items() if not name.startswith("cross-origin-")}
        route.fulfill(response=response, headers=headers)

    visit = open_demo(lambda page: page.route("**/*", strip_headers)).started()
    expect(visit.page.locator("#isolation")).to_contain_text("not cross-origin isolated")
    assert visit.page.locator("#threads option").all_inner_texts() == ["1"]
    assert visit.value("dense-runs").startswith("1 thread,")
    check_parity("sparse", evaluate_all(visit.page), model_path(SIDES["sparse"]), litert)
    assert visit.complaints == []


@pytest.mark.parametrize("side", SIDES)
def test_a_broken_model_is_named(side: str, open_demo: OpenDemo, demo_models: Path) -> None:
    content = (demo_models / f"{SIDES[side]}.tulle").read_bytes()
    page = open_demo(answer_instead(f"{SIDES[side]}.tulle", body=content[: len(content) // 2])).page
    expect(page.get_by_role("alert")).to_contain_text(f"{SIDES[side]}.tulle")
    expect(page.locator("#play")).to_be_disabled()


def test_missing_models_tell_how_to_make_them(open_demo: OpenDemo) -> None:
    page = open_demo(answer_instead("models.json", status=404)).page
    expect(page.get_by_role("alert")).to_contain_text("run `make demo`")


def test_a_browser_without_simd_is_told_so(open_demo: OpenDemo) -> None:
    """No browser of today can be had without SIMD: WebAssembly.validate is made to answer as an old one does."""
    page = open_demo(lambda page: page.add_init_script("WebAssembly.validate = () => false")).page
    expect(page.get_by_role("alert")).to_contain_text("no WebAssembly SIMD")


# ---- the conversion behind it ----


def test_own_pruned_model_is_labelled_and_nothing_is_converted_twice(
    open_demo: OpenDemo, model_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, target = tmp_path / "models", tmp_path / "demo"
    models.mkdir()
    record = {"source": "made by tulle: magnitude-pruned copy", "licence": "Apache-2.0", "sha256": ""}
    sources = {f"{name}.tflite": record for name in SIDES.values()}
    sources[f"{SIDES['dense']}.tflite"] = {**record, "source": "npm"}
    (models / "SOURCES.json").write_text(json.dumps(sources))
    for name in SIDES.values():
        (models / f"{name}.tflite").symlink_to(model_path(name).resolve())
    monkeypatch.setattr(build_demo, "MODELS", models)
    monkeypatch.setattr(build_demo, "TARGET", target)

    catalogue = [model for model in build_demo.CATALOGUE if model.name in SIDES.values()]
    build_demo.build(catalogue)
    manifest = (target / "models.json").read_text()
    labels = {name: facts["label"] for name, facts in json.loads(manifest).items()}
    assert labels == {SIDES["dense"]: None, SIDES["sparse"]: build_demo.OWN_LABEL}
    visit = open_demo(answer_instead("models.json", body=manifest)).started()
    assert visit.value("sparse-model") == f"hand_landmark_sparse ({build_demo.OWN_LABEL})"
    assert visit.value("dense-model") == "hand_landmark_full"

    files = {name: target / f"{name}.tulle" for name in SIDES.values()}
    written = {name: file.stat().st_mtime_ns for name, file in files.items()}
    build_demo.build(catalogue)
    assert {name: file.stat().st_mtime_ns for name, file in files.items()} == written
    files[SIDES["sparse"]].unlink()
    build_demo.build(catalogue)
    assert files[SIDES["sparse"]].is_file()
    assert files[SIDES["dense"]].stat().st_mtime_ns == written[SIDES["dense"]]


def test_a_missing_model_is_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_demo, "MODELS", tmp_path)
    monkeypatch.setattr(build_demo, "TARGET", tmp_path / "demo")
    with pytest.raises(SetupError, match="run `make models`"):
        build_demo.build()

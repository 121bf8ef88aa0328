"""The page "Your model": files dropped on it are converted, timed and looked into; what fails says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite as schema
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

import tulle
from browser.visit import Visit, demo_server
from conftest import LiteRT
from paths import ROOT
from pyodide.conftest import onnx_wheels, pure_wheels, pyodide_folder
from python.test_tflite_read import patched, rename_op

__all__ = ["onnx_wheels", "pure_wheels", "pyodide_folder"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CDN = "https://cdn.jsdelivr.net/pyodide/v314.0.7/full/"
LONG = 180_000  # milliseconds: Pyodide on a busy machine
MODEL = "selfie_segmentation_landscape"
SHOTS = ROOT / "build" / "screenshots"


@pytest.fixture(scope="module")
def server(built: Path, archive: Path, demo_models: Path) -> Iterator[str]:
    with demo_server() as address:
        yield address


@pytest.fixture
def open_page(chromium: Browser, server: str, pyodide_folder: Path) -> Iterator[Callable[..., Visit]]:
    """open_page(setup, **context options) visits the page; what it asks of the CDN comes from this machine."""
    contexts: list[BrowserContext] = []

    def serve(route: Route) -> None:
        file = pyodide_folder / route.request.url.removeprefix(CDN)
        kinds = {".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
        headers = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
        headers["Content-Type"] = kinds.get(file.suffix, "application/octet-stream")
        route.fulfill(body=file.read_bytes(), headers=headers) if file.is_file() else route.abort()

    def open_page(setup: Callable[[Page], None] | None = None, **options: Any) -> Visit:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        context.route(f"{CDN}**", serve)
        return Visit(context, f"{server}/demos/model/", setup).started()

    yield open_page
    for context in contexts:
        context.close()


def give(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)


def ready(page: Page) -> None:
    expect(page.locator("#status")).to_have_text("Ready", timeout=LONG)


def shot(page: Page, name: str) -> None:
    """A screenshot to look at, in build/screenshots."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"model-{name}.png", full_page=True)


# Outputs of the model that the page runs, on floats.
RUN = """async (floats) => {
  const { name } = tulleDemo.model().inputs[0];
  const outputs = await tulleDemo.model().run({ [name]: Float32Array.from(floats) });
  return Object.fromEntries(Object.entries(outputs).map(([name, values]) => [name, [...values]]));
}"""


def test_a_tflite_file_is_converted_timed_pruned_and_run(
    open_page: Callable[..., Visit], model_path: Callable[[str], Path], litert: LiteRT, tmp_path: Path
) -> None:
    path = model_path(MODEL)
    visit = open_page()
    page = visit.page
    assert visit.value("name") == "hand_landmark_tulle", "it begins with one of ours"
    assert float(visit.value("ms")) > 0
    expect(page.locator("#prune")).to_be_disabled()
    give(page, path)
    expect(page.locator("#cancel")).to_be_enabled()
    expect(page.locator("[data-value=name]")).to_have_text(MODEL, timeout=LONG)
    ready(page)
    assert "The .tflite file has 250 kB" in visit.value("source")
    assert float(visit.value("ms")) > 0 and "median of" in visit.value("runs")
    assert "takes pictures: (pixel − 0) / 255" in page.locator("#ports").inner_text()
    assert "depthwise conv2d" in page.locator("#operators").inner_text()
    operators = page.locator("#operators tbody td:nth-child(3)").all_inner_texts()
    assert sum(map(float, operators)) > 0.2, "milliseconds of all operators"

    (info,) = tulle.load(path).inputs
    x = np.random.default_rng(1).random(info.shape, np.float32)
    outputs = page.evaluate(RUN, x.ravel().tolist())
    for name, value in litert(path, {info.name: x}).items():
        np.testing.assert_allclose(outputs[name], value.ravel(), atol=1e-3)

    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == f"{MODEL}.tulle"
    expected = tulle.convert(path, input_mean=0, input_std=255).data
    assert Path(download.value.path()).read_bytes() == expected
    code = page.evaluate("tulleDemo.code()")
    assert f"load('{MODEL}.tulle')" in code and '"input_1": picture' in code

    page.locator("#sample").click()
    expect(page.locator("#outputs canvas")).to_have_count(1)
    page.locator("#prune").click()
    expect(page.locator("#levels td").last).not_to_have_text("–", timeout=LONG)
    ready(page)
    times = page.locator("#levels tbody tr td:nth-child(4)").all_inner_texts()
    assert len(times) == 5 and all(0.3 < float(text[:-1]) < 20 for text in times)
    shot(page, "desk")
    with page.expect_download() as download:
        page.locator("#report").click()
    assert download.value.suggested_filename == f"{MODEL}.md"
    report = Path(download.value.path()).read_text()
    for text in (f"# {MODEL}\n", visit.value("summary"), "| 80 % | ", "| operator, as it runs | how many |", *times):
        assert text in report
    page.locator("#threads").select_option("1")
    expect(page.locator("[data-value=runs]")).to_contain_text("1 thread,", timeout=LONG)
    ready(page)
    page.locator("#worker").uncheck()
    expect(page.locator("[data-value=runs]")).to_contain_text("in the page itself", timeout=LONG)
    ready(page)
    assert visit.complaints == []


def test_an_onnx_file_is_converted_and_run(
    open_page: Callable[..., Visit], server: str, onnx_wheels: list[Path], tmp_path: Path
) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    random = np.random.default_rng(3)
    weights = {"w": random.standard_normal((8, 3, 3, 3)), "v": random.standard_normal((5, 8, 1, 1))}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2]),
        onnx.helper.make_node("Relu", ["y"], ["z"]),
        onnx.helper.make_node("Conv", ["z", "v"], ["scores"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "net",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 3, 31, 40])],
        [onnx.helper.make_tensor_value_info("scores", 1, None)],
        [onnx.numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    wheels = {f"{server}/wheels/{path.name}": path for path in onnx_wheels}

    def setup(page: Page) -> None:
        page.add_init_script(f"globalThis.tullePython = {{ onnx: {json.dumps(list(wheels))} }}")
        page.context.route(f"{server}/wheels/**", lambda route: route.fulfill(path=wheels[route.request.url]))

    visit = open_page(setup)
    give(visit.page, tmp_path / "net.onnx")
    expect(visit.page.locator("[data-value=name]")).to_have_text("net", timeout=LONG)
    ready(visit.page)
    assert "The .onnx file has" in visit.value("source")
    x = random.random((1, 3, 31, 40), np.float32)
    outputs = visit.page.evaluate(RUN, x.transpose(0, 2, 3, 1).ravel().tolist())
    (expected,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(outputs["scores"], expected.transpose(0, 2, 3, 1).ravel(), atol=1e-4)
    assert visit.complaints == []


def test_what_fails_says_why(
    open_page: Callable[..., Visit], model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    data = model_path(MODEL).read_bytes()
    visit = open_page(viewport={"width": 390, "height": 844})
    page = visit.page
    alert = page.get_by_role("alert")
    for name, content, message in [
        ("notes.txt", b"to do: " * 99, "notes.txt is neither a .tflite nor an .onnx file"),
        ("broken.tflite", data[:50_000], "broken.tflite: "),
        ("broken.tulle", tulle.convert(data).data[:9000], "cannot load the model in memory"),
    ]:
        (tmp_path / name).write_bytes(content)
        give(page, tmp_path / name)
        expect(alert).to_contain_text(message, timeout=LONG)
        assert visit.value("name") == "hand_landmark_tulle", "what was there stays"
    unsupported = patched(data, rename_op(schema.BuiltinOperator.LOGISTIC, schema.BuiltinOperator.WHILE))
    (tmp_path / "net.tflite").write_bytes(unsupported)
    give(page, tmp_path / "net.tflite")
    expect(alert).to_contain_text("WHILE -> ", timeout=LONG)
    expect(page.locator("#part")).to_contain_text("What to do: ")
    shot(page, "unsupported-phone")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#part-button").click()
    expect(page.locator("[data-value=source]")).to_contain_text("Only the part up to", timeout=LONG)
    ready(page)
    expect(alert).to_be_hidden()
    shot(page, "phone")


def test_cancel_and_a_second_file(
    open_page: Callable[..., Visit], model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    visit = open_page()
    page = visit.page
    give(page, model_path("hand_landmark_full"))
    expect(page.locator("#status")).to_contain_text("Loading Python")
    page.locator("#cancel").click()
    expect(page.locator("#status")).to_have_text("Cancelled")
    expect(page.locator("#cancel")).to_be_disabled()
    give(page, model_path("hand_landmark_full"))
    give(page, model_path(MODEL))
    expect(page.locator("[data-value=name]")).to_have_text(MODEL, timeout=LONG)
    ready(page)
    assert visit.complaints == []


def test_a_second_visit_and_a_file_that_is_about_to_come(
    open_page: Callable[..., Visit], model_path: Callable[[str], Path]
) -> None:
    page = open_page().page
    script = f"{CDN}pyodide.mjs"
    with page.expect_request(script), page.expect_file_chooser():
        page.locator("label", has=page.locator("#file")).click()
    give(page, model_path(MODEL))
    expect(page.locator("[data-value=name]")).to_have_text(MODEL, timeout=LONG)
    ready(page)
    with page.expect_request(script):  # without a file: somebody who was here before
        page.reload()
    ready(page)
    page.context.route(f"{CDN}**", lambda route: route.abort())
    page.reload()
    ready(page)
    give(page, model_path(MODEL))
    expect(page.locator("[data-value=name]")).to_have_text(MODEL, timeout=20_000)  # it needs no Python
    ready(page)
    assert "The .tflite file has 250 kB" in page.locator("[data-value=source]").inner_text()


def test_a_large_file_does_not_freeze_the_page(open_page: Callable[..., Visit], tmp_path: Path) -> None:
    visit = open_page()
    page = visit.page
    path = tmp_path / "large.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100_000_000))
    page.evaluate("""() => {
      globalThis.longest = 0;
      let last = performance.now();
      setInterval(() => { longest = Math.max(longest, performance.now() - last); last = performance.now(); }, 10);
    }""")
    give(page, path)
    expect(page.get_by_role("alert")).to_contain_text("large.tflite: ", timeout=LONG)
    assert page.evaluate("longest") < 1500  # milliseconds, on a machine that does other things too

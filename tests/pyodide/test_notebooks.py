"""The notebooks under demos/notebooks run to the end, cell by cell, in the JupyterLite site built from them."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from playwright.sync_api import Browser, Page, Request, Route

import build_notebooks
import tulle
from browser.server import Site
from common import SetupError
from paths import ROOT, SHARED
from sharing import locked
from tulle.sparsify import Options, sparsify

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = ROOT / "demos" / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

SECONDS = 1000
START = 180 * SECONDS  # Pyodide and the kernel's packages, on a busy machine
CELL = 180 * SECONDS

INDICATOR = ".jp-Notebook-ExecutionIndicator"

Shown: TypeAlias = dict[str, str]
"""What a cell shows, by MIME type; HTML as source, all else as text."""

SHOWN = """(cell) => {
  const shown = {};
  for (const output of cell.querySelectorAll('.jp-OutputArea-output')) {
    const kind = output.dataset.mimeType;
    shown[kind] = (shown[kind] ?? '') + (kind === 'text/html' ? output.innerHTML : output.innerText);
  }
  return shown;
}"""


@pytest.fixture(scope="module")
def notebook_site(wheels: dict[str, Path], model_path: Callable[[str], Path]) -> Iterator[Site]:
    """The built site, cross-origin isolated as scripts/serve.py has it."""
    for name in build_notebooks.CONVERTED + build_notebooks.PLAIN:
        model_path(name)  # skips the test where it is missing
    if not list((SHARED / "wheels").glob("numpy-*-cp314-*.whl")):
        pytest.skip("no wheel of NumPy for Pyodide in the shared folder; elsewhere the site takes Pyodide's own")
    try:
        with locked("pyodide"):
            build_notebooks.main()
    except SetupError as error:
        if "pip" in str(error):
            pytest.skip(f"JupyterLite cannot be had: {error}")
        raise
    with Site() as site:
        site.mount("/", build_notebooks.SITE)
        yield site


@pytest.fixture
def page(chromium: Browser, notebook_site: Site) -> Iterator[Page]:
    """A page that fails the test if it asks another host for anything."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1600})
    outside = []

    def stop(route: Route, request: Request) -> None:
        outside.append(request.url)
        route.abort()

    context.route(lambda url: url.startswith("http") and not url.startswith(notebook_site.url), stop)
    yield context.new_page()
    context.close()
    assert outside == []


def test_notebooks_are_kept_without_outputs() -> None:
    for name in NAMES:
        cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
        assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_to_the_end(name: str, notebook_site: Site, page: Page) -> None:
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    page.goto(f"{notebook_site.url}/notebooks/index.html?path={name}.ipynb")
    # It is idle before it has a kernel too. A cell that is run then asks for one, in a dialog that stops all clicks.
    page.wait_for_selector(f"{INDICATOR}[data-status]:not([data-status=idle])", timeout=START)
    page.wait_for_function(f"document.querySelectorAll('.jp-Cell').length == {len(cells)}", timeout=START)
    page.wait_for_selector(f"{INDICATOR}[data-status=idle]", timeout=START)
    page.locator(".jp-Cell").first.click()
    shown: list[Shown] = []
    for index, cell in enumerate(cells):
        page.keyboard.press("Shift+Enter")
        if cell["cell_type"] != "code":
            continue
        box = page.locator(".jp-Cell").nth(index)
        # The first cell waits for the kernel.
        box.get_by_text(re.compile(r"^\[\d+\]:$")).first.wait_for(timeout=CELL if shown else START)
        shown.append(box.evaluate(SHOWN))
        assert "application/vnd.jupyter.stderr" not in shown[-1], shown[-1]["application/vnd.jupyter.stderr"]
    globals()[f"check_{name.replace('-', '_')}"](shown[1:])  # the first one installs


def html(shown: Shown) -> str:
    return shown["text/html"]


def text(shown: Shown) -> str:
    return shown["text/plain"]


def printed(shown: Shown) -> str:
    return shown["application/vnd.jupyter.stdout"]


def check_first_steps(shown: list[Shown]) -> None:
    assert "hand_landmark_tulle" in html(shown[0]) and "relaxed" in html(shown[0])
    assert "'Identity': (1, 63)" in text(shown[1])
    assert "spmm" in html(shown[2])
    assert "ms on one thread" in text(shown[3])
    assert "2 threads> gives the same numbers: True" in printed(shown[4])


def check_hands(shown: list[Shown]) -> None:
    presence = float(printed(shown[0]).split(": ")[1].split(";")[0])
    assert presence > 0.9 and "it is a right one" in printed(shown[0])
    assert html(shown[0]).count("<circle") == html(shown[2]).count("<circle") == 21
    in_worker, here = re.findall(r"[\d.]+, [\d.]+", printed(shown[1]))
    assert in_worker == here


def check_background(shown: list[Shown]) -> None:
    assert 5 < int(printed(shown[1]).split("%")[0]) < 95
    assert "<svg" in html(shown[1]) and "<svg" in html(shown[2])


def check_sparsify(shown: list[Shown]) -> None:
    assert "'hand_landmark_lite.tflite'" in text(shown[0])
    assert "146 million multiply-adds" in printed(shown[1])
    assert "80% of the weights" in printed(shown[2])
    dense, sparse = map(float, re.findall(r"([\d.]+) MB (?:dense|sparse)", printed(shown[2])))
    assert sparse < 0.75 * dense
    assert "times as fast" in printed(shown[3]) and "spmm" in html(shown[3])
    # What is taken away is what CPython makes.
    (data,) = re.findall(r'href="data:application/octet-stream;base64,([^"]+)"', html(shown[4]))
    graph = tulle.read_tflite(build_notebooks.model("hand_landmark_lite.tflite"))
    for name in graph.inputs:
        graph.tensors[name].std = 255
    assert b64decode(data) == tulle.convert(sparsify(graph, Options(sparsity=0.8)).graph).data

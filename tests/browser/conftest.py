"""Fixtures of the browser tests: a server, a page with the package loaded, and a tiny model."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

import build_site
from browser.server import Site
from conftest import missing
from paths import ROOT, WASM
from sharing import folder_of_run, locked
from tulle.graph import Graph, Node, Tensor
from tulle.pack import pack

HERE = Path(__file__).parent

PAGE = b"""<!doctype html>
<title>tulle</title>
<link rel="icon" href="data:,">
<script type="module" src="/tests/page.js"></script>
"""

# open_page(site, path, ready) opens a page, the one with the package unless told otherwise, and waits for `ready`.
OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def built() -> Path:
    """web/dist with all four builds."""
    for build in ("simd", "relaxed", "simd-threads", "relaxed-threads"):
        if not (WASM / f"tulle-{build}.wasm").is_file():
            pytest.fail(f"web/dist/tulle-{build}.wasm is missing: run `make build`")
    return WASM


@contextmanager
def package_site(*, isolated: bool = True, cors: bool = False) -> Iterator[Site]:
    """A site with the package at /web/, the test page at /page.html and the tiny model at /tiny.tulle."""
    with Site(isolated=isolated, cors=cors) as site:
        site.mount("/web/", ROOT / "web")
        site.mount("/tests/", HERE)
        site.put("/page.html", PAGE)
        site.put("/tiny.tulle", pack(tiny_graph()))
        yield site


@pytest.fixture(scope="session")
def site(built: Path) -> Iterator[Site]:
    """The site most tests use: cross-origin isolated."""
    with package_site() as site:
        yield site


@pytest.fixture(scope="session")
def site_folder(built: Path, archive: Path, demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole web site as `make site` makes it, of the models as they are now."""
    if not build_site.ISOLATION_SOURCE.is_file():
        missing("no coi-serviceworker: run `make npm`")
    folder = folder_of_run(tmp_path_factory) / "site"
    with locked("site"):
        if not folder.is_dir():  # which is there whole or not at all
            build_site.build(folder)
    return folder


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Opens pages that fail the test if anything is thrown in them unseen."""
    contexts = []
    errors: list[str] = []

    def open_page(site: Site, path: str = "/page.html", ready: str = "window.ready") -> Page:
        context = chromium.new_context()
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(site.url + path)
        page.wait_for_function(ready)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(open_page: OpenPage, site: Site) -> Page:
    """A fresh page of the site: `tulle` is the package, see page.js for the rest."""
    return open_page(site)


def tiny_graph(scale: float = 2.0) -> Graph:
    """y = scale * x for an image x of [1, 4, 4, 3], whose pixels are fed as (pixel - 10) / 20."""
    graph = Graph("tiny")
    graph.inputs = [graph.add_tensor(Tensor("x", (1, 4, 4, 3), mean=10.0, std=20.0))]
    factor = graph.add_constant("factor", np.array([scale], np.float32))
    graph.outputs = [graph.add_tensor(Tensor("y", (1, 4, 4, 3)))]
    graph.nodes = [Node("mul", "times", ["x", factor], ["y"], {"activation": "none"})]
    return graph


def decode(arrays: dict[str, str]) -> dict[str, np.ndarray]:
    """What page.js's encode() made: float32 arrays by name, flat."""
    return {name: np.frombuffer(base64.b64decode(text), np.float32) for name, text in arrays.items()}


def evaluate(page: Page, body: str, **arguments: Any) -> Any:
    """Runs the body of an async JavaScript function with the keyword arguments as its variables."""
    return page.evaluate(f"async ({{ {', '.join(arguments)} }}) => {{ {body} }}", arguments)


def expect_workers(page: Page, count: int) -> None:
    """Waits until the page has this many workers: one that computes is given 2 s by Chromium to end by itself."""
    for _ in range(600):
        if len(page.workers) == count:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{[worker.url for worker in page.workers]} after 30 s instead of {count} workers")

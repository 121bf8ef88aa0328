"""What docs/web.md says of headers, service workers and Node, with the code that it gives."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from browser.conftest import tiny_graph
from browser.server import Site
from conftest import missing
from paths import ROOT
from tulle.pack import pack

pytestmark = pytest.mark.browser

WEB = ROOT / "web"
PAGE = b"""<!doctype html><title>tulle</title>
<script type="importmap">{ "imports": { "tulle": "./web/src/index.js" } }</script>
<script type="module" src="main.js"></script>
"""
MAIN = b"""import { load } from 'tulle';
globalThis.result = (async () => {
  const model = await load('model.tulle', { threads: 2, worker: true });
  const { y } = await model.run(new Float32Array(48).fill(3));
  return { threads: model.threads, isolated: crossOriginIsolated, y: y[0] };
})();
"""
RIGHT = {"threads": 2, "isolated": True, "y": 6}


def code(section: str) -> str:
    """The JavaScript of a section."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## )", (ROOT / "docs" / "web.md").read_text(), re.MULTILINE | re.DOTALL)
    assert text is not None
    [block] = re.findall(r"```js\n(.*?)```", text[1], re.DOTALL)
    return str(block)


def tiny() -> bytes:
    return pack(tiny_graph())


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with chromium.new_context() as context:
        yield context.new_page()


def put_page(site: Site) -> str:
    site.mount("/web/", WEB)
    site.put("/main.js", MAIN)
    site.put("/model.tulle", tiny())
    return site.url + site.put("/page.html", PAGE)


@pytest.mark.parametrize("value", ["isolate-and-credentialless", "isolate-and-require-corp"])
def test_document_isolation_policy_brings_threads(value: str, built: Path, page: Page) -> None:
    assert value in (ROOT / "docs" / "web.md").read_text()
    with Site(isolated=False) as site:
        address = put_page(site)
        page.goto(address)
        assert page.evaluate("result") == {**RIGHT, "threads": 1, "isolated": False}
        site.headers["Document-Isolation-Policy"] = value
        page.goto(address)
        assert page.evaluate("result") == RIGHT


def test_the_service_worker_makes_the_page_work_offline(built: Path, page: Page) -> None:
    with Site() as site:
        address = put_page(site)
        site.put("/worker.js", code("Caching and offline").encode())
        page.goto(address)
        page.evaluate("navigator.serviceWorker.register('worker.js').then(() => {})")
        page.wait_for_function("navigator.serviceWorker.controller")
        page.goto(address)
        assert page.evaluate("result") == RIGHT
    page.goto(address)  # there is no server any more
    assert page.evaluate("result") == RIGHT


def test_node_runs_a_model(built: Path, tmp_path: Path) -> None:
    node = shutil.which("node") or missing("no node: run `make node`")
    package = tmp_path / "node_modules" / "tulle"
    package.mkdir(parents=True)
    for part in ("src", "dist", "package.json"):
        (package / part).symlink_to(WEB / part)
    (tmp_path / "model.tulle").write_bytes(tiny())
    script = code("Node").replace("224 * 224 * 3", "48") + (
        "const pixels = await model.run(new Uint8Array(48).fill(50));\nconsole.log(outputs.y[0], pixels.y[0]);\n"
    )
    (tmp_path / "script.mjs").write_text(script)
    command = [node, "--preserve-symlinks", "script.mjs"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0", "4"]  # twice (50 - 10) / 20

"""The site under scripts/serve.py's Content-Security-Policy: nothing in it breaks the policy, which is in force.

The demo pages' own tests run under it too: tulle/hands in test_demo_hands.py, tulle/convert in test_site_model.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import serve
from browser.test_site import DOCUMENTS, QUICK
from browser.visit import Visit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(site_folder: Path) -> Iterator[str]:
    server = serve.make_server(site_folder, served=None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", [*QUICK, *DOCUMENTS])
def test_a_page_needs_no_eval_and_no_inline_script(path: str, address: str, chromium: Browser) -> None:
    with chromium.new_context() as context:
        visit = Visit(context, address + path)
        if path in QUICK:
            visit.started()
        assert visit.complaints == []
        ran = visit.page.evaluate(
            """async () => {
              const inline = document.createElement('script');
              inline.textContent = 'window.ran = true';
              document.head.append(inline);
              const button = document.createElement('button');
              button.setAttribute('onclick', 'window.ran = true');
              button.click();
              // Where DevTools evaluates, eval is allowed; a task of the page's own is not.
              await new Promise((resolve) => { setTimeout(resolve, 50); });
              return window.ran ?? false;
            }"""
        )
        assert ran is False
        assert sum("Content Security Policy" in complaint for complaint in visit.complaints) >= 1, "not in force"


def test_the_policy_forbids_eval() -> None:
    directives = dict(part.split(" ", 1) for part in serve.POLICY.split("; "))
    assert directives["script-src"].split() == ["'self'", "'wasm-unsafe-eval'", "https://cdn.jsdelivr.net"]

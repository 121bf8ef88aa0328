"""A demo page as a visitor opens it: served as `make demo` serves it, with what goes wrong in it written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

import serve

COUNT_LAYOUT_SHIFTS = """
globalThis.layoutShift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) layoutShift += entry.value;
}).observe({ type: 'layout-shift', buffered: true });
"""


@contextmanager
def demo_server() -> Iterator[str]:
    """The address of the server that `make demo` starts."""
    server = serve.make_server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until(page: Page, expression: str, arg: Any = None, timeout: int = 60_000) -> None:
    """Playwright's wait_for_function, which the policy of serve.py forbids: it evaluates in the page itself."""
    for _ in range(timeout // 20):
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"not within {timeout} ms: {expression}")


class Visit:
    """A page, and what went wrong in it: `complaints` holds console errors and warnings, and failed requests.

    Args:
        setup: given the page before it loads.
    """

    def __init__(self, context: BrowserContext, url: str, setup: Callable[[Page], None] | None = None) -> None:
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("requestfailed", self._on_failure)
        self.page.on(
            "response", lambda answer: answer.ok or self.complaints.append(f"HTTP {answer.status}: {answer.url}")
        )
        self.page.add_init_script(COUNT_LAYOUT_SHIFTS)
        if setup:
            setup(self.page)
        self.page.goto(url)

    def _on_failure(self, request: Request) -> None:
        # Now and then Chromium calls a request aborted whose body the page has read to its end, as a stream.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.failure}: {request.url}")

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium remarks on every test that reads a WebGL canvas back.
        if message.type in ("error", "warning") and "GPU stall due to ReadPixels" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def started(self) -> Visit:
        """Waits until the page shows its first result."""
        self.page.evaluate("tulleDemo.ready")
        return self

    def value(self, name: str) -> str:
        """The text of the first element with data-value="name"."""
        return self.page.locator(f"[data-value={name}]").first.inner_text()

"""Headless Chromium, set up for benchmarks: nothing else running, no throttling of background pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Error, async_playwright

from harness.errors import BenchError
from harness.models import CHECKOUT

RECORD = CHECKOUT / ".cache/chromium-path"
"""Where scripts/chromium.py notes the browser it found or installed."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
]


def _path() -> str | None:
    """$CHROMIUM, what `make` found or installed, or one on PATH; None leaves it to Playwright."""
    recorded = RECORD.read_text().strip() if RECORD.is_file() else None
    return os.environ.get("CHROMIUM") or recorded or shutil.which("chromium") or shutil.which("google-chrome")


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """A new headless Chromium. Raises BenchError if none starts."""
    path = _path()
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags], headless=True)
        except Error as error:
            raise BenchError(
                f"Chromium did not start ({path or 'none found'}): {error.message.splitlines()[0]}. "
                "`python scripts/chromium.py` finds or installs one; the variable CHROMIUM names another."
            ) from error
        try:
            yield browser
        finally:
            await browser.close()

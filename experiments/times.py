#!/usr/bin/env python3
"""Milliseconds of models in the browser, for the tables of the other experiments."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from common import RESULTS, ROOT, console, digest, milliseconds
from tulle.files import write_bytes

TIMES = RESULTS / "times.json"

EPILOG = """\b
Needs an idle machine, and Chromium ($CHROMIUM). Files measured before are skipped unless they
changed.
\b
Examples:
  python experiments/times.py .cache/models/hand_landmark_full.tflite build/experiments/hands/*.tflite
  python experiments/times.py .cache/models/selfie_segmentation_landscape.tflite build/experiments/selfie/*.tflite
  python experiments/hands.py --score                   rewrites the table with these times
"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--again", is_flag=True, help="Measure also what was measured before.")
def main(files: tuple[Path, ...], again: bool) -> None:
    """Measures FILES on one thread with bench/profile_model.py; keeps the times in experiments/results/times.json."""
    for path in files:
        if not again and milliseconds(path):
            continue
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "profile.json"
            words = [sys.executable, str(ROOT / "bench" / "profile_model.py"), str(path), "--top", "0", "--json"]
            subprocess.run([*words, str(result)], check=True, stdout=subprocess.DEVNULL)
            took = json.loads(result.read_text())["wall_ms"]
        times = _read()
        times[digest(path)] = {"file": path.name, "ms": round(took, 3)}
        RESULTS.mkdir(exist_ok=True)
        write_bytes(TIMES, (json.dumps(times, indent=1) + "\n").encode())
        console.print(f"{path.name}: {took:.2f} ms")


def _read() -> dict[str, dict[str, float | str]]:
    return json.loads(TIMES.read_text()) if TIMES.is_file() else {}


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Milliseconds of models in the browser, for the tables of the other experiments."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

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
  python experiments/times.py --rounds 2 demos/weights/selfie*.tflite
  python experiments/hands.py --score                   rewrites the table with these times
"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--again", is_flag=True, help="Measure also what was measured before.")
@click.option("--rounds", type=int, default=0, help="Go round all files so often, on one thread and on two.")
def main(files: tuple[Path, ...], again: bool, rounds: int) -> None:
    """Measures FILES on one thread with bench/profile_model.py; keeps the times in experiments/results/times.json.

    With --rounds it also keeps the engine's own time and what the page waits, on one thread and on two: the medians.
    """
    chosen = [path for path in files if again or rounds or not milliseconds(path)]
    counts = (1, 2) if rounds else (1,)
    measured = [[[profile(path, count) for count in counts] for path in chosen] for _ in range(max(1, rounds))]
    for path, rows in zip(chosen, np.median(measured, axis=0), strict=True):
        record: dict[str, object] = {"file": path.name, "ms": round(float(rows[0][1]), 3)}
        if rounds:
            record["engine, page by threads"] = [[round(float(ms), 3) for ms in row] for row in rows]
        times = _read()
        times[digest(path)] = record
        RESULTS.mkdir(exist_ok=True)
        write_bytes(TIMES, (json.dumps(times, indent=1) + "\n").encode())
        console.print(record)


def profile(path: Path, threads: int) -> tuple[float, float]:
    """Milliseconds in the engine, and as the page sees them."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "profile.json"
        words = [sys.executable, str(ROOT / "bench" / "profile_model.py"), str(path), "--top", "0"]
        words += ["--threads", str(threads), "--json", str(result)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(result.read_text())
    return sum(step["ms"] for step in found["steps"]), found["wall_ms"]


def _read() -> dict[str, dict[str, object]]:
    return json.loads(TIMES.read_text()) if TIMES.is_file() else {}


if __name__ == "__main__":
    main()

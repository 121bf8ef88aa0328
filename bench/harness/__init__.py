"""The parts of `bench/run.py`: peers, models, server, browser, measuring, report."""

import sys
from pathlib import Path

# fetch_models takes files out of npm packages; segmenter makes one that is in no package.
sys.path += [str(Path(__file__).resolve().parents[2] / folder) for folder in ("scripts", "tests")]

"""Files that fuzzing starts from: what the tests' models become as .tulle files.

    python tests/native/fuzz_corpus.py FOLDER

writes the small ones of the kernels' cases and of the random models, some hundreds, under their hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "py", "scripts", "bench")]

import random_models  # noqa: E402
import tulle  # noqa: E402
from python.test_integers import maps_between, network  # noqa: E402
from python.test_random_ops_quantised import quantised_network  # noqa: E402
from tulle.pack import pack  # noqa: E402

MOST_BYTES = 20_000
RANDOM_MODELS = 600
QUANTISED_MODELS = 40


class Recorder:
    """A pytest plugin that writes each model that the tests load."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, data: bytes) -> None:
        if len(data) <= MOST_BYTES:
            (self.folder / hashlib.sha1(data).hexdigest()).write_bytes(data)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        def load(data: bytes, **options: Any) -> tulle.Model:
            self.write(data)
            return tulle.load(data, **options)

        for module in {item.module for item in session.items if isinstance(item, pytest.Function)}:
            module.load = load


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(folder)
    tests = ["test_kernels.py", "test_bands.py"]
    options = ["--quiet", "--no-summary", "-p", "no:cacheprovider", "-k", "simd and not sparsify_makes"]
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main([*options, *(str(ROOT / "tests" / "python" / name) for name in tests)], plugins=[recorder])
    for seed, dtype in product(range(4), (np.int8, np.uint8)):
        data, _, _ = quantised_network(np.random.default_rng(seed), dtype)
        recorder.write(tulle.convert(data, quantized_io=True).data)
    for seed in range(QUANTISED_MODELS):
        for graph in (network(seed), maps_between(seed)):
            recorder.write(pack(graph))
    for seed in range(RANDOM_MODELS):
        data, _, _ = random_models.build(seed)
        sparse = ("auto", "always", "never")[seed % 3]
        recorder.write(tulle.convert(data, sparse=sparse, weights=("auto", "fp32", "int8")[seed // 3 % 3]).data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Converting and sparsifying give the same bytes in every process: the hash seed does not matter, nor, but for
reconstruction, threads and the kind of processor. Reconstruction solves with NumPy's BLAS, which rounds by
these. NumPy 1.26 gave the same bytes as 2.4; Pyodide's are compared in tests/pyodide/test_convert.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from paths import ROOT
from tulle import tflite
from tulle.zoo import mobilenet_v2

SCRIPT = """
import hashlib, sys
import numpy as np
import tulle
from tulle import sparsify, tflite
source, method = sys.argv[1:]
graph = tulle.read_tflite(source)
if method != "none":
    random = np.random.default_rng(3)
    images = [random.integers(0, 256, (32, 32, 3)).astype(np.uint8) for _ in range(3)]
    graph = sparsify.sparsify(graph, sparsify.Options(sparsity=0.7, method=method), images=images).graph
    print(hashlib.sha256(tflite.write(graph)).hexdigest())
for weights in ("auto", "int8"):
    print(hashlib.sha256(tulle.convert(graph, weights=weights).data).hexdigest())
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.tflite"
    file.write_bytes(tflite.write(mobilenet_v2(width=0.35, size=32)))
    return file


def another_processor() -> dict[str, str]:
    """The environment in which NumPy and its BLAS take no kernels that an old processor lacks."""
    features = " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    return {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": features}


@pytest.mark.parametrize("method", ["none", "magnitude", "reconstruct"])
def test_two_processes_give_the_same_bytes(model: Path, method: str) -> None:
    outputs = []
    places: list[tuple[str, str, dict[str, str]]] = [("1", "1", {}), ("2", "2", {}), ("3", "1", another_processor())]
    if method == "reconstruct":
        places = [("1", "1", {}), ("2", "1", {})]
    for seed, threads, processor in places:
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "py")} | processor
        environment |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        command = [sys.executable, "-c", SCRIPT, str(model), method]
        outputs.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(set(outputs)) == 1
    hashes = outputs[0].split()
    assert len(hashes) == len(set(hashes)) == (2 if method == "none" else 3)

"""LiteRT in this process (PyPI `ai-edge-litert`, XNNPACK with all the processor has): oracle and yardstick."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


class NativeLiteRT:
    """One interpreter. `run` is a complete inference: inputs copied in, outputs copied out."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.inputs: list[dict[str, Any]] = [
            {"name": i["name"], "shape": [int(size) for size in i["shape"]]} for i in self._inputs
        ]

    def run(self, values: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, from one array per input."""
        for details, value in zip(self._inputs, values, strict=True):
            self._interpreter.set_tensor(details["index"], value)
        self._interpreter.invoke()
        return {details["name"]: self._interpreter.get_tensor(details["index"]) for details in self._outputs}

    def times(self, values: list[np.ndarray], runs: int) -> list[float]:
        """Milliseconds of each of `runs` inferences."""
        result = []
        for _ in range(runs):
            begin = time.perf_counter()
            self.run(values)
            result.append((time.perf_counter() - begin) * 1e3)
        return result

"""The sanitizers see what they are for: each fault here is put into a copy of the sources, and must be reported."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tulle
from native.conftest import native_file
from native.hosts import BUILDS, HostProcess
from paths import ROOT
from tulle.graph import Graph, Node, Tensor
from tulle.pack import pack
from tulle_file import file_of, records

pytestmark = pytest.mark.thorough


def planted(tmp_path: Path, build: str, line: str, instead: str) -> Path:
    """A host program of this build in which one line of the library is another."""
    native_file(f"tulle-host-{build}")
    source, out = tmp_path / "source", tmp_path / "out"
    # With their times, so that make compiles no more than the file that is changed.
    for folder in ("wasm", "tests/native"):
        shutil.copytree(ROOT / folder, source / folder)
    shutil.copytree(BUILDS / build, out / build)
    (file,) = [path for path in (source / "wasm").rglob("*.c*") if line in path.read_text()]
    text = file.read_text()
    assert text.count(line) == 1
    file.write_text(text.replace(line, instead))
    program = out / f"tulle-host-{build}"
    command = ["make", "-s", "-f", "scripts/native.mk", f"SOURCE_ROOT={source}", f"OUT={out}", str(program)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1, f"compiled more than {file.name}: {result.stdout}"
    return program


def elu_of(size: int, rows: int = 1) -> bytes:
    """A model of three activations in a row over rows of `size` floats, the second of them in the arena."""
    graph = Graph("planted")
    name = graph.add_tensor(Tensor("x", (rows, size)))
    graph.inputs = [name]
    for index in range(3):
        output = graph.add_tensor(Tensor(f"y{index}", (rows, size)))
        graph.nodes.append(Node("activation", output, [name], [output], {"activation": "elu", "alpha": 1.0}))
        name = output
    graph.outputs = [name]
    return pack(graph)


def run(data: bytes, program: Path, use_host: Callable, threads: int = 1) -> None:
    use_host(lambda build: HostProcess(program, threads))
    with tulle.load(data) as model:
        (info,) = model.inputs
        for _ in range(20):
            model(np.ones(info.shape, np.float32))


def test_none(use_host: Callable) -> None:
    """Without a fault nothing is reported of the same models."""
    run(elu_of(17), native_file("tulle-host-asan"), use_host)
    run(elu_of(1025, 400), native_file("tulle-host-tsan"), use_host, threads=4)


def test_read_past_the_slack_of_a_tensor(tmp_path: Path, use_host: Callable) -> None:
    line = "const v4 v = v4_load_first(x + i, (uint32_t)(n - i)); \\"
    program = planted(tmp_path, "asan", line, "const v4 v = v4_load(x + i + 16); \\")
    with pytest.raises(RuntimeError, match=r"use-after-poison[\s\S]*READ of size 16[\s\S]*tulle_f32_activate"):
        run(elu_of(17), program, use_host)


def test_write_past_a_tensor(tmp_path: Path, use_host: Callable) -> None:
    line = "v4_store_first(x + i, expression, (uint32_t)(n - i)); \\"
    program = planted(tmp_path, "asan", line, line.replace("(n - i)", "(n - i + 1)"))
    with pytest.raises(RuntimeError, match="a write past the end of a tensor"):
        run(elu_of(17), program, use_host)


def test_race(tmp_path: Path, use_host: Callable) -> None:
    """Threads that do not wait for each other at the end of a step."""
    program = planted(tmp_path, "tsan", "if (done == step->work.tasks) break;", "if (done <= step->work.tasks) break;")
    with pytest.raises(RuntimeError, match="ThreadSanitizer: data race"):
        run(elu_of(1025, 400), program, use_host, threads=4)


def test_leak(tmp_path: Path, use_host: Callable) -> None:
    program = planted(tmp_path, "asan", "free(model->info);", "")
    with pytest.raises(RuntimeError, match="detected memory leaks"):
        run(elu_of(17), program, use_host)


def test_unchecked_index(tmp_path: Path, use_host: Callable) -> None:
    line = "to->inputs[i] >= int32_t(net->tensor_count)"
    program = planted(tmp_path, "asan", line, "to->inputs[i] == 12345")
    model = records(elu_of(17))
    model.ops[1].inputs = [len(model.tensors) + 3]
    data = file_of(model)
    with pytest.raises(tulle.TulleError, match="names tensor"):
        run(data, native_file("tulle-host-asan"), use_host)
    with pytest.raises(RuntimeError, match="heap-buffer-overflow"):
        run(data, program, use_host)

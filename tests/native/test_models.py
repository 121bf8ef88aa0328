"""Whole models on the native builds, against LiteRT: real ones, random ones, and the same on several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import random_models
import tulle
from native.conftest import native_file
from native.hosts import HostProcess, LoadedLibrary
from python.test_parity import MODELS, answers, check  # noqa: F401 (answers is a fixture)

RANDOM_MODELS = 200


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
@pytest.mark.usefixtures("shared_library")
def test_outputs_equal_litert(answers: tuple, variant: str) -> None:  # noqa: F811
    path, cases = answers
    with tulle.load(path, variant=variant) as model:  # type: ignore[arg-type]
        check(model, cases, MODELS[path.stem])


@pytest.mark.usefixtures("shared_library")
def test_random_models_agree_with_litert() -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    failures, _ = random_models.run(RANDOM_MODELS, seed=0)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_bit(
    threads: int, model_path: Callable[[str], Path], use_host: Callable, shared_library: None
) -> None:
    data = tulle.convert(model_path("hand_landmark_tulle")).data
    rng = np.random.default_rng(0)
    with tulle.load(data) as model:
        inputs = [{info.name: rng.random(info.shape, np.float32) for info in model.inputs} for _ in range(3)]
        expected = [model(x) for x in inputs]
    use_host(lambda build: LoadedLibrary(native_file(f"libtulle-{build}.so"), threads))
    with tulle.load(data) as model:
        for x, outputs in zip(inputs, expected, strict=True):
            for name, values in model(x).items():
                np.testing.assert_array_equal(values, outputs[name])


@pytest.fixture
def bits32(use_host: Callable) -> Iterator[None]:
    hosts: list[HostProcess] = []

    def open_host(build: str) -> HostProcess:
        hosts.append(HostProcess(native_file("tulle-host-m32")))
        return hosts[-1]

    use_host(open_host)
    yield
    for host in hosts:
        host.close()


@pytest.mark.usefixtures("bits32")
@pytest.mark.parametrize("name", ["hand_landmark_tulle", "selfie_segmentation"])
def test_a_model_in_32_bits(name: str, model_path: Callable[[str], Path], litert: Callable) -> None:
    path = model_path(name)
    with tulle.load(path) as model:
        (info,) = model.inputs
        x = np.random.default_rng(0).random(info.shape, np.float32)
        check(model, [(x, litert(path, {info.name: x}))], MODELS[name])


@pytest.mark.usefixtures("bits32")
def test_random_models_in_32_bits() -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    failures, _ = random_models.run(60, seed=1000)
    assert not failures, "\n".join(failures)

"""Whole models under sanitizers: no access beside a tensor, no undefined behaviour, no leak, no race."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import random_models
import tulle
from native.conftest import native_file
from native.hosts import HostProcess
from python.test_parity import MODELS, answers, check  # noqa: F401 (answers is a fixture)
from python.test_quantized_files import assert_same_answers, conv_of, integers
from python.test_random_ops_quantised import quantised_network

THREADS = [2, 4, 8]


def cases(short: list[tuple], every: Iterable[tuple]) -> list:
    """Those of the short form, and all the others for the thorough one."""
    return [*short, *(pytest.param(*case, marks=pytest.mark.thorough) for case in every if case not in short)]


def compare_random_models(count: int, seed: int) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    failures, _ = random_models.run(count, seed=seed)
    assert not failures, "\n".join(failures)


@pytest.mark.usefixtures("address_sanitizer")
def test_random_models_touch_nothing_else(thorough: bool) -> None:
    compare_random_models(2000 if thorough else 18, seed=0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.usefixtures("address_sanitizer")
def test_integers_touch_nothing_else(dtype: type) -> None:
    for axis, zeros in product((None, 0, -1), (0, 0.5, 0.95)):
        assert_same_answers(conv_of(integers(dtype, axis, zeros)))
    data, _, _ = quantised_network(np.random.default_rng(0), dtype)
    with tulle.load(tulle.convert(data, quantized_io=True).data) as model:
        (info,) = model.inputs
        for x in (np.ones(info.shape, dtype), np.ones((*info.shape[1:3], 3), np.uint8)):
            assert next(iter(model(x).values())).dtype == dtype
            model.profile()


@pytest.mark.parametrize(
    ("answers", "variant"),
    cases([("hand_landmark_sparse", "relaxed"), ("palm_detection_lite", "simd")], product(MODELS, ["simd", "relaxed"])),
    indirect=["answers"],
)
@pytest.mark.usefixtures("address_sanitizer")
def test_models_touch_nothing_else(answers: tuple, variant: str) -> None:  # noqa: F811
    path, cases = answers
    with tulle.load(path, variant=variant) as model:  # type: ignore[arg-type]
        check(model, cases, MODELS[path.stem])


def tsan(threads: int) -> HostProcess:
    return HostProcess(native_file("tulle-host-tsan"), threads)


@pytest.mark.parametrize("threads", THREADS)
def test_random_models_have_no_race(threads: int, use_host: Callable, thorough: bool) -> None:
    use_host(lambda build: tsan(threads))
    compare_random_models(300 if thorough else 5, seed=threads)


@pytest.mark.parametrize(
    ("answers", "threads"), cases([("hand_landmark_sparse", 4)], product(MODELS, THREADS)), indirect=["answers"]
)
def test_models_have_no_race(answers: tuple, threads: int, use_host: Callable) -> None:  # noqa: F811
    path, cases = answers
    use_host(lambda build: tsan(threads))
    with tulle.load(path) as model:
        check(model, cases[:2], MODELS[path.stem])


@pytest.mark.parametrize("threads", THREADS)
def test_the_engine_can_be_destroyed_in_mid_run(
    threads: int, model_path: Callable[[str], Path], thorough: bool
) -> None:
    data = tulle.convert(model_path("hand_landmark_sparse")).data
    times = np.random.default_rng(threads).integers(0, 60_000, 40 if thorough else 2)
    for microseconds in times.tolist():
        host = tsan(threads)
        engine = host.call("tulle_engine_create", threads)
        file = host.call("tulle_alloc", len(data))
        host.write(file, data)
        model = host.call("tulle_model_load", engine, file, len(data))
        assert model, host.read_string(host.call("tulle_engine_error", engine))
        host.call("stop", engine, model, microseconds)
        host.close()

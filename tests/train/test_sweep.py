"""The search over training settings: storage, workers, the table, bad input."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="PyTorch is not installed (see docs/training.md)")
pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed (see docs/training.md)")
pytest.importorskip("optuna", reason="optuna is not installed (see docs/training.md)")

from tulle import tflite  # noqa: E402
from tulle.cli import main  # noqa: E402
from tulle.errors import TulleError  # noqa: E402
from tulle.graph import Graph  # noqa: E402
from tulle.sparsify import magnitude  # noqa: E402
from tulle.train.data import find_pictures  # noqa: E402
from tulle.train.settings import Settings  # noqa: E402
from tulle.train.sweep import Space, open_study, predicted_milliseconds, results, sweep  # noqa: E402

QUICK = Settings(steps=3, batch=2, measure=3, every=1)


def test_several_workers_share_a_storage(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'sweep.db'}"
    open_study(storage, "model")

    def work(seed: int) -> None:
        study = open_study(storage, "model", seed)
        sweep(study, teacher, find_pictures(pictures), QUICK, trials=3, folder=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (0, 1)))
    found = results(open_study(storage, "model"))
    assert sorted(result.number for result in found) == list(range(6))
    assert [result.milliseconds for result in found] == sorted(result.milliseconds for result in found)
    for result in found:
        beaten = any(
            other.distance <= result.distance and other.milliseconds <= result.milliseconds and other is not result
            for other in found
        )
        assert result.best != beaten
        written = tflite.read(tmp_path / f"trial-{result.number}.tflite")
        folded = magnitude(written, 0)
        assert predicted_milliseconds(folded) == pytest.approx(result.milliseconds)
        assert 0.5 <= result.settings["sparsity"] <= 0.9


def test_predicted_time_falls_with_zeros(teacher: Graph) -> None:
    times = [predicted_milliseconds(magnitude(teacher, level)) for level in (0, 0.8, 0.95)]
    assert times[0] >= times[1] > times[2] > 0


def test_trial_that_diverges_fails_and_the_search_goes_on(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    study = open_study(f"sqlite:///{tmp_path / 'sweep.db'}", "model")
    # The zeros are complete before the first step, or a trial could begin at its teacher's loss, 0, and stay there.
    space = Space(learning_rate=(1e29, 1e30), end=(0.1, 0.3))
    assert sweep(study, teacher, find_pictures(pictures), QUICK, trials=2, space=space) == []
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL"]


def test_command_shows_the_table_and_goes_on(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    model = tmp_path / "small.tflite"
    model.write_bytes(tflite.write(teacher))
    common = [str(model), "--data", str(pictures), "--storage", f"sqlite:///{tmp_path / 'sweep.db'}"]
    options = ["--steps", "2", "--batch", "2", "--method", "rigl", "--sparsity", "0.6", "0.7"]
    for number, trials in ((2, "2"), (3, "1"), (3, "0")):
        result = CliRunner().invoke(main, ["sweep", *common, *options, "--trials", trials])
        assert result.exit_code == 0, result.output
        assert f"{number} trials: those that none beats" in result.output
        assert re.search(r"nearest to the dense model: trial \d, \d+\.\d+ %", result.output)
        assert "magnitude" not in result.output


def test_bad_input_is_named(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TulleError, match="storage 'nothing'"):
        open_study("nothing", "model")
    with pytest.raises(TulleError, match="cannot be used"):
        open_study(f"sqlite:///{tmp_path / 'no' / 'folder' / 'sweep.db'}", "model")
    study = open_study(f"sqlite:///{tmp_path / 'sweep.db'}", "model")
    with pytest.raises(TulleError, match=r"from 0.9 to 0.5"):
        sweep(study, teacher, find_pictures(pictures), QUICK, trials=1, space=Space(sparsity=(0.9, 0.5)))
    model = tmp_path / "small.tflite"
    model.write_bytes(tflite.write(teacher))
    arguments = [str(model), "--data", str(pictures), "--trials", "0", "--storage", f"sqlite:///{tmp_path / 'new.db'}"]
    result = CliRunner().invoke(main, ["sweep", *arguments])
    assert result.exit_code != 0 and "no finished trial yet" in result.output

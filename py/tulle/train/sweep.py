"""`sweep`: searches training settings for a model that is fast and close to its teacher, with Optuna.

Any number of workers, on any number of hosts, may work on one study: they share its storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from tulle.errors import TulleError
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.sparsify.layers import find_layers, layer_weight
from tulle.tflite import write
from tulle.train.distill import Diverged, distill, make_fabric
from tulle.train.settings import Settings, Space


@dataclass(frozen=True)
class Result:
    """A finished trial.

    Attributes:
        distance: from the teacher on held-out pictures, in % of its range, mean over outputs.
        milliseconds: of the pruned layers together, by the cost model (one thread of its machine).
        best: whether it is on the Pareto front: no other trial is better in one of the two and at least as good in the
            other.
    """

    number: int
    distance: float
    milliseconds: float
    settings: dict[str, Any]
    best: bool


def open_study(storage: str, name: str, seed: int | None = None) -> optuna.Study:
    """The study of this name, created if it does not exist. Raises TulleError if the storage cannot be used.

    Args:
        storage: as Optuna takes it: "sqlite:///sweep.db", or the address of a database server.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=8)
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, sampler=sampler, directions=["minimize", "minimize"], load_if_exists=True
        )
    except Exception as error:  # any exception of the database's driver
        raise TulleError(f"the storage {storage!r} cannot be used: {error}") from None
    if len(study.directions) != 2:
        raise TulleError(f"the study {name!r} in {storage!r} is of something else: use another name")
    return study


def sweep(
    study: optuna.Study,
    teacher: Graph,
    pictures: Sequence[Path],
    settings: Settings,
    *,
    trials: int,
    space: Space | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    weights: str = "fp32",
    on_trial: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Adds this many trials to the study, and returns all finished ones, by any worker.

    A trial that diverges counts as failed, and the search continues.

    Args:
        settings: of every trial, except those that the space sets.
        folder: where to write each trial's model, trial-NUMBER.tflite; None writes none.
        device, weights: see `make_fabric` and `tflite.write`.

    Raises TulleError for settings or pictures that do not fit.
    """
    space = space or Space()
    space.check()
    settings.check()
    fabric = make_fabric(device)
    if fabric.world_size > 1:
        raise TulleError(
            "a trial runs in one process: start workers one by one, with the same storage, not by torchrun"
        )

    def objective(trial: Trial) -> tuple[float, float]:
        trained = distill(teacher, pictures, replace(settings, **space.suggest(trial)), fabric=fabric)
        if folder is not None:
            data = write(trained.graph, weights=weights, sparse=True)
            write_bytes(folder / f"trial-{trial.number}.tflite", data)
        return trained.measurements[-1].mean_distance, predicted_milliseconds(trained.graph)

    def finished(study: optuna.Study, trial: FrozenTrial) -> None:
        if on_trial and trial.state == TrialState.COMPLETE:
            on_trial(_result(trial, False))

    study.optimize(objective, n_trials=trials, callbacks=[finished], catch=(Diverged,))
    return results(study)


def results(study: optuna.Study) -> list[Result]:
    """All finished trials, fastest first."""
    best = {trial.number for trial in study.best_trials}
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = [_result(trial, trial.number in best) for trial in trials]
    return sorted(found, key=lambda result: (result.milliseconds, result.distance))


def predicted_milliseconds(graph: Graph) -> float:
    """Total milliseconds of the prunable 1x1 convolutions, by the fitted cost model."""
    return sum(layer.milliseconds(int((layer_weight(graph, layer) != 0).sum())) for layer in find_layers(graph))


def _result(trial: FrozenTrial, best: bool) -> Result:
    distance, milliseconds = trial.values
    return Result(trial.number, distance, milliseconds, dict(trial.params), best)

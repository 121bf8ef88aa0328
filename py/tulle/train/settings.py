"""Training settings, their search space, and measurements during training.

Needs no PyTorch: the commands take their defaults from here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tulle.errors import TulleError
from tulle.train.layer_sparsity import ALLOCATIONS, check_allocation, check_sparsity

if TYPE_CHECKING:
    from optuna.trial import Trial

    from tulle.train.augment import Augmentation

METHODS = ("magnitude", "rigl")


def _augmentation() -> Augmentation:
    from tulle.train.augment import Augmentation

    return Augmentation()


@dataclass(frozen=True)
class Settings:
    """Training settings.

    Attributes:
        method: "magnitude" raises the share of zeros gradually; "rigl" has all zeros from the first step and moves
            them.
        sparsity: share of zeros of the pruned layers together; None keeps the start's zeros.
        allocation: of "magnitude", and of the zeros that "rigl" begins with: "uniform", "erk" or "global".
        steps, batch: number of batches, and pictures in each, over all processes.
        learning_rate: Adam's peak rate, relative to the typical size of each tensor's weights; it rises over the
            first 5 % of the steps, then falls as a cosine.
        begin, end: the share of the steps at which pruning begins, and at which it is complete ("magnitude") or zeros
            stop moving ("rigl").
        every: steps between changes of the masks.
        drop_fraction: of "rigl": the share of a layer's weights that the first change moves.
        features: weight of the loss on features, added to the loss on outputs; 0 leaves it out.
        augmentation: limits of the changes to pictures; None leaves them unchanged.
        measure: steps between measurements on held-out pictures.
        save: steps between checkpoints.
        seed: of the order of the pictures and their changes.
    """

    method: str = "magnitude"
    sparsity: float | None = 0.8
    allocation: str = "erk"
    steps: int = 2000
    batch: int = 16
    learning_rate: float = 2e-3
    begin: float = 0.05
    end: float = 0.6
    every: int = 20
    drop_fraction: float = 0.3
    features: float = 1.0
    augmentation: Augmentation | None = field(default_factory=_augmentation)
    measure: int = 200
    save: int = 200
    seed: int = 0

    def check(self) -> None:
        """Raises TulleError for a value out of range."""
        if self.sparsity is not None:
            check_sparsity(self.sparsity)
        check_allocation(self.allocation, ALLOCATIONS)
        if self.method not in METHODS:
            raise TulleError(f"method must be one of {', '.join(METHODS)}, not {self.method!r}")
        if not 0 <= self.begin <= self.end <= 1:
            raise TulleError(
                f"begin and end are shares of the steps, 0 <= begin <= end <= 1, not {self.begin}, {self.end}"
            )
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise TulleError(f"the learning rate must be a number above 0, not {self.learning_rate}")
        if not (self.features >= 0 and math.isfinite(self.features)):
            raise TulleError(f"the weight of features must be a number of at least 0, not {self.features}")
        for name in ("steps", "batch", "every", "measure", "save"):
            if getattr(self, name) < 1:
                raise TulleError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Space:
    """The search space; ranges include both ends.

    Attributes:
        sparsity: share of zeros of the pruned layers.
        learning_rate: log-uniform.
        end: share of the steps at which the zeros become final.
        methods, allocations: names.
    """

    sparsity: tuple[float, float] = (0.5, 0.9)
    learning_rate: tuple[float, float] = (3e-4, 1e-2)
    end: tuple[float, float] = (0.3, 0.8)
    methods: tuple[str, ...] = METHODS
    allocations: tuple[str, ...] = ("uniform", "erk")

    def check(self) -> None:
        """Raises TulleError for an invalid range."""
        for name in ("sparsity", "learning_rate", "end"):
            low, high = getattr(self, name)
            if not 0 <= low <= high <= (math.inf if name == "learning_rate" else 1):
                raise TulleError(f"{name} is searched from a smaller to a larger value, not from {low} to {high}")

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The settings of a trial."""
        return {
            "method": trial.suggest_categorical("method", self.methods),
            "allocation": trial.suggest_categorical("allocation", self.allocations),
            "sparsity": trial.suggest_float("sparsity", *self.sparsity),
            "learning_rate": trial.suggest_float("learning_rate", *self.learning_rate, log=True),
            "end": trial.suggest_float("end", *self.end),
        }


@dataclass(frozen=True)
class Measurement:
    """Measurements after `step` steps.

    Attributes:
        loss: mean over the steps since the last measurement; NaN before the first step.
        learning_rate: of the next step.
        sparsity: share of zeros of the pruned layers.
        distance: mean absolute difference from the teacher on held-out pictures, in % of its range; by output.
    """

    step: int
    loss: float
    learning_rate: float
    sparsity: float
    distance: dict[str, float]

    @property
    def mean_distance(self) -> float:
        """Over the outputs."""
        return sum(self.distance.values()) / len(self.distance)

    def row(self) -> dict[str, float]:
        """As a row of a table: the run's values, then the outputs."""
        values = {name: value for name, value in asdict(self).items() if name != "distance"}
        return {**values, **self.distance}

"""One layer: which weights to keep, and the best values for them.

The layer is y = W x + b over many pixels. The goal is the sparse W that comes closest to given outputs in least
squares. For a fixed set of kept weights that is a linear problem for each output channel, solved exactly. The set is
found as in Optimal Brain Surgeon (Hassibi & Stork 1993) and its layer-wise descendants (Optimal Brain Compression,
Frantar & Alistarh 2022; SparseGPT, Frantar & Alistarh 2023): with H the inputs' second moments over the kept weights,
removing weight w_i while the others compensate raises the squared error by w_i^2 / [H^-1]_ii. The weights with the
smallest such loss are removed, a few at a time, and the others are solved for again. Finally kept and removed weights
are swapped as long as that lowers the error.

Outputs that an activation clamps need not be exact. Wherever the clamp hides it, the target is moved to the value of
the last solution; solving for the moved targets, repeatedly, lowers the error after the activation each time (majorise
and minimise).

The output channels of a block have the same kept columns; without blocks a block is one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tulle.sparsify.walk import Sight

ROUNDS = 12
"""Steps from dense to sparse; the density falls by the same factor in each."""
SWAP_ROUNDS = 12
"""The most rounds of swaps; they end once the error falls by less than a thousandth."""
CLAMP_ROUNDS = 3
"""How often targets are moved beyond the clamp, and weights solved for, before each round of swaps."""
RIDGE = 1e-3
"""Ridge weight, relative to the inputs' mean variance: pulls towards the given weights where the data do not decide."""
CHUNK = 8192

Watch = Callable[[float, np.ndarray], None]


def output_error(sight: Sight, weights: np.ndarray) -> float:
    """Mean squared error of weights [outputs, inputs + 1], bias last, after the activation, divided by the variance."""
    single = weights.astype(np.float32).T
    missed = 0.0
    for start in range(0, len(sight.x), CHUNK):
        now = _with_one(sight.x[start : start + CHUNK]) @ single
        missed += float(
            np.sum((np.clip(now, *sight.clamp) - np.clip(sight.y[start : start + CHUNK], *sight.clamp)) ** 2)
        )
    variance = float(np.var(np.clip(sight.y, *sight.clamp), axis=0, dtype=np.float64).mean())
    return missed / sight.y.size / max(variance, 1e-30)


class Problem:
    """Second moments of a layer's inputs, with a constant 1 for the bias as the last input."""

    def __init__(self, sight: Sight, weight: np.ndarray, ridge: float = RIDGE) -> None:
        """`weight`: the original [outputs, inputs], towards which the ridge pulls."""
        self.x, self.y = sight.x, sight.y
        low, high = sight.clamp
        self.clamped = bool(np.isfinite(low) or np.isfinite(high))
        if self.clamped:  # the range in which an output is as good as its target
            self.least = np.minimum(np.where(self.y <= low, -np.inf, self.y), high).astype(np.float32)
            self.most = np.maximum(np.where(self.y >= high, np.inf, self.y), low).astype(np.float32)
        self.pixels, self.inputs = sight.x.shape
        self.outputs = sight.y.shape[1]
        moments = np.zeros((self.inputs + 1, self.inputs + 1))
        for start in range(0, self.pixels, CHUNK):
            x = _with_one(self.x[start : start + CHUNK])
            moments += x.T @ x
        moments /= self.pixels
        variance = np.diag(moments)[:-1] - moments[-1, :-1] ** 2
        scale = float(np.mean(np.diag(moments)[:-1]))
        # An input that does not vary is left to the bias.
        self.alive = variance > 1e-9 * max(scale, 1e-30)
        self.ridge = ridge * max(float(variance[self.alive].mean()) if self.alive.any() else 0.0, 1e-12)
        self.moments = moments
        self.moments[np.arange(self.inputs), np.arange(self.inputs)] += self.ridge
        self.prior = self.ridge * weight.astype(np.float64)
        self.cross, self.power = self._correlate(None)

    def _correlate(self, weights: np.ndarray | None) -> tuple[np.ndarray, float]:
        """Moments of the target outputs with the inputs [outputs, inputs + 1], and their mean square.

        Given weights [outputs, inputs + 1], an output that they put beyond the clamp, where its target is too, becomes
        its own target.
        """
        cross, power = np.zeros((self.outputs, self.inputs + 1)), 0.0
        single = None if weights is None else weights.astype(np.float32).T
        for start in range(0, self.pixels, CHUNK):
            x, y = _with_one(self.x[start : start + CHUNK]), self.y[start : start + CHUNK]
            if single is not None:
                y = np.clip(x @ single, self.least[start : start + CHUNK], self.most[start : start + CHUNK])
            cross += y.T @ x
            power += float(np.vdot(y, y))
        cross /= self.pixels
        cross[:, :-1] += self.prior
        return cross, power / self.pixels / self.outputs

    def look_again(self, weights: np.ndarray) -> None:
        """Moves targets beyond the clamp to where these weights put the outputs."""
        self.cross, self.power = self._correlate(weights)

    def loss(self, weights: np.ndarray) -> float:
        """Mean squared error, including the ridge term."""
        return float(np.vdot(weights, weights @ self.moments - 2 * self.cross)) / self.outputs + self.power


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)


def solve(
    sight: Sight, weight: np.ndarray, keep: int, block: int = 1, *, polish: bool = True, watch: Watch | None = None
) -> np.ndarray:
    """The sparse layer closest to the target outputs.

    Args:
        sight: the layer's inputs and targets.
        weight: the original [outputs, inputs].
        keep: number of weights to keep.
        block: neighbouring output channels with common columns.
        polish: whether to swap weights once that number is reached.
        watch: called with the share of weights kept, and the weights, after every round.

    Returns float64 [outputs, inputs + 1], with the bias in the last column.
    """
    varies = np.ptp(sight.y, axis=0) > 0
    if block == 1 and not varies.all():  # the others are constant: many networks have dead channels
        return _solve_some(varies, sight, weight, keep, polish, watch)
    problem = Problem(sight, weight)
    support = _Support(problem, block)
    total = support.kept.size
    final = int(keep / weight.size * total)
    fit = support.fit()
    start = max(1, int(support.kept.sum()))
    for step in range(1, ROUNDS + 1):
        count = final if step == ROUNDS else max(final, int(start * (max(final, 1) / start) ** (step / ROUNDS)))
        support.shrink(count, fit)
        fit = support.fit()
        if watch is not None:
            watch(min(count, start) / total, fit.weights)
    if not polish:
        return fit.weights
    fit = support.polish(fit, 0)
    # The clamp is only taken into account now: a weight chosen early to fit hidden noise would stay.
    if problem.clamped:
        fit = support.polish(fit, CLAMP_ROUNDS)
        fit = support.look_again(fit, 2 * CLAMP_ROUNDS)
    return fit.weights


def _solve_some(
    some: np.ndarray, sight: Sight, weight: np.ndarray, keep: int, polish: bool, watch: Watch | None
) -> np.ndarray:
    """Solves for some outputs; the others are constant."""
    constant = np.zeros((len(weight), weight.shape[1] + 1))
    constant[:, -1] = sight.y[0]

    def complete(weights: np.ndarray) -> np.ndarray:
        whole = constant.copy()
        whole[some] = weights
        return whole

    def watch_whole(share: float, weights: np.ndarray) -> None:
        if watch is not None:
            watch(share * float(some.mean()), complete(weights))

    if not some.any():
        return constant
    part = Sight(sight.x, np.ascontiguousarray(sight.y[:, some]), sight.clamp)
    return complete(solve(part, weight[some], keep, polish=polish, watch=watch_whole))


@dataclass(frozen=True)
class _Fit:
    """The best weights [outputs, inputs + 1] for a set of kept ones.

    `losses` [blocks of outputs, inputs]: the cost of removing the weights there; infinite where there are none.
    """

    weights: np.ndarray
    losses: np.ndarray


class _Support:
    """The inputs that each block of output channels keeps."""

    def __init__(self, problem: Problem, block: int) -> None:
        self.problem = problem
        self.block = block
        self.blocks = -(-problem.outputs // block)
        self.kept = np.tile(problem.alive, (self.blocks, 1))
        # Inverses of the moments between each block's kept inputs (and the constant); at first all are the same.
        whole = np.linalg.inv(problem.moments[np.ix_(self._some(0), self._some(0))])
        self.inverses = [whole] * self.blocks

    def fit(self) -> _Fit:
        """Solves for every block."""
        problem = self.problem
        weights = np.zeros((problem.outputs, problem.inputs + 1))
        losses = np.full(self.kept.shape, np.inf)
        for index, inverse in enumerate(self.inverses):
            rows, some = self._rows(index), self._some(index)
            values = problem.cross[rows][:, some] @ inverse
            weights[rows, some] = values
            losses[index, some[:-1]] = (values[:, :-1] ** 2).sum(axis=0) / np.diag(inverse)[:-1]
        return _Fit(weights, losses)

    def shrink(self, count: int, fit: _Fit) -> None:
        """Keeps `count` columns of blocks, those whose removal costs most."""
        surplus = int(self.kept.sum()) - count
        if surplus > 0:
            kept = self.kept.copy()
            kept.reshape(-1)[np.argsort(fit.losses, axis=None, kind="stable")[:surplus]] = False
            self._keep(kept)

    def polish(self, fit: _Fit, clamp_rounds: int) -> _Fit:
        """Swaps weights as long as it helps; before each round, updates the targets beyond the clamp `clamp_rounds`
        times."""
        for _ in range(SWAP_ROUNDS):
            fit = self.look_again(fit, clamp_rounds)
            if not self.swap(fit):
                break
            fit = self.fit()
        return fit

    def look_again(self, fit: _Fit, rounds: int) -> _Fit:
        """Repeatedly moves the targets beyond the clamp to where the weights put the outputs, and solves for them."""
        for _ in range(rounds):
            self.problem.look_again(fit.weights)
            fit = self.fit()
        return fit

    def swap(self, fit: _Fit) -> bool:
        """Swaps kept columns for better ones; returns whether the error fell."""
        problem, kept, inverses = self.problem, self.kept, self.inverses
        before, gains = problem.loss(fit.weights), self._gains(fit)
        most = max(1, int(kept.sum()) // 10)
        out = np.argsort(fit.losses, axis=None, kind="stable")[:most]
        into = np.argsort(-gains, axis=None, kind="stable")[:most]
        better = gains.reshape(-1)[into] > 1.2 * fit.losses.reshape(-1)[out]
        count = int(better.argmin()) if not better.all() else len(better)
        while count:
            changed = kept.copy()
            changed.reshape(-1)[out[:count]] = False
            changed.reshape(-1)[into[:count]] = True
            self._keep(changed)
            if problem.loss(self.fit().weights) < before * (1 - 1e-3):
                return True
            self.kept, self.inverses = kept, inverses
            count //= 4
        return False

    def _gains(self, fit: _Fit) -> np.ndarray:
        """[blocks, inputs]: the gain of one more weight there; minus infinity where there is one."""
        problem, moments = self.problem, self.problem.moments
        gains = np.full(self.kept.shape, -np.inf)
        missing = problem.cross - fit.weights @ moments
        for index, inverse in enumerate(self.inverses):
            some, others = self._some(index), np.flatnonzero(problem.alive & ~self.kept[index])
            between = moments[np.ix_(some, others)]
            spread = moments[others, others] - np.einsum("so,so->o", between, inverse @ between)
            gains[index, others] = (missing[self._rows(index)][:, others] ** 2).sum(axis=0) / np.maximum(
                spread, 1e-3 * moments[others, others]
            )
        return gains

    def _keep(self, kept: np.ndarray) -> None:
        """Sets the kept columns and updates the inverses."""
        moments, inverses = self.problem.moments, list(self.inverses)
        for index in np.flatnonzero((kept != self.kept).any(axis=1)):
            old, new = np.flatnonzero(self.kept[index]), np.flatnonzero(kept[index])
            going = ~kept[index, old]
            if not np.isin(new, old).all() or going.sum() > 0.5 * len(old):
                some = np.append(new, self.problem.inputs)
                inverses[index] = np.linalg.inv(moments[np.ix_(some, some)])
                continue
            # The inverse of a submatrix from that of the whole: less work than inverting again.
            inverse, going = inverses[index], np.append(going, False)
            rest, lost = inverse[np.ix_(~going, ~going)], inverse[np.ix_(going, ~going)]
            inverses[index] = rest - lost.T @ np.linalg.solve(inverse[np.ix_(going, going)], lost)
        self.kept, self.inverses = kept, inverses

    def _some(self, index: int) -> np.ndarray:
        """Indices of the inputs that a block keeps, and of the constant."""
        return np.append(np.flatnonzero(self.kept[index]), self.problem.inputs)

    def _rows(self, index: int) -> slice:
        return slice(index * self.block, (index + 1) * self.block)

"""Gradual magnitude pruning: zeroes the smallest weights while the network trains, first fast, then slowly."""

from __future__ import annotations

import torch
from torch import nn

from tulle.errors import TulleError
from tulle.train.layer_sparsity import check_allocation, check_sparsity, layer_sparsities
from tulle.train.masks import FixedMasks, Select, Steps, is_pointwise, smallest


def polynomial_sparsity(step: int, *, initial: float, final: float, begin: int, end: int) -> float:
    """The cubic schedule of Zhu & Gupta 2017 (arXiv 1710.01878): final + (initial - final) (1 - progress)³.

    Progress runs from 0 at step `begin` to 1 at step `end`, and stays there before and after.
    """
    progress = 1.0 if step >= end else max(0, step - begin) / (end - begin)
    return final + (initial - final) * (1 - progress) ** 3


class MagnitudePruner(FixedMasks):
    """Raises the share of zeros from `initial` to `sparsity` between two steps of training.

    Zero weights stay zero, including those that are zero at the beginning.

    Args:
        module, optimizer, select: see `FixedMasks`.
        sparsity: share of zeros at the end, 0 <= sparsity < 1.
        begin, end: the first and the last step after which the masks change.
        every: steps between changes. The last one is at step `end`, whether or not that is a multiple; with `end` 0 it
            happens at once, before the first step.
        initial: share of zeros at step `begin`.
        allocation: "uniform", the same in every layer; "erk", more in large layers (see `layer_sparsity`); "global",
            the smallest weights of all layers together.

    Raises TulleError for arguments out of range.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Steps,
        *,
        sparsity: float,
        begin: int,
        end: int,
        every: int = 100,
        initial: float = 0.0,
        allocation: str = "uniform",
        select: Select = is_pointwise,
    ) -> None:
        check_sparsity(sparsity)
        check_sparsity(initial, "initial sparsity")
        check_allocation(allocation)
        if not (0 <= begin <= end and every >= 1 and initial <= sparsity):
            raise TulleError(
                f"the schedule needs 0 <= begin <= end, every >= 1 and initial <= sparsity, not begin {begin}, "
                f"end {end}, every {every}, initial {initial}, sparsity {sparsity}"
            )
        super().__init__(module, optimizer, select)
        self.final, self.initial, self.allocation = sparsity, initial, allocation
        self.begin, self.end, self.every = begin, end, every
        if end == 0:
            self.prune(sparsity)

    def target(self, step: int) -> float:
        """The share of zeros after `step` steps."""
        if step < self.begin:
            return 0.0
        if step < self.end:
            step -= (step - self.begin) % self.every
        return polynomial_sparsity(step, initial=self.initial, final=self.final, begin=self.begin, end=self.end)

    def step(self) -> None:
        """One step of the optimizer and then, if the schedule says so, pruning."""
        super().step()
        due = self.begin <= self.steps < self.end and (self.steps - self.begin) % self.every == 0
        if due or self.steps == self.end:
            self.prune(self.target(self.steps))

    @torch.no_grad()
    def prune(self, sparsity: float) -> None:
        """Zeroes the smallest weights up to this share; a layer that has more zeros keeps them."""
        # Existing zeros sort before everything else.
        sizes = {name: torch.where(self.masks[name], weight.abs(), -1) for name, weight in self.weights.items()}
        if self.allocation == "global":
            flat = torch.cat([size.reshape(-1) for size in sizes.values()])
            count = max(round(sparsity * flat.numel()), int((flat < 0).sum()))
            parts = smallest(flat, count).split([size.numel() for size in sizes.values()])
            zeros = {name: part.reshape(sizes[name].shape) for name, part in zip(sizes, parts, strict=True)}
        else:
            shapes = {name: tuple(size.shape) for name, size in sizes.items()}
            shares = layer_sparsities(shapes, sparsity, self.allocation)
            zeros = {
                name: smallest(size, max(round(shares[name] * size.numel()), int((size < 0).sum())))
                for name, size in sizes.items()
            }
        for name, zero in zeros.items():
            self._reset_state(name, self.masks[name] & zero)
            self.masks[name] = ~zero
        self.apply()

"""RigL: a network that is sparse from the first step, and moves its nonzero weights to better places while it trains.

Evci et al. 2020, Rigging the Lottery: Making All Tickets Winners (arXiv 1911.11134).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tulle.errors import TulleError
from tulle.train.layer_sparsity import layer_sparsities
from tulle.train.masks import FixedMasks, Select, Steps, is_pointwise, smallest


class RigL(FixedMasks):
    """Every `every` steps drops the smallest weights and grows as many where the gradient is largest.

    The optimizer skips such a step, as in the paper's algorithm 1. The share of a layer's nonzero weights that moves is
    drop_fraction / 2 (1 + cos(π step / end)); their number never changes. Grown weights start at zero. The optimizer's
    state (momentum) of dropped and grown weights is reset.

    Args:
        module, optimizer, select: see `FixedMasks`.
        end: the step from which the masks stay fixed; the paper uses 3/4 of all steps.
        sparsity: share of zeros, 0 <= sparsity < 1, at random places; None keeps the existing zeros.
        every: steps between changes.
        drop_fraction: share of a layer's weights that the first change moves.
        allocation: "erk" (more zeros in large layers) or "uniform".
        seed: for the random places.

    Raises TulleError for arguments out of range, or if there are no zeros to keep.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Steps,
        *,
        end: int,
        sparsity: float | None,
        every: int = 100,
        drop_fraction: float = 0.3,
        allocation: str = "erk",
        seed: int = 0,
        select: Select = is_pointwise,
    ) -> None:
        if not (end >= 0 and every >= 1 and 0 < drop_fraction <= 1):
            raise TulleError(
                f"RigL needs end >= 0, every >= 1 and 0 < drop_fraction <= 1, "
                f"not end {end}, every {every}, drop_fraction {drop_fraction}"
            )
        super().__init__(module, optimizer, select)
        self.end, self.every, self.drop_fraction = end, every, drop_fraction
        if sparsity is not None:
            shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
            shares = layer_sparsities(shapes, sparsity, allocation)
            generator = torch.Generator().manual_seed(seed)
            for name, weight in self.weights.items():
                order = torch.rand(weight.shape, generator=generator)
                self.masks[name] = ~smallest(order, round(shares[name] * weight.numel())).to(weight.device)
            self.apply()
        elif self.sparsity == 0:
            raise TulleError("the network has no zeros that RigL could take over: give it a sparsity")

    def share_to_move(self, step: int) -> float:
        """The share of a layer's weights that a change at this step moves."""
        return self.drop_fraction / 2 * (1 + math.cos(math.pi * step / self.end)) if step < self.end else 0.0

    def step(self) -> None:
        """One step of the optimizer or, every `every` steps, one change of the masks."""
        if self.steps > 0 and self.steps % self.every == 0 and self.steps < self.end:
            self._move(self.share_to_move(self.steps))
            self.steps += 1
        else:
            super().step()

    @torch.no_grad()
    def _move(self, share: float) -> None:
        for name, weight in self.weights.items():
            if weight.grad is None:
                raise TulleError(f"{name} has no gradient to grow by: call `backward` before `step`")
            before = self.masks[name]
            after = moved(weight, weight.grad, before, int(share * int(before.sum())))
            self._reset_state(name, before != after)
            self.masks[name] = after
        self.apply()


def moved(weight: Tensor, gradient: Tensor, mask: Tensor, count: int) -> Tensor:
    """A mask without the `count` smallest weights, but with as many at the largest gradients.

    As in the paper, a dropped weight may grow again at once, and then keeps its value.
    """
    kept = mask & ~smallest(torch.where(mask, weight.abs(), torch.inf), count)
    return kept | smallest(torch.where(kept, torch.inf, -gradient.abs()), count)

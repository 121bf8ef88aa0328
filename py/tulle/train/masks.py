"""`FixedMasks`: trains a network while keeping some weights zero. The base of all sparse training here.

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    masks = FixedMasks(model, optimizer)
    for images, labels in batches:
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        masks.step()                           # in place of optimizer.step()

A mask is a bool tensor of a weight's shape, True where the weight may be nonzero. In a distributed run every process
computes the same masks from the same weights and gradients, so nothing has to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from tulle.errors import TulleError

Select: TypeAlias = Callable[[str, nn.Module], bool]


class Steps(Protocol):
    """An optimizer of PyTorch's, or one that Lightning Fabric has wrapped."""

    @property
    def state(self) -> Any: ...

    def step(self) -> Any: ...


def is_pointwise(name: str, module: nn.Module) -> bool:
    """Whether a layer is a 1x1 convolution over all channels, which sparse kernels are for."""
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1


class FixedMasks:
    """Keeps the weights that are zero now at zero.

    Args:
        module: any network. It is changed in place.
        optimizer: of its parameters; `step` calls its `step`.
        select: called with the name and module of each layer that has a `weight`, returns whether to prune it; by
            default 1x1 convolutions.

    Raises TulleError if `select` picks nothing.
    """

    def __init__(self, module: nn.Module, optimizer: Steps, select: Select = is_pointwise) -> None:
        self.optimizer = optimizer
        self.weights = select_weights(module, select)
        self.masks: dict[str, Tensor] = {name: weight.detach() != 0 for name, weight in self.weights.items()}
        self.steps = 0
        """Steps done so far."""

    @property
    def sparsity(self) -> float:
        """Share of the selected weights that the masks hold at zero."""
        total = sum(mask.numel() for mask in self.masks.values())
        return 1 - sum(int(mask.sum()) for mask in self.masks.values()) / total

    def step(self) -> None:
        """One step of the optimizer, to be called in place of the optimizer's own, after `backward`."""
        self._mask_gradients()
        self.optimizer.step()
        self.steps += 1
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Zeroes the weights that the masks hold at zero."""
        for name, weight in self.weights.items():
            weight.mul_(self.masks[name])

    def state_dict(self) -> dict[str, Any]:
        """The state that `load_state_dict` needs to resume exactly; saving the weights is up to the module."""
        return {"steps": self.steps, "masks": {name: mask.clone() for name, mask in self.masks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises TulleError if the state belongs to other layers."""
        masks = state["masks"]
        shapes = {name: tuple(mask.shape) for name, mask in self.masks.items()}
        if {name: tuple(mask.shape) for name, mask in masks.items()} != shapes:
            raise TulleError("the saved masks are those of other layers")
        self.masks = {name: masks[name].to(weight.device) for name, weight in self.weights.items()}
        self.steps = state["steps"]
        self.apply()

    @torch.no_grad()
    def _mask_gradients(self) -> None:
        # Old momentum would move weights away as soon as they grow back.
        for name, weight in self.weights.items():
            if weight.grad is not None:
                weight.grad.mul_(self.masks[name])

    @torch.no_grad()
    def _reset_state(self, name: str, changed: Tensor) -> None:
        """Resets the optimizer's state (momentum and the like) of single weights."""
        for value in self.optimizer.state.get(self.weights[name], {}).values():
            if isinstance(value, Tensor) and value.shape == changed.shape:
                value[changed] = 0


def select_weights(module: nn.Module, select: Select = is_pointwise) -> dict[str, nn.Parameter]:
    """The weights of the chosen layers by name; shared weights are listed once.

    Raises TulleError if there are none.
    """
    chosen = {f"{name}.weight" if name else "weight": weight for name, weight in _layers(module, select)}
    unique = {id(weight): name for name, weight in reversed(chosen.items())}
    result = {name: weight for name, weight in chosen.items() if unique[id(weight)] == name}
    if not result:
        raise TulleError("no layer to make sparse was selected: by default 1x1 convolutions are, and there is none")
    return result


def _layers(module: nn.Module, select: Select) -> Iterator[tuple[str, nn.Parameter]]:
    for name, layer in module.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, nn.Parameter) and select(name, layer):
            yield name, weight


def smallest(values: Tensor, count: int) -> Tensor:
    """A bool tensor, True at the `count` smallest elements; among equal ones, at the first."""
    result = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    result[torch.argsort(values.reshape(-1), stable=True)[:count]] = True
    return result.reshape(values.shape)

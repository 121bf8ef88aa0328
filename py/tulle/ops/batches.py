"""What the PyTorch forms of ops share. Their tensors have a batch as first dimension, images are [N, H, W, C].

PyTorch's image functions want [N, C, H, W]. Turning one into the other moves nothing in memory, and leaves the layout
that its processor kernels are fastest at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def image_first(x: Any) -> Any:
    """A torch.Tensor [N, H, W, C] as [N, C, H, W]."""
    return x.permute(0, 3, 1, 2)


def image_last(x: Any) -> Any:
    """[N, C, H, W] as [N, H, W, C]."""
    return x.permute(0, 2, 3, 1)


def padded(x: Any, pads: Sequence[int], value: float = 0.0) -> Any:
    """[N, C, H, W] with (top, bottom, left, right) more pixels, negative for fewer."""
    import torch.nn.functional as F

    top, bottom, left, right = pads
    return F.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """A torch.Tensor in the shape that the graph states for one image, or for as many as there are."""
    return x.reshape(-1, *shape[1:]) if shape and shape[0] == 1 else x.reshape(shape)


def index_select(picks: list[tuple[int, Any]]) -> Callable[..., Any]:
    """A function of a torch.Tensor that takes these places along these axes."""

    def function(x: Any, *_: Any) -> Any:
        for axis, pick in picks:
            x = x.index_select(axis, pick.to(x.device))
        return x

    return function

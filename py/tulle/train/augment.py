"""Augmentation, different in every step: pictures are rotated, scaled, shifted, mirrored, recoloured and mixed.

The teacher sees the changed picture too, so no label has to stay true.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tulle.ops.batches import image_first, image_last


@dataclass(frozen=True)
class Augmentation:
    """Limits of the changes; each change is uniform between minus and plus its limit.

    Attributes:
        rotation: degrees.
        scale: of the natural logarithm of the size.
        shift: relative to height and width.
        mirror: whether every other picture is mirrored, left to right.
        brightness, tint: share of white added to all channels, and to each channel separately.
        contrast: of the natural logarithm of the factor on the distance from grey.
        mix: the largest share of another picture of the batch that is mixed in.
    """

    rotation: float = 30.0
    scale: float = 0.25
    shift: float = 0.1
    mirror: bool = True
    brightness: float = 0.2
    tint: float = 0.06
    contrast: float = 0.4
    mix: float = 0.3

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """The random numbers for `count` pictures, float32 [count, 11], -1 to 1."""
        return torch.rand(count, 11, generator=generator) * 2 - 1

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Changes images, float [N, H, W, 3] of 0 to 255, by the numbers that `draw` returned for them."""
        numbers = numbers.to(images)
        height, width = images.shape[1:3]
        angle = torch.deg2rad(self.rotation * numbers[:, 0])
        scale = torch.exp(self.scale * numbers[:, 1])
        across = torch.where(numbers[:, 2] < 0, -1.0, 1.0) if self.mirror else torch.ones_like(scale)
        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        rows = [
            torch.stack([across * cosine, -sine * height / width, 2 * self.shift * numbers[:, 3]], 1),
            torch.stack([across * sine * width / height, cosine, 2 * self.shift * numbers[:, 4]], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), [len(images), 3, height, width], align_corners=False)
        moved = image_last(F.grid_sample(image_first(images), grid, padding_mode="border", align_corners=False))

        share = (self.mix * numbers[:, 5].clamp(min=0)).reshape(-1, 1, 1, 1)
        # Pairs of neighbours, which stay together when processes share a batch.
        partner = (torch.arange(len(images), device=images.device) ^ 1).clamp(max=len(images) - 1)
        mixed = moved * (1 - share) + moved[partner] * share
        gain = torch.exp(self.contrast * numbers[:, 6]).reshape(-1, 1, 1, 1)
        light = self.brightness * numbers[:, 7:8].reshape(-1, 1, 1, 1)
        tint = self.tint * _centred(numbers[:, 8:11]).reshape(-1, 1, 1, 3)
        return ((mixed - 127.5) * gain + 127.5 + 255 * (light + tint)).clamp(0, 255)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)

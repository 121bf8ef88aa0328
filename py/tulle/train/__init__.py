"""Training of sparse networks on PyTorch (extra `tulle[train]`).

`MagnitudePruner` and `RigL` work on any `torch.nn.Module`.
"""

from __future__ import annotations

from tulle.errors import TulleError

try:
    import torch  # noqa: F401
except ImportError as error:
    raise TulleError("tulle.train needs PyTorch: pip install torch, then pip install 'tulle[train]'") from error

from tulle.train.magnitude import MagnitudePruner, polynomial_sparsity
from tulle.train.masks import FixedMasks, is_pointwise
from tulle.train.rigl import RigL

__all__ = ["FixedMasks", "MagnitudePruner", "RigL", "is_pointwise", "polynomial_sparsity"]

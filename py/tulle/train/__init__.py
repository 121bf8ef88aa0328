"""Training of sparse networks on PyTorch (extra `tulle[train]`).

`from_tflite` turns a model into a `torch.nn.Module`, `to_graph` turns it back. `MagnitudePruner` and `RigL` work on any
module.
"""

from __future__ import annotations

from tulle.errors import TulleError

try:
    import torch  # noqa: F401
except ImportError as error:
    raise TulleError("tulle.train needs PyTorch: pip install torch, then pip install 'tulle[train]'") from error

from tulle.train.gradual_pruning import MagnitudePruner, polynomial_sparsity
from tulle.train.masks import FixedMasks, is_pointwise
from tulle.train.module import GraphModule, from_graph, from_tflite, to_graph
from tulle.train.rigl import RigL

__all__ = [
    "FixedMasks",
    "GraphModule",
    "MagnitudePruner",
    "RigL",
    "from_graph",
    "from_tflite",
    "is_pointwise",
    "polynomial_sparsity",
    "to_graph",
]

"""Training of sparse networks on PyTorch (extra `tulle[train]`).

`from_tflite` turns a model into a `torch.nn.Module`, `to_graph` turns it back. `MagnitudePruner` and `RigL` work on any
module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tulle.errors import TulleError

if TYPE_CHECKING:
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

# Imported on first use: the commands ask `settings` for its defaults, and have to answer --help without PyTorch.
_MODULES = {
    "FixedMasks": "masks",
    "GraphModule": "module",
    "MagnitudePruner": "gradual_pruning",
    "RigL": "rigl",
    "from_graph": "module",
    "from_tflite": "module",
    "is_pointwise": "masks",
    "polynomial_sparsity": "gradual_pruning",
    "to_graph": "module",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tulle.train' has no attribute {name!r}")
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise TulleError("tulle.train needs PyTorch: pip install torch, then pip install 'tulle[train]'") from error
    value = globals()[name] = getattr(import_module(f"tulle.train.{_MODULES[name]}"), name)
    return value

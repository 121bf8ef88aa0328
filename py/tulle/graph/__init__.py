"""A model in Python: nodes over named tensors, with NumPy arrays as constants.

The ops, their inputs and attributes are listed in docs/architecture.md. Shapes and dtypes are always known.
"""

from tulle.graph.graph import Graph, Node, Quantization, Tensor

__all__ = ["Graph", "Node", "Quantization", "Tensor"]

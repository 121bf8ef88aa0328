"""Makes weights zero so that sparse kernels have less to do."""

from tulle.sparsify.magnitude import magnitude, prunable_layers

__all__ = ["magnitude", "prunable_layers"]

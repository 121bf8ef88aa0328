"""Prunes weights, so that sparse kernels have less to do."""

from tulle.sparsify.layers import match_layers, prunable_layers
from tulle.sparsify.magnitude import magnitude
from tulle.sparsify.oneshot import LayerResult, Options, Sparsified, sparsify

__all__ = ["LayerResult", "Options", "Sparsified", "magnitude", "match_layers", "prunable_layers", "sparsify"]

"""The changes that lowering made to a model, for `tulle convert --report` and `--trace`, and for tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from tulle.graph import Graph
from tulle.graph.stats import total_macs, total_parameters
from tulle.ops import LAYERS
from tulle.passes.layout import permutes
from tulle.passes.trace import PassChange


@dataclass
class Report:
    """Filled in by `lower`.

    Attributes:
        passes: what each pass did, in the order in which they ran.
        removed_channels: dead output channels removed, by the name of the layer that computed them.
        macs_before, macs_after: multiply-adds of one run, as if dense, without and with dead channels removed.
        parameters_before, parameters_after: elements of all constants, likewise.
        sparse_layers, dense_layers: names of the conv2d and fully_connected layers, by how they will be run.
        permutes: changes of layout that move memory.
        free_permutes: changes of layout that do not (one pixel or one channel).
    """

    passes: list[PassChange] = field(default_factory=list)
    removed_channels: dict[str, int] = field(default_factory=dict)
    macs_before: int = 0
    macs_after: int = 0
    parameters_before: int = 0
    parameters_after: int = 0
    sparse_layers: list[str] = field(default_factory=list)
    dense_layers: list[str] = field(default_factory=list)
    permutes: int = 0
    free_permutes: int = 0

    @property
    def bytes_before(self) -> int:
        """Bytes of all constants as dense float32, without dead channels removed."""
        return 4 * self.parameters_before

    @property
    def bytes_after(self) -> int:
        """Bytes of all constants as dense float32, with dead channels removed."""
        return 4 * self.parameters_after

    def count_channels(self, before: Graph, after: Graph) -> None:
        """Compares a graph without and with dead channels removed."""
        self.macs_before, self.macs_after = total_macs(before), total_macs(after)
        self.parameters_before, self.parameters_after = total_parameters(before), total_parameters(after)
        left = {node.output: after.tensors[node.output].shape[-1] for node in after if node.op in LAYERS}
        for node in before:
            if node.op in LAYERS:
                removed = before.tensors[node.output].shape[-1] - left.get(node.output, 0)
                if removed:
                    self.removed_channels[node.name] = removed

    def count_choices(self, graph: Graph) -> None:
        """Reads the choices from a lowered graph."""
        for node in graph:
            if "sparsity" in node.attrs:
                (self.sparse_layers if node.attrs["sparsity"] == "sparse" else self.dense_layers).append(node.name)
        self.permutes, self.free_permutes = permutes(graph)

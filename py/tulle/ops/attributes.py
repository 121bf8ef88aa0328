"""How attributes of a Node are stored in an Op table of wasm/format/tulle.fbs.

Here it is said; `tulle.pack.attributes` does it. Field names are those of the generated Python class `OpT`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Attribute:
    """One attribute of a node.

    Attributes:
        name: in `Node.attrs`.
        kind: "pair" (h, w) of whole numbers from 1, in fields `fieldH` and `fieldW`; "padding" (top, bottom, left,
            right); "integers"; "pads" ((before, after), ...); "whole" from 1 to 65535; "integer"; "number", which is
            finite; "float32", which may be any; "flag"; or the name of an enum in the schema.
        field: where it is stored; "" for one that is not, as it follows from the shapes of input and output.
        required: whether a node must have it to be packed; of the others a file has the schema's default.
        from_shapes: (shape of the first input, shape of the output) -> its value, for one that is not stored.
    """

    name: str
    kind: str
    field: str = ""
    required: bool = True
    from_shapes: Callable[[Shape, Shape], object] | None = None


STRIDES = Attribute("strides", "pair", "stride")
DILATIONS = Attribute("dilations", "pair", "dilation", required=False)
KERNEL = Attribute("kernel", "pair", "kernel")
PADDING = Attribute("padding", "padding", "pad")
SPARSITY = Attribute("sparsity", "Sparsity", "sparsity", required=False)
ALPHA = Attribute("alpha", "number", "alpha", required=False)
FUSED = (Attribute("activation", "Activation", "activation", required=False), ALPHA)
AXIS = Attribute("axis", "integer", "axis")
KEEP_DIMS = Attribute("keep_dims", "flag", required=False, from_shapes=lambda before, after: len(before) == len(after))

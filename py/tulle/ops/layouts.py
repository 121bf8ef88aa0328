"""The two ops that the layout pass inserts, and what a TensorFlow Lite file has in front of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tulle.errors import Unsupported
from tulle.ops.channels import Channels, same
from tulle.ops.layout import PLAIN, Layout
from tulle.ops.op import Example, Input, Op, equals_input
from tulle.ops.reordering import write_reshape
from tulle.ops.shapes import same_as_input
from tulle.ops.windows import picture

if TYPE_CHECKING:
    from tulle.tflite.call import Call


def _change(name: str, summary: str, before: str, after: str) -> Op:
    return Op(
        name, summary, (Input("x"),),
        same_as_input, lambda node, inputs, shape: inputs[0],
        Layout((before,), f"{before} in, {after} out", lambda graph, node: before, changes=(before, after)),
        lambda random: Example([picture(random)]),
        channels=Channels(source=same),
        keeps_elements=True,
        identity=equals_input(),  # layouts of a graph lowered before are chosen anew
        torch=lambda node, shapes, result: lambda x, *_: x,
        to_tflite=write_reshape,
    )  # fmt: skip


TO_CHW = _change("to_chw", "the image in CHW layout (inserted by the layout pass)", "plain", "chw")
TO_PLAIN = _change("to_plain", "the image in the model's own order (inserted by the layout pass)", "chw", "plain")


# ---- before lowering


def _read_dequantize(call: Call) -> None:
    dtype = call.graph.tensors[call.input(0)].dtype
    if dtype == np.float32:  # the reader has turned quantised tensors into floats
        call.add("dequantize" if call.is_constant(0) else "reshape", [call.input(0)])
        return
    if dtype != np.float16:  # a constant, perhaps through DENSIFY: the reader refuses other float16 activations
        raise Unsupported(f"its input has type {dtype}: only float16 weights are supported")
    call.add("dequantize", [call.input(0)])


def _read_densify(call: Call) -> None:
    # The reader has decoded the constant already; DENSIFY only renames it.
    source, result = call.graph.tensors[call.input(0)], call.graph.tensors[call.output]
    if not source.is_constant or source.dtype != result.dtype:
        raise Unsupported("its input must be a constant of the output's type")
    call.add("densify", [call.input(0)])


def _unpacked(name: str, summary: str, read: Callable[[Call], None]) -> Op:
    return Op(
        name, summary, (Input("x", constant="must"),),
        same_as_input, lambda node, inputs, shape: inputs[0], PLAIN,
        lambda random: Example([picture(random)], constants=(0,)),
        from_tflite={name.upper(): read},
        stored=False,
    )  # fmt: skip


DEQUANTIZE = _unpacked("dequantize", "a float16 or quantised constant as float32 (folded away)", _read_dequantize)
DENSIFY = _unpacked("densify", "a sparse constant as a dense one (folded away)", _read_densify)

OPS = (TO_CHW, TO_PLAIN, DEQUANTIZE, DENSIFY)

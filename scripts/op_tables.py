"""Writes the tables of ops, operators and passes into the documents, between `<!-- NAME: ... -->` and `<!-- end -->`.

    python scripts/op_tables.py

What they say comes from `tulle.ops`, `tulle.passes` and the tables of the TFLite and ONNX readers. Only what is not one
op of its own needs a line here: a group (GROUPS) and, where not all of it is supported, a note (NOTES).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType

from common import ROOT, say
from tulle.onnx import reader as onnx
from tulle.ops import (
    FAMILIES,
    OPS,
    Op,
    activation,
    convolution,
    elementwise,
    layouts,
    matrix,
    pooling,
    reduction,
    reordering,
    resize,
    sampling,
    slicing,
)
from tulle.ops.attributes import Attribute
from tulle.passes import PASSES
from tulle.tflite import reader as tflite

# A row of the README's table: the families whose operators it lists, and operators that are made of several ops.
GROUPS: list[tuple[str, tuple[ModuleType, ...], str, str]] = [
    (
        "convolutions, products", (convolution, matrix),
        "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND",
        "Conv ConvTranspose Gemm MatMul ConvInteger MatMulInteger",
    ),
    (
        "elementwise", (elementwise,),
        "ADD_N NEG ABS SIGN SQUARE SQUARED_DIFFERENCE POW GREATER GREATER_EQUAL LESS LESS_EQUAL EQUAL NOT_EQUAL "
        "LOGICAL_AND LOGICAL_OR LOGICAL_NOT SELECT SELECT_V2",
        "Neg Abs Sign Pow Reciprocal Mean Greater GreaterOrEqual Less LessOrEqual Equal And Or Not Where",
    ),
    (
        "activations", (activation,),
        "RELU_0_TO_1 PRELU",
        "Relu Clip Sigmoid Tanh HardSwish HardSigmoid LeakyRelu Elu Celu Selu PRelu Gelu Mish Softplus Softsign Exp "
        "Log Sqrt Erf",
    ),
    (
        "pooling", (pooling,),
        "L2_POOL_2D MaxPoolingWithArgmax2D MaxUnpooling2D",
        "MaxPool AveragePool GlobalMaxPool GlobalAveragePool",
    ),
    (
        "reductions, normalisation", (reduction,),
        "LOG_SOFTMAX L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION",
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ArgMax ArgMin Softmax LogSoftmax "
        "BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LpNormalization LRN",
    ),
    (
        "resizing, sampling", (resize, sampling),
        "TransformTensorBilinear TransformLandmarks Landmarks2TransformMatrix",
        "Resize Upsample GridSample",
    ),
    (
        "shape", (slicing, reordering),
        "SPLIT SPLIT_V PACK UNPACK GATHER TILE BROADCAST_TO REVERSE_V2 SHAPE FILL",
        "Reshape Flatten Squeeze Unsqueeze Transpose Concat Slice Split Pad Gather Tile Expand DepthToSpace "
        "SpaceToDepth If",
    ),
    (
        "types, quantisation", (layouts,),
        "CAST QUANTIZE",
        "Cast Identity Dropout QuantizeLinear DequantizeLinear DynamicQuantizeLinear",
    ),
]  # fmt: skip

# `If` is resolved before any operator is looked up.
BESIDES = {"If"}

NOTES = {
    "CAST": "that rounds nothing",
    "CONV_2D": "any kernel, stride and dilation; groups",
    "DEPTHWISE_CONV_2D": "any multiplier, dilation",
    "GATHER": "constant indices",
    "POW": "a constant exponent or base",
    "RESIZE_BILINEAR": "all modes",
    "RESIZE_NEAREST_NEIGHBOR": "all modes",
    "STRIDED_SLICE": "no ellipsis or new axes; steps may be negative",
    "Cast": "to floats",
    "Conv": "groups",
    "DepthToSpace": "DCR and CRD",
    "Gather": "constant indices",
    "GridSample": "bilinear; zeros, border",
    "If": "a condition known at conversion",
    "LpNormalization": "p = 2",
    "Pad": "constant, reflect",
    "Pow": "a constant exponent",
}

TFLITE, ONNX = set(tflite.ALL_CONVERTERS), set(onnx.ALL_CONVERTERS) | BESIDES


def code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def listed(title: str, names: Iterable[str]) -> str:
    """Every operator with its note, in lines of the documents' width."""
    entries = (f"`{name}`" + (f" ({NOTES[name]})" if name in NOTES else "") for name in sorted(names, key=str.lower))
    return fill(f"{title}: {' '.join(entries)}.")


def fill(text: str, **indents: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False, **indents)  # type: ignore[arg-type]


# ---- README.md and docs/models.md


def grouped() -> list[tuple[str, list[str], list[str]]]:
    """Title, TFLite and ONNX operators of every group. Raises ValueError if an operator is in none or in two."""
    rows = []
    for title, families, more_tflite, more_onnx in GROUPS:
        ops = [op for family in families for op in family.OPS]
        from_tflite = [*(kind for op in ops for kind in op.from_tflite), *more_tflite.split()]
        from_onnx = [*(kind for op in ops for kind in op.from_onnx), *more_onnx.split()]
        rows.append((title, from_tflite, from_onnx))
    for column, known in ((1, TFLITE), (2, ONNX)):
        found = [name for row in rows for name in row[column]]
        if wrong := {*(known ^ set(found)), *(name for name in found if found.count(name) > 1)}:
            raise ValueError(f"GROUPS has not exactly once: {', '.join(sorted(wrong))}")
    return rows


def supported() -> str:
    rows = [f"| {title} | {code(from_tflite)} | {code(from_onnx)} |" for title, from_tflite, from_onnx in grouped()]
    return "\n".join(["| | TensorFlow Lite | ONNX |", "|---|---|---|", *rows])


def operators() -> str:
    if unknown := NOTES.keys() - TFLITE - ONNX:
        raise ValueError(f"NOTES knows operators that nothing reads: {', '.join(sorted(unknown))}")
    custom = {name for name in TFLITE if not name.isupper()}
    return "\n\n".join([
        listed("TensorFlow Lite", TFLITE - custom),
        listed("MediaPipe's custom ones", custom),
        listed("ONNX, besides whatever depends on constants alone", ONNX),
    ])  # fmt: skip


# ---- docs/architecture.md


def inputs(op: Op) -> str:
    names = [f"{entry.name}{f' `{entry.shape}`' if entry.shape.startswith('[') else ''}" for entry in op.inputs]
    named = [f"{name}?" if entry.optional else name for name, entry in zip(names, op.inputs, strict=True)]
    return "any number" if op.variadic else ", ".join(named)


def attributes(op: Op) -> str:
    names = code(attribute.name for attribute in op.attributes)
    return "; ".join(filter(None, [names, "the output's shape is its tensor's" if op.open_shape else ""]))


def layout(op: Op) -> str:
    if op.layout.changes:
        return " to ".join(op.layout.changes)
    return "either" if len(op.layout.choices) > 1 else op.layout.choices[0]


def op_table() -> str:
    """Ops of a family that differ in what they compute alone share a row."""
    rows: dict[tuple[str, ...], list[Op]] = {}
    for number, family in enumerate(FAMILIES):
        for op in family.OPS:
            rows.setdefault((str(number), inputs(op), attributes(op), layout(op)), []).append(op)
    lines = ["| op | computes | inputs | attributes | layout |", "|---|---|---|---|---|"]
    for (_, *cells), ops in rows.items():
        computes = "; ".join(op.summary for op in ops)
        lines.append(f"| {code(op.name for op in ops)} | {computes} | {' | '.join(cells)} |")
    return "\n".join(lines)


def lowered() -> str:
    """The facts about layouts and fused activations that follow from the records."""
    texts: dict[str, list[str]] = {}
    alphas: dict[int, list[str]] = {}
    for name, op in OPS.items():
        if op.stored:
            texts.setdefault(op.layout.text, []).append(name)
        if op.fuses_activation:
            alphas.setdefault(op.own_inputs, []).append(name)
    fusing = "; ".join(f"{index} for {code(names)}" for index, names in sorted(alphas.items(), reverse=True))
    items = [
        f"These ops can have a fused activation. If it is prelu, its alpha is one more input, whose index is {fusing}.",
        *(f"{code(names)}: {text}." for text, names in texts.items()),
    ]
    return "\n".join(fill(item, initial_indent="- ", subsequent_indent="  ") for item in items)


def passes() -> str:
    return "\n".join(["| pass | why |", "|---|---|", *(f"| `{step.name}` | {step.reason} |" for step in PASSES)])


# ---- docs/format.md


def fields(attribute: Attribute) -> str:
    """Where the schema's table Op has an attribute, and of what kind it is there."""
    snake = re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", attribute.field)
    if attribute.kind == "pair":
        return f"`{snake}_h`, `{snake}_w`: 1 to 65535"
    if attribute.kind == "padding":
        return ", ".join(f"`{snake}_{side}`" for side in ("top", "bottom", "left", "right")) + ": 0 to 65535"
    kind = {
        "pads": "before and after for each dimension", "integers": "a list of integers", "integer": "an integer",
        "whole": "1 to 65535", "number": "a finite number", "float32": "a number", "flag": "a truth value",
    }.get(attribute.kind, f"a value of `{attribute.kind}`")  # fmt: skip
    return f"`{snake}`: {kind}"


def stored() -> str:
    users: dict[Attribute, list[str]] = {}
    for name, op in OPS.items():
        for attribute in op.attributes:
            if op.stored and not attribute.from_shapes:
                # Whether a file has to say it does not matter here.
                users.setdefault(replace(attribute, required=True), []).append(name)
    rows = [f"| `{attribute.name}` | {fields(attribute)} | {code(names)} |" for attribute, names in users.items()]
    return "\n".join(["| attribute | field | ops |", "|---|---|---|", *rows])


PARTS = {
    "README.md": {"operators": supported},
    "docs/models.md": {"operators": operators},
    "docs/format.md": {"attributes": stored},
    "docs/architecture.md": {"ops": op_table, "layouts": lowered, "passes": passes},
}


def written(document: str) -> str:
    """The document's text with its generated parts made anew."""
    text = (ROOT / document).read_text()
    for name, make in PARTS[document].items():
        part = re.compile(rf"(<!-- {name}: [^\n]* -->\n)(.*?)(<!-- end -->)", re.DOTALL)
        if len(found := part.findall(text)) != 1:
            raise ValueError(f"{document} has {len(found)} parts <!-- {name}: -->, not one")
        [(begin, old, end)] = found
        text = text.replace(f"{begin}{old}{end}", f"{begin}\n{make()}\n\n{end}")
    return text


def main() -> None:
    for document in PARTS:
        text = written(document)
        if text != (ROOT / document).read_text():
            (ROOT / document).write_text(text)
            say(f"{document}: tables of ops written")


if __name__ == "__main__":
    main()

"""The schema, `tulle.ops`, the C library's table of ops and the documents say the same of every op."""

from __future__ import annotations

import re

import pytest

import op_tables
import random_models
from paths import ROOT
from tulle.ops import OPS
from tulle.ops.layout import CHW, PLAIN

SCHEMA = (ROOT / "wasm" / "format" / "tulle.fbs").read_text()
C_TABLE = ROOT / "wasm" / "ops" / "ops.inc"
STORED = {name: op for name, op in OPS.items() if op.stored}

# Operators that random models have no place for, and the tests that try them instead.
TRIED_ELSEWHERE = {
    "CAST": "test_random_ops: behind ARG_MAX", "DEQUANTIZE": "test_random_ops: before weights",
    "DENSIFY": "test_tflite_sparse", "FILL": "test_tflite_edges", "L2_POOL_2D": "test_tflite_edges",
    "QUANTIZE": "test_random_ops_quantised",
    "SPACE_TO_BATCH_ND": "test_random_ops_dilations", "BATCH_TO_SPACE_ND": "test_random_ops_dilations",
    "LOGICAL_AND": "test_random_ops: behind SELECT", "LOGICAL_OR": "test_random_ops: behind SELECT",
    "LOGICAL_NOT": "test_random_ops: behind SELECT",
    **dict.fromkeys(("Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "TransformLandmarks",
                     "TransformTensorBilinear", "Landmarks2TransformMatrix"), "test_mediapipe_ops"),
}  # fmt: skip


def kinds() -> list[str]:
    """The names in OpKind, in the schema's order."""
    [body] = re.findall(r"enum OpKind : ubyte \{(.*?)\n\}", SCHEMA, re.DOTALL)
    return re.findall(r"\w+", re.sub(r"//.*", "", body))


def test_the_registry_has_the_ops_of_the_schema() -> None:
    assert sorted(kinds()) == sorted(STORED)


def test_attributes_are_fields_of_the_schema() -> None:
    [table] = re.findall(r"table Op \{(.*?)\n\}", SCHEMA, re.DOTALL)
    fields = set(re.findall(r"^  (\w+):", table, re.MULTILINE))
    suffixes = {"pair": ("_h", "_w"), "padding": ("_top", "_bottom", "_left", "_right")}
    for name, op in STORED.items():
        for attribute in op.attributes:
            snake = re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", attribute.field)
            wanted = {snake + suffix for suffix in suffixes.get(attribute.kind, ("",))}
            assert attribute.from_shapes or wanted <= fields, f"{name}: {attribute.name}"


def c_rows() -> dict[str, list[str]]:
    """The cells of each row OP(...) of the C library's table, by the schema's name of the op."""
    rows = re.findall(r"^OP\((.*)\)$", C_TABLE.read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in row.split(",")] for row in rows]
    return {row[1]: row for row in cells}


@pytest.mark.skipif(not C_TABLE.exists(), reason="the C library has no table of ops")
def test_the_c_library_agrees() -> None:
    rows = c_rows()
    assert list(rows) == kinds()
    for name, op in STORED.items():
        _, _, least, most, layout, flags, *_ = rows[name]
        has = {flag.strip() for flag in flags.split("|")}
        required = sum(not entry.optional and entry.name != "alpha" for entry in op.inputs)
        assert int(least) == required, name
        assert most == ("TULLE_MAX_OP_INPUTS" if op.variadic else str(op.own_inputs)), name
        assert ("WEIGHT" in has) == bool(op.weights), name
        assert ("CONSTANT" in has) == any(entry.constant == "may" for entry in op.inputs), name
        assert op.fuses_activation <= ("ACTIVATION" in has), f"{name} cannot have a fused activation"
        fits = {
            "CHW": op.layout is CHW,
            "IMAGE": op.layout.choices == ("chw",) and op.layout is not CHW,
            "PLAIN": op.layout is PLAIN,
            "SAME": op.layout.choices == ("chw", "plain"),
            "REDUCED": op.layout.choices == ("chw", "plain"),
            "TO_CHW": op.layout.changes == ("plain", "chw"),
            "TO_PLAIN": op.layout.changes == ("chw", "plain"),
        }
        assert fits[layout], f"{name}: {layout} in C, {op.layout.text!r} in Python"


def test_every_operator_has_a_place_in_a_random_test() -> None:
    """In models of several operators, or as its op's example, which is written with it."""
    examples = {kind for op in OPS.values() if op.to_tflite for kind in op.from_tflite}
    tried = {*random_models.OPS, *random_models.COMPARISONS, *examples, *TRIED_ELSEWHERE}
    assert op_tables.TFLITE - tried == set()


def test_every_onnx_operator_is_tried() -> None:
    tests = (ROOT / "tests" / "python" / "test_onnx.py").read_text()
    assert {name for name in op_tables.ONNX if f'"{name}"' not in tests} == set()


@pytest.mark.parametrize("document", op_tables.PARTS)
def test_documents_say_what_the_tables_say(document: str) -> None:
    assert op_tables.written(document) == (ROOT / document).read_text(), "run `make tables`"

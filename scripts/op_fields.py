"""Writes wasm/format/op_fields.inc: the fields of the schema's table Op that the loader copies as they are.

python scripts/op_fields.py
"""

from __future__ import annotations

import re

from common import ROOT

SCHEMA, WRITTEN = ROOT / "wasm" / "format" / "tulle.fbs", ROOT / "wasm" / "format" / "op_fields.inc"

NUMBERS = {"ushort": "uint32_t", "int": "int32_t", "float": "float", "bool": "bool"}
"""C's types for those of the schema."""

BESIDES = {"kind", "sparsity"}
"""What the loader turns into something else. Lists and names are no fields of this kind either."""

HEAD = """\
// The attributes of an op that are single values. Written by `make schema` from table Op of tulle.fbs: do not edit.
//
// FIELD(type in C, name)
// ENUM(enum of the schema, name)

// clang-format off
"""


def fields() -> str:
    schema = SCHEMA.read_text()
    [table] = re.findall(r"table Op \{(.*?)\n\}", schema, re.DOTALL)
    enums = re.findall(r"^enum (\w+)", schema, re.MULTILINE)
    rows = []
    for name, kind in re.findall(r"^  (\w+):(\w+)", table, re.MULTILINE):
        if kind in NUMBERS:
            rows.append(f"FIELD({NUMBERS[kind]}, {name})")
        elif kind in enums and name not in BESIDES:
            rows.append(f"ENUM({kind}, {name})")
        elif kind != "string" and name not in BESIDES:
            raise ValueError(f"{name}: no C type is known for {kind}")
    return HEAD + "\n".join(rows) + "\n// clang-format on\n"


if __name__ == "__main__":
    WRITTEN.write_text(fields())

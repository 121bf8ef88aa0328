"""An op of each kind with each of its attributes at its extremes: a model that runs, or an error of its own.

extremes.json lists the outcomes: for each message (# for numbers) the cases that give it, "runs" for those that are
models. After a change that is meant to change them:

    python tests/attacks/extremes.py
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "py")]

import numpy as np

import tulle
from tulle.ops import OPS
from tulle.pack.schema import tulle_generated as schema
from tulle_file import file_of, records

WRITTEN = Path(__file__).with_suffix(".json")

_LISTS = ("axes", "begin", "strides", "perm", "pads")
_LEAST, _MOST = -(2**31), 2**31 - 1


class Extreme(NamedTuple):
    name: str
    data: bytes


def extremes() -> Iterator[Extreme]:
    """Always the same, in the same order."""
    for kind, op in OPS.items():
        if not op.stored or not op.attributes:
            continue
        graph, _ = op.example(np.random.default_rng(0)).graph(op)
        data = tulle.convert(graph, weights="fp32").data
        number = getattr(schema.OpKind, kind)
        if not any(record.kind == number for record in records(data).ops):
            continue  # the converter made another op of it
        for field in vars(schema.OpT()):
            if not any(attribute.field and field.startswith(attribute.field) for attribute in op.attributes):
                continue
            model = records(data)
            record = next(record for record in model.ops if record.kind == number)
            if (field in _LISTS) != any(a.field == field for a in op.attributes if field in _LISTS):
                continue  # slice's list of strides, and the strides of a convolution
            for value in _values(field, getattr(record, field)):
                setattr(record, field, np.array(value, np.int32) if field in _LISTS else value)
                said = value if not isinstance(value, list) or len(value) < 100 else f"{len(value)} zeros"
                yield Extreme(f"{kind} {field}={said}", file_of(model))


def _values(field: str, now: Any) -> list[Any]:
    if field in _LISTS:
        numbers = [] if now is None else [int(number) for number in now]
        spoiled = [
            [*numbers[:at], value, *numbers[at + 1 :]] for at in range(len(numbers)) for value in (_LEAST, _MOST)
        ]
        return [[], [0] * len(numbers), [_MOST] * len(numbers), [*numbers, *numbers], [0] * 1000, *spoiled]
    if isinstance(now, bool):
        return [not now]
    if isinstance(now, float):
        return [float("nan"), float("inf"), float("-inf"), 3.4e38, 0.0]
    if field == "axis":
        return [_LEAST, -1, _MOST]
    return [0, 255] if field in ("activation", "sparsity", "padMode") else [0, 1, 65535]


def outcome_of(error: str | None) -> str:
    """What extremes.json says of an error, or of None."""
    if error is None:
        return "runs"
    return re.sub(r"-?\d[\d.e+]*", "#", re.sub(r"^.*?\w+ '[^']*':? ", "", error))


def expected() -> dict[str, str]:
    """Outcomes by name of the case."""
    return {name: outcome for outcome, names in json.loads(WRITTEN.read_text()).items() for name in names}


def run(data: bytes) -> str | None:
    """The error of loading it, or None if it runs."""
    try:
        with tulle.load(data, variant="simd") as model:
            model({info.name: np.ones(info.shape, np.float32) for info in model.inputs})
    except tulle.TulleError as error:
        return str(error)
    return None


if __name__ == "__main__":
    outcomes = defaultdict(list)
    for case in extremes():
        outcomes[outcome_of(run(case.data))].append(case.name)
    WRITTEN.write_text(json.dumps(dict(sorted(outcomes.items())), indent=1) + "\n")
    print(f"{sum(map(len, outcomes.values()))} cases, {len(outcomes)} outcomes")

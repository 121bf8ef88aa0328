"""The report on files: one row per file, the worst first. Files measured earlier keep their rows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from harness.contenders import NO_WORKER
from harness.core import FREE
from harness.measure import Result
from harness.report import table

Json = dict[str, Any]
LOW = 10
"""The percentile that is reported beside the median: what a run takes when nothing disturbs it."""


def _times(result: Result) -> Json | None:
    """A contender's figures, in milliseconds; None if it has none."""
    if result.status == "failed" or not result.times or not result.times[0]:
        return None
    times = np.concatenate([np.asarray(one) for one in result.times])
    return {"median": float(np.median(times)), "low": float(np.percentile(times, LOW)), "runs": len(times)}


def group_record(threads: int, results: list[Result], core: list[dict[str, float]]) -> Json:
    """A file's figures on some number of threads. `core`: the core's state before and after."""
    contenders = {
        result.contender.name: {
            "runtime": result.contender.runtime,
            "status": result.status,
            "error": result.error,
            "max_error": result.max_error,
            "open_ms": result.open_ms[0] if result.open_ms else None,
            "ms": _times(result),
        }
        for result in results
    }
    return {"threads": threads, "core": core, "contenders": contenders}


def fastest_peer(group: Json) -> str | None:
    """The peer with the smallest median among those whose answers are right."""
    able = {
        name: one["ms"]["median"]
        for name, one in group["contenders"].items()
        if one["runtime"] not in ("tulle", "native") and one["status"] == "ok" and one["ms"]
    }
    return min(able, key=lambda name: able[name], default=None)


def ratio(group: Json, ours: str, figure: str = "median") -> float | None:
    """Time of the fastest peer over tulle's; None if either is missing or wrong."""
    peer, own = fastest_peer(group), group["contenders"].get(ours)
    if peer is None or own is None or own["status"] != "ok" or not own["ms"]:
        return None
    return float(group["contenders"][peer]["ms"][figure] / own["ms"][figure])


def is_shared(group: Json) -> bool:
    """Whether the core's other thread was busy before or after."""
    return min(state["loads"] for state in group["core"]) < FREE


def merge(report: Json, path: Path) -> Json:
    """`report` with the files of an earlier one at `path` that were not measured again."""
    try:
        earlier: Json = json.loads(path.read_text())
        files = {**earlier["files"], **report["files"]}
        left_out = {**earlier["left_out"], **report["left_out"]}
    except (FileNotFoundError, ValueError, KeyError):
        return report
    return {**report, "files": files, "left_out": {name: why for name, why in left_out.items() if name not in files}}


def summary(values: Iterable[float | None]) -> str:
    """Least and geometric mean."""
    present = [value for value in values if value is not None]
    if not present:
        return "nothing to compare"
    mean = float(np.exp(np.mean(np.log(present))))
    return f"least {min(present):.2f}, geometric mean {mean:.2f}, {len(present)} files"


def _cell(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def milliseconds(value: float) -> str:
    """With two digits, and more where that is less than one per cent."""
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


HEADER = [
    "file", "fastest peer", "peer ms", "tulle ms", "peer / tulle", "low", "no worker ms", "peer / no worker", "low ",
    "error", "core",
]  # fmt: skip


def rows(files: Json, threads: int) -> list[list[str]]:
    """One per file, the smallest ratio first, files without one last."""
    sortable = []
    for name, record in files.items():
        group = next((g for g in record["groups"] if g["threads"] == threads), None)
        if group is None:
            continue
        contenders = group["contenders"]
        peer = fastest_peer(group)
        ours, inline = contenders.get("tulle"), contenders.get(NO_WORKER)
        median = ratio(group, "tulle")

        def ms(one: Json | None) -> str:
            return one["status"] if one and not one["ms"] else milliseconds(one["ms"]["median"]) if one else ""

        error = ours["max_error"] if ours else None
        wrong = " (wrong)" if ours and ours["status"] == "wrong" else ""
        sortable.append(
            (
                median if median is not None else float("inf"),
                [
                    name,
                    peer or "none",
                    ms(contenders[peer]) if peer else "",
                    ms(ours),
                    _cell(median),
                    _cell(ratio(group, "tulle", "low")),
                    ms(inline),
                    _cell(ratio(group, NO_WORKER)),
                    _cell(ratio(group, NO_WORKER, "low")),
                    ("" if error is None else f"{error:.0e}") + wrong,
                    "shared" if is_shared(group) else "",
                ],
            )
        )
    return [cells for _, cells in sorted(sortable, key=lambda item: (item[0], item[1][0]))]


def markdown(report: Json) -> str:
    files, machine = report["files"], report["machine"]
    parts = [
        "# tulle on files",
        "",
        "Milliseconds of a complete inference, input from a typed array, output read back: medians, and the ratio to",
        f"the fastest peer whose answers are right; low: the same ratio of the {LOW}th percentiles. error: tulle's",
        "largest difference from the oracle, relative to the output's range. How to read and repeat this:",
        "docs/benchmarks.md.",
        "",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['system']}; {report['browser']}",
        "- peers: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
        f'- core: "shared" where its other hardware thread was busy (under {FREE} loads a cycle before or after)',
        "",
    ]
    for threads in sorted({g["threads"] for record in files.values() for g in record["groups"]}):
        groups = [g for record in files.values() for g in record["groups"] if g["threads"] == threads]
        parts += [
            f"## {threads} thread{'s' if threads > 1 else ''}",
            "",
            f"- by default: {summary(ratio(g, 'tulle') for g in groups)}",
            f"- without a worker: {summary(ratio(g, NO_WORKER) for g in groups)}",
            "",
            table(HEADER, rows(files, threads)),
            "",
        ]
    failed = [
        (name, group["threads"], contender, one["error"])
        for name, record in files.items()
        for group in record["groups"]
        for contender, one in group["contenders"].items()
        if one["status"] != "ok"
    ]
    if failed:
        parts += ["## Peers that failed or answered otherwise", ""]
        parts += [f"- {name}, {threads} threads, {who}: {why}" for name, threads, who, why in failed]
        parts.append("")
    if report["left_out"]:
        parts += ["## Left out", "", *(f"- {name}: {why}" for name, why in report["left_out"].items()), ""]
    parts += [
        "## Files",
        "",
        table(
            ["file", "from", "MMAC", "KB", ".tulle KB", "oracle", "peers", "measured", "loads a cycle"],
            [
                [
                    name,
                    record["source"],
                    f"{record['macs'] / 1e6:.0f}",
                    f"{record['bytes'] / 1024:,.0f}",
                    f"{record['tulle_bytes'] / 1024:,.0f}" if record["tulle_bytes"] else "",
                    record["oracle"],
                    ", ".join(_peers(record)),
                    record["date"],
                    " ".join(f"{state['loads']:.2f}" for group in record["groups"] for state in group["core"]),
                ]
                for name, record in sorted(files.items())
            ],
        ),
        "",
    ]
    return "\n".join(parts)


def _peers(record: Json) -> list[str]:
    runtimes = {one["runtime"] for group in record["groups"] for one in group["contenders"].values()}
    return sorted(runtimes - {"tulle"})


def write(name: str, report: Json, folder: Path) -> list[Path]:
    """Writes `name`.json and .md; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {f"{name}.json": json.dumps(report, indent=1) + "\n", f"{name}.md": markdown(report)}
    for file, text in contents.items():
        partial = folder / f".{file}.partial"
        partial.write_text(text)
        os.replace(partial, folder / file)
    return [folder / file for file in contents]

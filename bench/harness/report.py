"""From measured times to the three files of a report: results.json, results.md, results.svg."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.chart import draw
from harness.contenders import NO_WORKER
from harness.measure import Result

Json = dict[str, Any]


def _statistics(result: Result) -> Json:
    """One contender's figures, times in milliseconds."""
    record: Json = {
        **asdict(result.contender),
        "status": result.status,
        "error": result.error,
        "max_error": result.max_error,
        **result.extra,
    }
    if result.status == "failed" or not result.times:
        return record
    times = np.concatenate([np.asarray(one) for one in result.times])
    record.update(
        runs=len(times),
        median_ms=float(np.median(times)),
        p90_ms=float(np.percentile(times, 90)),
        min_ms=float(times.min()),
        repetition_medians_ms=[float(np.median(one)) for one in result.times],
        open_ms=float(np.median(result.open_ms)),
        times_ms=[[round(t, 3) for t in one] for one in result.times],
    )
    if result.reload_ms:
        record["reload_ms"] = float(np.median(result.reload_ms))
    return record


def _ratio(record: Json, base: Json) -> Json:
    """How many times longer `record` took than `base`, paired by repetition: median, lowest, highest."""
    medians = record["repetition_medians_ms"], base["repetition_medians_ms"]
    pairs = [ours / theirs for ours, theirs in zip(*medians, strict=False)]  # one that failed has fewer
    return {"median": float(np.median(pairs)), "low": min(pairs), "high": max(pairs)}


def group_record(model: str, threads: int, results: list[Result], file_bytes: dict[str, int]) -> Json:
    """Everything about one model and thread count. The fastest peer runs in the browser, on the group's own model,
    and gives correct results. `file_bytes` gives a contender's model file size by its name."""
    records = [_statistics(result) for result in results]
    tulle = _measured({"contenders": records}).get("tulle")
    for record in records:
        record["file_bytes"] = file_bytes.get(record["name"])
        if tulle and "median_ms" in record:
            record["over_tulle"] = _ratio(record, tulle)
    able = [
        r
        for r in records
        if r["runtime"] not in ("tulle", "native") and r["model"] == model and r["status"] == "ok" and "median_ms" in r
    ]
    fastest = min(able, key=lambda r: float(r["median_ms"]), default=None)
    name = fastest["name"] if fastest else None
    return {"model": model, "threads": threads, "fastest_peer": name, "contenders": records}


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _kilobytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1024:,.0f}"


def _span(ratio: Json | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def summary_rows(groups: list[Json]) -> list[list[str]]:
    """One row per group: model, threads, tulle with and without a worker, the fastest peer and its time, its ratio to
    both with the range over repetitions."""
    rows = []
    for group in groups:
        records = {r["name"]: r for r in group["contenders"]}
        tulle, peer = records.get("tulle", {}), records.get(group["fastest_peer"], {})
        inline = _measured(group).get(NO_WORKER)
        rows.append(
            [
                group["model"],
                str(group["threads"]),
                _number(tulle.get("median_ms")) or tulle.get("status", "not run"),
                _number(inline["median_ms"]) if inline else "",
                group["fastest_peer"] or "none",
                _number(peer.get("median_ms")),
                _span(peer.get("over_tulle")),
                _span(_ratio(peer, inline)) if peer and inline else "",
            ]
        )
    return rows


def key_rows(groups: list[Json]) -> list[list[str]]:
    """What the summary does not show at a glance: tulle's own variants, sparse against dense, threads."""
    rows = []
    one_thread = {g["model"]: _measured(g).get("tulle") for g in groups if g["threads"] == 1}
    for group in groups:
        records = _measured(group)
        tulle, simd, dense = (records.get(name) for name in ("tulle", "tulle simd", "tulle --sparse never"))
        inline = records.get(NO_WORKER)
        peer = records.get(group["fastest_peer"])
        twins = [r for r in records.values() if r["model"] != group["model"]]
        twin = min((r for r in twins if r["runtime"] != "native"), key=lambda r: float(r["median_ms"]), default=None)
        native = next((r for r in twins if r["runtime"] == "native"), None)
        pairs = [
            (f"tulle / {NO_WORKER}", tulle, inline),
            ("fastest peer / tulle simd", peer, simd),
            ("tulle --sparse never / tulle", dense, tulle),
            ("fastest peer on the dense twin / tulle", twin, tulle),
            ("native LiteRT on the dense twin / tulle", native, tulle),
        ]
        if group["threads"] > 1:
            pairs.append(("tulle on 1 thread / tulle", one_thread.get(group["model"]), tulle))
        for what, slower, faster in pairs:
            if slower and faster:
                rows.append([group["model"], str(group["threads"]), what, _span(_ratio(slower, faster))])
    return rows


def _measured(group: Json) -> dict[str, Json]:
    """The contenders of a group that have times and correct results, by name."""
    return {r["name"]: r for r in group["contenders"] if r["status"] == "ok" and "median_ms" in r}


KEY_HEADER = ["model", "threads", "ratio of", "ratio"]
SUMMARY_HEADER = [
    "model",
    "threads",
    "tulle ms",
    "no worker ms",
    "fastest peer",
    "peer ms",
    "peer / tulle",
    "peer / no worker",
]


def _group_markdown(group: Json) -> str:
    header = ["contender", "median", "p90", "min", "/ tulle", "open", "reload", "memory MB", "error", "status"]
    rows = []
    for r in group["contenders"]:
        memory = r.get("memory_bytes")
        rows.append(
            [
                r["name"],
                _number(r.get("median_ms")),
                _number(r.get("p90_ms")),
                _number(r.get("min_ms")),
                _span(r.get("over_tulle")),
                _number(r.get("open_ms"), 0),
                _number(r.get("reload_ms"), 0),
                "" if memory is None else f"{memory / 2**20:.1f}",
                "" if r["max_error"] is None else f"{r['max_error']:.1e}",
                r["status"] + (f": {r['error']}" if r["error"] else ""),
            ]
        )
    threads = "1 thread" if group["threads"] == 1 else f"{group['threads']} threads"
    return f"### {group['model']}, {threads}\n\n{table(header, rows)}\n"


def _download_markdown(groups: list[Json]) -> str:
    rows, seen = [], set()
    for group in groups:
        for r in group["contenders"]:
            key = (r["runtime"], r["variant"], group["threads"])
            if "download" in r and key not in seen:
                seen.add(key)
                size = r["download"]
                name = r["runtime"] + (f" {r['variant']}" if r["variant"] else "")
                rows.append(
                    [name, str(group["threads"]), str(size["files"]), _kilobytes(size["raw"]), _kilobytes(size["gzip"])]
                )
    return table(["runtime", "threads", "files", "KB", "KB gzip"], sorted(rows))


def _files_markdown(groups: list[Json]) -> str:
    records = [record for group in groups for record in group["contenders"] if record["file_bytes"]]
    sizes = {(r["model"], r["file_format"]): r["file_bytes"] for r in records}
    return table(["model", "format", "KB"], [[m, f, _kilobytes(size)] for (m, f), size in sorted(sizes.items())])


def markdown(report: Json) -> str:
    """The whole report as Markdown, for people."""
    machine, settings, groups = report["machine"], report["settings"], report["groups"]
    facts = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        f"{report['browser']}",
        f"load average before the first run: {machine['load_average']}"
        + ("" if report["quiet"] else " (**not a quiet machine: do not rely on these figures**)"),
        f"{settings['repetitions']} repetitions on fresh pages, {settings['rounds']} rounds of {settings['runs']} "
        f"counted runs each, taking turns; {machine['date']}",
        "peers: " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    ]
    notes = [f"- {entry['what']}: {entry['reason']}" for entry in report["left_out"]]
    parts = [
        "# tulle and its peers",
        "",
        "Milliseconds of a complete inference (input from a typed array, output read back), medians over all counted",
        "runs; ratios are paired by repetition (lowest and highest in brackets). How to read and repeat this:",
        "docs/benchmarks.md.",
        "",
        *(f"- {fact}" for fact in facts),
        "",
        "## Summary",
        "",
        table(SUMMARY_HEADER, summary_rows(groups)),
        "",
        "## More ratios",
        "",
        table(KEY_HEADER, key_rows(groups)),
        "",
        "![medians](results.svg)",
        "",
        "## All contenders",
        "",
        "open: ms from bytes to first output, starting the runtime included; reload: the same once the runtime is up.",
        "memory: all wasm memories of the page and its workers. error: largest difference from LiteRT relative to the",
        "output's range.",
        "",
        *(_group_markdown(group) for group in groups),
        "## Download: JavaScript and wasm that a page fetches",
        "",
        _download_markdown(groups),
        "",
        "## Model files",
        "",
        _files_markdown(groups),
        "",
    ]
    if notes:
        parts += ["## Left out", "", *notes, ""]
    return "\n".join(parts)


def write(report: Json, folder: Path) -> list[Path]:
    """Writes the three files, all or none; returns their paths."""
    return write_report("results", report, markdown, draw, folder)


def write_report(
    name: str, report: Json, text: Callable[[Json], str], chart: Callable[[Json, Path], None], folder: Path
) -> list[Path]:
    """Writes `name`.json, .md and .svg, all or none: they are made aside and moved in at the end. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        (aside / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        (aside / f"{name}.md").write_text(text(report))
        chart(report, aside / f"{name}.svg")
        for path in aside.iterdir():
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(aside)
    return [folder / f"{name}.{suffix}" for suffix in ("json", "md", "svg")]

#!/usr/bin/env python3
"""Measures every kernel on the layer shapes of real models: `make bench-kernels`. See docs/benchmarks.md."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from harness import cost_fit, machine
from harness.errors import BenchError, explained
from harness.kernel_hosts import Host, open_host
from harness.kernel_models import build
from harness.kernel_report import (
    KERNEL_HEADER,
    MODEL_HEADER,
    REGRET_HEADER,
    SPARSITY_HEADER,
    kernel_rows,
    model_record,
    model_rows,
    regret_rows,
    rows_of,
    sparsity_rows,
    write,
)
from harness.models import SPECS, tflite_bytes
from harness.shapes import KINDS, Shape, read_shapes
from tulle import convert
from tulle.passes.cost_model import fitted
from tulle.zoo import ARCHITECTURES

QUIET_WITHIN = 180.0
"""Seconds that the machine is given to become quiet."""
MODEL_WARMUP_MS = 300.0
"""Warm-up of a whole model, which calls each kernel less often than a model of one shape does."""
PEAK_EVERY = 40
"""Shapes after which the peak is measured again; the highest of all counts."""
LOADS_EVERY = 10
"""Shapes after which the loads a cycle are measured again."""

EPILOG = """\b
Examples:
  python bench/kernels.py                                    every shape, both variants: about four minutes
  python bench/kernels.py --quick                            does it all work? the figures mean little
  python bench/kernels.py --kinds depthwise --variants relaxed --output before
  python bench/kernels.py --models hand_landmark_full --host wasmtime
  python bench/kernels.py --fit                              fit the cost model again, on a quiet machine
"""
console = Console(stderr=True)

Json = dict[str, Any]


async def measure(
    host: Host, shapes: list[tuple[Shape, dict[str, int]]], variants: list[str], runs: int, warmup_ms: float
) -> tuple[list[Json], dict[str, float]]:
    """The rows of the report and the peak of each variant, showing progress."""
    profiles = []
    loads: float | None = None
    peak = dict.fromkeys(variants, 0.0)
    columns = TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # Redrawn only between models: a redraw during one would take its processor time.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task("measuring", total=len(shapes))
        for number, (shape, layers) in enumerate(shapes):
            progress.update(task, description=str(shape), completed=number)
            progress.refresh()
            model = build(shape)
            if number % LOADS_EVERY == 0:
                loads = await host.loads()
            for variant in variants:
                if number % PEAK_EVERY == 0:
                    peak[variant] = max(peak[variant], await host.peak(variant))
                profile = await host.measure(model.data, variant, warmup_ms, runs)
                profiles.append((model, layers, profile, variant, loads))
        progress.update(task, description="done", completed=len(shapes))
    rows = []
    for model, layers, profile, variant, loads in profiles:
        rows += [{**row, "loads": loads} for row in rows_of(model, layers, profile, variant, peak[variant])]
    return rows, peak


async def measure_models(host: Host, models: list[str], variants: list[str], runs: int) -> list[Json]:
    """Where the time of whole models goes; a model whose file is missing is left out with a note."""
    records = []
    for name in models:
        try:
            data = convert(tflite_bytes(SPECS[name]) if name in SPECS else ARCHITECTURES[name].build()).data
        except BenchError as error:
            console.print(f"[yellow]left out[/] {name}: {error}", highlight=False)
            continue
        for variant in variants:
            records.append(model_record(name, await host.measure(data, variant, MODEL_WARMUP_MS, runs), variant))
    return records


async def make_report(
    kind: str,
    shapes: list[tuple[Shape, dict[str, int]]],
    models: list[str],
    variants: list[str],
    settings: Json,
    force: bool,
) -> Json:
    """Everything but the cost model: see harness/kernel_report.py."""
    with console.status(f"waiting until the load average is below {machine.QUIET_LOAD}"):
        load = machine.wait_until_quiet(QUIET_WITHIN, force)
    with tempfile.TemporaryDirectory(prefix="tulle-kernels-") as temporary:
        async with open_host(kind, variants, Path(temporary)) as host:
            rows, peak = await measure(host, shapes, variants, settings["runs"], settings["warmup_ms"])
            whole = await measure_models(host, models, variants, settings["runs"])
            name = host.name
    quiet = load <= machine.QUIET_LOAD
    return {"machine": machine.facts(load), "quiet": quiet, "host": name, "settings": settings, "peak": peak} | {
        "rows": rows,
        "models": whole,
    }


def judge_choices(report: Json) -> None:
    """Adds the regret of the cost model in use, of one fitted to this report's first variant, and of a simple rule."""
    by_variant = {v: [row for row in report["rows"] if row["variant"] == v] for v in report["peak"]}
    rules: dict[str, cost_fit.Rule] = {"cost model in use": fitted().prefers_sparse}
    first = next(iter(by_variant.values()))
    if all(any(row["kind"] == kind for row in first) for kind in ("pointwise", "vector")):
        rules["cost model fitted to this"] = cost_fit.fit(first).prefers_sparse
    rules["sparse from 50 % zeros on"] = cost_fit.half_zeros
    report["regret"] = {
        name: {variant: cost_fit.regret(rule, rows) for variant, rows in by_variant.items()}
        for name, rule in rules.items()
    }


def fit(report: Json) -> None:
    """Fits the cost model to the relaxed build's times and writes it."""
    rows = [row for row in report["rows"] if row["variant"] == "relaxed"]
    model = cost_fit.fit(rows)
    errors = cost_fit.prediction_error(model, rows)
    provenance = {
        "what": "microseconds of each term; written by `python bench/kernels.py --fit`",
        **{key: report["machine"][key] for key in ("cpu", "date", "load_average")},
        "quiet": report["quiet"],
        "host": f"{report['host']}, relaxed",
        "layers": len({row["shape"] for row in rows if row["kind"] == "pointwise"}),
        "typical_error": {kind: round(error, 3) for kind, error in errors.items()},
        "regret": {
            kind: {key: round(r[key], 4) for key in ("geomean", "worst")}
            for kind, r in cost_fit.regret(model.prefers_sparse, rows).items()
        },
    }
    cost_fit.save(model, provenance)
    fitted.cache_clear()


def print_report(report: Json) -> None:
    out = Console(width=max(console.width, 150))
    peaks = ", ".join(f"{variant} {value:.1f}" for variant, value in report["peak"].items())
    out.print(f"peak GMAC/s: {peaks} ({report['host']}, 1 thread)", highlight=False)
    tables = {
        "1x1 convolution (geometric means over the shapes)": (SPARSITY_HEADER, sparsity_rows(report, "pointwise")),
        "one pixel and fully connected": (SPARSITY_HEADER, sparsity_rows(report, "vector")),
        "other convolutions": (KERNEL_HEADER, kernel_rows(report)),
        "regret of choosing sparse or dense": (REGRET_HEADER, regret_rows(report)),
        "share of time by op in whole models": (MODEL_HEADER, model_rows(report)),
    }
    for title, (header, rows) in tables.items():
        if rows:
            table = Table(*header, title=title, title_justify="left")
            for row in rows:
                table.add_row(*row)
            out.print(table)


def _some_of(known: tuple[str, ...] | list[str]) -> Any:
    """A click callback for a comma-separated list of `known` names; all of them when the option is left out."""

    def parse(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
        names = list(known) if value is None else [name.strip() for name in value.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise click.BadParameter(f"{', '.join(unknown) or 'nothing'}: not one of {', '.join(known)}")
        return names

    return parse


SHAPES = read_shapes()
MODELS = list(dict.fromkeys(name for _, layers in SHAPES for name in layers))
VARIANTS = ("relaxed", "simd")


@click.command(epilog=EPILOG)
@click.option(
    "--models",
    callback=_some_of(MODELS),
    help=f"Some of {', '.join(MODELS)}: their shapes and they themselves.",
)
@click.option("--kinds", callback=_some_of(KINDS), help=f"Some of {', '.join(KINDS)} (default: all).")
@click.option("--variants", callback=_some_of(VARIANTS), help="Some of relaxed, simd (default: both).")
@click.option("--host", type=click.Choice(["chromium", "wasmtime"]), default="chromium", show_default=True)
@click.option("--runs", type=click.IntRange(4), default=40, show_default=True, help="Counted runs of each shape.")
@click.option("--fit", "fitting", is_flag=True, help="Write the fitted costs to py/tulle/passes/cost_model.json.")
@click.option("--quick", is_flag=True, help="Every tenth shape and few runs, on a busy machine too: a check.")
@click.option("--force", is_flag=True, help="Measure even if the machine is not quiet; the report says so.")
@click.option(
    "--output",
    default=Path(__file__).resolve().parent / "results",
    show_default="bench/results",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for kernels.json, kernels.md and kernels.svg.",
)
def main(
    models: list[str],
    kinds: list[str],
    variants: list[str],
    host: str,
    runs: int,
    fitting: bool,
    quick: bool,
    force: bool,
    output: Path,
) -> None:
    """Measures tulle's kernels, dense and sparse, on the layer shapes of real models, on one thread.

    Lists are comma-separated. Nothing is written until everything has been measured.
    """
    shapes = [
        (shape, layers) for shape, layers in SHAPES if shape.kind in kinds and not layers.keys().isdisjoint(models)
    ]
    if quick:
        runs = 4
        shapes = [pair for kind in KINDS for pair in [p for p in shapes if p[0].kind == kind][::10]]
    if fitting and (host != "chromium" or quick or models != MODELS or not {"pointwise", "vector"} <= set(kinds)
                    or "relaxed" not in variants):  # fmt: skip
        raise click.UsageError(
            "--fit needs the 1x1 and vector shapes of all models, in chromium, relaxed, and not --quick"
        )
    settings: Json = {"runs": runs, "warmup_ms": 10 if quick else 60, "shapes": len(shapes)}
    with explained(console):
        if not shapes:
            raise BenchError("no shape is of these kinds and models: see bench/shapes.json")
        report = asyncio.run(make_report(host, shapes, models, variants, settings, force or quick))
        if fitting:
            fit(report)
        judge_choices(report)
        paths = write(report, output)
    print_report(report)
    console.print("written: " + ", ".join(str(path) for path in paths), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Where tulle's time goes in the browser: milliseconds and GMAC/s of each step of a model. See docs/benchmarks.md."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from harness.browser import chromium
from harness.contenders import Contender, PageRunner
from harness.errors import BenchError, explained
from harness.models import CHECKOUT, SPECS, Feed, Model, tflite_bytes
from harness.server import Server
from harness.timing import middle
from tulle import convert
from tulle.files import file_kind
from tulle.pack import unpack

Json = dict[str, Any]
WARMUP = 40

EPILOG = """\b
Examples:
  python bench/profile_model.py hand_landmark_tulle
  python bench/profile_model.py hand_landmark_full --variant simd --threads 2 --by time --top 15
  python bench/profile_model.py hand_landmark_tulle --json before.json     ... change a kernel, make build ...
  python bench/profile_model.py hand_landmark_tulle --baseline before.json
"""


def read_model(source: str, sparse: str) -> bytes:
    """A `.tulle` file for a model's name or for the path of a .tflite or .tulle file."""
    if source in SPECS:
        return convert(tflite_bytes(SPECS[source]), sparse=sparse).data
    path = Path(source)
    if not path.is_file():
        raise BenchError(f"{source}: neither a file nor one of {', '.join(SPECS)}")
    return path.read_bytes() if file_kind(path.read_bytes()) == "tulle" else convert(path, sparse=sparse).data


def place(data: bytes, folder: Path) -> Model:
    """The model and random inputs as files for a page."""
    graph = unpack(data)
    (folder / "model.tulle").write_bytes(data)
    shapes = [list(graph.tensors[name].shape) for name in graph.inputs]
    inputs: list[Json] = [
        {"name": name, "shape": shape, "dtype": "float32"} for name, shape in zip(graph.inputs, shapes, strict=True)
    ]
    generator = np.random.default_rng(0)
    values = [np.asarray(generator.random(i["shape"], dtype=np.float32)) for i in inputs]
    for number, value in enumerate(values):
        (folder / f"model.0.{number}.nhwc").write_bytes(value.tobytes())
    return Model("model", {"tulle": ["model.tulle"]}, {}, {"tulle": Feed(inputs, "nhwc")}, [values], [])


async def measure(model: Model, folder: Path, variant: str, threads: int, runs: int) -> Json:
    """The profile of `runs` inferences after warm-up: the typical time of each step and of the whole inference."""
    with Server(CHECKOUT, folder) as server:
        async with chromium() as browser:
            contender = Contender("tulle", "tulle", model.name, "tulle", variant)
            runner = PageRunner(browser, server, contender, model, threads, "profile")
            try:
                await runner.open()
                await runner.burst(WARMUP, 0)
                await asyncio.sleep(0.5)  # the browser's optimising compiler finishes in the background
                profile = await runner.profile(runs)
            finally:
                await runner.close()
    typical = middle(np.array(profile["milliseconds"]).reshape(runs, -1))
    steps = [{**step, "ms": float(ms)} for step, ms in zip(profile["steps"], typical, strict=True)]
    wall = float(middle(np.array(profile["wall"])))
    return {"variant": variant, "threads": threads, "runs": runs, "wall_ms": wall, "steps": steps}


def gmacs(macs: float, ms: float) -> str:
    """Billions of multiply-adds per second, empty where there are none."""
    return f"{macs / ms / 1e6:.1f}" if macs and ms else ""


def sums(steps: Iterable[Json], key: str) -> dict[str, Json]:
    """Milliseconds, multiply-adds and number of steps by op or by kernel, the slowest first."""
    groups: dict[str, Json] = {}
    for step in steps:
        group = groups.setdefault(step[key], {"ms": 0.0, "macs": 0, "steps": 0})
        group["ms"] += step["ms"]
        group["macs"] += step["macs"]
        group["steps"] += 1
    return dict(sorted(groups.items(), key=lambda item: -item[1]["ms"]))


def change(ms: float, before: float | None) -> str:
    """How `ms` compares with the baseline: 0.50x took half as long."""
    return f"{ms / before:.2f}x" if before else ""


def print_steps(console: Console, profile: Json, baseline: Json | None, by: str, top: int | None) -> None:
    before = {step["name"]: step["ms"] for step in baseline["steps"]} if baseline else {}
    total = sum(step["ms"] for step in profile["steps"])
    numbered = list(enumerate(profile["steps"]))
    if by == "time":
        numbered.sort(key=lambda item: -item[1]["ms"])
    table = Table(title="steps", title_justify="left")
    for name, justify in (("#", "right"), ("step", "left"), ("op", "left"), ("kernel", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for name in ("ms", "share", "MMAC", "GMAC/s", "zeros", *(["vs before"] if baseline else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for number, step in numbered[:top]:
        zeros = f"{100 - 100 * step['nnz'] / step['weights']:.0f} %" if step["weights"] else ""
        cells = [
            str(number),
            step["name"][-40:],
            step["op"],
            step["kernel"],
            f"{step['ms']:.3f}",
            f"{100 * step['ms'] / total:.1f} %" if total else "",
            f"{step['macs'] / 1e6:.2f}" if step["macs"] else "",
            gmacs(step["macs"], step["ms"]),
            zeros,
        ]
        table.add_row(*cells, *([change(step["ms"], before.get(step["name"]))] if baseline else []))
    console.print(table)


def print_sums(console: Console, profile: Json, baseline: Json | None, key: str) -> None:
    total = sum(step["ms"] for step in profile["steps"])
    before = sums(baseline["steps"], key) if baseline else {}
    table = Table(title=f"by {key}", title_justify="left")
    table.add_column(key)
    for name in ("steps", "ms", "share", "MMAC", "GMAC/s", *(["vs before"] if baseline else [])):
        table.add_column(name, justify="right")
    for name, group in sums(profile["steps"], key).items():
        cells = [
            name,
            str(group["steps"]),
            f"{group['ms']:.3f}",
            f"{100 * group['ms'] / total:.1f} %" if total else "",
            f"{group['macs'] / 1e6:.1f}" if group["macs"] else "",
            gmacs(group["macs"], group["ms"]),
        ]
        table.add_row(*cells, *([change(group["ms"], before.get(name, {}).get("ms"))] if baseline else []))
    console.print(table)


def print_totals(console: Console, profile: Json, baseline: Json | None) -> None:
    inside = sum(step["ms"] for step in profile["steps"])
    macs = sum(step["macs"] for step in profile["steps"])
    wall = profile["wall_ms"]
    versus = f", {change(wall, baseline['wall_ms'])} of before" if baseline else ""
    console.print(
        f"steps {inside:.3f} ms ({gmacs(macs, inside)} GMAC/s), an inference seen by the page {wall:.3f} ms{versus} "
        f"({profile['variant']}, {profile['threads']} thread(s), middle half of {profile['runs']} runs)",
        highlight=False,
        soft_wrap=True,
    )


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option("--variant", type=click.Choice(["relaxed", "simd"]), default="relaxed", show_default=True)
@click.option("--threads", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=60, show_default=True, help="Counted inferences.")
@click.option("--sparse", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.option("--by", type=click.Choice(["order", "time"]), default="order", show_default=True, help="Order of steps.")
@click.option("--top", type=click.IntRange(0), help="Show only this many steps; 0 leaves out the table of steps.")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the profile here too."
)
@click.option("--baseline", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A --json of before.")
def main(
    model: str,
    variant: str,
    threads: int,
    runs: int,
    sparse: str,
    by: str,
    top: int | None,
    json_path: Path | None,
    baseline: Path | None,
) -> None:
    """Profiles MODEL (a name that run.py knows, or a .tflite or .tulle file) in the browser, on the engine of web/."""
    console = Console()
    # Wide tables stay whole when the output goes to a file or a pipe.
    if not console.is_terminal:
        console.width = 150
    with explained(Console(stderr=True)):
        before = json.loads(baseline.read_text()) if baseline else None
        with tempfile.TemporaryDirectory(prefix="tulle-profile-") as temporary:
            folder = Path(temporary)
            placed = place(read_model(model, sparse), folder)
            profile = asyncio.run(measure(placed, folder, variant, threads, runs))
    if json_path:
        json_path.write_text(json.dumps(profile, indent=1) + "\n")
    if top != 0:
        print_steps(console, profile, before, by, top)
    print_sums(console, profile, before, "kernel")
    print_sums(console, profile, before, "op")
    print_totals(console, profile, before)


if __name__ == "__main__":
    main()

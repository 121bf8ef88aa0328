#!/usr/bin/env python3
"""Measures tulle against its peers in one browser: `make bench`. See docs/benchmarks.md."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from harness import machine
from harness.browser import chromium
from harness.contenders import DENSE_TWIN, PEERS, Contender, NativeRunner, PageRunner, Runner, contenders
from harness.errors import BenchError
from harness.install import install, versions
from harness.measure import Result, Settings, measure
from harness.models import CHECKOUT, SPECS, Model, prepare
from harness.report import SUMMARY_HEADER, group_record, summary_rows, write
from harness.server import Server

console = Console(stderr=True)
EPILOG = """\b
Examples:
  python bench/run.py                                   everything, about a quarter of an hour
  python bench/run.py --quick                           does it all work? figures mean little
  python bench/run.py --models hand_landmark_sparse --threads 1 --peers litertjs,native
"""


def _choices(known: list[str]) -> Any:
    """A click callback for a comma-separated list of `known` names; all of them when the option is left out."""

    def parse(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
        names = known if value is None else [name.strip() for name in value.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise click.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return names

    return parse


def _threads(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    try:
        counts = [int(part) for part in value.split(",")]
    except ValueError:
        counts = []
    if not counts or any(not 1 <= count <= 16 for count in counts):
        raise click.BadParameter("numbers from 1 to 16, separated by commas")
    return counts


def _prepare(names: list[str], peers: list[str], with_tulle: bool, folder: Path) -> tuple[dict[str, Model], list[Any]]:
    """The models that can be had (dense twins included) and, for the report, what was left out and why."""
    formats = {PEERS[peer] for peer in peers} | ({"tulle", "tulle-dense"} if with_tulle else set())
    models: dict[str, Model] = {}
    left_out = []
    for name in dict.fromkeys([*names, *(DENSE_TWIN[name] for name in names if name in DENSE_TWIN)]):
        try:
            models[name] = prepare(name, folder, formats)
        except BenchError as error:
            left_out.append({"what": name, "reason": str(error)})
    return models, left_out


def _field(name: str, threads: int, peers: list[str], with_tulle: bool, models: dict[str, Model]) -> list[Result]:
    """Who takes part for one model and thread count; those whose file is missing are there as failed."""
    results = []
    for contender in contenders(name, threads, peers, with_tulle):
        model = models.get(contender.model)
        if model is None:
            continue
        result = Result(contender)
        if contender.file_format not in model.files:
            result.fail(model.missing[contender.file_format])
        results.append(result)
    return results


async def _run(
    names: list[str], threads: list[int], settings: Settings, peers: list[str], with_tulle: bool, force: bool
) -> dict[str, Any]:
    """Measures everything and returns the report."""
    with tempfile.TemporaryDirectory(prefix="tulle-bench-") as temporary, console.status("preparing the peers") as status:
        folder = Path(temporary)
        install()
        status.update("converting the models")
        models, left_out = _prepare(names, peers, with_tulle, folder)
        for entry in left_out:
            console.print(f"[yellow]left out[/] {entry['what']}: {entry['reason']}")
        measured = [name for name in names if name in models]
        if not measured:
            raise BenchError("none of the models can be had, so there is nothing to measure")
        status.update(f"waiting until the load average is below {machine.QUIET_LOAD}")
        load = machine.wait_until_quiet(180, force)
        status.stop()

        groups = []
        with Server(CHECKOUT, folder) as server:
            async with chromium() as browser:
                steps = len(measured) * len(threads) * settings.repetitions * (settings.rounds + 1)
                # Redrawn only between bursts: a redraw during one would take its processor time.
                with Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeElapsedColumn(),
                    console=console,
                    auto_refresh=False,
                ) as progress:
                    task = progress.add_task("measuring", total=steps)
                    for name in measured:
                        for count in threads:
                            results = _field(name, count, peers, with_tulle, models)

                            def new_runner(contender: Contender, repetition: int, count: int = count) -> Runner:
                                model = models[contender.model]
                                if contender.runtime == "native":
                                    return NativeRunner(folder, contender, model)
                                identity = f"{count}-{repetition}-{abs(hash((name, contender))):x}"
                                return PageRunner(browser, server, contender, model, count, identity)

                            def step(what: str, name: str = name, count: int = count) -> None:
                                progress.update(task, advance=1, description=f"{name} x{count}: {what}")
                                progress.refresh()

                            await measure(models, results, new_runner, settings, step)
                            sizes = {
                                r.contender.name: _size(folder, models[r.contender.model], r.contender) for r in results
                            }
                            groups.append(group_record(name, count, results, sizes))
                            _print_group(groups[-1], progress.console)
                about_browser = f"Chromium {browser.version}"
    return {
        "machine": machine.facts(load),
        "quiet": load <= machine.QUIET_LOAD,
        "browser": about_browser,
        "settings": asdict(settings),
        "versions": versions(peers),
        "left_out": left_out,
        "groups": groups,
    }


def _size(folder: Path, model: Model, contender: Contender) -> int:
    return sum((folder / file).stat().st_size for file in model.files.get(contender.file_format, []))


def _print_group(group: dict[str, Any], to: Console) -> None:
    for record in group["contenders"]:
        if record["status"] == "failed":
            to.print(f"  [red]{record['name']} failed[/]: {record['error']}", highlight=False)
        else:
            ratio = f"  {record['over_tulle']['median']:.2f} x tulle" if "over_tulle" in record else ""
            wrong = f"  [red]wrong: {record['error']}[/]" if record["status"] == "wrong" else ""
            to.print(
                f"  {record['name']:<36} {record['median_ms']:8.2f} ms  p90 {record['p90_ms']:8.2f}{ratio}{wrong}",
                highlight=False,
            )


def _print_summary(report: dict[str, Any]) -> None:
    table = Table(*SUMMARY_HEADER, title="medians, ms")
    for row in summary_rows(report["groups"]):
        table.add_row(*row)
    Console().print(table)


@click.command(epilog=EPILOG)
@click.option("--models", callback=_choices(list(SPECS)), help="Comma-separated; all by default: " + ", ".join(SPECS) + ".")
@click.option("--threads", default="1,2", show_default=True, callback=_threads, help="Thread counts, comma-separated.")
@click.option("--peers", callback=_choices(list(PEERS)), help="Comma-separated; all by default: " + ", ".join(PEERS) + ".")
@click.option("--tulle/--no-tulle", "with_tulle", default=True, help="Measure tulle too (default) or the peers alone.")
@click.option("--repetitions", default=3, show_default=True, type=click.IntRange(1), help="Times everyone gets fresh pages.")
@click.option("--rounds", default=6, show_default=True, type=click.IntRange(1), help="Turns of each in a repetition.")
@click.option("--runs", default=10, show_default=True, type=click.IntRange(1), help="Counted inferences in a turn.")
@click.option("--quick", is_flag=True, help="One short repetition, on a busy machine too: a check, not a measurement.")
@click.option("--force", is_flag=True, help="Measure even if the machine is not quiet; the report says so.")
@click.option(
    "--output",
    default=Path(__file__).parent / "results",
    show_default="bench/results",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for results.json, results.md and results.svg.",
)
def main(
    models: list[str],
    threads: list[int],
    peers: list[str],
    with_tulle: bool,
    repetitions: int,
    rounds: int,
    runs: int,
    quick: bool,
    force: bool,
    output: Path,
) -> None:
    """Measures tulle against its peers, in one headless Chromium, taking turns.

    Nothing is written until everything is measured.
    """
    settings = Settings(repetitions, rounds, runs)
    if quick:
        settings, force = Settings(repetitions=1, rounds=2, runs=5, warmup=5), True
    try:
        report = asyncio.run(_run(models, threads, settings, peers, with_tulle, force))
        paths = write(report, output)
    except BenchError as error:
        console.print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted: nothing was written")
        sys.exit(130)
    _print_summary(report)
    console.print("written: " + ", ".join(str(path) for path in paths), highlight=False)


if __name__ == "__main__":
    main()

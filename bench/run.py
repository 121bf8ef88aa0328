#!/usr/bin/env python3
"""Measures tulle against its peers in one browser: `make bench`. See docs/benchmarks.md."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from playwright.async_api import Browser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from harness import machine
from harness.browser import chromium
from harness.contenders import PEERS, Contender, NativeRunner, PageRunner, Runner, contenders
from harness.errors import BenchError, explained
from harness.file_run import PEERS as FILE_PEERS
from harness.file_run import QUICK, FileSet, measure_files
from harness.install import install, versions
from harness.measure import Result, Settings, measure
from harness.models import CHECKOUT, SPECS, Model, prepare
from harness.report import SUMMARY_HEADER, group_record, summary_rows, write
from harness.server import Server

QUIET_WITHIN = 180.0
"""Seconds that the machine is given to become quiet."""

EPILOG = """\b
Examples:
  python bench/run.py                                   everything, about half an hour
  python bench/run.py --quick                           does it all work? the figures mean little
  python bench/run.py --models hand_landmark_tulle --threads 1 --peers litertjs,native
  python bench/run.py model.tflite other.onnx           files of your own, 15 s each
  python bench/run.py --suite published                 published files, the worst first
"""
console = Console(stderr=True)


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    models: list[str]
    threads: list[int]
    peers: list[str]
    with_tulle: bool
    settings: Settings
    force: bool


def prepare_models(plan: Plan, folder: Path) -> tuple[dict[str, Model], list[dict[str, str]]]:
    """The models that are available, dense twins included; and those left out, with the reason."""
    everyone = [c for name in plan.models for c in contenders(name, 1, plan.peers, plan.with_tulle)]
    models: dict[str, Model] = {}
    left_out = []
    for name in dict.fromkeys(contender.model for contender in everyone):
        try:
            models[name] = prepare(name, folder, {c.file_format for c in everyone if c.model == name})
        except BenchError as error:
            left_out.append({"what": name, "reason": str(error)})
            console.print(f"[yellow]left out[/] {name}: {error}")
    if not any(name in models for name in plan.models):
        raise BenchError("none of the models can be had, so there is nothing to measure")
    return models, left_out


@dataclass(frozen=True)
class Stage:
    """Where contenders are measured: the prepared models, the server of their folder and the browser."""

    plan: Plan
    models: dict[str, Model]
    folder: Path
    server: Server
    browser: Browser

    def field(self, name: str, threads: int) -> list[Result]:
        """The contenders for one model and thread count. One whose file could not be made is included as failed."""
        results = []
        for contender in contenders(name, threads, self.plan.peers, self.plan.with_tulle):
            model = self.models.get(contender.model)
            if model is None:
                continue
            result = Result(contender)
            if contender.file_format not in model.files:
                result.fail(model.missing[contender.file_format])
            results.append(result)
        return results

    def file_bytes(self, contender: Contender) -> int:
        files = self.models[contender.model].files.get(contender.file_format, [])
        return sum((self.folder / file).stat().st_size for file in files)

    async def group(self, name: str, threads: int, step: Callable[[str], None]) -> dict[str, Any]:
        """Measures all contenders on one model and thread count; returns the record for the report."""
        results = self.field(name, threads)
        numbers = {result.contender: number for number, result in enumerate(results)}

        def new_runner(contender: Contender, repetition: int) -> Runner:
            model = self.models[contender.model]
            if contender.runtime == "native":
                return NativeRunner(self.folder, contender, model)
            identity = f"{name}-{threads}-{repetition}-{numbers[contender]}"
            return PageRunner(self.browser, self.server, contender, model, threads, identity)

        await measure(self.models, results, new_runner, self.plan.settings, step)
        sizes = {contender.name: self.file_bytes(contender) for contender in numbers}
        return group_record(name, threads, results, sizes)


async def measure_groups(stage: Stage) -> list[dict[str, Any]]:
    """Measures every model at every thread count, showing progress."""
    plan = stage.plan
    measured = [name for name in plan.models if name in stage.models]
    groups = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # Redrawn only between bursts: a redraw during one would take its processor time.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        steps = plan.settings.repetitions * (plan.settings.rounds + 1)
        task = progress.add_task("measuring", total=len(measured) * len(plan.threads) * steps)
        for name in measured:
            for threads in plan.threads:

                def step(done: str, title: str = f"{name} x{threads}") -> None:
                    progress.update(task, advance=1, description=f"{title}: {done}")
                    progress.refresh()

                groups.append(await stage.group(name, threads, step))
                print_group(groups[-1])
    return groups


async def make_report(plan: Plan) -> dict[str, Any]:
    """Prepares, measures and returns what report.write() takes."""
    with tempfile.TemporaryDirectory(prefix="tulle-bench-") as temporary:
        folder = Path(temporary)
        with console.status("installing the peers") as status:
            install()
            status.update("converting the models")
            models, left_out = prepare_models(plan, folder)
            status.update(f"waiting until the load average is below {machine.QUIET_LOAD}")
            load = machine.wait_until_quiet(QUIET_WITHIN, plan.force)
        with Server(CHECKOUT, folder) as server:
            async with chromium() as browser:
                groups = await measure_groups(Stage(plan, models, folder, server, browser))
                version = f"Chromium {browser.version}"
    return {
        "machine": machine.facts(load),
        "quiet": load <= machine.QUIET_LOAD,
        "browser": version,
        "settings": asdict(plan.settings),
        "versions": versions(plan.peers),
        "left_out": left_out,
        "groups": groups,
    }


def print_group(group: dict[str, Any]) -> None:
    console.print(f"[bold]{group['model']}[/], threads: {group['threads']}", highlight=False)
    for record in group["contenders"]:
        if record["status"] == "failed":
            console.print(f"  {record['name']:<36} [red]failed[/]: {record['error']}", highlight=False)
            continue
        ratio = f"  {record['over_tulle']['median']:5.2f} x tulle" if "over_tulle" in record else ""
        wrong = f"  [red]wrong: {record['error']}[/]" if record["status"] == "wrong" else ""
        times = f"{record['median_ms']:8.2f} ms  p90 {record['p90_ms']:8.2f}"
        console.print(f"  {record['name']:<36} {times}{ratio}{wrong}", highlight=False)


def print_summary(report: dict[str, Any]) -> None:
    table = Table(title="medians")
    for name in SUMMARY_HEADER:
        table.add_column(name, no_wrap=True, overflow="fold")
    for row in summary_rows(report["groups"]):
        table.add_row(*row)
    Console(width=max(console.width, 160)).print(table)


def _names(known: list[str]) -> Any:
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


POSITIVE = click.IntRange(1)
FOLDER = click.Path(file_okay=False, path_type=Path)


def file_set(paths: tuple[Path, ...], suite: str | None, only: str | None) -> FileSet:
    """The files that the command line asks for."""
    find: dict[str, Callable[[], Path]] = {}
    source = {}
    for path in paths:
        name = path.stem if path.stem not in find else path.name
        find[name], source[name] = partial(Path, path), path.name
    if suite:
        from harness.published import SUITE, published_file

        wanted = [part.strip() for part in only.split(",")] if only else list(SUITE)
        unknown = [name for name in wanted if name not in SUITE]
        if unknown:
            raise BenchError(f"{', '.join(unknown)}: not in the suite, which has {', '.join(SUITE)}")
        for name in wanted:
            find[name], source[name] = partial(published_file, name), SUITE[name].source
    return FileSet(find, source)


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--suite", type=click.Choice(["published"]), help="Measure published files, as if each were given.")
@click.option("--only", help="Some files of the suite, by name.")
@click.option("--models", callback=_names(list(SPECS)), help=f"Some of {', '.join(SPECS)} (default: all).")
@click.option("--threads", default="1,2", show_default=True, callback=_threads, help="Thread counts.")
@click.option("--peers", callback=_names(list(PEERS)), help=f"Some of {', '.join(PEERS)} (default: all).")
@click.option("--tulle/--no-tulle", "with_tulle", default=True, help="Measure tulle too, or the peers alone.")
@click.option("--repetitions", default=3, show_default=True, type=POSITIVE, help="Times all contenders get new pages.")
@click.option("--rounds", default=6, show_default=True, type=POSITIVE, help="Turns of each contender in a repetition.")
@click.option("--runs", default=10, show_default=True, type=POSITIVE, help="Counted inferences in a turn.")
@click.option("--quick", is_flag=True, help="One short repetition, even on a busy machine: a check, not a measurement.")
@click.option("--force", is_flag=True, help="Measure even if the machine is not quiet; the report says so.")
@click.option(
    "--output",
    default=Path(__file__).resolve().parent / "results",
    show_default="bench/results",
    type=FOLDER,
    help="Folder for results.json, results.md and results.svg.",
)
def main(
    files: tuple[Path, ...],
    suite: str | None,
    only: str | None,
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

    Lists are comma-separated. Nothing is written until everything has been measured.

    With FILES (.tflite, .onnx) or --suite these are measured instead of the models, each on its own and for a shorter
    time, and every file goes into files.md (a suite's into published.md) as soon as it is done.
    """
    if files or suite:
        with explained(console):
            install()
            load = machine.wait_until_quiet(QUIET_WITHIN, force or quick)
            chosen = file_set(files, suite, only)
            some = peers if len(peers) < len(PEERS) else FILE_PEERS
            name = suite or "files"
            paths = asyncio.run(measure_files(console, name, chosen, threads, some, QUICK, load, output))
        console.print("written: " + ", ".join(str(path) for path in paths), highlight=False, soft_wrap=True)
        return
    settings = Settings(repetitions, rounds, runs)
    if quick:
        settings = Settings(repetitions=1, rounds=2, runs=5, warmup=5)
    with explained(console):
        report = asyncio.run(make_report(Plan(models, threads, peers, with_tulle, settings, force or quick)))
        paths = write(report, output)
    print_summary(report)
    console.print("written: " + ", ".join(str(path) for path in paths), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

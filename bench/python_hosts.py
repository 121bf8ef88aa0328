#!/usr/bin/env python3
"""Times tulle's Python hosts: Pyodide beside the browser engine, CPython beside native LiteRT. See docs/pyodide.md."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from playwright.async_api import Browser, Error, Page
from rich.console import Console
from rich.table import Table

import tulle
from harness.browser import chromium
from harness.errors import BenchError, explained
from harness.models import SPECS, tflite_bytes
from harness.native import NativeLiteRT
from harness.server import Server
from harness.timing import middle

CHECKOUT = Path(__file__).resolve().parents[1]
PYODIDES = CHECKOUT / ".cache" / "pyodide"
MODELS = ("hand_landmark_tulle", "hand_landmark_full", "selfie_segmentation")
THREADS = 2  # of the bridge, and of the engine it is compared with
WARM_UP = 40  # calls before the first burst, which the browser's optimising compiler needs
ROUNDS, RUNS, UNCOUNTED = 6, 12, 3  # the hosts take turns: RUNS counted calls each, after UNCOUNTED others

EPILOG = """\b
Examples:
  python bench/python_hosts.py                              everything, about a minute on a quiet machine
  python bench/python_hosts.py --model hand_landmark_full   one model
  python bench/python_hosts.py --no-models                  only load times and the sizes of the wheels
"""

# What a program sees: from the start of the import to a loaded model.
LOAD = """
from time import perf_counter
begin = perf_counter()
import tulle
imported = perf_counter()
tulle.load("model.tulle")
print(imported - begin, perf_counter() - imported)
"""

Burst = Callable[[int, int], Awaitable[list[float]]]
"""(warm-up calls, counted calls) -> milliseconds of each counted call."""


@dataclass
class Contender:
    """A host that is measured, and the time of every counted call."""

    name: str
    burst: Burst
    milliseconds: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        return float(middle(np.asarray(self.milliseconds)))


def shared_wheels() -> Path:
    return Path(os.environ.get("TULLE_SHARED") or CHECKOUT.parent / "shared") / "wheels"


def place_pyodides(folder: Path) -> dict[str, list[str]]:
    """Links every Pyodide and its wheels into the served folder; names of the wheels by version."""
    wheels: dict[str, list[str]] = {}
    for lock in sorted(PYODIDES.glob("[0-9]*/pyodide-lock.json"), reverse=True):
        home, version = lock.parent, lock.parent.name
        info = json.loads(lock.read_text())["info"]
        abi, python = info["abi_version"], "cp" + "".join(info["python"].split(".")[:2])
        ours = sorted((CHECKOUT / "dist").glob(f"tulle-*-pyemscripten_{abi}_wasm32.whl"))
        if not ours:
            raise BenchError(f"dist/ has no wheel of tulle for Pyodide {version}: run `make pyodide`")
        found = [ours[-1], *shared_wheels().glob(f"numpy-*-{python}-*.whl")]
        for wheel in found:
            (folder / wheel.name).symlink_to(wheel)
        (folder / f"pyodide-{version}").symlink_to(home)
        wheels[version] = [wheel.name for wheel in found]
    if not wheels:
        raise BenchError(f"there is no Pyodide in {PYODIDES}: run `make pyodide`")
    return wheels


async def open_page(browser: Browser, server: Server) -> Page:
    page = await browser.new_page()
    await page.goto(server.url("python", "bench/page/python.html"))
    await page.wait_for_function("self.python !== undefined")
    return page


def page_burst(page: Page, name: str) -> Burst:
    async def burst(warmup: int, runs: int) -> list[float]:
        arguments = {"name": name, "warmup": warmup, "runs": runs}
        return await page.evaluate("(options) => python.burst(options)", arguments)

    return burst


def local_burst(call: Callable[[], object]) -> Burst:
    async def burst(warmup: int, runs: int) -> list[float]:
        milliseconds = []
        for _ in range(warmup + runs):
            begin = perf_counter()
            call()
            milliseconds.append((perf_counter() - begin) * 1e3)
        return milliseconds[warmup:]

    return burst


async def measure(
    name: str, browser: Browser, server: Server, folder: Path, wheels: dict[str, list[str]]
) -> list[Contender]:
    """The times of all hosts on one model."""
    tflite = folder / f"{name}.tflite"
    tflite.write_bytes(tflite_bytes(SPECS[name]))
    tulle.convert(tflite).save(folder / f"{name}.tulle")
    url = server.url("python", f"data/{name}.tulle")

    model = tulle.load(folder / f"{name}.tulle")
    shape = model.inputs[0].shape
    values = (np.arange(prod(shape), dtype=np.float32) % 97 / 97).reshape(shape)
    native = NativeLiteRT(tflite)
    pages = [await open_page(browser, server)]
    await pages[0].evaluate("(options) => python.openEngine(options)", {"url": url, "threads": [1, THREADS]})
    contenders = [
        Contender("LiteRT, native", local_burst(lambda: native.run([values]))),
        Contender("CPython, wasmtime", local_burst(lambda: model(values))),
        Contender("browser engine", page_burst(pages[0], "engine 1")),
        Contender(f"browser engine, {THREADS} threads", page_burst(pages[0], f"engine {THREADS}")),
    ]
    for version, names in wheels.items():
        options = {"home": server.url("python", f"data/pyodide-{version}"), "url": url, "elements": prod(shape)}
        options |= {"packages": [server.url("python", f"data/{wheel}") for wheel in names], "threads": THREADS}
        pages.append(await open_page(browser, server))
        numpy = await pages[-1].evaluate("(options) => python.openPyodide(options)", options)
        kind = "" if numpy else ", no NumPy"
        contenders.append(Contender(f"Pyodide {version}{kind}", page_burst(pages[-1], "local")))
        contenders.append(Contender(f"Pyodide {version}, bridge", page_burst(pages[-1], "bridge")))
    for contender in contenders:
        await contender.burst(WARM_UP, 0)
    for _ in range(ROUNDS):
        for contender in contenders:
            contender.milliseconds += await contender.burst(UNCOUNTED, RUNS)
    for page in pages:
        await page.close()
    return contenders


def print_model(console: Console, name: str, contenders: list[Contender]) -> None:
    by_name = {contender.name: contender.ms for contender in contenders}
    table = Table("host", title=name, title_justify="left")
    for column in ("ms", "compared with", "speed", "ms more"):
        table.add_column(column, justify="left" if column == "compared with" else "right")
    for contender in contenders:
        other = reference(contender.name)
        speed = f"{by_name[other] / contender.ms:.2f}" if other else ""
        more = f"{contender.ms - by_name[other]:+.2f}" if other else ""
        table.add_row(contender.name, f"{contender.ms:.2f}", other, speed, more)
    console.print(table)


def reference(name: str) -> str:
    """The contender that this one is compared with; empty if none."""
    if name.endswith("bridge"):
        return f"browser engine, {THREADS} threads"
    if name.startswith("Pyodide"):
        return "browser engine"
    return "LiteRT, native" if name.startswith("CPython") else ""


def print_load_times(console: Console, folder: Path) -> None:
    """Load times in a new CPython process: with wasmtime's cache empty, then filled by the first."""
    tulle.convert(tflite_bytes(SPECS[MODELS[0]])).save(folder / "model.tulle")
    table = Table("CPython, a new process", "import s", "load s", title=f"loading {MODELS[0]}", title_justify="left")
    with tempfile.TemporaryDirectory() as cache:
        for kind in ("wasmtime's cache empty", "cache filled"):
            environment = {**os.environ, "XDG_CACHE_HOME": cache}
            command = [sys.executable, "-c", LOAD]
            times = []
            for _ in range(1 if kind.endswith("empty") else 5):
                result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
                if result.returncode:
                    raise BenchError(f"loading a model failed:\n{result.stderr.strip()[-500:]}")
                times.append([float(value) for value in result.stdout.split()])
            imported, loaded = np.median(np.asarray(times), axis=0)
            table.add_row(kind, f"{imported:.2f}", f"{loaded:.3f}")
    console.print(table)


def print_wheels(console: Console) -> None:
    table = Table("wheel in dist/", "kB", title_justify="left")
    for wheel in sorted((CHECKOUT / "dist").glob("*.whl")):
        table.add_row(wheel.name, f"{wheel.stat().st_size / 1e3:.0f}")
    console.print(table)


async def measure_models(console: Console, names: tuple[str, ...], folder: Path) -> None:
    wheels = place_pyodides(folder)
    with Server(CHECKOUT, folder) as server:
        async with chromium() as browser:
            for name in names:
                with console.status(f"measuring {name}"):
                    contenders = await measure(name, browser, server, folder, wheels)
                print_model(console, name, contenders)


@click.command(epilog=EPILOG)
@click.option("--model", "names", multiple=True, type=click.Choice(sorted(SPECS)), help="May be given several times.")
@click.option("--models/--no-models", "with_models", default=True, help="Time the models, or only the rest.")
def main(names: tuple[str, ...], with_models: bool) -> None:
    """Times tulle in Pyodide beside the browser engine, and in CPython beside native LiteRT, on this machine."""
    console = Console()
    if not console.is_terminal:
        console.width = 120
    with explained(Console(stderr=True), Error), tempfile.TemporaryDirectory(prefix="tulle-python-") as temporary:
        if with_models:
            asyncio.run(measure_models(console, names or MODELS, Path(temporary)))
        if not names:
            print_load_times(console, Path(temporary))
            print_wheels(console)


if __name__ == "__main__":
    main()

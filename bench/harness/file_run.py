"""Measures files, one after the other; after each the report is written, so that nothing is lost when it is stopped."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser
from rich.console import Console

from harness import machine
from harness.browser import chromium
from harness.contenders import NO_WORKER, Contender, NativeRunner, PageRunner, Runner, file_contenders
from harness.core import core_module, core_state
from harness.errors import BenchError
from harness.file_report import Json, fastest_peer, group_record, is_shared, merge, milliseconds, ratio, write
from harness.files import prepare_file
from harness.install import versions
from harness.measure import Result, Settings, measure
from harness.models import CHECKOUT, Model
from harness.server import Server
from tulle import TulleError

PEERS = ["litertjs", "tfjs-tflite", "onnxruntime-web"]
"""Measured unless others are asked for: the fastest on every file so far."""

CORE = "data/core.wasm"

QUICK = Settings(repetitions=1, rounds=5, runs=4, burst_warmup=2, warmup=8, warmup_ms=300, turn_ms=80, extras=False)
"""About 15 s for a file: 8 contenders, 20 to 1000 inferences of each, the more the quicker."""


@dataclass(frozen=True)
class FileSet:
    """What to measure: `find[name]` returns a file's path, `source[name]` says where it is from."""

    find: dict[str, Callable[[], Path]]
    source: dict[str, str]


async def _group(
    browser: Browser,
    server: Server,
    folder: Path,
    model: Model,
    threads: int,
    peers: list[str],
    settings: Settings,
    before: dict[str, float],
) -> Json:
    results = []
    for contender in file_contenders(model, threads, peers):
        results.append(Result(contender))
        if contender.file_format not in model.files:
            results[-1].fail(model.missing[contender.file_format])
    numbers = {result.contender: number for number, result in enumerate(results)}

    def new_runner(contender: Contender, repetition: int) -> Runner:
        if contender.runtime == "native":
            return NativeRunner(folder, contender, model)
        identity = f"{model.name}-{threads}-{repetition}-{numbers[contender]}"
        return PageRunner(browser, server, contender, model, threads, identity)

    await measure({model.name: model}, results, new_runner, settings, lambda done: None)
    after = await core_state(browser, server, server.url("core", CORE))
    return group_record(threads, results, [before, after])


def print_file(console: Console, name: str, groups: list[Json]) -> None:
    for group in groups:
        one = group["contenders"].get("tulle")
        peer = fastest_peer(group)
        cells = [f"{name} x{group['threads']}:"]
        if one is None or not one["ms"]:
            cells.append(f"tulle failed: {one['error'] if one else 'not measured'}")
        else:
            cells.append(f"tulle {milliseconds(one['ms']['median'])} ms")
        if peer:
            cells.append(f"{peer} {milliseconds(group['contenders'][peer]['ms']['median'])} ms")
            for ours in ("tulle", NO_WORKER):
                median, low = ratio(group, ours), ratio(group, ours, "low")
                if median is not None and low is not None:
                    cells.append(f"{'no worker ' if ours == NO_WORKER else ''}{median:.2f} x (low {low:.2f})")
        else:
            cells.append("no peer runs it")
        if is_shared(group):
            cells.append("[yellow]core shared[/]")
        console.print("  ".join(cells), highlight=False, soft_wrap=True)


async def measure_files(
    console: Console,
    report_name: str,
    files: FileSet,
    threads: list[int],
    peers: list[str],
    settings: Settings,
    load: float,
    output: Path,
) -> list[Path]:
    """Measures and reports all of `files`; returns the report's paths. Raises BenchError if there were none."""
    written: list[Path] = []
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tulle-bench-") as temporary:
        folder = Path(temporary)
        (folder / Path(CORE).name).write_bytes(core_module())
        with Server(CHECKOUT, folder) as server:
            async with chromium() as browser:
                for number, (name, find) in enumerate(files.find.items(), start=1):
                    begin = time.monotonic()
                    try:
                        path = find()
                        model, macs = prepare_file(name, path, folder)
                    except (BenchError, TulleError) as error:
                        left_out[name] = str(error)
                        console.print(f"[yellow]left out[/] {name}: {error}", highlight=False)
                        continue
                    groups: list[Json] = []
                    core = await core_state(browser, server, server.url("core", CORE))
                    for count in threads:
                        group = await _group(browser, server, folder, model, count, peers, settings, core)
                        core = group["core"][-1]
                        groups.append(group)
                    print_file(console, name, groups)
                    ours = model.files.get("tulle")
                    record: Json = {
                        "source": files.source[name],
                        "bytes": path.stat().st_size,
                        "tulle_bytes": (folder / ours[0]).stat().st_size if ours else None,
                        "macs": macs,
                        "oracle": model.oracle,
                        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
                        "groups": groups,
                    }
                    report: dict[str, Any] = {
                        "machine": machine.facts(load),
                        "browser": f"Chromium {browser.version}",
                        "settings": asdict(settings),
                        "versions": versions(peers),
                        "files": {name: record},
                        "left_out": left_out,
                    }
                    written = write(report_name, merge(report, output / f"{report_name}.json"), output)
                    seconds = time.monotonic() - begin
                    console.print(f"  {number} of {len(files.find)}, {seconds:.0f} s", style="dim", highlight=False)
    if not written:
        raise BenchError("none of the files could be measured")
    return written

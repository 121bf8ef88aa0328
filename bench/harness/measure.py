"""The measurement: all contenders are open and take turns in short bursts; only one works at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.contenders import Contender, Runner
from harness.errors import BenchError
from harness.models import Model

SETTLE = 0.05
"""Seconds between two bursts: thread pools spin for a while before they park, and would disturb the next contender."""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        repetitions: how often all contenders get fresh pages.
        rounds: turns a contender takes in a repetition.
        runs: counted inferences per turn.
        burst_warmup: uncounted inferences at the start of each turn.
        warmup: uncounted inferences after opening, enough for the browser to have optimised the wasm.
        warmup_ms, turn_ms: the shortest time that the warm-up and a turn last: quick models run more often.
        extras: whether memory and a second loading are measured.
    """

    repetitions: int = 3
    rounds: int = 6
    runs: int = 10
    burst_warmup: int = 3
    warmup: int = 30
    warmup_ms: float = 0
    turn_ms: float = 0
    extras: bool = True


@dataclass
class Result:
    """What one contender did.

    Attributes:
        status: "ok"; "wrong" if its answers differ from LiteRT's; "failed" if it could not run.
        error: why it failed or what was wrong.
        times: [repetition][run] milliseconds of an inference, its warm-up not counted.
        open_ms: for each repetition, from bytes to first output with the runtime's start; reload_ms without it.
        max_error: largest difference from LiteRT's outputs relative to their range.
        extra: memory_bytes, download, about.
    """

    contender: Contender
    status: str = "ok"
    error: str = ""
    times: list[list[float]] = field(default_factory=list)
    open_ms: list[float] = field(default_factory=list)
    reload_ms: list[float] = field(default_factory=list)
    max_error: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def fail(self, reason: str) -> None:
        self.status, self.error = "failed", reason


def compare(
    outputs: list[list[tuple[str, np.ndarray]]],
    expected: list[dict[str, np.ndarray]],
    extents: Mapping[str, float] | None = None,
    stray: float = 0.0,
) -> float:
    """The largest error of any output over all sets of inputs, relative to that output's range (LiteRT's largest minus
    smallest value over all sets; at least 1 for a single number, which is a score) or to its extent. The share `stray`
    of an output's values, the worst ones, is left out.

    Outputs are matched by name, or by position where a runtime renames them. Raises BenchError if they can't be.
    """
    worst = 0.0
    for position, name in enumerate(expected[0]):
        wanted = np.stack([one[name].ravel() for one in expected])
        spread = float(wanted.max() - wanted.min())
        scale = max(spread, 1.0) if wanted.shape[1] == 1 else max(spread, 1e-12)
        scale = (extents or {}).get(name, scale)
        for row, found in zip(wanted, outputs, strict=True):
            if len(found) != len(expected[0]):
                raise BenchError(f"{len(found)} outputs instead of {len(expected[0])}")
            names = [n for n, _ in found]
            values = found[names.index(name) if name in names else position][1]
            if values.shape != row.shape:
                raise BenchError(f"output {name!r} has {values.size} values instead of {row.size}")
            errors = np.sort(np.abs(values - row))  # NaN last
            error = errors[-1 - int(stray * len(errors))] / scale if len(errors) else 0.0
            worst = max(worst, float(error) if np.isfinite(error) else float("inf"))
    return worst


def _real(values: np.ndarray, scale: tuple[float, int] | None) -> np.ndarray:
    return values if scale is None else (values - np.float32(scale[1])) * np.float32(scale[0])


async def _open(runner: Runner, result: Result, model: Model, settings: Settings) -> bool:
    """Opens, checks the answers and warms up; False (and the reason in `result`) if the contender is out."""
    try:
        result.open_ms.append(await runner.open())
        outputs = await runner.outputs()
        if result.contender.file_format == "tflite":
            outputs = [[(name, _real(values, model.scales.get(name))) for name, values in one] for one in outputs]
        error = compare(outputs, model.expected, model.extents, model.stray)
        result.max_error = max(error, result.max_error or 0.0)
        if error > model.tolerance:
            result.status, result.error = "wrong", f"differs from {model.oracle} by {error:.2g} of the output's range"
        await runner.burst(0, settings.warmup, settings.warmup_ms)
    except BenchError as reason:
        result.fail(str(reason))
        return False
    return True


async def measure(
    models: dict[str, Model],
    results: list[Result],
    new_runner: Callable[[Contender, int], Runner],
    settings: Settings,
    step: Callable[[str], None],
) -> None:
    """Fills `results`, one per contender. `new_runner` makes a fresh runner for a contender and a repetition; `step` is
    called with what has just been done: once per repetition for opening, and once for each round."""
    for repetition in range(settings.repetitions):
        runners: list[tuple[Result, Runner]] = []
        try:
            for result in results:
                if result.status == "failed":
                    continue
                runner = new_runner(result.contender, repetition)
                runners.append((result, runner))
                if not await _open(runner, result, models[result.contender.model], settings):
                    runners.pop()
                    await runner.close()
                    continue
                result.times.append([])
            # The browser's optimising compiler works in the background for a while after the warm-up.
            await asyncio.sleep(0.5)
            step("opened")

            for turn in range(settings.rounds):
                # Over the rounds each contender follows every other, so that what one leaves in the caches evens out.
                shift = (repetition + turn) % max(len(runners), 1)
                for result, runner in runners[shift:] + runners[:shift]:
                    if result.status == "failed":
                        continue
                    await asyncio.sleep(SETTLE)
                    try:
                        result.times[-1] += await runner.burst(settings.burst_warmup, settings.runs, settings.turn_ms)
                    except BenchError as reason:
                        result.fail(str(reason))
                step(f"round {turn + 1}")

            for result, runner in runners:
                if result.status == "failed" or not settings.extras:
                    continue
                try:
                    extra = await runner.finish()
                except BenchError as reason:
                    result.extra["finish_error"] = str(reason)
                    continue
                if "reload_ms" in extra:
                    result.reload_ms.append(extra.pop("reload_ms"))
                memory = max(extra.get("memory_bytes", 0), result.extra.get("memory_bytes", 0))
                result.extra.update(extra, **({"memory_bytes": memory} if memory else {}))
        finally:
            for _, runner in runners:
                await runner.close()

"""Where kernels are measured: a page in Chromium, or wasmtime in this process. Both run one model at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from playwright.async_api import Browser, Error, Page

import tulle
from harness.browser import chromium
from harness.core import core_module, core_state
from harness.errors import BenchError
from harness.peak import MACS_PER_ROUND, peak_module
from harness.server import Server

CHECKOUT = Path(__file__).resolve().parents[2]
PEAK_ROUNDS = 200_000
PEAK_RUNS = 60
TIMEOUT = 120.0
"""Timeout for a call into a page, in seconds."""


class Profile:
    """Steps (name, op, kernel, path, macs) by name of a model, and `milliseconds` [run][step]."""

    def __init__(self, steps: list[dict[str, Any]], milliseconds: Any) -> None:
        self.milliseconds = np.asarray(milliseconds, dtype=np.float64).reshape(-1, len(steps))
        self.steps = {step["name"]: {**step, "column": column} for column, step in enumerate(steps)}


class Host(Protocol):
    """`name`: the program that runs the wasm."""

    name: str

    async def measure(self, data: bytes, variant: str, warmup_ms: float, runs: int) -> Profile: ...

    async def peak(self, variant: str) -> float:
        """The peak in 10^9 multiply-adds per second: relaxed_madd, or mul and add for "simd"."""

    async def loads(self) -> float | None:
        """Loads a cycle, which fall while somebody else uses the core; None where that is not measured."""


def _gmacs(milliseconds: float) -> float:
    return PEAK_ROUNDS * MACS_PER_ROUND / milliseconds / 1e6


class Wasmtime:
    """The runtime of CPython."""

    def __init__(self) -> None:
        from importlib.metadata import version

        self.name = f"wasmtime {version('wasmtime')}"

    async def measure(self, data: bytes, variant: str, warmup_ms: float, runs: int) -> Profile:
        with tulle.load(data, variant=variant) as loaded:  # type: ignore[arg-type]
            shape = loaded.inputs[0].shape
            values = (np.arange(np.prod(shape), dtype=np.float32) % 97 / 97).reshape(shape)
            begin, count = time.perf_counter(), 0
            while count < 5 or (time.perf_counter() - begin) * 1e3 < warmup_ms:
                loaded(values)
                count += 1
            profiles = [loaded.profile() for _ in range(runs)]
            return Profile(list(profiles[0]), [[step["ms"] for step in profile] for profile in profiles])

    async def peak(self, variant: str) -> float:
        import wasmtime

        store = wasmtime.Store(wasmtime.Engine())
        module = wasmtime.Module(store.engine, peak_module(variant))
        run: Any = wasmtime.Instance(store, module, []).exports(store)["run"]
        best = float("inf")
        for _ in range(PEAK_RUNS):
            begin = time.perf_counter()
            run(store, PEAK_ROUNDS)
            best = min(best, (time.perf_counter() - begin) * 1e3)
        return _gmacs(best)

    async def loads(self) -> float | None:
        return None


class Chromium:
    """A page for each variant, served from the checkout; models go through files in `folder`."""

    def __init__(self, browser: Browser, pages: dict[str, Page], server: Server, folder: Path) -> None:
        self.name = f"Chromium {browser.version}"
        self._browser = browser
        self._pages = pages
        self._server = server
        self._folder = folder

    def _place(self, name: str, data: bytes) -> str:
        (self._folder / name).write_bytes(data)
        return self._server.url("kernels", f"data/{name}")

    async def _call(self, variant: str, method: str, arguments: dict[str, Any]) -> Any:
        call = self._pages[variant].evaluate(f"(args) => kernels.{method}(args)", arguments)
        try:
            return await asyncio.wait_for(call, TIMEOUT)
        except asyncio.TimeoutError:
            raise BenchError(f"{method} in the {variant} page: no answer within {TIMEOUT:.0f} s") from None
        except Error as error:
            raise BenchError(f"{method} in the {variant} page failed: {error.message.splitlines()[0]}") from error

    async def measure(self, data: bytes, variant: str, warmup_ms: float, runs: int) -> Profile:
        url = self._place("model.tulle", data)
        arguments = {"url": url, "variant": variant, "warmup": warmup_ms, "runs": runs}
        return Profile(**await self._call(variant, "measure", arguments))

    async def peak(self, variant: str) -> float:
        url = self._place(f"peak-{variant}.wasm", peak_module(variant))
        return _gmacs(await self._call(variant, "peak", {"url": url, "rounds": PEAK_ROUNDS, "runs": PEAK_RUNS}))

    async def loads(self) -> float | None:
        state = await core_state(self._browser, self._server, self._place("core.wasm", core_module()))
        return state["loads"]


@asynccontextmanager
async def open_host(kind: str, variants: list[str], folder: Path) -> AsyncIterator[Host]:
    """The host of a kind, "chromium" or "wasmtime"; `folder` is empty and its own."""
    if kind == "wasmtime":
        yield Wasmtime()
        return
    with Server(CHECKOUT, folder) as server:
        async with chromium() as browser:
            pages = {}
            for variant in variants:
                page = await (await browser.new_context()).new_page()
                await page.goto(server.url("kernels", "bench/page/kernels.html"))
                await page.wait_for_function("self.kernels !== undefined")
                pages[variant] = page
            yield Chromium(browser, pages, server, folder)

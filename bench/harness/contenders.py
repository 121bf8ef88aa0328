"""The contenders for each model, and their two kinds: a page in the browser, and LiteRT in this process."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page

from harness.errors import BenchError
from harness.models import Model
from harness.native import NativeLiteRT
from harness.server import Server

T = TypeVar("T")
PEERS = {
    "litertjs": "tflite",
    "tfjs-tflite": "tflite",
    "tfjs-wasm": "tfjs",
    "onnxruntime-web": "onnx",
    "native": "tflite",
}
"""Every peer and the format of the file it is given."""

DENSE_TWIN = dict.fromkeys(("hand_landmark_tulle", "hand_landmark_sparse"), "hand_landmark_full")
"""Dense models for the same task; peers run them too, in the sparse model's group."""

CUSTOM_OPS = {"selfie_segmentation", "selfie_segmentation_landscape"}
"""Models with a custom op that some TFLite runtimes lack; TFLite runtimes also get a copy without it."""

NO_WORKER = "tulle, no worker"
"""tulle in the page's own thread, where its peers run."""

TIMEOUT = 120.0
"""Timeout for a call into a page, in seconds."""


@dataclass(frozen=True)
class Contender:
    """One line of a table: a runtime, how it is set up and the file it runs.

    Attributes:
        name: unique in its group.
        runtime: "tulle", or a key of PEERS.
        model: the model it runs; not the group's own for a dense twin.
        file_format: key of Model.files (see there).
        variant: of tulle's build.
        worker: tulle only: whether it computes in a worker or in the page's own thread; "auto" as by default.
    """

    name: str
    runtime: str
    model: str
    file_format: str
    variant: str | None = None
    worker: bool | Literal["auto"] = "auto"


def contenders(model: str, threads: int, peers: list[str], with_tulle: bool) -> list[Contender]:
    """All contenders that run `model` on `threads` threads, tulle first.

    tulle without a worker and LiteRT in this process take part on one thread only.
    """
    result = []
    if with_tulle:
        result.append(Contender("tulle", "tulle", model, "tulle", "relaxed"))
        result.append(Contender(NO_WORKER, "tulle", model, "tulle", "relaxed", worker=False))
        result.append(Contender("tulle simd", "tulle", model, "tulle", "simd"))
        if model in DENSE_TWIN:
            result.append(Contender("tulle --sparse never", "tulle", model, "tulle-dense", "relaxed"))
    present = [peer for peer in peers if peer != "native" or threads == 1]
    result += [Contender(peer, peer, model, PEERS[peer]) for peer in present]
    tflite_peers = [peer for peer in present if PEERS[peer] == "tflite"]
    if model in CUSTOM_OPS:
        result += [Contender(f"{peer}, built-in ops", peer, model, "tflite-builtin") for peer in tflite_peers]
    if model in DENSE_TWIN:
        twin = DENSE_TWIN[model]
        result += [Contender(f"{peer} on {twin}", peer, twin, "tflite") for peer in tflite_peers]
    return result


def file_contenders(model: Model, threads: int, peers: list[str], with_tulle: bool = True) -> list[Contender]:
    """The contenders for a file that somebody brings: tulle as it runs by default and without a worker, and those peers
    that read the file's own format; they also get a copy without custom ops, if there is one."""
    result = []
    if with_tulle:
        result.append(Contender("tulle", "tulle", model.name, "tulle", "relaxed"))
        result.append(Contender(NO_WORKER, "tulle", model.name, "tulle", "relaxed", worker=False))
    for peer in peers:
        if PEERS[peer] in model.files and (peer != "native" or threads == 1):
            result.append(Contender(peer, peer, model.name, PEERS[peer]))
            if PEERS[peer] == "tflite" and "tflite-builtin" in model.files:
                result.append(Contender(f"{peer}, built-in ops", peer, model.name, "tflite-builtin"))
    return result


class Runner(Protocol):
    """A running contender. It does nothing between two calls."""

    async def open(self) -> float:
        """Starts it; milliseconds from the model's bytes in memory to the first output, with the runtime's start."""

    async def burst(self, warmup: int, runs: int, milliseconds: float = 0) -> list[float]:
        """Milliseconds of each inference after `warmup` uncounted ones: of `runs`, and more until `milliseconds` have
        passed."""

    async def outputs(self) -> list[list[tuple[str, np.ndarray]]]:
        """For every set of inputs, names and values (flat) of the outputs."""

    async def finish(self) -> dict[str, Any]:
        """Measured once, after the bursts: reload_ms, memory_bytes, about; those that apply."""

    async def close(self) -> None:
        """Ends it."""


def _one_line(error: str, complaints: list[str]) -> str:
    """An error in a form that fits a table, with the runtime's console output; no stack traces, no addresses."""
    lines = [line for text in (error, *complaints) for line in text.splitlines()]
    kept = [re.sub(r"http://127\.0\.0\.1:\d+/c/[^/]+/", "", line.strip()) for line in lines]
    kept = [re.sub(r"^(Page\.\w+: )?((Uncaught )?Error: )?", "", line) for line in kept if not line.startswith("at ")]
    return "; ".join(dict.fromkeys(line for line in kept if line))[:300]


class PageRunner:
    """A contender in its own page and browser context."""

    def __init__(
        self, browser: Browser, server: Server, contender: Contender, model: Model, threads: int, identity: str
    ) -> None:
        self._browser = browser
        self._server = server
        self._contender = contender
        self._model = model
        self._threads = threads
        self._identity = identity
        self._context: BrowserContext | None = None
        self._page: Page | None = None
        self._complaints: list[str] = []

    async def _within_time(self, call: Awaitable[T], what: str) -> T:
        try:
            return await asyncio.wait_for(call, TIMEOUT)
        except asyncio.TimeoutError:
            raise BenchError(f"{what}: no answer within {TIMEOUT:.0f} s") from None
        except Error as error:
            raise BenchError(_one_line(error.message, self._complaints)) from error

    async def _call(self, method: str, *arguments: Any) -> Any:
        assert self._page is not None
        script = f"(args) => bench.{method}(...args)"
        return await self._within_time(self._page.evaluate(script, list(arguments)), method)

    def _listen(self, message: ConsoleMessage) -> None:
        # Runtimes look for some files in several places, so 404s mean nothing. TFLite logs its errors as warnings.
        if message.text.startswith("ERROR:") or (message.type == "error" and "status of 404" not in message.text):
            self._complaints.append(message.text)

    async def open(self) -> float:
        self._context = await self._browser.new_context()
        self._page = await self._context.new_page()
        self._page.on("console", self._listen)
        self._page.on("pageerror", lambda error: self._complaints.append(error.message))
        address = self._server.url(self._identity, "bench/page/contender.html")
        await self._within_time(self._page.goto(address), "opening the page")
        await self._within_time(self._page.wait_for_function("self.bench !== undefined"), "the page's script")

        def data(name: str) -> str:
            return self._server.url(self._identity, f"data/{name}")

        name, sets = self._model.name, range(len(self._model.values))
        feed = self._model.feeds[self._contender.file_format]
        milliseconds: float = await self._call(
            "open",
            {
                "adapter": self._contender.runtime,
                "options": {
                    "threads": self._threads,
                    "variant": self._contender.variant,
                    "worker": self._contender.worker,
                },
                "files": [data(file) for file in self._model.files[self._contender.file_format]],
                "inputs": feed.inputs,
                "values": [[data(f"{name}.{s}.{i}.{feed.suffix}") for i in range(len(feed.inputs))] for s in sets],
            },
        )
        return milliseconds

    async def burst(self, warmup: int, runs: int, milliseconds: float = 0) -> list[float]:
        times: list[float] = await self._call("burst", warmup, runs, milliseconds)
        return times

    async def outputs(self) -> list[list[tuple[str, np.ndarray]]]:
        encoded = await self._call("outputs")
        return [[(o["name"], np.frombuffer(base64.b64decode(o["data"]), "<f4")) for o in one] for one in encoded]

    async def profile(self, runs: int) -> dict[str, Any]:
        """tulle only: "steps", "milliseconds" [run][step] and "wall" [run], see page/harness.js."""
        profile: dict[str, Any] = await self._call("profile", runs)
        return profile

    async def finish(self) -> dict[str, Any]:
        return {
            "memory_bytes": await self._call("memory"),
            "about": await self._call("describe"),
            "download": self._server.downloads(self._identity),
            "reload_ms": await self._call("reload"),
        }

    async def close(self) -> None:
        if self._context is not None:
            await self._context.close()


class NativeRunner:
    """LiteRT in this process, on one thread."""

    def __init__(self, folder: Path, contender: Contender, model: Model) -> None:
        self._path = folder / model.files[contender.file_format][0]
        self._model = model

    def _load_and_run(self) -> float:
        begin = time.perf_counter()
        self._interpreter = NativeLiteRT(self._path)
        self._interpreter.run(self._model.values[0])
        return (time.perf_counter() - begin) * 1e3

    async def open(self) -> float:
        return self._load_and_run()

    async def burst(self, warmup: int, runs: int, milliseconds: float = 0) -> list[float]:
        self._interpreter.times(self._model.values[0], warmup)
        times: list[float] = []
        while len(times) < runs or sum(times) < milliseconds:
            times += self._interpreter.times(self._model.values[0], 1)
        return times

    async def outputs(self) -> list[list[tuple[str, np.ndarray]]]:
        answers = [self._interpreter.run(values) for values in self._model.values]
        return [[(name, value.ravel()) for name, value in answer.items()] for answer in answers]

    async def finish(self) -> dict[str, Any]:
        return {"reload_ms": self._load_and_run()}

    async def close(self) -> None:
        del self._interpreter

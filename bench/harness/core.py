"""Whether somebody else runs on the other hardware thread of this core, which the load average does not show.

Cores of rented machines are shared: multiply-adds in registers go on at their peak whatever the other thread does, but
loads from L1 fall. The module times three loops that run for a fraction of a millisecond each, in turn: dependent
additions, which give the clock; loads; and multiply-adds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from playwright.async_api import Browser

from harness.peak import I32, V128, function, leb, local_get, local_set, module, simd
from harness.server import Server

ADDS, LOADS, MADDS = 16, 32, 12
"""What one round of each loop does."""

FREE = 1.9
"""Loads a cycle above which the core is this program's alone: 2 on x86 since Haswell and Zen."""

SUMS = 8
"""What is loaded goes into so many sums, in turn, that none waits for itself."""

_ROUNDS, _OTHER, _FIRST = 0, 1, 2


def _adds() -> bytes:
    # The addend is a parameter: a constant would be folded into one addition.
    step = local_get(_FIRST) + local_get(_OTHER) + b"\x6a" + local_set(_FIRST)
    return function([(1, I32)], step * ADDS, local_get(_FIRST))


def _loads() -> bytes:
    sums = range(_FIRST, _FIRST + SUMS)
    body = b""
    for number in range(LOADS):
        load = local_get(_OTHER) + simd(0x00) + b"\x04" + leb(16 * number)
        i = _FIRST + number % SUMS
        body += local_get(i) + load + simd(0x51) + local_set(i)  # v128.xor
    result = local_get(_FIRST) + b"".join(local_get(i) + simd(0x51) for i in sums[1:])
    return function([(SUMS, V128)], body, result + simd(0x1B) + b"\x00")  # i32x4.extract_lane 0


def _madds() -> bytes:
    sums = range(_FIRST, _FIRST + MADDS)
    factor = _FIRST + MADDS
    body = b"".join(
        local_get(i) + local_get(factor) + local_get(factor) + simd(0x105) + local_set(i) for i in sums
    )  # f32x4.relaxed_madd
    result = local_get(_FIRST) + b"".join(local_get(i) + simd(0x51) for i in sums[1:])
    return function([(MADDS + 1, V128)], body, result + simd(0x1B) + b"\x00")


def core_module() -> bytes:
    """A wasm module that exports `adds`, `loads` and `madds`: each (rounds: i32, 1 or 0: i32) -> i32."""
    names = {"adds": _adds(), "loads": _loads(), "madds": _madds()}
    return module([I32, I32], I32, names, memory=True)


async def core_state(browser: Browser, server: Server, url: str) -> dict[str, float]:
    """GHz, loads and multiply-adds (128 bits each) a cycle: medians over a tenth of a second. `url`: of the module."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(server.url("core", "bench/page/core.html"))
        await page.wait_for_function("self.core !== undefined")
        work = {"adds": ADDS, "loads": LOADS, "madds": MADDS}
        slices: dict[str, Any] = await page.evaluate("(args) => core.measure(args)", {"url": url, "work": work})
    finally:
        await context.close()
    rates = {name: np.asarray(values) for name, values in slices.items()}  # a microsecond
    return {
        "ghz": float(np.median(rates["adds"])) / 1e3,
        "loads": float(np.median(rates["loads"] / rates["adds"])),
        "madds": float(np.median(rates["madds"] / rates["adds"])),
    }

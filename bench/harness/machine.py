"""Facts about the machine, without which a figure means nothing."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from harness.errors import BenchError

QUIET_LOAD = 0.5
"""A 1-minute load average above this means that something else is running."""


def cpu_model() -> str:
    """The processor's name, as reported by the kernel."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    stripped = {key.strip(): value.strip() for key, value in fields.items()}
    name = stripped.get("model name", platform.processor() or "unknown")
    family, model = stripped.get("cpu family"), stripped.get("model")
    return f"{name} (family {family}, model {model})" if family and model else name


def facts(load: float) -> dict[str, Any]:
    """The machine as the report states it; `load` is the load average before the first measurement."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(load, 2),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def wait_until_quiet(timeout: float, force: bool) -> float:
    """Waits until the load average is below `QUIET_LOAD` and returns it: a build just before takes a minute to fade.

    Raises BenchError after `timeout` seconds. With `force` it only reads the load average.
    """
    deadline = time.monotonic() + timeout
    while (load := os.getloadavg()[0]) > QUIET_LOAD and not force:
        if time.monotonic() > deadline:
            raise BenchError(
                f"the load average is {load:.2f}, above {QUIET_LOAD}: something else is running and the figures would "
                "be wrong. End it, or measure all the same with --force."
            )
        time.sleep(2)
    return load

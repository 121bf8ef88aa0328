"""Shared by the set-up scripts: paths of the checkout, and running long commands with progress.

Standard library only, Python 3.10 or newer: these scripts run before anything has been installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

PROGRESS_SECONDS = 5.0


class SetupError(Exception):
    """A step failed; the message says what, where and what to do. `main_guard` prints it and exits with 1."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"==> {text}", flush=True)


@contextlib.contextmanager
def main_guard() -> Iterator[None]:
    """Turns a SetupError into its message on stderr and exit status 1, and lets SIGTERM unwind like Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def run_logged(
    title: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> None:
    """Runs a long command, its output appended to `log` and its latest line shown every few seconds.

    Args:
        env: variables set on top of this process's own.
        timeout: seconds after which the command is ended.

    Raises:
        SetupError: the command failed or took too long; holds the end of its output.
    """
    say(title)
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("ab") as sink:
        begin = sink.tell()
        sink.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        sink.flush()
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # a separate process group, so that everything it starts can be ended with it
                close_fds=False,  # a lock that the caller made inheritable stays held while this runs
            )
        except OSError as error:
            raise SetupError(f"{title}: cannot start {command[0]}: {error}") from error
        try:
            status = _wait(process, log, started, timeout)
        except BaseException:
            _stop(process)
            raise
    if status is None:
        raise SetupError(f"{title}: stopped after {timeout:.0f} s; the whole output is in {log}")
    if status != 0:
        raise SetupError(f"{title}: exit status {status}\n{_tail(log, 15, begin)}\nThe whole output is in {log}")
    print(f"    done in {time.monotonic() - started:.0f} s", flush=True)


def _wait(process: subprocess.Popen[bytes], log: Path, started: float, timeout: float | None) -> int | None:
    """The exit status, or None if the time ran out and the process was ended."""
    while True:
        try:
            return process.wait(PROGRESS_SECONDS)
        except subprocess.TimeoutExpired:
            elapsed = time.monotonic() - started
            print(f"    {elapsed:4.0f} s  {_tail(log, 1)[:100]}", flush=True)
            if timeout is not None and elapsed > timeout:
                _stop(process)
                return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process started by `run_logged` and its whole group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _tail(log: Path, lines: int, begin: int = 0) -> str:
    """The last nonempty lines of a log from byte `begin` on; a carriage return ends a line too."""
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - 16384))
        text = file.read().decode(errors="replace")
    return "\n".join([line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()][-lines:])


def write_if_changed(path: Path, text: str, *, executable: bool = False) -> None:
    """Writes a file only if its content differs, so that make sees an unchanged time stamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
    if executable:
        path.chmod(0o755)


def is_debian_root() -> bool:
    """Whether apt-get may be used here: root on Debian or a derivative."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(packages: Sequence[str], log: Path) -> None:
    """Installs Debian packages on this machine. Only where `is_debian_root()`."""
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run_logged("apt-get update", ["apt-get", "update"], log, env=env)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    run_logged(f"apt-get install {' '.join(packages)}", command, log, env=env)

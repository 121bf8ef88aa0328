"""The native builds of the C library (scripts/native.mk) as hosts that `tulle.load` can run models on."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from paths import ROOT

BUILDS = Path(os.environ.get("TULLE_NATIVE", ROOT / "build" / "native"))

# What wasm does too: an allocation that is too large returns NULL.
SANITIZERS = {
    "ASAN_OPTIONS": "allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
    "ASAN_SYMBOLIZER_PATH": str(ROOT / ".cache" / "native" / "bin" / "llvm-symbolizer"),
}

# Of results a C compiler fills no more than their own width.
_NUMBERS = (
    "tulle_engine_threads", "tulle_model_run", "tulle_model_set_picture", "tulle_model_set_rgba8",
    "tulle_picture_sample", "tulle_compositor_set_size", "tulle_compositor_set_picture", "tulle_compositor_run",
)  # fmt: skip


class LoadedLibrary:
    """A shared library in this process. Pointers are this process's own; workers are Python threads."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._library = _open(path)
        self._threads = threads
        self._workers: list[threading.Thread] = []

    def call(self, name: str, *arguments: int) -> int:
        if name == "tulle_engine_create":
            arguments = (self._threads,)
        function = self._library[name]  # a new object for every call, whose types are nobody else's
        # Of a function that returns nothing this is whatever the register holds; nobody reads it.
        function.restype = ctypes.c_uint32 if name in _NUMBERS else ctypes.c_size_t
        result = function(*map(ctypes.c_size_t, arguments)) or 0
        if name == "tulle_engine_create":
            for index in range(1, self._threads):
                self._workers.append(
                    threading.Thread(target=self.call, args=("tulle_engine_worker", result, index), daemon=True)
                )
                self._workers[-1].start()
        return result

    def read(self, pointer: int, size: int) -> bytearray:
        return bytearray((ctypes.c_uint8 * size).from_address(pointer))

    def read_string(self, pointer: int) -> str:
        return ctypes.string_at(pointer).decode("utf-8", "replace")

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        flat = memoryview(data).cast("B")
        memoryview((ctypes.c_uint8 * flat.nbytes).from_address(pointer)).cast("B")[:] = flat


@cache
def _open(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


class HostProcess:
    """A process of its own (tests/native/host.c), which may be of 32 bits or watched by a sanitizer.

    What the sanitizer reports, or whatever else ends the process, is raised as a RuntimeError, which no test takes
    for the TulleError of a file that is refused.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._process = subprocess.Popen(
            [path, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **SANITIZERS},
        )
        assert self._process.stdin and self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout
        self._report = ""

    def call(self, name: str, *arguments: int) -> int:
        self._send(f"call {name} {' '.join(map(str, arguments))}\n".encode())
        result = int(self._line())
        if name == "tulle_engine_destroy":
            self.close()
        return result

    def read(self, pointer: int, size: int) -> bytearray:
        self._send(f"read {pointer} {size}\n".encode())
        return bytearray(self._bytes(size))

    def read_string(self, pointer: int) -> str:
        self._send(f"string {pointer}\n".encode())
        return self._bytes(int(self._line())).decode("utf-8", "replace")

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        flat = memoryview(data).cast("B")
        self._send(f"write {pointer} {flat.nbytes}\n".encode() + bytes(flat))
        self._line()

    def close(self) -> None:
        """Ends the process, in which leaks are looked for only now."""
        with suppress(OSError):
            self._to.close()
        self._check(self._process.wait(60))

    def _send(self, data: bytes) -> None:
        try:
            self._to.write(data)
            self._to.flush()
        except OSError:
            self._fail()

    def _line(self) -> bytes:
        line = self._from.readline()
        if not line.endswith(b"\n"):
            self._fail()
        return line

    def _bytes(self, size: int) -> bytes:
        data = self._from.read(size)
        if len(data) < size:
            self._fail()
        return data

    def _fail(self) -> None:
        self._check(self._process.wait(60))
        raise RuntimeError("the host process ended by itself")

    def _check(self, status: int) -> None:
        assert self._process.stderr
        self._report += self._process.stderr.read().decode("utf-8", "replace")
        if status or self._report:
            raise RuntimeError(f"the host process ended with status {status}:\n{self._report}")

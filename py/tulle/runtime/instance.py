"""CPython: one running copy of the C library in wasmtime, with calls by name and its memory."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import wasmtime

from tulle.errors import TulleError
from tulle.runtime.builds import choose_build, compiled, engine
from tulle.runtime.host import Build, Variant


def open_instance(variant: Variant) -> tuple[Instance, Build]:
    """A new instance of the build for `variant`."""
    build = choose_build(variant)
    return Instance(engine(), compiled(build)), build


class Instance:
    """An instance with its own memory. Pointers are offsets into it, as unsigned 32-bit numbers.

    The memory may move whenever wasm code runs, so nothing here keeps a view of it.
    """

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self._failed = False
        self._store = wasmtime.Store(engine)
        linker = wasmtime.Linker(engine)
        now = wasmtime.FuncType([], [wasmtime.ValType.f64()])
        linker.define_func("tulle", "now", now, lambda: time.perf_counter() * 1e3)
        try:
            self._exports = linker.instantiate(self._store, module).exports(self._store)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise TulleError(f"the wasm module cannot be started: {error}") from None
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        if self._exports.get("_initialize") is not None:
            self.call("_initialize")

    def call(self, name: str, *arguments: int) -> int:
        """Calls an exported function; its result (0 if it has none) as an unsigned number.

        Raises TulleError if the wasm code traps; after that the instance cannot be used, and every call raises.
        """
        if self._failed:
            raise TulleError("the wasm module failed before: load the model again")
        function: Any = self._exports[name]
        try:
            result = function(self._store, *arguments)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            self._failed = True
            reason = str(error).strip().splitlines()[-1]
            raise TulleError(f"{name} failed inside the wasm module, which is a bug in tulle: {reason}") from error
        return 0 if result is None else int(result) & 0xFFFFFFFF

    def read(self, pointer: int, size: int) -> bytearray:
        """A copy of `size` bytes."""
        return bytearray(self._view(pointer, size))

    def read_string(self, pointer: int) -> str:
        """A copy of a zero-terminated UTF-8 string."""
        self._view(pointer, 1)
        address = ctypes.addressof(self._memory.get_buffer_ptr(self._store, 1, pointer))
        return ctypes.string_at(address).decode("utf-8", "replace")

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        """Copies the bytes of a C-contiguous buffer to the pointer."""
        flat = memoryview(data).cast("B")
        self._view(pointer, flat.nbytes)[:] = flat

    def _view(self, pointer: int, size: int) -> memoryview:
        """Part of the module's memory as bytes, valid until wasm code runs again."""
        if not 0 < pointer <= pointer + size <= self._memory.data_len(self._store):
            raise TulleError(f"{size} bytes at {pointer} are outside the wasm memory, which is a bug in tulle")
        return memoryview(self._memory.get_buffer_ptr(self._store, size, pointer)).cast("B")

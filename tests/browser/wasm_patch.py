"""Replaces the code of exported functions in a wasm module, so that tests can see a real engine trap or hang."""

from __future__ import annotations

UNREACHABLE = b"\x00"
FOREVER = b"\x03\x40\x0c\x00\x0b\x00"  # loop; br 0; end; unreachable

_EXPORT, _IMPORT, _CODE = 7, 2, 10

# For tulle_engine_worker: enters the first run that it catches, as gate (at byte 128 of tulle_engine) goes from 0 to 1,
# and traps in it. loop; local.get 0; i32.const 0; i32.const 1; i32.atomic.rmw.cmpxchg 128; br_if 0; end; unreachable
ENTER_THEN_TRAP = b"\x03\x40\x20\x00\x41\x00\x41\x01\xfe\x48\x02\x80\x01\x0d\x00\x0b\x00"


def wait_then_trap(milliseconds: int) -> bytes:
    """Code that waits on address 0 (holding 0, and never notified) and then traps."""
    return b"\x41\x00\x41\x00\x42" + _signed(milliseconds * 1_000_000) + b"\xfe\x01\x02\x00\x1a\x00"


def replace(wasm: bytes, bodies: dict[str, bytes]) -> bytes:
    """The module with each named export's function body, locals included, replaced by the given instructions."""
    sections = list(_sections(wasm))
    imported = next((_imported_functions(content) for kind, content in sections if kind == _IMPORT), 0)
    exports = next(_function_exports(content) for kind, content in sections if kind == _EXPORT)
    code = {exports[name] - imported: b"\x00" + body + b"\x0b" for name, body in bodies.items()}
    result = wasm[:8]
    for kind, content in sections:
        if kind == _CODE:
            count, at = _read(content, 0)
            parts = [_unsigned(count)]
            for index in range(count):
                size, at = _read(content, at)
                body = code.get(index, content[at : at + size])
                parts.append(_unsigned(len(body)) + body)
                at += size
            content = b"".join(parts)
        result += bytes([kind]) + _unsigned(len(content)) + content
    return result


def _sections(wasm: bytes) -> list[tuple[int, bytes]]:
    at, found = 8, []
    while at < len(wasm):
        kind = wasm[at]
        size, at = _read(wasm, at + 1)
        found.append((kind, wasm[at : at + size]))
        at += size
    return found


def _imported_functions(content: bytes) -> int:
    count, at = _read(content, 0)
    functions = 0
    for _ in range(count):
        for _ in range(2):  # module and field name
            size, at = _read(content, at)
            at += size
        kind, at = content[at], at + 1
        if kind == 0:  # function: a type index
            functions += 1
            _, at = _read(content, at)
        elif kind == 2:  # memory: limits
            flags, at = content[at], at + 1
            for _ in range(2 if flags & 1 else 1):
                _, at = _read(content, at)
        else:
            raise ValueError(f"import of kind {kind}, which tulle's modules do not have")
    return functions


def _function_exports(content: bytes) -> dict[str, int]:
    count, at = _read(content, 0)
    found = {}
    for _ in range(count):
        size, at = _read(content, at)
        name, at = content[at : at + size].decode(), at + size
        kind = content[at]
        index, at = _read(content, at + 1)
        if kind == 0:
            found[name] = index
    return found


def _read(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _unsigned(value: int) -> bytes:
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def _signed(value: int) -> bytes:
    """A non-negative number as signed LEB128: the last byte's bit 6 has to be clear."""
    result = bytearray()
    while value >= 0x40:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])

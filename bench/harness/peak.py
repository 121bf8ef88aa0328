"""The peak rate of multiply-adds in wasm on this machine, which the kernels are judged against.

Twelve independent accumulators stay in registers, no memory is touched, and a multiply-add waits only for the last one
of its own accumulator. Both builds need twelve: a fused multiply-add takes 4 cycles and 2 can start in each on current
x86 (8 at a time), a multiplication and an addition one after the other take 6 to 8.
"""

from __future__ import annotations

SUMS = 12
MACS_PER_ROUND = SUMS * 4
"""Multiply-adds of one round of the loop: four lanes per accumulator."""

I32, F32, V128 = b"\x7f", b"\x7d", b"\x7b"


def leb(value: int) -> bytes:
    """Unsigned LEB128."""
    result = b""
    while True:
        value, low = value >> 7, value & 127
        if not value:
            return result + bytes([low])
        result += bytes([low | 128])


def _sized(content: bytes) -> bytes:
    return leb(len(content)) + content


def _section(number: int, *items: bytes) -> bytes:
    return bytes([number]) + _sized(leb(len(items)) + b"".join(items))


def simd(opcode: int) -> bytes:
    return b"\xfd" + leb(opcode)


def local_get(local: int) -> bytes:
    return b"\x20" + leb(local)


def local_set(local: int) -> bytes:
    return b"\x21" + leb(local)


def function(variables: list[tuple[int, bytes]], body: bytes, result: bytes, before: bytes = b"") -> bytes:
    """A function whose first parameter says how often the body runs; `variables`: number and type."""
    count_down = local_get(0) + b"\x41\x01\x6b\x22\x00"  # i32.const 1, i32.sub, local.tee
    loop = b"\x03\x40" + body + count_down + b"\x0d\x00\x0b"  # loop, br_if 0, end
    declared = leb(len(variables)) + b"".join(leb(count) + kind for count, kind in variables)
    return _sized(declared + before + loop + result + b"\x0b")


def module(parameters: list[bytes], result: bytes, functions: dict[str, bytes], memory: bool = False) -> bytes:
    """A module that exports functions, by name, of one signature; `memory`: with a page of memory."""
    signature = b"\x60" + leb(len(parameters)) + b"".join(parameters) + leb(1) + result
    exports = [_sized(name.encode()) + b"\x00" + leb(number) for number, name in enumerate(functions)]
    header = b"\x00asm\x01\x00\x00\x00" + _section(1, signature) + _section(3, *[b"\x00"] * len(functions))
    memories = _section(5, b"\x00\x01") if memory else b""
    return header + memories + _section(7, *exports) + _section(10, *functions.values())


_SPLAT, _ADD, _MUL, _RELAXED_MADD = simd(0x13), simd(0xE4), simd(0xE6), simd(0x105)
_LANE_0 = simd(0x1F) + b"\x00"


def peak_module(variant: str) -> bytes:
    """A wasm module that exports `run(rounds: i32) -> f32`, which does rounds * MACS_PER_ROUND multiply-adds:
    f32x4.relaxed_madd for variant "relaxed", f32x4.mul and f32x4.add for "simd"."""
    x, y, first = 1, 2, 3  # locals: two factors, the sums

    def constant(bits: bytes) -> bytes:
        return b"\x43" + bits + _SPLAT

    before = constant(b"\x00\x00\x00\x3f") + local_set(x)  # 0.5
    before += constant(b"\x00\x00\x80\x3f") + local_set(y)  # 1: sums go to 2, so that no number is ever denormal
    body = b""
    for i in range(first, first + SUMS):
        multiply_add = local_get(y) + _RELAXED_MADD if variant == "relaxed" else _MUL + local_get(y) + _ADD
        body += local_get(i) + local_get(x) + multiply_add + local_set(i)
    total = local_get(first) + b"".join(local_get(i) + _ADD for i in range(first + 1, first + SUMS)) + _LANE_0
    return module([I32], F32, {"run": function([(2 + SUMS, V128)], body, total, before)})

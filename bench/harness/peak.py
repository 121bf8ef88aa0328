"""The peak rate of multiply-adds in wasm on this machine, which the kernels are judged against.

Twelve independent accumulators stay in registers, no memory is touched, and a multiply-add waits only for the last one
of its own accumulator. Both builds need twelve: a fused multiply-add takes 4 cycles and 2 can start in each on current
x86 (8 at a time), a multiplication and an addition one after the other take 6 to 8.
"""

from __future__ import annotations

SUMS = 12
MACS_PER_ROUND = SUMS * 4
"""Multiply-adds of one round of the loop: four lanes per accumulator."""

_I32, _F32, _V128 = b"\x7f", b"\x7d", b"\x7b"


def _leb(value: int) -> bytes:
    """Unsigned LEB128."""
    result = b""
    while True:
        value, low = value >> 7, value & 127
        if not value:
            return result + bytes([low])
        result += bytes([low | 128])


def _sized(content: bytes) -> bytes:
    return _leb(len(content)) + content


def _section(number: int, *items: bytes) -> bytes:
    return bytes([number]) + _sized(_leb(len(items)) + b"".join(items))


def _simd(opcode: int) -> bytes:
    return b"\xfd" + _leb(opcode)


_SPLAT, _ADD, _MUL, _RELAXED_MADD = _simd(0x13), _simd(0xE4), _simd(0xE6), _simd(0x105)
_LANE_0 = _simd(0x1F) + b"\x00"


def peak_module(variant: str) -> bytes:
    """A wasm module that exports `run(rounds: i32) -> f32`, which does rounds * MACS_PER_ROUND multiply-adds:
    f32x4.relaxed_madd for variant "relaxed", f32x4.mul and f32x4.add for "simd"."""
    rounds, x, y, first = 0, 1, 2, 3  # locals: the parameter, two factors, the sums

    def get(local: int) -> bytes:
        return b"\x20" + _leb(local)

    def store(local: int) -> bytes:
        return b"\x21" + _leb(local)

    def constant(bits: bytes) -> bytes:
        return b"\x43" + bits + _SPLAT

    code = constant(b"\x00\x00\x00\x3f") + store(x)  # 0.5
    code += constant(b"\x00\x00\x80\x3f") + store(y)  # 1: sums go to 2, so that no number is ever denormal
    code += b"\x03\x40"  # loop
    for i in range(first, first + SUMS):
        multiply_add = get(y) + _RELAXED_MADD if variant == "relaxed" else _MUL + get(y) + _ADD
        code += get(i) + get(x) + multiply_add + store(i)
    code += get(rounds) + b"\x41\x01\x6b\x22" + _leb(rounds)  # i32.const 1, i32.sub, local.tee
    code += b"\x0d\x00\x0b"  # br_if 0, end
    code += get(first) + b"".join(get(i) + _ADD for i in range(first + 1, first + SUMS)) + _LANE_0 + b"\x0b"
    function = _sized(_leb(1) + _leb(2 + SUMS) + _V128 + code)

    signature = b"\x60" + _leb(1) + _I32 + _leb(1) + _F32
    export = _sized(b"run") + b"\x00\x00"
    header = b"\x00asm\x01\x00\x00\x00"
    return header + _section(1, signature) + _section(3, b"\x00") + _section(7, export) + _section(10, function)

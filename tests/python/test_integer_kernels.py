"""The kernels on bytes (wasm/kernels/u8.h), called by themselves, against exact arithmetic in NumPy.

Every result is sum * scale + offset, exact up to the rounding of floats: a byte may be another where the exact result
lies within that of a half. Every buffer lies between bytes that nobody may write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol

import numpy as np
import pytest
import wasmtime

from conftest import missing
from paths import ROOT
from tulle.runtime.builds import engine
from tulle.runtime.instance import Instance

# tulle_dot of u8.h, and the largest activation that each is tried with.
UNSIGNED, SIGNED, PAIRS = 1, 2, 3
TOP = {UNSIGNED: 255, SIGNED: 127, PAIRS: 127}

GUARD = 64
"""Bytes before and behind each buffer. As many may be read, but none may be written."""
EPSILON = 2.0**-21
"""Rounding of a result relative to its largest term."""

CONVERT = "ffIIPP"
DEPTHWISE = "iIIIIIIIIIIIIBBPPPPPffPPP" + CONVERT
GEMM = "iPPIIPPPPffPPfPPPPP" + CONVERT
CONV = GEMM + "IIIIIIIIIIIIB3x"
NO_ACTIVATION = 0, 0, 0, 0, 0, 0, 0
ADD = "fffff"


class Host(Protocol):
    """Of tulle.runtime.instance.Instance and tests/native/hosts.py."""

    def call(self, name: str, *arguments: int) -> int: ...
    def read(self, pointer: int, size: int) -> bytearray: ...
    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None: ...


class Buffer:
    """Bytes in the memory of the host."""

    def __init__(self, host: Host, data: bytes) -> None:
        self.host, self.size = host, len(data)
        self.fence = bytes(np.random.default_rng(self.size).integers(0, 256, GUARD, dtype=np.uint8))
        self.block = host.call("tulle_alloc", self.size + 2 * GUARD)
        self.at = self.block + GUARD
        host.write(self.block, self.fence + data + self.fence)

    def array(self, dtype: Any) -> np.ndarray:
        whole = bytes(self.host.read(self.block, self.size + 2 * GUARD))
        assert whole[:GUARD] == self.fence == whole[-GUARD:], "a write beyond the buffer"
        return np.frombuffer(whole[GUARD:-GUARD], dtype).copy()


class Kernels:
    """A host, how wide its pointers are, and which dot product the kernels are told to use."""

    def __init__(self, host: Host, pointer: str, dot: int) -> None:
        self.host, self.pointer, self.dot, self.top = host, pointer, dot, TOP[dot]
        self.buffers: list[Buffer] = []

    def new(self, array: np.ndarray | bytes) -> Buffer:
        self.buffers.append(Buffer(self.host, array if isinstance(array, bytes) else array.tobytes()))
        return self.buffers[-1]

    def arguments(self, layout: str, *values: Any) -> Buffer:
        """A struct of C; "P" is a pointer or a size_t."""
        return self.new(struct.pack("@" + layout.replace("P", self.pointer), *values))

    def call(self, name: str, *arguments: Any) -> int:
        return self.host.call(f"tulle_u8_{name}", *(a.at if isinstance(a, Buffer) else int(a) for a in arguments))

    def free(self) -> None:
        for buffer in self.buffers:
            buffer.array(np.uint8)
            self.host.call("tulle_free", buffer.block)
        self.buffers = []


@cache
def kernels_alone() -> wasmtime.Module:
    path = ROOT / "build" / "wasm" / "kernels.wasm"
    if not path.is_file():
        missing(f"no {path.relative_to(ROOT)}: run `make build`")
    return wasmtime.Module(engine(), path.read_bytes())


@cache
def wasm() -> Instance:
    return Instance(engine(), kernels_alone())


@pytest.fixture(params=[SIGNED, PAIRS], ids=["signed", "pairs"])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """In wasmtime, whose dot product adds pairs in 16 bits on x86."""
    kernels = Kernels(wasm(), "I", request.param)
    yield kernels
    kernels.free()


# ---- maps of bytes --------------------------------------------------------------------------------------------------


def stride_of(pixels: int) -> int:
    return (4 * pixels + 15) // 16 * 16 + 16


def interleaved(rng: np.random.Generator, x: np.ndarray, top: int) -> np.ndarray:
    """[channels, pixels] as u8.h has it; what fills up groups and strides is random."""
    channels, pixels = x.shape
    groups = (channels + 3) // 4
    memory = rng.integers(0, top + 1, (groups, stride_of(pixels)), dtype=np.uint8)
    view = memory[:, : 4 * pixels].reshape(groups, pixels, 4)
    for c in range(channels):
        view[c // 4, :, c % 4] = x[c]
    return memory


def planes(memory: np.ndarray, channels: int, pixels: int) -> np.ndarray:
    """The reverse."""
    view = memory.reshape(-1, stride_of(pixels))[:, : 4 * pixels].reshape(-1, pixels, 4)
    return view.transpose(0, 2, 1).reshape(-1, pixels)[:channels]


def padded(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones(-len(x) % 4)]).astype(np.float32)


def check_bytes(got: np.ndarray, exact: np.ndarray, size: np.ndarray, low: float, high: float) -> None:
    """`exact`: before clamping and rounding; `size`: of its largest term."""
    expected = np.clip(np.floor(exact + 0.5), low, high)
    error = EPSILON * (size + 1)
    near = (np.abs(exact + 0.5 - np.rint(exact + 0.5)) <= error) & (exact > low - 1) & (exact < high + 1)
    wrong = (got != expected) & ~(near & (np.abs(got - expected) <= 1))
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} wrong, first at {np.argwhere(wrong)[0]}"
    assert near.sum() <= 3 + near.size // 50, "hardly anything was tested"


def shifted(rng: np.random.Generator, weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Shifts, 0 for some channels, one a channel and zeros that fill up a group; and the weights that they make."""
    channels = weight.shape[axis]
    shifts = rng.integers(-128, 128, channels) * rng.integers(0, 2, channels)
    shifts[4:8] = 0  # a group without any
    along = shifts.reshape(-1, *[1] * (weight.ndim - 1 - axis))
    return np.append(shifts, [0] * (-channels % 4)).astype(np.int32), weight + along


def scales(rng: np.random.Generator, sums: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each channel of the sums: most results lie within 0 to top, some beyond."""
    spread = np.abs(sums).max(axis=1) + 1
    scale = (rng.uniform(0.7, 1.3, len(sums)) * top / spread).astype(np.float32)
    return scale, rng.uniform(0, top, len(sums)).astype(np.float32)


# ---- 1x1 convolution ------------------------------------------------------------------------------------------------


def gemm(
    kernels: Kernels, channels_in: int, channels_out: int, pixels: int, *,
    floats: bool = False, residual: bool = False, split: tuple[int, int] | None = None, clamp: bool = False,
    extreme: bool = False, shift: bool = False,
) -> None:  # fmt: skip
    """`split`: a group of outputs and a pixel where the work of the second call begins."""
    rng = np.random.default_rng((channels_in, channels_out, pixels))
    top = kernels.top
    x = rng.integers(0, top + 1, (channels_in, pixels), dtype=np.uint8)
    weight = rng.integers(-128, 128, (channels_out, channels_in), dtype=np.int8)
    if extreme:
        x[:] = top
        weight[:] = np.where(np.arange(channels_out) % 2, 127, -128)[:, None]
    shifts, wide = shifted(rng, weight.astype(np.int64), 0)
    sums = (wide if shift else weight.astype(np.int64)) @ x.astype(np.int64)
    scale, offset = scales(rng, sums, top)
    low, high = (0.0, float(top)) if not clamp else (float(top // 5), float(top - top // 4))
    exact = sums * scale.astype(np.float64)[:, None] + offset[:, None].astype(np.float64)
    size = np.abs(sums) * scale[:, None] + offset[:, None]
    added = rng.integers(0, top + 1, (channels_out, pixels), dtype=np.uint8)
    residual_scale = np.float32(rng.uniform(-0.5, 0.5))
    if residual:
        exact += added * np.float64(residual_scale)
        size += added

    groups = (channels_out + 3) // 4
    packed = kernels.new(bytes(kernels.call("gemm_weights", channels_out, channels_in)))
    kernels.call("pack_gemm", kernels.new(weight), channels_out, channels_in, packed)
    floats_stride = (pixels + 3) // 4 * 4
    before = rng.integers(0, 256, groups * stride_of(pixels), dtype=np.uint8)
    output = kernels.new(before)
    rows = rng.standard_normal((channels_out, floats_stride)).astype(np.float32)
    float_output = kernels.new(rows)
    arguments = kernels.arguments(
        GEMM, kernels.dot, packed.at, kernels.new(shifts).at if shift else 0, channels_in, channels_out,
        kernels.new(interleaved(rng, x, top)).at, stride_of(pixels),
        kernels.new(padded(scale)).at, kernels.new(padded(offset)).at, low, high,
        kernels.new(interleaved(rng, added, top)).at if residual else 0, stride_of(pixels), residual_scale,
        0 if floats else output.at, stride_of(pixels), float_output.at, floats_stride, *NO_ACTIVATION,
    )  # fmt: skip
    group, pixel = split or (groups, pixels)
    for begin, end in ((0, group), (group, groups)):
        for first, last in ((0, pixel), (pixel, pixels)):
            kernels.call("gemm", arguments, begin, end, first, last, 0)
    if floats:
        got = float_output.array(np.float32).reshape(channels_out, -1)
        np.testing.assert_array_equal(got[:, pixels:], rows[:, pixels:])
        assert np.all(np.abs(got[:, :pixels] - np.clip(exact, low, high)) <= EPSILON * (size + 1))
    else:
        after = output.array(np.uint8)
        check_bytes(planes(after, channels_out, pixels), exact, size, low, high)
        gap = slice(4 * pixels, None)
        np.testing.assert_array_equal(after.reshape(groups, -1)[:, gap], before.reshape(groups, -1)[:, gap])
    kernels.free()


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_gemm_over_every_number_of_pixels(kernels: Kernels, floats: bool, residual: bool) -> None:
    for pixels in [*range(1, 42), 47, 48, 49, 196]:
        gemm(kernels, 19, 6, pixels, floats=floats, residual=residual)


@pytest.mark.parametrize("floats", [False, True])
def test_gemm_over_every_number_of_channels(kernels: Kernels, floats: bool) -> None:
    for channels_in, channels_out in [(i, 14 - i) for i in range(1, 14)] + [(33, 65), (130, 3), (513, 8), (1280, 5)]:
        gemm(kernels, channels_in, channels_out, 21, floats=floats, residual=channels_in % 2 == 0, clamp=True)


def test_gemm_in_parts(kernels: Kernels) -> None:
    for pixel in range(0, 36, 4):
        for floats in (False, True):
            gemm(kernels, 24, 15, 37, floats=floats, residual=True, split=(pixel % 3, pixel))


def test_gemm_of_nine_bits(kernels: Kernels) -> None:
    for channels_in, channels_out, pixels in [
        (1, 1, 1),
        (3, 11, 1),
        (70, 17, 1),
        (5, 10, 2),
        (6, 9, 13),
        (130, 21, 40),
    ]:
        for floats in (False, True):
            gemm(kernels, channels_in, channels_out, pixels, floats=floats, residual=pixels % 2 == 0, shift=True)


def test_gemm_of_the_largest_sums(kernels: Kernels) -> None:
    for channels in (4, 960, 65536):
        gemm(kernels, channels, 6, 13, extreme=True)


# ---- k x k convolution ----------------------------------------------------------------------------------------------


def windows_of(
    x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int],
    pads: tuple[int, int, int, int], zero: int,
) -> np.ndarray:  # fmt: skip
    """Of x [channels, H, W]: [channels, rows, columns, kh, kw]."""
    border = np.pad(x.astype(np.int64), ((0, 0), pads[:2], pads[2:]), constant_values=zero)
    whole = np.lib.stride_tricks.sliding_window_view(border, reach(kernel, dilation), (1, 2))
    return whole[:, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def reach(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    return (kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1


def at_least_the_window(
    size: tuple[int, int], kernel: tuple[int, int], pads: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    lacking = [max(0, kernel[i] - size[i] - pads[2 * i] - pads[2 * i + 1]) for i in range(2)]
    return pads[0], pads[1] + lacking[0], pads[2], pads[3] + lacking[1]


def conv(
    kernels: Kernels, channels_in: int, channels_out: int, size: tuple[int, int], kernel: tuple[int, int],
    stride: tuple[int, int], pads: tuple[int, int, int, int], *, floats: bool = False, residual: bool = False,
    split: int | None = None, dilation: tuple[int, int] = (1, 1), shift: bool = False,
) -> None:  # fmt: skip
    """pads: (top, bottom, left, right), and more if the window is larger than that. `split`: an output row where the
    work of the second call begins."""
    pads = at_least_the_window(size, reach(kernel, dilation), pads)
    rng = np.random.default_rng((channels_in, channels_out, *size, *kernel, *stride, *pads))
    top, (height, width) = kernels.top, size
    zero = int(rng.integers(0, top + 1))
    x = rng.integers(0, top + 1, (channels_in, height, width), dtype=np.uint8)
    weight = rng.integers(-128, 128, (channels_out, *kernel, channels_in), dtype=np.int8)
    shifts, wide = shifted(rng, weight.astype(np.int64), 0)
    windows = windows_of(x, kernel, stride, dilation, pads, zero)
    sums = np.einsum("cyxij,oijc->oyx", windows, wide if shift else weight.astype(np.int64))
    rows, columns = sums.shape[1:]
    flat, pixels = sums.reshape(channels_out, -1), rows * columns
    scale, offset = scales(rng, flat, top)
    exact = flat * scale.astype(np.float64)[:, None] + offset[:, None].astype(np.float64)
    largest = np.abs(flat) * scale[:, None] + offset[:, None] + top
    added = rng.integers(0, top + 1, (channels_out, pixels), dtype=np.uint8)
    residual_scale = np.float32(rng.uniform(-0.5, 0.5))
    if residual:
        exact += added * np.float64(residual_scale)

    groups, taps = (channels_out + 3) // 4, kernel[0] * kernel[1]
    packed = kernels.new(bytes(kernels.call("conv_weights", channels_out, taps, channels_in)))
    kernels.call("pack_conv", kernels.new(weight), channels_out, taps, channels_in, packed)
    before = rng.integers(0, 256, groups * stride_of(pixels), dtype=np.uint8)
    output = kernels.new(before)
    floats_stride = (pixels + 3) // 4 * 4
    float_output = kernels.new(np.zeros((channels_out, floats_stride), np.float32))
    arguments = kernels.arguments(
        CONV, kernels.dot, packed.at, kernels.new(shifts).at if shift else 0, channels_in, channels_out,
        kernels.new(interleaved(rng, x.reshape(channels_in, -1), top)).at, stride_of(height * width),
        kernels.new(padded(scale)).at, kernels.new(padded(offset)).at, 0, top,
        kernels.new(interleaved(rng, added, top)).at if residual else 0, stride_of(pixels), residual_scale,
        0 if floats else output.at, stride_of(pixels), float_output.at, floats_stride, *NO_ACTIVATION,
        *kernel, *stride, *dilation, height, width, rows, columns, pads[0], pads[2], zero,
    )  # fmt: skip
    scratch = kernels.new(bytes(kernels.call("conv_scratch", arguments)))
    parts = [(0, rows)] if split is None else [(split, rows), (0, split)]
    for first, last in parts:
        kernels.call("conv", arguments, groups // 2, groups, first, last, scratch)
        kernels.call("conv", arguments, 0, groups // 2, first, last, scratch)
    if floats:
        got = float_output.array(np.float32).reshape(channels_out, -1)
        assert np.all(got[:, pixels:] == 0)
        assert np.all(np.abs(got[:, :pixels] - np.clip(exact, 0, top)) <= EPSILON * largest)
    else:
        after = output.array(np.uint8)
        check_bytes(planes(after, channels_out, pixels), exact, largest, 0, top)
        gap = slice(4 * pixels, None)
        np.testing.assert_array_equal(after.reshape(groups, -1)[:, gap], before.reshape(groups, -1)[:, gap])
    kernels.free()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 5])
def test_conv_over_every_size(kernels: Kernels, kernel: int, stride: int) -> None:
    for size in [(1, 1), (1, 9), (9, 1), (2, 3), (4, 5), (5, 4), (6, 7), (7, 7), (8, 8), (13, 11), (9, 33), (40, 64)]:
        for channels_in, channels_out in [(3, 8), (1, 3), (6, 5)]:
            after = kernel // 2
            for before in {after, max(0, after - 1)}:
                conv(kernels, channels_in, channels_out, size, (kernel, kernel), (stride, stride),
                     (before, after, before, after + stride - 1), floats=channels_out == 3,
                     residual=channels_out == 5)  # fmt: skip


def test_conv_with_any_window(kernels: Kernels) -> None:
    rng = np.random.default_rng(1)
    for seed in range(60):
        kernel = int(rng.integers(1, 6)), int(rng.integers(1, 8))
        size = kernel[0] + int(rng.integers(0, 12)), kernel[1] + int(rng.integers(0, 20))
        stride = int(rng.integers(1, 4)), int(rng.integers(1, 5))
        pads = [int(rng.integers(0, kernel[i // 2])) for i in range(4)]
        conv(kernels, 1 + seed % 13, 1 + seed % 7, size, kernel, stride, tuple(pads), floats=seed % 3 == 0,  # type: ignore[arg-type]
             shift=seed % 4 == 0)  # fmt: skip


def test_conv_with_dilation(kernels: Kernels) -> None:
    rng = np.random.default_rng(2)
    for seed in range(40):
        kernel = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        dilation = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        size = int(rng.integers(1, 20)), int(rng.integers(1, 30))
        stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        whole = reach(kernel, dilation)
        pads = [int(rng.integers(0, whole[i // 2])) for i in range(4)]
        conv(kernels, 1 + seed % 13, 1 + seed % 7, size, kernel, stride, tuple(pads), floats=seed % 3 == 0,  # type: ignore[arg-type]
             dilation=dilation, shift=seed % 2 == 0)  # fmt: skip


def test_conv_in_parts(kernels: Kernels) -> None:
    for channels in (3, 70):  # 70: copies of fewer rows than there are
        for stride in (1, 2):
            for split in range(1, 7):
                conv(kernels, channels, 9, (14, 30), (3, 3), (stride, stride), (1, 1, 1, 1), split=split)


# ---- depthwise ------------------------------------------------------------------------------------------------------


def depthwise(
    kernels: Kernels, channels: int, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
    pads: tuple[int, int, int, int], *, split: int | None = None, clamp: bool = False,
    dilation: tuple[int, int] = (1, 1), shift: bool = False,
) -> None:  # fmt: skip
    """See conv."""
    pads = at_least_the_window(size, reach(kernel, dilation), pads)
    rng = np.random.default_rng((channels, *size, *kernel, *stride, *pads))
    top, (height, width), (kh, kw), (sh, sw) = kernels.top, size, kernel, stride
    zero = int(rng.integers(0, top + 1))
    x = rng.integers(0, top + 1, (channels, height, width), dtype=np.uint8)
    weight = rng.integers(-128, 128, (kh, kw, channels), dtype=np.int8)
    shifts, wide = shifted(rng, weight.astype(np.int64), 2)
    windows = windows_of(x, kernel, stride, dilation, pads, zero)
    sums = np.einsum("cyxij,ijc->cyx", windows, wide if shift else weight.astype(np.int64))
    rows, columns = sums.shape[1:]
    flat = sums.reshape(channels, -1)
    scale, offset = scales(rng, flat, top)
    low, high = (0.0, float(top)) if not clamp else (float(top // 5), float(top - top // 4))
    exact = flat * scale.astype(np.float64)[:, None] + offset[:, None].astype(np.float64)

    def arguments(weights: int, input: int, scale: int, offset: int, output: int) -> Buffer:
        return kernels.arguments(
            DEPTHWISE, kernels.dot, kh, kw, sh, sw, *dilation, height, width, rows, columns, pads[0], pads[2], zero,
            shift,
            weights, input, stride_of(height * width), scale, offset, low, high, output, stride_of(rows * columns),
            *NO_ACTIVATION,
        )  # fmt: skip

    groups = (channels + 3) // 4
    sizes = arguments(0, 0, 0, 0, 0)
    packed = kernels.new(bytes(kernels.call("depthwise_weights", sizes, channels)))
    kernels.call("pack_depthwise", sizes, kernels.new(weight), kernels.new(shifts), channels, packed)
    scratch = kernels.new(bytes(kernels.call("depthwise_scratch", sizes)))
    before = rng.integers(0, 256, groups * stride_of(rows * columns), dtype=np.uint8)
    output = kernels.new(before)
    filled = arguments(
        packed.at, kernels.new(interleaved(rng, x.reshape(channels, -1), top)).at,
        kernels.new(padded(scale)).at, kernels.new(padded(offset)).at, output.at,
    )  # fmt: skip
    if split is None:
        kernels.call("depthwise", filled, 0, groups, 0, rows, scratch)
    else:
        for first, last in ((split, rows), (0, split)):
            kernels.call("depthwise", filled, groups // 2, groups, first, last, scratch)
            kernels.call("depthwise", filled, 0, groups // 2, first, last, scratch)
    after = output.array(np.uint8)
    got = planes(after, channels, rows * columns)
    check_bytes(got, exact, np.abs(flat) * scale[:, None] + offset[:, None], low, high)
    gap = slice(4 * rows * columns, None)
    np.testing.assert_array_equal(after.reshape(groups, -1)[:, gap], before.reshape(groups, -1)[:, gap])
    kernels.free()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_over_every_size(kernels: Kernels, kernel: int, stride: int) -> None:
    for height, width in [(1, 1), (1, 9), (9, 1), (2, 3), (4, 5), (5, 4), (6, 7), (7, 7), (8, 8), (13, 11), (17, 33)]:
        for channels in (1, 3, 4, 9):
            after = kernel // 2
            for before in {after, max(0, after - 1)}:
                depthwise(kernels, channels, (height, width), (kernel, kernel), (stride, stride),
                          (before, after, before, after + stride - 1))  # fmt: skip


def test_depthwise_with_any_window(kernels: Kernels) -> None:
    rng = np.random.default_rng(1)
    for seed in range(60):
        kernel = int(rng.integers(1, 9)), int(rng.integers(1, 10))
        size = kernel[0] + int(rng.integers(0, 9)), kernel[1] + int(rng.integers(0, 9))
        stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        pads = [int(rng.integers(0, kernel[i // 2])) for i in range(4)]
        depthwise(kernels, 1 + seed % 9, size, kernel, stride, tuple(pads), clamp=seed % 2 == 0,  # type: ignore[arg-type]
                  shift=seed % 3 == 0)  # fmt: skip


def test_depthwise_with_dilation(kernels: Kernels) -> None:
    rng = np.random.default_rng(2)
    for seed in range(60):
        kernel = int(rng.integers(1, 8)), int(rng.integers(1, 6))
        dilation = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        size = int(rng.integers(1, 24)), int(rng.integers(1, 30))
        stride = int(rng.integers(1, 4)) if dilation[0] == 1 else 1, int(rng.integers(1, 4))
        whole = reach(kernel, dilation)
        pads = [int(rng.integers(0, whole[i // 2])) for i in range(4)]
        depthwise(kernels, 1 + seed % 9, size, kernel, stride, tuple(pads), dilation=dilation, shift=seed % 2 == 0,  # type: ignore[arg-type]
                  split=seed % 5 or None if size[0] > 12 and pads[0] > 3 else None)  # fmt: skip


def test_depthwise_in_parts(kernels: Kernels) -> None:
    for kernel in (3, 5, 7):
        for stride in (1, 2):
            pad = kernel // 2
            for split in range(1, 7):
                depthwise(kernels, 9, (14, 10), (kernel, kernel), (stride, stride), (pad,) * 4, split=split)


# ---- the rest -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[(c, p) for c in (1, 3, 4, 6, 9) for p in (1, 2, 3, 4, 5, 7, 8, 49, 513, 1027)], ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


def test_from_floats(kernels: Kernels, shape: tuple[int, int]) -> None:
    channels, pixels = shape
    rng = np.random.default_rng(shape)
    scale, zero = np.float32(rng.uniform(0.001, 10)), float(rng.integers(0, kernels.top + 1))
    x = (rng.uniform(-0.3, 1.3, (channels, pixels)) * kernels.top * scale).astype(np.float32)
    x[:, 1::7] = np.float32(1e30) * (-1) ** np.arange(channels)[:, None]
    x[:, 3::50] = np.inf
    exact = np.clip(x / np.float64(scale) + zero, -1e6, 1e6)
    groups = (channels + 3) // 4
    before = rng.integers(0, 256, groups * stride_of(pixels), dtype=np.uint8)
    output = kernels.new(before)
    arguments = kernels.arguments(CONVERT, scale, zero, kernels.top, channels, pixels, stride_of(pixels))
    floats = kernels.new(x)
    middle = pixels // 2 // 4 * 4
    kernels.call("from_f32", arguments, floats, output, 0, groups, 0, middle)
    kernels.call("from_f32", arguments, floats, output, 0, groups, middle, pixels)
    after = output.array(np.uint8)
    check_bytes(planes(after, channels, pixels), exact, np.abs(exact) + zero, 0, kernels.top)
    rest = planes(after, 4 * groups, pixels)[channels:]
    assert np.all(rest == zero)
    gap = slice(4 * pixels, None)
    np.testing.assert_array_equal(after.reshape(groups, -1)[:, gap], before.reshape(groups, -1)[:, gap])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 7, 50])
def test_from_an_image(kernels: Kernels, channels: int, pixels: int) -> None:
    rng = np.random.default_rng((channels, pixels))
    scale, zero = np.float32(rng.uniform(0.001, 10)), float(rng.integers(0, kernels.top + 1))
    x = (rng.uniform(-0.3, 1.3, (pixels, channels)) * kernels.top * scale).astype(np.float32)
    exact = x / np.float64(scale) + zero
    output = kernels.new(np.zeros((pixels, 4), np.uint8))
    arguments = kernels.arguments(CONVERT, scale, zero, kernels.top, channels, 0, 0)
    middle = pixels // 2 // 4 * 4
    image = kernels.new(x)
    kernels.call("from_hwc", arguments, image, output, middle, pixels)
    kernels.call("from_hwc", arguments, image, output, 0, middle)
    got = output.array(np.uint8).reshape(pixels, 4)
    check_bytes(got[:, :channels], exact, np.abs(exact) + zero, 0, kernels.top)
    assert np.all(got[:, channels:] == zero)


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 7, 50])
def test_from_rgba(kernels: Kernels, pixels: int) -> None:
    rng = np.random.default_rng(pixels)
    x = rng.integers(0, 256, (pixels, 4), dtype=np.uint8)
    scale, zero = np.float32(rng.uniform(0.3, 1.2)), np.float32(rng.uniform(-20, 20))
    output = kernels.new(np.zeros((pixels, 4), np.uint8))
    arguments = kernels.arguments(CONVERT, scale, zero, kernels.top, 4, 0, 0)
    kernels.call("from_rgba8", arguments, kernels.new(x), output, 0, pixels)
    exact = x * np.float64(scale) + np.float64(zero)
    check_bytes(output.array(np.uint8).reshape(pixels, 4), exact, np.full(x.shape, 300.0), 0, kernels.top)


def test_to_floats(kernels: Kernels, shape: tuple[int, int]) -> None:
    channels, pixels = shape
    rng = np.random.default_rng(shape)
    scale, zero = np.float32(rng.uniform(0.001, 10)), float(rng.integers(0, kernels.top + 1))
    x = rng.integers(0, kernels.top + 1, shape, dtype=np.uint8)
    floats = kernels.new(np.zeros(shape, np.float32))
    arguments = kernels.arguments(CONVERT, scale, zero, kernels.top, channels, pixels, stride_of(pixels))
    bytes_ = kernels.new(interleaved(rng, x, kernels.top))
    groups, middle = (channels + 3) // 4, pixels // 2 // 4 * 4
    kernels.call("to_f32", arguments, bytes_, floats, 0, groups, middle, pixels)
    kernels.call("to_f32", arguments, bytes_, floats, 0, groups, 0, middle)
    expected = (x.astype(np.float32) - np.float32(zero)) * scale
    np.testing.assert_array_equal(floats.array(np.float32).reshape(shape), expected)


def test_mean(kernels: Kernels, shape: tuple[int, int]) -> None:
    channels, pixels = shape
    rng = np.random.default_rng(shape)
    scale, zero = np.float32(rng.uniform(0.001, 10)), float(rng.integers(0, kernels.top + 1))
    x = rng.integers(0, kernels.top + 1, shape, dtype=np.uint8)
    x[0] = kernels.top
    means = kernels.new(np.zeros(channels, np.float32))
    arguments = kernels.arguments(CONVERT, scale, zero, 0, channels, 1, stride_of(pixels))
    kernels.call("mean", arguments, kernels.new(interleaved(rng, x, 255)), means, 0, (channels + 3) // 4, pixels)
    expected = (x.mean(axis=1) - zero) * np.float64(scale)
    np.testing.assert_allclose(means.array(np.float32), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 7, 8, 31])
def test_add(kernels: Kernels, pixels: int) -> None:
    rng = np.random.default_rng(pixels)
    top = kernels.top
    for case in range(8):
        a, b = rng.integers(0, top + 1, (2, 4 * pixels), dtype=np.uint8)
        scale_a, scale_b, offset = rng.uniform(-0.4, 1.2, 2).tolist() + [float(rng.uniform(-top / 2, top / 2))]
        low, high = (0.0, float(top)) if case % 2 else (float(top // 4), float(top // 2))
        arguments = kernels.arguments(ADD, scale_a, scale_b, offset, low, high)
        first, second = kernels.new(a), kernels.new(b)
        output = first if case >= 4 else kernels.new(np.zeros_like(a))
        kernels.call("add", arguments, first, second, output, 4 * pixels)
        exact = a * np.float64(np.float32(scale_a)) + b * np.float64(np.float32(scale_b)) + np.float32(offset)
        check_bytes(output.array(np.uint8), exact, np.full(exact.shape, 3.0 * top), low, high)
        kernels.free()


def test_the_probe(kernels: Kernels) -> None:
    """Wasmtime's dot product is one of three, whatever the processor; that of native builds is our own."""
    assert kernels.call("probe") in ((UNSIGNED, SIGNED, PAIRS) if kernels.pointer == "I" else (UNSIGNED,))

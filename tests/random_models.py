"""Small random TFLite models of one to five ops, odd shapes and every attribute, for comparison with LiteRT.

    python tests/random_models.py --count 5000 --seed 0

builds them, runs each in tulle and in LiteRT, and prints how many differ, by op and attribute. A seed builds the same
until an operator is added, so `--seed N --count 1` repeats a failure.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tflite_model import TfliteModel

SAME, VALID = 0, 1
FUSED = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}

# Largest difference relative to the largest expected value: float32 sums of a few thousand products.
TOLERANCE = 1e-4


class Unfit(Exception):
    """The op drawn cannot read the tensor at hand: another one is drawn."""


@dataclass
class RandomModel:
    """A model under construction; `features` lists what it exercises, as "OP attribute=value"."""

    random: np.random.Generator
    model: TfliteModel = field(default_factory=TfliteModel)
    features: list[str] = field(default_factory=list)

    def draw(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return int(self.random.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def pick(self, kind: str, name: str, choices: list) -> object:
        """One of the choices, noted as a feature."""
        value = choices[self.draw(0, len(choices) - 1)]
        self.note(kind, **{name: value})
        return value

    def note(self, kind: str, **attributes: object) -> None:
        self.features.extend(f"{kind} {key}={value}" for key, value in attributes.items())

    def values(self, *shape: int, spread: float = 1.0) -> np.ndarray:
        return (self.random.standard_normal(shape) * spread).astype(np.float32)

    def fused(self, kind: str) -> int:
        return FUSED[str(self.pick(kind, "activation", list(FUSED)))]

    def image(self, x: int) -> tuple[int, int, int]:
        shape = self.model.shape(x)
        if len(shape) != 4 or shape[0] != 1:
            raise Unfit
        return shape[1], shape[2], shape[3]

    def weights(self, kind: str, data: np.ndarray) -> int:
        """A constant, sometimes pruned, sometimes float16 behind DEQUANTIZE."""
        if self.chance(0.3):
            zeros = float(self.random.uniform(0.5, 0.95))
            data = np.where(self.random.random(data.shape) < zeros, 0, data).astype(np.float32)
            self.note(kind, weights="sparse")
        if not self.chance(0.2):
            return self.model.constant(data)
        self.note(kind, weights="fp16")
        half = self.model.constant(data, np.float16)
        return int(self.model.op("DEQUANTIZE", [half], data.shape, "DequantizeOptions", version=3))

    def bias(self, kind: str, channels: int) -> list[int]:
        if self.pick(kind, "bias", [True, True, True, False]):
            return [self.model.constant(self.values(channels))]
        return [self.model.constant(np.zeros(channels))]  # LiteRT's own kernels want one


def build(seed: int) -> tuple[bytes, list[str], list[tuple[int, ...]]]:
    """The .tflite file of a seed, what it exercises, and the shapes of its inputs."""
    m = RandomModel(np.random.default_rng(seed))
    if m.chance(0.85):
        shape = (1, m.draw(1, 19), m.draw(1, 19), int(m.random.choice([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 33])))
    else:
        shape = (1, *(m.draw(1, 9) for _ in range(m.draw(1, 3))))
    x = m.model.input(shape)
    outputs: list[int] = []
    wanted, tries = m.draw(1, 5), 0
    while wanted and tries < 40:
        tries += 1
        kind = KINDS[m.draw(0, len(KINDS) - 1)]
        before, tensors, operators = list(m.features), len(m.model.tensors), len(m.model.operators)
        try:
            y = OPS[kind](m, kind, x)
            if np.prod(m.model.shape(y)) > 60_000:
                raise Unfit
        except Unfit:
            # Tensors of a dropped op may stay, but not its operators.
            m.features = before
            del m.model.operators[operators:]
            m.model.inputs = [i for i in m.model.inputs if i < tensors]
            continue
        m.features.append(kind)
        wanted -= 1
        if wanted and m.chance(0.1):
            outputs.append(y)
        x = y
    data = m.model.finish(*dict.fromkeys([*outputs, x]))
    return data, m.features, [m.model.shape(i) for i in m.model.inputs]


# ---- ops: each adds itself behind tensor x and returns its output, or raises Unfit --------------------------------


def _out(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    reach = (kernel - 1) * dilation + 1
    positions = -(-size // stride) if padding == SAME else (size - reach) // stride + 1 if size >= reach else 0
    if positions < 1:
        raise Unfit
    return positions


def _window(
    m: RandomModel, kind: str, size: tuple[int, int], dilate: bool
) -> tuple[dict[str, int], int, int, int, int]:
    """Options of a window, its height and width, and those of the output."""
    kernel_h, kernel_w = m.draw(1, 5), m.draw(1, 5)
    if m.chance(0.5):
        kernel_h = kernel_w = m.draw(1, 5)
    stride_h, stride_w = m.draw(1, 3), m.draw(1, 3)
    if m.chance(0.6):
        stride_w = stride_h
    dilation_h, dilation_w = (m.draw(1, 3), m.draw(1, 3)) if dilate and m.chance(0.25) else (1, 1)
    if (dilation_h, dilation_w) != (1, 1):
        stride_h = stride_w = 1
    padding = [SAME, VALID][m.draw(0, 1)]
    height = _out(size[0], kernel_h, stride_h, dilation_h, padding)
    width = _out(size[1], kernel_w, stride_w, dilation_w, padding)
    m.note(kind, kernel=f"{kernel_h}x{kernel_w}", strides=f"{stride_h}x{stride_w}", padding=["same", "valid"][padding])
    options = {"padding": padding, "strideH": stride_h, "strideW": stride_w}
    if dilate:
        m.note(kind, dilations=f"{dilation_h}x{dilation_w}")
        options |= {"dilationHFactor": dilation_h, "dilationWFactor": dilation_w}
    return options, kernel_h, kernel_w, height, width


def conv(m: RandomModel, kind: str, x: int) -> int:
    h, w, c = m.image(x)
    channels = m.draw(1, 34)
    if m.chance(0.5):
        options, kh, kw, oh, ow = {"padding": SAME, "strideH": 1, "strideW": 1}, 1, 1, h, w
        m.note(kind, kernel="1x1", strides="1x1")
    else:
        options, kh, kw, oh, ow = _window(m, kind, (h, w), dilate=True)
    groups = int(m.random.choice([g for g in range(1, c + 1) if c % g == 0])) if m.chance(0.15) else 1
    channels = channels // groups * groups or groups
    m.note(kind, groups=groups)
    weight = m.weights(kind, m.values(channels, kh, kw, c // groups, spread=(kh * kw * c / groups) ** -0.5))
    inputs = [x, weight, *m.bias(kind, channels)]
    return m.model.op(
        kind, inputs, (1, oh, ow, channels), "Conv2DOptions", fusedActivationFunction=m.fused(kind), **options
    )


def depthwise(m: RandomModel, kind: str, x: int) -> int:
    h, w, c = m.image(x)
    multiplier = int(m.pick(kind, "multiplier", [1, 1, 1, 2, 3]))
    options, kh, kw, oh, ow = _window(m, kind, (h, w), dilate=True)
    channels = c * multiplier
    weight = m.weights(kind, m.values(1, kh, kw, channels, spread=(kh * kw) ** -0.5))
    return m.model.op(
        kind, [x, weight, *m.bias(kind, channels)], (1, oh, ow, channels), "DepthwiseConv2DOptions", version=2,
        depthMultiplier=multiplier, fusedActivationFunction=m.fused(kind), **options,
    )  # fmt: skip


def transpose_conv(m: RandomModel, kind: str, x: int) -> int:
    h, w, c = m.image(x)
    padding, kh, kw, sh, sw = [SAME, VALID][m.draw(0, 1)], m.draw(1, 5), m.draw(1, 5), m.draw(1, 3), m.draw(1, 3)
    if padding == SAME:
        oh, ow = h * sh - m.draw(0, sh - 1), w * sw - m.draw(0, sw - 1)
    else:
        oh, ow = (h - 1) * sh + kh + m.draw(0, sh - 1), (w - 1) * sw + kw + m.draw(0, sw - 1)
    m.note(kind, kernel=f"{kh}x{kw}", strides=f"{sh}x{sw}", padding=["same", "valid"][padding])
    channels = m.draw(1, 18)
    weight = m.weights(kind, m.values(channels, kh, kw, c, spread=(kh * kw * c) ** -0.5))
    inputs = [m.model.constant((1, oh, ow, channels), np.int32), weight, x, *m.bias(kind, channels)]
    options = {"padding": padding, "strideH": sh, "strideW": sw}
    return m.model.op(kind, inputs, (1, oh, ow, channels), "TransposeConvOptions", version=3, **options)


def fully_connected(m: RandomModel, kind: str, x: int) -> int:
    shape, channels = m.model.shape(x), m.draw(1, 34)
    if not shape or np.prod(shape) > 4000:
        raise Unfit
    keep = bool(m.pick(kind, "keep_num_dims", [False, True]))
    size = shape[-1] if keep or m.chance(0.5) else int(np.prod(shape))
    weight = m.weights(kind, m.values(channels, size, spread=size**-0.5))
    out = (*shape[:-1], channels) if keep else (int(np.prod(shape)) // size, channels)
    m.note(kind, rank=len(shape))
    options = {"keepNumDims": keep, "fusedActivationFunction": m.fused(kind)}
    inputs = [x, weight, *m.bias(kind, channels)]
    return m.model.op(kind, inputs, out, "FullyConnectedOptions", version=5 if keep else 1, **options)


BINARY_OPTIONS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}


def binary(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    broadcasts = ["same", "scalar", "channel", "pixel", "part", "itself"]
    if not (len(shape) == 4 and shape[1] * shape[2] > 1):
        broadcasts = ["same", "scalar", "channel", "itself"]
    how = str(m.pick(kind, "broadcast", broadcasts))
    other_shape = {
        "same": shape, "scalar": (), "channel": shape[-1:], "pixel": (1, *shape[1:-1], 1), "itself": shape,
        "part": tuple(size if m.chance(0.5) else 1 for size in shape),
    }[how]  # fmt: skip
    where = str(m.pick(kind, "operand", ["constant", "input"])) if how != "itself" else "itself"
    divisor = kind == "DIV"
    if where == "itself":
        if divisor:
            raise Unfit  # 0 / 0
        other = x
    elif where == "constant" or divisor:
        values = m.values(*other_shape)
        other = m.model.constant(np.sign(values + 1e-9) * (np.abs(values) + 0.5) if divisor else values)
    else:
        other = m.model.input(other_shape or (1,))
    operands = [x, other]
    if not divisor and m.chance(0.4):
        operands.reverse()
        m.note(kind, reversed=True)
    options = BINARY_OPTIONS.get(kind, "MaximumMinimumOptions")
    fields = {"fusedActivationFunction": m.fused(kind)} if kind in BINARY_OPTIONS else {}
    if kind == "SQUARED_DIFFERENCE":
        options = "SquaredDifferenceOptions"
    out = np.broadcast_shapes(shape, m.model.shape(other))
    return m.model.op(kind, operands, out, options, **fields)


def pool(m: RandomModel, kind: str, x: int) -> int:
    h, w, c = m.image(x)
    options, kh, kw, oh, ow = _window(m, kind, (h, w), dilate=False)
    if m.chance(0.2):  # over the whole image
        options, kh, kw, oh, ow = {"padding": VALID, "strideH": h, "strideW": w}, h, w, 1, 1
    return m.model.op(
        kind, [x], (1, oh, ow, c), "Pool2DOptions", filterHeight=kh, filterWidth=kw,
        fusedActivationFunction=m.fused(kind), **options,
    )  # fmt: skip


def reduce(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not shape:
        raise Unfit
    if len(shape) == 4 and m.chance(0.6):
        axes = [1, 2]
    else:
        axes = sorted({m.draw(0 if len(shape) == 1 else 1, len(shape) - 1) for _ in range(m.draw(1, 3))})
    keep = bool(m.pick(kind, "keep_dims", [True, False])) or len(axes) == len(shape)
    m.note(kind, axes=tuple(axes), rank=len(shape))
    out = tuple(1 if d in axes else s for d, s in enumerate(shape) if keep or d not in axes)
    stated = [a - len(shape) if m.chance(0.3) else a for a in axes]
    return m.model.op(kind, [x, m.model.constant(stated, np.int32)], out, "ReducerOptions", keepDims=keep)


def resize(m: RandomModel, kind: str, x: int) -> int:
    _, _, c = m.image(x)
    oh, ow = m.draw(1, 25), m.draw(1, 25)
    mode = str(m.pick(kind, "mode", ["plain", "align_corners", "half_pixel_centers"]))
    options = "ResizeBilinearOptions" if kind == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    return m.model.op(
        kind, [x, m.model.constant((oh, ow), np.int32)], (1, oh, ow, c), options, version=3,
        alignCorners=mode == "align_corners", halfPixelCenters=mode == "half_pixel_centers",
    )  # fmt: skip


def concat(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not shape:
        raise Unfit
    axis = m.draw(min(1, len(shape) - 1), len(shape) - 1)
    inputs, total = [x], shape[axis]
    for _ in range(m.draw(0, 3)):
        size = m.draw(1, 6)
        other = (*shape[:axis], size, *shape[axis + 1 :])
        choice = m.draw(0, 3)
        if choice == 0:
            inputs.append(x)
            size = shape[axis]
        else:
            inputs.append(m.model.constant(m.values(*other)) if choice == 1 else m.model.input(other))
        total += size
    m.note(kind, axis=f"{axis} of {len(shape)}", inputs=len(inputs))
    out = (*shape[:axis], total, *shape[axis + 1 :])
    stated = axis - len(shape) if m.chance(0.5) else axis
    return m.model.op(kind, inputs, out, "ConcatenationOptions", axis=stated, fusedActivationFunction=0)


def pad(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not shape or len(shape) > 4:
        raise Unfit
    pads, mode = [], 0
    if kind == "MIRROR_PAD":
        mode = {"reflect": 0, "symmetric": 1}[str(m.pick(kind, "mode", ["reflect", "symmetric"]))]
    for d, size in enumerate(shape):
        most = 4 if kind != "MIRROR_PAD" else min(4, size - (mode == 0))
        pads.append((m.draw(0, most), m.draw(0, most)) if d > 0 and m.chance(0.5) else (0, 0))
    m.note(kind, dims="".join("p" if any(pair) else "-" for pair in pads))
    out = tuple(s + a + b for s, (a, b) in zip(shape, pads, strict=True))
    inputs = [x, m.model.constant(pads, np.int32)]
    if kind == "PADV2":
        inputs.append(m.model.constant([float(m.random.normal())]))
    options = {"PAD": "PadOptions", "PADV2": "PadV2Options", "MIRROR_PAD": "MirrorPadOptions"}[kind]
    return m.model.op(kind, inputs, out, options, **({"mode": mode} if kind == "MIRROR_PAD" else {}))


def reshape(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    rest, out = int(np.prod(shape)), [1]
    for _ in range(m.draw(0, 2)):
        divisors = [d for d in range(1, rest + 1) if rest % d == 0] if rest < 5000 else [1]
        out.append(divisors[m.draw(0, len(divisors) - 1)])
        rest //= out[-1]
    out.append(rest)
    m.note(kind, ranks=f"{len(shape)}to{len(out)}")
    return m.model.op(kind, [x, m.model.constant(out, np.int32)], out, "ReshapeOptions", newShape=out)


def squeeze(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    ones = [d for d, s in enumerate(shape) if s == 1 and d > 0]
    if not ones:
        raise Unfit
    out = tuple(s for d, s in enumerate(shape) if d not in ones)
    return m.model.op(kind, [x], out, "SqueezeOptions", squeezeDims=ones)


def expand_dims(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if len(shape) > 3:
        raise Unfit
    axis = m.draw(1, len(shape)) if shape else 0
    out = (*shape[:axis], 1, *shape[axis:])
    stated = axis - len(out) if m.chance(0.3) else axis
    return m.model.op(kind, [x, m.model.constant(stated, np.int32)], out, "ExpandDimsOptions")


def transpose(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    perm = [0, *(int(i) + 1 for i in m.random.permutation(len(shape) - 1))] if shape else []
    m.note(kind, perm=tuple(perm))
    out = [shape[i] for i in perm]
    return m.model.op(kind, [x, m.model.constant(perm, np.int32)], out, "TransposeOptions")


def slice_(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not shape:
        raise Unfit
    begin = [m.draw(0, s - 1) if d else 0 for d, s in enumerate(shape)]
    size = [m.draw(1, s - b) for s, b in zip(shape, begin, strict=True)]
    stated = [-1 if b + n == s and m.chance(0.5) else n for s, b, n in zip(shape, begin, size, strict=True)]
    m.note(kind, rank=len(shape))
    return m.model.op(
        kind, [x, m.model.constant(begin, np.int32), m.model.constant(stated, np.int32)], size, "SliceOptions"
    )


def strided_slice(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not 1 <= len(shape) <= 4:
        raise Unfit
    begin, end, step, out, masks = [], [], [], [], {"beginMask": 0, "endMask": 0, "shrinkAxisMask": 0}
    for d, size in enumerate(shape):
        b, s = (m.draw(0, size - 1), m.draw(1, 3)) if d else (0, 1)
        e = m.draw(b + 1, size)
        if d and m.chance(0.15):
            masks["shrinkAxisMask"] |= 1 << d
            s, e = 1, b + 1
        elif m.chance(0.25):
            masks["beginMask"] |= 1 << d
            masks["endMask"] |= 1 << d
            out.append(len(range(0, size, s)))
        elif d and m.chance(0.2):  # backwards
            s, e = -s, m.draw(-1, b - 1)
            out.append(len(range(b, e, s)))
            e = e if e >= 0 else -size - 1
        else:
            out.append(len(range(b, e, s)))
        negative = m.chance(0.3) and not masks["shrinkAxisMask"] >> d & 1
        begin.append(b - size if negative else b)
        end.append(e - size if negative and 0 <= e < size else e)
        step.append(s)
    m.note(kind, **{name: bool(mask) for name, mask in masks.items()}, backwards=min(step) < 0)
    operands = [m.model.constant(v, np.int32) for v in (begin, end, step)]
    return m.model.op(kind, [x, *operands], out, "StridedSliceOptions", **masks, ellipsisMask=0, newAxisMask=0)


def softmax(m: RandomModel, kind: str, x: int) -> int:
    if not m.model.shape(x):
        raise Unfit
    beta = float(m.pick(kind, "beta", [1.0, 0.5, 2.0]))
    return m.model.op(kind, [x], m.model.shape(x), "SoftmaxOptions", beta=beta)


def unary(m: RandomModel, kind: str, x: int) -> int:
    m.note(kind, rank=len(m.model.shape(x)))
    options = {"LEAKY_RELU": "LeakyReluOptions"}.get(kind, "")
    fields = {"alpha": float(m.random.uniform(0.01, 0.9))} if options else {}
    return m.model.op(kind, [x], m.model.shape(x), options, **fields)


def prelu(m: RandomModel, kind: str, x: int) -> int:
    h, w, c = m.image(x)
    shape = {"number": (1, 1, 1), "channel": (1, 1, c), "pixel": (h, w, 1), "each": (h, w, c)}[
        str(m.pick(kind, "slopes", ["number", "channel", "channel", "pixel", "each"]))
    ]
    return m.model.op(kind, [x, m.model.constant(m.values(*shape))], m.model.shape(x))


def positive(m: RandomModel, x: int) -> int:
    """|x| + 0.1, for functions that want it."""
    y = m.model.op("ABS", [x], m.model.shape(x), "AbsOptions")
    return int(m.model.op("ADD", [y, m.model.constant(0.1)], m.model.shape(x), "AddOptions"))


def function(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    m.note(kind, rank=len(shape))
    if kind == "EXP":  # never so large that infinities meet
        return m.model.op(kind, [m.model.op("TANH", [x], shape)], shape, "ExpOptions")
    if kind == "GELU":
        return m.model.op(kind, [x], shape, "GeluOptions", approximate=bool(m.pick(kind, "approximate", [False, True])))
    return m.model.op(kind, [positive(m, x)], shape)


def power(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if m.pick(kind, "constant", ["exponent", "exponent", "base"]) == "base":
        y = m.model.op("TANH", [x], shape)
        return m.model.op(kind, [m.model.constant(2.5), y], shape, "PowOptions")
    exponent = float(m.pick(kind, "exponent", [0, 2, 3, 9, 16, 0.5, -0.5, -1, -10, 1, 1.7, -0.3]))
    y = (
        m.model.op("TANH", [x], shape)
        if exponent in (0, 3, 9, 16)
        else x
        if exponent in (1, 2)
        else positive(m, m.model.op("TANH", [x], shape))
    )
    return m.model.op(kind, [y, m.model.constant(exponent)], shape, "PowOptions")


def normalise(m: RandomModel, kind: str, x: int) -> int:
    h, w, c = m.image(x)
    options: dict[str, object] = {}
    if kind == "LOCAL_RESPONSE_NORMALIZATION":
        radius = m.draw(0, 6)
        m.note(kind, radius=radius)
        options = {"radius": radius, "bias": 1.5, "alpha": 0.3, "beta": float(m.pick(kind, "beta", [0.5, 0.75, 1.0]))}
    table = {"LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalizationOptions", "L2_NORMALIZATION": "L2NormOptions",
             "LOG_SOFTMAX": "LogSoftmaxOptions"}[kind]  # fmt: skip
    y = positive(m, x) if kind == "L2_NORMALIZATION" else x  # next to a row of zeros anything may happen
    return m.model.op(kind, [y], (1, h, w, c), table, **options)


def arg(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if x not in m.model.inputs or not shape:  # a computed tie could go either way
        raise Unfit
    axis = m.draw(0, len(shape) - 1)
    out = (*shape[:axis], *shape[axis + 1 :])
    if not out:
        raise Unfit
    m.note(kind, axis=f"{axis} of {len(shape)}")
    stated = m.model.constant([axis - len(shape) if m.chance(0.3) else axis], np.int32)
    options = "ArgMaxOptions" if kind == "ARG_MAX" else "ArgMinOptions"
    index = m.model.op(kind, [x, stated], out, options, dtype=np.int32, outputType=2)
    return m.model.op("CAST", [index], out, "CastOptions")


def top(m: RandomModel, kind: str, x: int) -> int:
    """The values, and behind them where they were."""
    shape = m.model.shape(x)
    if x not in m.model.inputs or not shape:  # as for ARG_MAX
        raise Unfit
    k = m.draw(1, shape[-1])
    m.note(kind, rank=len(shape), k=k)
    out = (*shape[:-1], k)
    values, index = m.model.op(
        kind, [x, m.model.constant(k, np.int32)], [out, out], "TopKV2Options", dtype=[np.float32, np.int32]
    )
    index = m.model.op("CAST", [index], out, "CastOptions")
    both = (*shape[:-1], 2 * k)
    return m.model.op("CONCATENATION", [values, index], both, "ConcatenationOptions", axis=len(shape) - 1)


def gather(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not shape:
        raise Unfit
    axis = m.draw(0 if len(shape) == 1 else 1, len(shape) - 1)
    how = str(m.pick(kind, "indices", ["stretch", "any", "one", "table"]))
    count = m.draw(1, 6)
    indices = m.random.integers(0, shape[axis], (2, count) if how == "table" else count)
    if how == "stretch":
        indices = np.arange(shape[axis])[:: [1, -1, 2][m.draw(0, 2)]]
    if how == "one":
        indices = indices[0]
    m.note(kind, axis=f"{axis} of {len(shape)}")
    out = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    return m.model.op(kind, [x, m.model.constant(indices, np.int32)], out, "GatherOptions", axis=axis)


def repeat(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not 1 <= len(shape) <= 4:
        raise Unfit
    if kind == "TILE":
        multiples = [m.draw(1, 3) if d and m.chance(0.5) else 1 for d in range(len(shape))]
        m.note(kind, dims="".join("t" if count > 1 else "-" for count in multiples))
        out = tuple(int(n) for n in np.multiply(shape, multiples))
        return m.model.op(kind, [x, m.model.constant(multiples, np.int32)], out, "TileOptions")
    out = tuple(m.draw(1, 5) if size == 1 and d else size for d, size in enumerate(shape))
    m.note(kind, rank=len(shape), spread=out != shape)
    return m.model.op(kind, [x, m.model.constant(out, np.int32)], out, "BroadcastToOptions", version=2)


def reverse(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not 2 <= len(shape) <= 4:
        raise Unfit
    axis = m.draw(1, len(shape) - 1)
    m.note(kind, axis=f"{axis} of {len(shape)}")
    return m.model.op(kind, [x, m.model.constant([axis], np.int32)], shape, "ReverseV2Options")


def matmul(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not 2 <= len(shape) <= 4:
        raise Unfit
    adj_x, adj_y = bool(m.pick(kind, "adj_x", [False, True])), bool(m.pick(kind, "adj_y", [False, True]))
    rows, depth = (shape[-1], shape[-2]) if adj_x else (shape[-2], shape[-1])
    columns = m.draw(1, 20)
    batch = shape[:-2] if m.chance(0.7) else (1,) * (len(shape) - 2)
    other_shape = (*batch, columns, depth) if adj_y else (*batch, depth, columns)
    if np.prod(other_shape) > 20_000:
        raise Unfit
    where = str(m.pick(kind, "operand", ["input", "constant"]))
    other = m.model.input(other_shape) if where == "input" else m.model.constant(m.values(*other_shape))
    m.note(kind, rank=len(shape), broadcast=batch != shape[:-2])
    out = (*shape[:-2], rows, columns)
    return m.model.op(kind, [x, other], out, "BatchMatMulOptions", version=3, adjX=adj_x, adjY=adj_y)


COMPARISONS = {
    "GREATER": "GreaterOptions", "LESS": "LessOptions", "GREATER_EQUAL": "GreaterEqualOptions",
    "LESS_EQUAL": "LessEqualOptions", "EQUAL": "EqualOptions", "NOT_EQUAL": "NotEqualOptions",
}  # fmt: skip


def select(m: RandomModel, kind: str, x: int) -> int:
    """A choice by a comparison, sometimes by its opposite or by two."""
    shape = m.model.shape(x)
    if not 1 <= len(shape) <= 4:
        raise Unfit

    def compared() -> int:
        how = str(m.pick(kind, "comparison", list(COMPARISONS)))
        # Equal values: what was clamped to 0 or the same input twice.
        other = (
            m.model.constant(0.0) if m.chance(0.5) else x if m.chance(0.3) else m.model.constant(m.values(shape[-1]))
        )
        return int(m.model.op(how, [x, other], shape, COMPARISONS[how], dtype=np.bool_))

    condition = compared()
    logic = m.pick(kind, "logic", ["", "", "LOGICAL_NOT", "LOGICAL_AND", "LOGICAL_OR"])
    if logic == "LOGICAL_NOT":
        condition = m.model.op(logic, [condition], shape, "LogicalNotOptions", dtype=np.bool_)
    elif logic:
        options = "LogicalAndOptions" if logic == "LOGICAL_AND" else "LogicalOrOptions"
        condition = m.model.op(logic, [condition, compared()], shape, options, dtype=np.bool_)
    other = m.model.input(shape) if m.chance(0.5) else m.model.constant(m.values(*shape))
    operands = [x, other] if m.chance(0.5) else [other, x]
    return m.model.op(kind, [condition, *operands], shape, "SelectOptions" if kind == "SELECT" else "SelectV2Options")


def add_n(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    inputs = [x, *(m.model.input(shape) for _ in range(m.draw(1, 3)))]
    m.note(kind, inputs=len(inputs))
    return m.model.op(kind, inputs, shape, "AddNOptions")


def computed_shape(m: RandomModel, kind: str, x: int) -> int:
    """What Keras writes for a Reshape: the batch is taken out of the shape, and packed with constants."""
    shape = m.model.shape(x)
    if len(shape) < 2 or shape[0] != 1:
        raise Unfit
    whole = m.model.op(kind, [x], (len(shape),), "ShapeOptions", dtype=np.int32, outType=2)
    bounds = [m.model.constant([n], np.int32) for n in (0, 1, 1)]
    batch = m.model.op(
        "STRIDED_SLICE", [whole, *bounds], (), "StridedSliceOptions", dtype=np.int32, shrinkAxisMask=1
    )  # fmt: skip
    rest = m.model.constant(int(np.prod(shape[1:])), np.int32)
    wanted = m.model.op("PACK", [batch, rest], (2,), "PackOptions", dtype=np.int32, valuesCount=2, axis=0)
    return m.model.op("RESHAPE", [x, wanted], (1, int(np.prod(shape[1:]))), "ReshapeOptions")


def depth_space(m: RandomModel, kind: str, x: int) -> int:
    h, w, c = m.image(x)
    block = int(m.pick(kind, "block", [1, 2, 2, 3]))
    if kind == "DEPTH_TO_SPACE":
        if c % (block * block):
            raise Unfit
        out = (1, h * block, w * block, c // block**2)
    else:
        if h % block or w % block:
            raise Unfit
        out = (1, h // block, w // block, c * block**2)
    options = "DepthToSpaceOptions" if kind == "DEPTH_TO_SPACE" else "SpaceToDepthOptions"
    return m.model.op(kind, [x], out, options, blockSize=block)


def split(m: RandomModel, kind: str, x: int) -> int:
    """The parts are joined again in another order, so that all of them count."""
    shape = m.model.shape(x)
    if len(shape) < 2:
        raise Unfit
    axis = m.draw(1, len(shape) - 1)
    if kind == "SPLIT":
        counts = [n for n in range(1, min(shape[axis], 6) + 1) if shape[axis] % n == 0]
        count = counts[m.draw(0, len(counts) - 1)]
        sizes = [shape[axis] // count] * count
    else:
        sizes, rest = [], shape[axis]
        while rest:
            sizes.append(m.draw(1, rest))
            rest -= sizes[-1]
        if len(sizes) > 8:
            raise Unfit
        count = len(sizes)
    m.note(kind, parts=count, axis=f"{axis} of {len(shape)}")
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    stated = m.model.constant(axis - len(shape) if m.chance(0.3) else axis, np.int32)
    if kind == "SPLIT":
        parts = m.model.op(kind, [stated, x], shapes, "SplitOptions", numSplits=count)
    else:
        inputs = [x, m.model.constant(sizes, np.int32), stated]
        parts = m.model.op(kind, inputs, shapes, "SplitVOptions", numSplits=count)
    return m.model.op("CONCATENATION", parts[::-1], shape, "ConcatenationOptions", axis=axis)


def pack(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if not 1 <= len(shape) <= 4:
        raise Unfit
    count, axis = m.draw(1, 3), m.draw(1, len(shape))
    m.note(kind, axis=f"{axis} of {len(shape)}", values=count)
    inputs = [
        x,
        *(m.model.constant(m.values(*shape)) if m.chance(0.5) else m.model.input(shape) for _ in range(count - 1)),
    ]
    out = (*shape[:axis], count, *shape[axis:])
    return m.model.op(kind, inputs, out, "PackOptions", valuesCount=count, axis=axis)


def unpack(m: RandomModel, kind: str, x: int) -> int:
    shape = m.model.shape(x)
    if len(shape) < 2:
        raise Unfit
    axis = m.draw(1, len(shape) - 1)
    if shape[axis] > 8:
        raise Unfit
    m.note(kind, axis=f"{axis} of {len(shape)}", num=shape[axis])
    shapes = [(*shape[:axis], *shape[axis + 1 :])] * shape[axis]
    parts = m.model.op(kind, [x], shapes, "UnpackOptions", num=shape[axis], axis=axis)
    out = (shapes[0][0], shape[axis], *shapes[0][1:])
    return m.model.op("PACK", parts, out, "PackOptions", valuesCount=shape[axis], axis=1)


OPS: dict[str, Callable[[RandomModel, str, int], int]] = {
    "CONV_2D": conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "TRANSPOSE_CONV": transpose_conv,
    "FULLY_CONNECTED": fully_connected,
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), binary),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), pool),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), reduce),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), resize),
    "CONCATENATION": concat,
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), pad),
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "TRANSPOSE": transpose,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "SPLIT": split,
    "SPLIT_V": split,
    "PACK": pack,
    "UNPACK": unpack,
    "SOFTMAX": softmax,
    **dict.fromkeys(
        ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH", "LOGISTIC", "TANH", "LEAKY_RELU", "ELU",
         "ABS", "NEG", "SQUARE", "SIGN"), unary,
    ),
    **dict.fromkeys(("EXP", "LOG", "SQRT", "RSQRT", "GELU"), function),
    "POW": power,
    **dict.fromkeys(("L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION", "LOG_SOFTMAX"), normalise),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), arg),
    "TOPK_V2": top,
    "GATHER": gather,
    **dict.fromkeys(("TILE", "BROADCAST_TO"), repeat),
    "REVERSE_V2": reverse,
    "BATCH_MATMUL": matmul,
    **dict.fromkeys(("SELECT", "SELECT_V2"), select),
    "ADD_N": add_n,
    "SHAPE": computed_shape,
    "PRELU": prelu,
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), depth_space),
}  # fmt: skip
# Ops with many attributes are drawn more often, and so are those that often do not fit.
KINDS = [
    *OPS, *["CONV_2D"] * 6, *["DEPTHWISE_CONV_2D"] * 5, *["TRANSPOSE_CONV", "AVERAGE_POOL_2D", "MAX_POOL_2D"] * 2,
    *["SPACE_TO_DEPTH", "SQUEEZE", "EXPAND_DIMS", "ARG_MAX", "TOPK_V2"] * 2,
]  # fmt: skip


# ---- comparison ---------------------------------------------------------------------------------------------------


def check(seed: int) -> tuple[str | None, list[str]]:
    """What is wrong with tulle's answer for the model of a seed, None if nothing is; and what the model exercises.

    Raises ValueError if LiteRT refuses the model: then the generator is wrong.
    """
    import tulle

    data, features, shapes = build(seed)
    random = np.random.default_rng(seed)
    values = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    try:
        expected, names = run_litert(data, values)
    except RuntimeError as error:
        raise ValueError(f"seed {seed}: LiteRT refuses {features}: {error}") from error
    try:  # what must not matter takes turns
        converted = tulle.convert(data, sparse=["auto", "always", "never"][seed % 3]).data
        with tulle.load(converted, variant=["simd", "relaxed"][seed // 3 % 2]) as model:
            got = model(dict(zip(names, values, strict=True)))
    except tulle.TulleError as error:
        return f"seed {seed}: {error}", features
    problem = difference(got, expected)
    if problem is not None and difference(got, run_litert(data, values, delegate=False)[0]) is None:
        # XNNPACK has been seen to hand out uninitialised memory, as for a 1x1 pool whose result is an output.
        features.append("LiteRT disagrees with itself")
        problem = None
    return problem and f"seed {seed}: {problem}: {features}", features


def run_litert(data: bytes, values: list[np.ndarray], delegate: bool = True) -> tuple[dict[str, np.ndarray], list[str]]:
    """LiteRT's outputs by name, and the names of its inputs; without `delegate`, by its own kernels, not XNNPACK's."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    inputs = interpreter.get_input_details()
    for detail, array in zip(inputs, values, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    outputs = {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}
    return outputs, [detail["name"] for detail in inputs]


def difference(got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> str | None:
    """What is wrong with the outputs, None if nothing is."""
    for name, values in expected.items():
        if got[name].shape != values.shape:
            return f"{name} has shape {got[name].shape} instead of {values.shape}"
        # Where sums of inputs, which are about 1, cancel out, their rounding stays.
        reach = max(0.03, float(np.abs(values).max(initial=0)))
        error = float(np.abs(got[name].astype(np.float64) - values).max(initial=0)) / reach
        if not error < TOLERANCE:
            return f"{name} is off by {error:.1e}"
    return None


def run(count: int, seed: int) -> tuple[list[str], Counter[str]]:
    """Failures and coverage (models by feature) of `count` models."""
    failures, coverage = [], Counter()
    for each in range(seed, seed + count):
        problem, features = check(each)
        coverage.update(set(features))
        if problem is not None:
            failures.append(problem)
    return failures, coverage


def describe(kind: str, coverage: Counter[str]) -> str:
    """An op's attributes with the values that occurred, or how many where there are more than six."""
    values: dict[str, list[str]] = {}
    for feature, count in sorted(coverage.items()):
        if feature.startswith(f"{kind} "):
            name, value = feature.split(" ", 1)[1].split("=", 1)
            values.setdefault(name, []).append(f"{value} ({count})")
    return "".join(
        f"; {name}: {', '.join(found) if len(found) <= 6 else f'{len(found)} values'}" for name, found in values.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares tulle with LiteRT on random models.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failures, coverage = run(arguments.count, arguments.seed)
    for kind in OPS:
        print(f"{kind}: {coverage[kind]} models{describe(kind, coverage)}")
    print("\n".join(failures))
    excused = coverage["LiteRT disagrees with itself"]
    print(
        f"{arguments.count} models, {len(failures)} failures; in {excused} others XNNPACK and LiteRT's kernels differ"
    )
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()

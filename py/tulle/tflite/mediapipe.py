"""MediaPipe's custom operators that LiteRT lacks: the table `MEDIAPIPE`, by name.

They compute what MediaPipe's own kernels (mediapipe/util/tflite/operations) do. MaxPoolingWithArgmax2D and
MaxUnpooling2D belong to hair segmentation. The three on landmarks crop eyes and lips from a feature map in the face
mesh with attention: they compute a matrix from landmarks, sample the map at positions transformed by it, and transform
the resulting landmarks back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from tulle.errors import Unsupported
from tulle.ops.convolution import CUSTOM_PADDINGS
from tulle.tflite.call import Call

# TfLitePoolParams: TfLitePadding, stride width and height, filter width and height, activation.
POOL_PARAMS = struct.Struct("<6i")
POOL_ACTIVATIONS = {0: "none", 1: "relu", 2: "relu_n1_to_1", 3: "relu6"}
MAX_SUBSET = 4096


def _raw(call: Call) -> bytes:
    raw = call.operator.CustomOptionsAsNumpy()
    return raw.tobytes() if isinstance(raw, np.ndarray) else b""


def _pool_params(call: Call) -> tuple[str, tuple[int, int], tuple[int, int], str]:
    """Padding, strides, window and activation."""
    raw = _raw(call)
    if len(raw) < POOL_PARAMS.size:
        raise Unsupported("its custom options are too short for TfLitePoolParams")
    padding, stride_w, stride_h, kernel_w, kernel_h, activation = POOL_PARAMS.unpack_from(raw)
    if padding not in CUSTOM_PADDINGS or activation not in POOL_ACTIVATIONS:
        raise Unsupported(f"padding {padding} or activation {activation} is not known")
    if min(stride_w, stride_h, kernel_w, kernel_h) < 1:
        raise Unsupported("its window or stride is empty")
    return CUSTOM_PADDINGS[padding], (stride_h, stride_w), (kernel_h, kernel_w), POOL_ACTIVATIONS[activation]


def _max_pool_with_argmax(call: Call) -> None:
    if len(call.outputs) != 2:
        raise Unsupported(f"it has {len(call.outputs)} outputs instead of two")
    padding, strides, kernel, activation = _pool_params(call)
    attrs: dict[str, Any] = {"strides": strides, "kernel": kernel, "padding": padding}
    pooled, indices = call.outputs
    call.append("max_pool2d", [call.input(0)], pooled, activation=activation, **attrs)
    call.append("max_pool2d_argmax", [call.input(0)], indices, **attrs)


def _max_unpool(call: Call) -> None:
    _, strides, kernel, _ = _pool_params(call)
    _, height, width, _ = call.output_shape
    if call.output_shape[1:3] != tuple(np.multiply(call.shape(0)[1:3], kernel)):
        raise Unsupported(f"it makes {list(call.output_shape)}, which is not the window times {list(call.shape(0))}")
    # MediaPipe pads by half of what the windows reach beyond the output, whatever the padding type.
    pads = [max(0, (size // k - 1) * stride + k - size) // 2
            for size, k, stride in zip((height, width), kernel, strides, strict=True)]  # fmt: skip
    padding = (pads[0], pads[0], pads[1], pads[1])
    call.add("max_unpool2d", [call.input(0), call.input(1)], kernel=kernel, strides=strides, padding=padding)


# ---- landmarks ----------------------------------------------------------------------------------------------------


def _options(call: Call, *names: str) -> dict[str, float]:
    """Numbers from the FlexBuffers map of the custom options."""
    try:
        found = flexbuffers.GetRoot(_raw(call)).AsMap
        return {name: float(found[name].AsFloat) for name in names}
    except Exception as error:  # the package raises arbitrary exceptions for a broken buffer
        raise Unsupported(f"its custom options cannot be read ({type(error).__name__}: {error})") from None


def _subset(call: Call) -> list[int]:
    try:
        vector = flexbuffers.GetRoot(_raw(call)).AsMap["subset_idxs"].AsTypedVector
        if not 0 < len(vector) <= MAX_SUBSET:
            raise ValueError(f"{len(vector)} landmarks")
        return [int(vector[i].AsInt) for i in range(len(vector))]
    except Exception as error:
        raise Unsupported(f"its custom options cannot be read ({type(error).__name__}: {error})") from None


def _check(call: Call, fits: bool) -> None:
    if call.version != 2:
        raise Unsupported(f"version {call.version} is not supported, only 2")
    if not fits:
        raise Unsupported(f"it cannot make {list(call.output_shape)} of {[list(call.shape(0))]}")


def _landmarks_to_matrix(call: Call) -> None:
    """The matrix that maps an output's pixels to a box around some landmarks, rotated so that two of them are level.

    c and s are the cosine and sine of the landmarks' rotation; the rotated landmarks have a box of `size` and `center`.
    The matrix is translate(center rotated back) * rotate back * scale(size / output) * translate(-output / 2).
    """
    shape = call.shape(0)
    _check(call, len(shape) == 3 and shape[0] == 1 and shape[2] == 3 and call.output_shape == (1, 4, 4))
    options = _options(
        call, "left_rotation_idx", "right_rotation_idx", "target_rotation_radians", "output_height", "output_width",
        "scale_x", "scale_y",
    )  # fmt: skip
    subset, left, right = _subset(call), int(options["left_rotation_idx"]), int(options["right_rotation_idx"])
    if not all(0 <= index < shape[1] for index in (*subset, left, right)):
        raise Unsupported(f"it names landmarks beyond the {shape[1]} there are")
    output = np.array([options["output_width"], options["output_height"]])
    if not (np.isfinite(list(options.values())).all() and (output >= 1).all()):
        raise Unsupported(f"its options {options} make no sense")
    count = len(subset)
    call.reserve(3 * shape[1] * (2 * count + 2))
    picks = np.zeros((2 * count + 2, shape[1], 3), np.float32)  # xs, ys, then from left to right
    picks[np.arange(count), subset, 0] = 1
    picks[count + np.arange(count), subset, 1] = 1
    for axis in (0, 1):
        picks[2 * count + axis, right, axis] += 1
        picks[2 * count + axis, left, axis] -= 1
    everything = call.step("landmarks", "reshape", [call.input(0)], (1, 3 * shape[1]))
    picked = _linear(call, everything, picks.reshape(len(picks), -1))
    xs, ys = (_columns(call, picked, first, count) for first in (0, count))
    across = _columns(call, picked, 2 * count, 2)
    square = _binary(call, "mul", across, across)
    length = call.step("length", "activation", [_reduce(call, "sum", square)], (1, 1), activation="sqrt")
    length = _binary(call, "maximum", length, call.number(float(np.finfo(np.float32).tiny)))
    target = options["target_rotation_radians"]
    turn = np.array([[np.cos(target), np.sin(target)], [np.sin(target), -np.cos(target)]])
    cosine_sine = _linear(call, _binary(call, "div", across, length), turn)
    back = _linear(call, cosine_sine, np.array([[0, -1], [1, 0]]))  # -s, c
    cosine, sine = (_columns(call, cosine_sine, at, 1) for at in (0, 1))
    turned = [
        _binary(call, "sub", _binary(call, "mul", xs, cosine), _binary(call, "mul", ys, sine)),
        _binary(call, "add", _binary(call, "mul", xs, sine), _binary(call, "mul", ys, cosine)),
    ]
    high, low = (
        call.step(kind, "concat", [_reduce(call, kind, name) for name in turned], (1, 2), axis=1)
        for kind in ("reduce_max", "reduce_min")
    )
    center = _binary(call, "mul", _binary(call, "add", high, low), call.number(0.5))
    scales = np.array([options["scale_x"], options["scale_y"]]) / output
    size = _binary(call, "mul", _binary(call, "sub", high, low), _row(call, scales))
    parts: list[str | None] = []
    for direction in (cosine_sine, back):
        row = _binary(call, "mul", direction, size)
        moved = _binary(
            call, "add", _binary(call, "mul", direction, center), _binary(call, "mul", row, _row(call, -output / 2))
        )
        parts += [row, _row(call, np.zeros(1)), _reduce(call, "sum", moved)]
    parts.append(_row(call, np.eye(4)[2:].reshape(-1)))
    whole = call.step("matrix", "concat", parts, (1, 16), axis=1)
    call.add("reshape", [whole])


def _row(call: Call, values: np.ndarray) -> str:
    return call.graph.add_constant(f"{call.output}_row", values.reshape(1, -1).astype(np.float32))


def _linear(call: Call, x: str, weight: np.ndarray) -> str:
    name = call.graph.add_constant(f"{call.output}_weight", weight.astype(np.float32))
    return call.step("linear", "fully_connected", [x, name], (1, len(weight)), keep_num_dims=True)


def _columns(call: Call, x: str, first: int, count: int) -> str:
    return call.step("columns", "slice", [x], (1, count), begin=(0, first), strides=(1, 1))


def _binary(call: Call, op: str, a: str, b: str) -> str:
    shapes = (call.graph.tensors[a].shape, call.graph.tensors[b].shape)
    return call.step(op, op, [a, b], np.broadcast_shapes(*shapes))


def _reduce(call: Call, op: str, x: str) -> str:
    return call.step(op, op, [x], (1, 1), axes=(1,), keep_dims=True)


def _moved(call: Call, matrix: str, xs: str, ys: str) -> str:
    """The first two rows of a 4x4 matrix times (x, y, 0, 1), along the last dimension."""
    rank = len(call.graph.tensors[xs].shape)
    if call.graph.tensors[matrix].shape != (1, 4, 4):
        raise Unsupported(f"a matrix [1, 4, 4] is needed, not {list(call.graph.tensors[matrix].shape)}")
    columns = []
    for column in (0, 1, 3):
        pair = call.step("pair", "slice", [matrix], (1, 2, 1), begin=(0, 0, column), strides=(1, 1, 1))
        columns.append(call.step("column", "reshape", [pair], (1,) * (rank - 1) + (2,)))
    across, down = _binary(call, "mul", xs, columns[0]), _binary(call, "mul", ys, columns[1])
    return _binary(call, "add", _binary(call, "add", across, down), columns[2])


def _transform_tensor(call: Call) -> None:
    """The map, interpolated at every output pixel's centre transformed by the matrix; zero outside of the map."""
    shape, result = call.shape(0), call.output_shape
    _check(call, len(shape) == len(result) == 4 and shape[0] == result[0] == 1 and shape[3] == result[3])
    _, height, width, _ = result
    call.reserve(height + width)
    xs = call.graph.add_constant(f"{call.output}_xs", (np.arange(width, dtype=np.float32) + 0.5).reshape(1, 1, -1, 1))
    ys = call.graph.add_constant(f"{call.output}_ys", (np.arange(height, dtype=np.float32) + 0.5).reshape(1, -1, 1, 1))
    at = _binary(call, "sub", _moved(call, call.input(1), xs, ys), call.number(0.5))
    call.add("sample_bilinear", [call.input(0), at])


def _transform_landmarks(call: Call) -> None:
    """Landmarks times the matrix; a third coordinate is unchanged."""
    x, shape = call.input(0), call.shape(0)
    _check(call, len(shape) == 3 and shape[2] in (2, 3) and call.output_shape == shape)
    parts = [
        call.step("part", "slice", [x], (*shape[:2], 1), begin=(0, 0, axis), strides=(1, 1, 1))
        for axis in range(shape[2])
    ]
    moved = _moved(call, call.input(1), parts[0], parts[1])
    if shape[2] == 2:
        call.add("reshape", [moved])
    else:
        call.add("concat", [moved, parts[2]], axis=2)


MEDIAPIPE: dict[str, Callable[[Call], None]] = {
    "MaxPoolingWithArgmax2D": _max_pool_with_argmax,
    "MaxUnpooling2D": _max_unpool,
    "Landmarks2TransformMatrix": _landmarks_to_matrix,
    "TransformTensorBilinear": _transform_tensor,
    "TransformLandmarks": _transform_landmarks,
}

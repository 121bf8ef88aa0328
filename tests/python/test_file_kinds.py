"""What a model file is, by its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tulle
from tulle.files import file_kind


def onnx_bytes() -> bytes:
    onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
    helper = onnx.helper
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 4)) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "test", ends[:1], ends[1:])
    model = helper.make_model(graph, producer_name="a test", doc_string="words " * 40, ir_version=8)
    model.metadata_props.add(key="author", value="nobody")
    return model.SerializeToString()


def test_kinds(model_path: Callable[[str], Path]) -> None:
    source = model_path("selfie_segmentation").read_bytes()
    assert file_kind(source) == "tflite"
    assert file_kind(tulle.convert(source).data) == "tulle"
    assert file_kind(onnx_bytes()) == "onnx"


def test_the_order_of_the_fields_of_an_onnx_file_does_not_matter() -> None:
    data = onnx_bytes()
    assert data[:2] == b"\x08\x08"
    opset = data.rindex(b"\x42")  # opset_import, before the metadata: both come after the graph
    moved = data[opset:] + data[:opset]
    pytest.importorskip("onnx").load_model_from_string(moved)
    assert file_kind(moved) == "onnx"


@pytest.mark.parametrize(
    "data",
    [b"", b"TFL3", b"\x08", b"\x08\xff" + b"\xff" * 20, b"\x12\xff\xff\xff\x7f", b"\x08\x08" * 4000,
     b'"""' + b":" * 99, b"\x89PNG\r\n\x1a\n" * 4,
     b"PK\x03\x04" * 9, b"not a model at all", bytes(64)],
)  # fmt: skip
def test_other_bytes_are_of_no_kind(data: bytes) -> None:
    assert file_kind(data) is None


def test_onnx_bytes_convert_and_load_without_a_name() -> None:
    data = onnx_bytes()
    assert tulle.convert(data).data == tulle.convert(data).data
    with tulle.load(data) as model:
        [y] = model(np.array([[-1, 0, 1, 2]], np.float32)).values()
    assert y.tolist() == [[0, 0, 1, 2]]

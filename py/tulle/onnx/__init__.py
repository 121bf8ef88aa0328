"""Reads ONNX models, through the onnx package (`pip install tulle[onnx]`)."""

from tulle.onnx.reader import read

__all__ = ["read"]

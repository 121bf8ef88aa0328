"""Reader and writer of .tflite files (the FlatBuffers schema of TensorFlow Lite, version 3)."""

from tulle.tflite.reader import read
from tulle.tflite.writer import write

__all__ = ["read", "write"]

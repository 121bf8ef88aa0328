"""Reader and writer of .tflite files (the FlatBuffers schema of TensorFlow Lite, version 3)."""

from tulle.tflite.reader import read

__all__ = ["read"]

"""Architectures built as Graphs, with published weights or with random ones."""

from tulle.zoo.mobilenet_v2 import mobilenet_v2

__all__ = ["mobilenet_v2"]

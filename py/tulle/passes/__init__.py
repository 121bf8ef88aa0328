"""Passes: each a function Graph -> Graph, one idea a file. `lower` runs them all in order."""

from tulle.passes.lower import lower
from tulle.passes.lowered import check_lowered
from tulle.passes.lowering_report import Report

__all__ = ["Report", "check_lowered", "lower"]

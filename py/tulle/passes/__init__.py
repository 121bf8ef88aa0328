"""Passes: functions Graph -> Graph, one idea per file. `lower` runs them all, in the order of `PASSES`."""

from tulle.passes.lower import PASSES, Pass, lower
from tulle.passes.lowered import check_lowered
from tulle.passes.lowering_report import Report
from tulle.passes.trace import PassChange

__all__ = ["PASSES", "Pass", "PassChange", "Report", "check_lowered", "lower"]

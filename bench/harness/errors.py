"""The one error that the benchmark reports without a traceback."""


class BenchError(Exception):
    """What was wrong, where, and what to do."""

"""The error of the benchmarks, and how their commands end when something goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from tulle import TulleError


class BenchError(Exception):
    """What was wrong, where, and what to do."""


@contextmanager
def explained(console: Console, *others: type[Exception]) -> Iterator[None]:
    """Ends the program with a message in place of a traceback after BenchError, TulleError, `others` and Ctrl-C."""
    errors: tuple[type[Exception], ...] = (BenchError, TulleError, *others)
    try:
        yield
    except errors as error:
        console.print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted: nothing was written")
        sys.exit(130)

"""Printing for the commands: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table

if TYPE_CHECKING:
    from tulle.graph import Graph

_stderr = Console(stderr=True, highlight=False)


def show(item: Any) -> None:
    """Prints a table, or text unchanged, on stdout."""
    if isinstance(item, str):
        click.echo(item)
    else:
        console = Console(highlight=False)
        if not console.is_terminal:  # a pipe has no width: tables would be cut to 80 columns
            console = Console(highlight=False, width=200)
        console.print(item)


def show_json(value: Any) -> None:
    """NaN and infinity, which JSON lacks, become null."""
    click.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def note(text: str) -> None:
    """A remark that is not the result."""
    click.echo(f"note: {text}", err=True)


def notes(graph: Graph) -> None:
    """What the graph's reader has to say."""
    for text in graph.notes:
        note(text)


def busy(text: str) -> AbstractContextManager[Any]:
    """A spinner for slow work; nothing if stderr is not a terminal."""
    return _stderr.status(text) if _stderr.is_terminal else nullcontext()


def progress(items: Iterable[int], text: str) -> Iterable[int]:
    """A progress bar over a loop; nothing if stderr is not a terminal."""
    return track(items, text, console=_stderr, transient=True) if _stderr.is_terminal else items


@contextmanager
def steps(total: int, text: str, show: bool = True) -> Iterator[Callable[[int, float], None]]:
    """A progress bar for training: yields a function of steps done and loss, whose first call shows the bar."""
    if not (show and _stderr.is_terminal):
        yield lambda done, loss: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=_stderr, transient=True)
    task = bar.add_task(text, total=total, loss="")

    def advance(done: int, loss: float) -> None:
        bar.start()  # not before: rich shows one bar at a time, and until the first call there may be another
        bar.update(task, completed=done, loss=f"{loss:.4f}")

    try:
        yield advance
    finally:
        bar.stop()


def table(title: str, *columns: str) -> Table:
    """An empty table; columns whose name begins with ">" hold numbers."""
    result = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        result.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return result


def count(number: float) -> str:
    """1234567 -> 1.23 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def size(number: int) -> str:
    """Bytes: 1234567 -> 1.23 MB."""
    return f"{count(number)}B" if number >= 1000 else f"{number} B"


def share(part: float) -> str:
    return f"{part:.1%}"


def shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes)) or "scalar"


def short(name: str, most: int = 40) -> str:
    """The end of a long name, which is where names of layers differ."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value

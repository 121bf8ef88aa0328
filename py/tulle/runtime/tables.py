"""How models and profiles are displayed: as HTML tables in a notebook, as text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from tulle.runtime.tensors import TensorInfo

_NAME_LENGTH = 40


class Profile(list[dict[str, Any]]):
    """Rows of `Model.profile()`, in the order of execution; a notebook shows them as a table, print() as text.

    Tables show the end of long names (of fused steps), which is where layers differ; rows have the whole name.
    """

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self._cells(), strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self._cells()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *body, total = self._cells()
        return _table(head, body, total)

    def _cells(self) -> list[list[str]]:
        """Header, a row for every step, and the total."""
        time, macs = sum(row["ms"] for row in self), sum(row["macs"] for row in self)
        rows = [["step", "op", "kernel", "ms", "share", "million MACs", "nonzero weights"]]
        for row in self:
            share = f"{row['ms'] / time:.0%}" if time else ""
            nonzero = f"{row['nnz'] / row['weights']:.0%} of {row['weights']}" if row["weights"] else ""
            name = row["name"] if len(row["name"]) <= _NAME_LENGTH else f"…{row['name'][1 - _NAME_LENGTH :]}"
            rows.append(
                [name, row["op"], row["kernel"], f"{row['ms']:.3f}", share, f"{row['macs'] / 1e6:.2f}", nonzero]
            )
        return [*rows, ["total", "", "", f"{time:.3f}", "", f"{macs / 1e6:.2f}", ""]]


def model_html(
    name: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], info: dict[str, Any], how: str
) -> str:
    """A model in a notebook: its inputs and outputs, sizes, and what runs it."""
    rows = []
    for what, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            pixels = f"or uint8, fed as (pixel - {tensor.mean:g}) / {tensor.std:g}" if tensor.takes_images else ""
            rows.append([what, tensor.name, " × ".join(map(str, tensor.shape)), f"{tensor.dtype} {pixels}".strip()])
    sizes = f"{info['file_bytes'] / 1e6:.2f} MB file, {info['weight_bytes'] / 1e6:.2f} MB weights in memory"
    sizes += f", {info['arena_bytes'] / 1e6:.2f} MB activations"
    title = f"<p><b>{escape(name) or 'model'}</b>: {escape(how)}; {sizes}</p>"
    return title + _table(["", "name", "shape", "type"], rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], foot: Iterable[str] = ()) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    end = f"<tfoot>{line(foot, 'th')}</tfoot>" if foot else ""
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody>{end}</table>"

"""The lists of the C library that tests and documents are compared with: wasm/kernels/kernels.inc."""

from __future__ import annotations

import re
from dataclasses import dataclass

from paths import ROOT


@dataclass(frozen=True)
class Kernel:
    """A row of kernels.inc."""

    c_name: str
    function: str
    tile: str
    path: str
    builds: str

    @property
    def name(self) -> str:
        """As in a profile."""
        return f"{self.function}_{self.tile}" if self.tile else self.function


def kernels(variant: str | None = None) -> list[Kernel]:
    """The rows of kernels.inc, or those that are in a build: "simd" or "relaxed"."""
    text = (ROOT / "wasm" / "kernels" / "kernels.inc").read_text()
    pattern = r'^KERNEL\((\w+),\s*"(\w+)",\s*"(\w*)",\s*"(\w+)",\s*(ALL|SIMD|RELAXED)\)$'
    rows = [Kernel(*row) for row in re.findall(pattern, text, re.MULTILINE)]
    assert len(rows) == text.count("\nKERNEL(") > 0, "a row of kernels.inc is not as it should be"
    return [row for row in rows if variant is None or row.builds in ("ALL", variant.upper())]

"""Folders of pictures, for the commands that take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from tulle.graph import Graph


def read_pictures(folder: str, graph: Graph, most: int, seed: int = 0) -> list[np.ndarray]:
    """As `tulle.sparsify.calibration.read_folder`, with a progress bar and a note on skipped files."""
    from tulle.cli import output
    from tulle.sparsify.calibration import read_folder

    found = read_folder(folder, graph, most=most, seed=seed, progress=output.progress)
    if found.skipped:
        output.note(f"{len(found.skipped)} files were skipped; the first: {found.skipped[0]}")
    return found.images

"""Checkpoints: files that are complete or absent, and match the run that resumes from them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from tulle.errors import TulleError
from tulle.files import write_bytes

NAME = "last.pt"


def save(folder: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Writes the state of a run with these settings, replacing an earlier one. Raises TulleError if that fails."""
    buffer = io.BytesIO()
    torch.save({"settings": settings, **state}, buffer)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TulleError(f"{folder} cannot be made: {error.strerror or error}") from None
    write_bytes(folder / NAME, buffer.getvalue())


def load(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The saved state, or None. Only tensors and plain values: no code in the file is executed.

    Raises TulleError if it cannot be read or belongs to a run with other settings.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved = state["settings"]
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise TulleError(f"{path} cannot be read as a checkpoint: {error}") from None
    differing = [key for key in {**saved, **settings} if saved.get(key) != settings.get(key)]
    if differing:
        listed = ", ".join(f"{key} {saved.get(key)!r}, now {settings.get(key)!r}" for key in sorted(differing))
        raise TulleError(f"{path} is of a run with other settings ({listed}): use another --checkpoint folder")
    return state

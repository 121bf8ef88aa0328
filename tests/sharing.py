"""What the workers of `make test` share: each runs its tests in a process of its own, in the same checkout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from paths import ROOT


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keeps the other workers out, while something is made that all of them use."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield


def folder_of_run(factory: pytest.TempPathFactory) -> Path:
    """A folder for this run of pytest, the same in all of its workers."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

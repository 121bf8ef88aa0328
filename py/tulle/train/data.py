"""Training pictures: a folder of files, split by name into those to train on and those held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tulle.errors import TulleError
from tulle.files import PathLike
from tulle.image import PICTURES, read_image

# Wraps a loop over numbers to show its progress under a title.
Progress: TypeAlias = Callable[[Iterable[int], str], Iterable[int]]

HELD_OUT = 10  # one picture in ten is held out
CACHE_BYTES = 2**31


class Pictures(Dataset):
    """The pictures of a list of files as uint8 tensors [height, width, 3], stretched to that size.

    Read on first use, and kept as long as all of them take less than 2 GB.
    """

    def __init__(self, paths: Sequence[Path], height: int, width: int) -> None:
        self.paths, self.height, self.width = list(paths), height, width
        self.cache: dict[int, Tensor] = {}
        self.caches = len(self.paths) * height * width * 3 <= CACHE_BYTES

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        if index in self.cache:
            return self.cache[index]
        picture = torch.from_numpy(np.array(read_image(self.paths[index], self.height, self.width)))
        if self.caches:
            self.cache[index] = picture
        return picture

    def without_unreadable(self, progress: Progress | None = None) -> tuple[Pictures, int]:
        """The pictures that can be read, and the number of others."""
        readable = []
        places: Iterable[int] = range(len(self.paths))
        for index in progress(places, "Reading pictures") if progress else places:
            try:
                self[index]
            except TulleError:
                continue
            readable.append(self.paths[index])
        return Pictures(readable, self.height, self.width), len(self.paths) - len(readable)


def find_pictures(folder: PathLike) -> list[Path]:
    """The picture files in a folder and the folders in it, in the order of their names.

    Raises TulleError if there is no such folder, or no picture in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise TulleError(f"{root} is no folder: name one with pictures to train on")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not paths:
        raise TulleError(f"{root} holds no pictures ({', '.join(sorted(PICTURES))})")
    return paths


def is_held_out(name: str) -> bool:
    """Whether the picture with this file name is only for measuring: one in ten, always the same ones."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % HELD_OUT == 0


def split(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Pictures to train on, and those held out. Raises TulleError if either would be empty."""
    held_out = [path for path in paths if is_held_out(path.name)]
    rest = [path for path in paths if not is_held_out(path.name)]
    if not held_out or not rest:
        raise TulleError(f"{len(paths)} pictures are too few to hold some out: give at least some twenty")
    return rest, held_out


class Batches(Sampler):
    """Yields the indices of each step's pictures: random orders, repeatedly, that only depend on seed and step.

    In a distributed run each process takes its part of the same batch, so the result does not depend on the number of
    processes.
    """

    def __init__(self, count: int, batch: int, steps: range, *, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.count, self.batch, self.steps, self.seed = count, batch, steps, seed
        self.part = slice(rank * batch // processes, (rank + 1) * batch // processes)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        orders: dict[int, list[int]] = {}
        for step in self.steps:
            places = range(step * self.batch, (step + 1) * self.batch)[self.part]
            rounds = {place // self.count for place in places}
            orders = {number: orders.get(number) or self._order(number) for number in rounds}
            yield [orders[place // self.count][place % self.count] for place in places]

    def _order(self, number: int) -> list[int]:
        return torch.randperm(self.count, generator=seeded(self.seed, number)).tolist()


def seeded(seed: int, number: int) -> torch.Generator:
    """A random number generator for item `number` of a sequence."""
    # PyTorch's generator only uses 32 bits of a seed.
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))

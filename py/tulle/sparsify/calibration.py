"""Calibration images: reads a folder of pictures as a model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tulle.errors import TulleError
from tulle.files import PathLike
from tulle.graph import Graph
from tulle.image import PICTURES, read_input

SUFFIXES = {*PICTURES, ".npy"}
IMAGES = 256


@dataclass(frozen=True)
class Calibration:
    """Images that were read.

    Attributes:
        images: each uint8 (H, W, 3), or float32 of the input's shape where the file is a .npy array.
        files: the files they come from.
        skipped: files that could not be read or do not fit, with the reason.
    """

    images: list[np.ndarray]
    files: list[Path]
    skipped: list[str]


def read_folder(
    folder: PathLike,
    graph: Graph,
    *,
    most: int = IMAGES,
    seed: int = 0,
    progress: Callable[[range, str], Iterable[int]] = lambda items, _: items,
) -> Calibration:
    """Reads the pictures and .npy arrays of a folder and the folders in it, stretched to the model's input.

    Args:
        graph: the model; it has one input.
        most: the largest number of files, chosen at random by `seed` and read in the order of their names.
        progress: wraps the loop over the files.

    Raises TulleError if there is no such folder, nothing in it can be read, or the model has several inputs.
    """
    if most < 1:
        raise TulleError(f"{most} calibration images are too few; give at least 1")
    shape = input_shape(graph)
    try:
        next(Path(folder).iterdir(), None)  # for its errors
        files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError as error:
        raise TulleError(f"calibration folder {folder} cannot be read: {error.strerror or error}") from None
    if not files:
        raise TulleError(f"calibration folder {folder} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    order = np.random.default_rng(seed).permutation(len(files))
    images: dict[int, np.ndarray] = {}
    skipped: list[str] = []
    candidates = iter(order)
    for _ in progress(range(min(most, len(files))), "Reading images"):
        for index in candidates:  # another instead of one that cannot be read
            try:
                images[int(index)] = check_image(read_input(files[index], shape), graph)
                break
            except TulleError as error:
                skipped.append(str(error))
    if not images:
        raise TulleError(f"none of the {len(files)} files in {folder} can be read; the first: {skipped[0]}")
    chosen = sorted(images)
    return Calibration([images[index] for index in chosen], [files[index] for index in chosen], skipped)


def input_shape(graph: Graph) -> tuple[int, ...]:
    """The shape of the only input. Raises TulleError if there are several."""
    if len(graph.inputs) != 1:
        raise TulleError(f"the model has {len(graph.inputs)} inputs; calibration images need a model with one")
    return graph.tensors[graph.inputs[0]].shape


def check_image(image: np.ndarray, graph: Graph) -> np.ndarray:
    """The image as a model takes it. Raises TulleError if it does not fit the input, or is not finite."""
    shape = input_shape(graph)
    if image.dtype == np.uint8 and len(shape) == 4 and shape[3] == 3 and image.shape in (shape, shape[1:]):
        return image.reshape(shape[1:])
    if image.dtype != np.float32 or image.shape not in (shape, shape[1:]):
        raise TulleError(f"a calibration image of {image.dtype} {image.shape} does not fit the input float32 {shape}")
    if not np.isfinite(image).all():
        raise TulleError("a calibration image holds numbers that are not finite")
    return image.reshape(shape)

"""Pictures of people with the answers that a network is trained on: those of dense networks, and where it is known, who
really stands there.

People are cut out of rendered avatars and photographs, and stand before photographs of other things and
drawn shapes. Others are photographs as they are, cropped and stretched. README.md lists the sources and their licences.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from photographs import portraits, read_rgb, things
from PIL import Image
from scenes import HEIGHT, WIDTH, carphone_frames, clouds, drawn, tinted

from common import MODELS, WORK, data_folder, progress
from tulle import Model, TulleError, load

Item = TypeVar("Item")

AVATARS = 300
SIZE = 400  # pixels of the square that an avatar is rendered into
DENSE = ("selfie_segmentation_landscape", "selfie_segmentation")
SESSIONS_HELD_OUT = ("55", "5")  # of the webcam photographs


@dataclass(frozen=True)
class Set:
    """Pictures uint8 (n, 144, 256, 3) with, for each pixel, 0 to 255: the answers of the two dense networks, each the
    mean of the picture's and its mirror image's, and the share of the pixel that people cover.

    Memory maps. `known` is False where the share is not known: the dense networks' mean is there instead.
    """

    pictures: np.ndarray
    teachers: np.ndarray  # (n, 2, 144, 256)
    truth: np.ndarray  # (n, 144, 256)
    known: np.ndarray  # (n,)


class Teachers:
    """The two dense networks, which see a picture and its mirror image."""

    def __init__(self) -> None:
        self.models: list[Model] = []
        for name in DENSE:
            path = MODELS / f"{name}.tflite"
            if not path.is_file():
                raise TulleError(f"there is no {path}; run `make models`")
            self.models.append(load(path))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (2, height, width), of a uint8 picture of any size, stretched as MediaPipe does."""
        height, width = picture.shape[:2]
        results = []
        for model in self.models:
            rows, columns = model.inputs[0].shape[1:3]
            small = np.float32(resized(picture, columns, rows))[None] / 255
            name = model.outputs[0].name
            straight = model(small)[name].reshape(rows, columns)
            mirrored = model(np.ascontiguousarray(small[:, :, ::-1]))[name].reshape(rows, columns)
            results.append(resized((straight + mirrored[:, ::-1]) / 2, width, height))
        return np.stack(results)

    def cut_out(self, picture: np.ndarray) -> np.ndarray:
        """The picture as RGBA, with only its people opaque."""
        return with_alpha(picture, 255 * self(picture).mean(0))


class Sources:
    """What scenes are made of; `held_out` pictures are only for choosing between networks.

    RGBA people whose alpha is known (`certain`) or the dense networks' answer (`guessed`), RGBA photographs as they
    are (`photographs`, with the same alpha), and pictures without people (`backgrounds`).
    """

    def __init__(self, held_out: bool) -> None:
        self.held_out = held_out
        self.teachers = Teachers()

    def _mine(self, items: Sequence[Item], every: int) -> list[Item]:
        return [item for number, item in enumerate(items) if (number % every == 0) == self.held_out]

    @cached_property
    def avatars(self) -> list[np.ndarray]:
        return [cropped(read_rgba(path)) for path in self._mine(avatars(), 10)]

    @cached_property
    def labelled(self) -> list[np.ndarray]:
        """COCO photographs with masks, without those that are CC BY-SA and those whose people are tiny."""
        folder = data_folder("clean") / "coco_ccby"
        with (folder / "ATTRIBUTION.tsv").open() as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t") if not row["file"].startswith("by_sa/")]
        rows = [row for row in rows if float(row["largest_person_share"]) > 0.03]
        result = []
        for row in self._mine(rows, 3):
            path = folder / row["file"]
            with Image.open(path.parent.parent / "masks" / f"{path.stem}.png") as mask:
                result.append(with_alpha(read(path), np.asarray(mask.convert("L"))))
        return result

    @cached_property
    def unlabelled(self) -> list[np.ndarray]:
        """Portraits, webcam photographs, the carphone clip and scikit-image's two, cut out by the dense networks."""
        clean = data_folder("clean")
        faces = self._mine(sorted((clean / "portraits_cc0/images").glob("*.jpg")), 10)
        webcam = [
            path for path in sorted((clean / "webcam_apache/images").glob("*.jpg"))
            if (path.stem.rsplit("_", 1)[0] in SESSIONS_HELD_OUT) == self.held_out
        ]  # fmt: skip
        pictures = [read(path) for path in [*faces, *faces, *faces, *webcam[::2]]]
        if not self.held_out:
            pictures += [*carphone_frames()[::8], *20 * portraits()]
        cut: dict[bytes, np.ndarray] = {}
        for number in progress(range(len(pictures)), "Cutting people out"):
            key = pictures[number].tobytes()
            if key not in cut:
                cut[key] = self.teachers.cut_out(pictures[number])
        return [cut[picture.tobytes()] for picture in pictures]

    @cached_property
    def backgrounds(self) -> list[np.ndarray]:
        folder = data_folder("clean") / "backgrounds"
        paths = sorted(path for name in ("by", "cc0", "cc0_soft") for path in (folder / name).glob("*.jpg"))
        return [read(path) for path in self._mine(paths, 5)] + self._mine(things(), 5)


def scene(sources: Sources, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
    """A picture uint8 (144, 256, 3), the share of people in each pixel, 0 to 1, and whether that is the truth."""

    def one_of(items: Sequence[Item]) -> Item:
        return items[int(random.integers(len(items)))]

    known = True
    kind = random.random()
    if kind < 0.4:  # a photograph as it is
        known = kind < 0.08
        image = window(one_of(sources.labelled if known else sources.unlabelled), random)
        picture, share = image[..., :3], image[..., 3] / 255.0
        if random.random() < 0.6:
            picture = tinted(picture, random)
    else:
        picture = background(sources, random)
        if random.random() < 0.4:
            picture = blurred(picture, 4, random)
        share = np.zeros((HEIGHT, WIDTH))
        for _ in range(random.choice([0, 1, 2, 4], p=[0.03, 0.65, 0.22, 0.1])):
            what = random.random()
            if what < 0.6:
                person = one_of(sources.avatars)
            elif what < 0.7:
                person = one_of(sources.labelled)
            else:
                person, known = one_of(sources.unlabelled), False
            picture, share = before(person, picture, share, random)
    if random.random() < 0.5:
        picture = tinted(picture, random)
    if random.random() < 0.25:
        picture = blurred(picture, 1.2, random)
    if random.random() < 0.3:
        noise = random.normal(0, random.uniform(2, 12), picture.shape)
        picture = np.uint8(np.clip(picture + noise, 0, 255))
    return picture, share, known


def background(sources: Sources, random: np.random.Generator) -> np.ndarray:
    kind = random.random()
    if kind < 0.1:
        return drawn(sources.backgrounds, random)
    if kind < 0.18:
        return clouds(random)
    picture = sources.backgrounds[int(random.integers(len(sources.backgrounds)))]
    return tinted(window(picture, random, least=0.3), random)


def window(picture: np.ndarray, random: np.random.Generator, least: float = 0.55) -> np.ndarray:
    """A part of a picture with its own proportions, up to `least` of a side, turned a little, mirrored half of the
    time; (144, 256, channels)."""
    height, width = picture.shape[:2]
    wide, high = np.maximum(random.uniform(least, 1.05, 2), least)
    if random.random() < 0.3:
        wide = high = 1.0
    across = random.choice([-1, 1]) * WIDTH / (wide * width)
    down = HEIGHT / (high * height)
    centre = (0.5 + random.uniform(-0.5, 0.5, 2) * np.maximum(0, 1 - np.array([wide, high]))) * (width, height)
    angle = random.normal(0, 0.06)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([across, down])
    return warped(picture, matrix, centre, np.array([WIDTH / 2, HEIGHT / 2]), cv2.BORDER_REFLECT)


def before(
    person: np.ndarray, picture: np.ndarray, share: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places a person at a random size, place and colour in front of a picture. The lower edge of someone who is only
    partly visible lies below that of the picture."""
    whole = not (person[-1, :, 3] > 128).any()
    high = (random.uniform(0.3, 1.15) if whole else random.uniform(0.4, 1.6)) * HEIGHT
    scale = high / person.shape[0]
    stretched = np.exp(random.uniform(np.log(0.75), np.log(2.2)))
    coloured = person
    if random.random() < 0.7:
        coloured = with_alpha(tinted(person[..., :3], random), person[..., 3])
    middle = WIDTH / 2 + random.normal(0, 0.22) * WIDTH
    bottom = HEIGHT * random.uniform(0.65, 1.1) if whole else HEIGHT + high * random.uniform(0.02, 0.5)
    angle = random.normal(0, 0.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([random.choice([-1, 1]) * scale * stretched, scale])
    foot = np.array([person.shape[1] / 2, person.shape[0]])
    layer = warped(coloured, matrix, foot, np.array([middle, bottom]), cv2.BORDER_CONSTANT)
    alpha = layer[..., 3] / 255.0
    mixed = picture + alpha[..., None] * (layer[..., :3].astype(float) - picture)
    return np.uint8(np.rint(mixed)), 1 - (1 - share) * (1 - alpha)


def warped(picture: np.ndarray, matrix: np.ndarray, source: np.ndarray, target: np.ndarray, border: int) -> np.ndarray:
    """The picture through a linear map that takes the point `source` to `target`; made small without aliasing."""
    shrink = 1 / max(np.sqrt(abs(np.linalg.det(matrix))), 1e-3)
    if shrink > 1.5:
        size = [max(2, round(side / shrink)) for side in picture.shape[1::-1]]
        factors = np.array(size) / picture.shape[1::-1]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        matrix, source = matrix / factors, source * factors
    shift = target - matrix @ source
    full = np.column_stack([matrix, shift])
    return cv2.warpAffine(picture, full, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=border)


def blurred(picture: np.ndarray, most: float, random: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), random.uniform(0.4, most))


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    smaller = width * height < picture.shape[0] * picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def with_alpha(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([picture, np.uint8(np.clip(np.rint(alpha), 0, 255))])


def read(path: Path) -> np.ndarray:
    return read_rgb(path)  # type: ignore[arg-type]


def read_rgba(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGBA"))


def cropped(picture: np.ndarray) -> np.ndarray:
    """Without empty edges, except for one empty row below people who are complete."""
    rows, columns = np.nonzero(picture[..., 3] > 8)
    return picture[rows.min() : rows.max() + 2, columns.min() : columns.max() + 1]


def avatars() -> list[Path]:
    """Renders AVATARS pictures of rigged avatars in random poses with the data set's own script, once."""
    folder = WORK / "selfie" / "avatars"
    if len(list(folder.glob("*.png"))) < AVATARS:
        script = data_folder("clean") / "avatars_mit" / "render_many.mjs"
        try:
            subprocess.run(["node", script, folder, str(AVATARS), str(SIZE)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise TulleError(f"{script} failed ({error}); see the README beside it for what it needs") from error
    return sorted(folder.glob("*.png"))


def open_set(name: str, count: int, held_out: bool = False, part: int = 0, parts: int = 1) -> Set:
    """The first `count` scenes, made once, in build/experiments/selfie/NAME; an interrupted run continues.

    Several processes can make a set together: each one those whose number is `part` modulo `parts`.
    """
    folder = WORK / "selfie" / name
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {"pictures": (count, HEIGHT, WIDTH, 3), "teachers": (count, 2, HEIGHT, WIDTH),
              "truth": (count, HEIGHT, WIDTH), "known": (count,), "done": (count,)}  # fmt: skip
    maps = {}
    for key, shape in shapes.items():
        path = folder / f"{key}.u8"
        with path.open("ab") as file:
            file.truncate(max(file.tell(), int(np.prod(shape))))
        maps[key] = np.memmap(path, np.uint8, "r+", shape=shape)
    missing = [number for number in range(part, count, parts) if not maps["done"][number]]
    if missing:
        sources = Sources(held_out)
        for number in progress(missing, f"Making {name}"):
            picture, share, known = scene(sources, np.random.default_rng([int(held_out), number]))
            answers = np.uint8(np.rint(255 * sources.teachers(picture)))
            maps["pictures"][number], maps["teachers"][number] = picture, answers
            maps["truth"][number], maps["known"][number] = np.rint(255 * share), known
            maps["done"][number] = 1
    return Set(maps["pictures"], maps["teachers"], maps["truth"], maps["known"])

#!/usr/bin/env python3
"""Distils hand_landmark_full and selfie_segmentation_landscape into sparse models, without labels."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from PIL import Image
from scenes import HEIGHT, WIDTH, scenes

from common import (
    WORK,
    Recipe,
    console,
    data_folder,
    dense_model,
    digest,
    is_held_out,
    kept_pictures,
    make,
    zeros,
)
from tulle import TulleError
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.image import read_image
from tulle.passes.lower import set_normalisation
from tulle.tflite import read, write
from tulle.train.augment import Augmentation
from tulle.train.distill import distill
from tulle.train.settings import Measurement, Settings

SCENES = 5000
CALIBRATION = 640  # number of scenes, if the start has to be made sparser first

EPILOG = """\b
A run begins with a one-shot model from experiments/hands.py or experiments/selfie.py and keeps its zeros or, with
`--start dense`, begins with the dense model and prunes gradually. A selfie model with fewer zeros than --level is
first pruned to it by `reconstruct`, so that a distilled model of one level is the start of the next. The result is
written beside the one-shot models, where those scripts find it with --score, as hands/distilled.tflite or
selfie/distilled-LEVEL.tflite in build/experiments, with a .json of how it was made. Stopped runs continue.
\b
Examples:
  python experiments/distill.py hands
  python experiments/distill.py selfie
  python experiments/distill.py selfie --level 50 --steps 2500
  python experiments/distill.py selfie --start build/experiments/selfie/distilled-50.tflite --steps 6000
  python experiments/distill.py selfie --start build/experiments/selfie/distilled-50.tflite --macs
  python experiments/distill.py selfie --start dense --name gradual
  python experiments/distill.py selfie --webcam --name webcam-distilled
"""

# For hands: the variation of a tracker's crops. Mirrored right hands stand for left hands, of which the data has none.
# Changes that the one-shot start has never seen cost more at first than a short run regains.
GENTLE = Augmentation(rotation=15, scale=0.12, shift=0.04, mirror=True, brightness=0.1, tint=0.03, contrast=0.2, mix=0)

# Scenes are varied already. Mixed or rotated further, they would be harder than anything the model is for.
MILD = Augmentation(rotation=10, scale=0.25, shift=0.1, mirror=True, brightness=0.1, tint=0.03, contrast=0.2, mix=0)


@dataclass(frozen=True)
class Task:
    """A model to distil: its teacher, the file that a run begins with, and the default training settings."""

    teacher: str
    level: int
    start: str
    target: str
    augmentation: Augmentation
    steps: int
    batch: int
    learning_rate: float


TASKS = {
    "hands": Task("hand_landmark_full", 80, "uniform.tflite", "{name}.tflite", GENTLE, 1600, 4, 1e-3),
    "selfie": Task(
        "selfie_segmentation_landscape", 70, "scenes-sensitivity-{level}.tflite", "{name}-{level}.tflite", MILD,
        3000, 8, 2e-3,
    ),
}  # fmt: skip


@click.command(epilog=EPILOG)
@click.argument("name", metavar="TASK", type=click.Choice(list(TASKS)))
@click.option("--level", type=int, help="Zeros in %.  [default: 80 for hands, 70 for selfie]")
@click.option("--steps", type=int, help="[default: 1600 for hands, 3000 for selfie]")
@click.option("--batch", type=int, help="[default: 4 for hands, 8 for selfie]")
@click.option("--lr", type=float, help="The highest learning rate.  [default: 1e-3 for hands, 2e-3 for selfie]")
@click.option("--start", metavar="FILE.tflite|dense", help="Begin with this.  [default: what reconstruct made]")
@click.option("--macs", is_flag=True, help="Selfie: --level is of the multiply-adds that are gone, not of the weights.")
@click.option("--webcam", is_flag=True, help="Selfie: see webcam frames too, for comparison; the result may not ship.")
@click.option("--name", "result_name", help="Of the result.  [default: distilled, or distilled-macs]")
def main(
    name: str,
    level: int | None,
    steps: int | None,
    batch: int | None,
    lr: float | None,
    start: str | None,
    macs: bool,
    webcam: bool,
    result_name: str | None,
) -> None:
    """Distil TASK from its dense model: hands or selfie."""
    task = TASKS[name]
    level, steps = level or task.level, steps or task.steps
    folder = WORK / name
    result_name = result_name or ("distilled-macs" if macs else "distilled")
    target = folder / task.target.format(name=result_name, level=level)
    private = folder / f"training-{target.stem}"  # separate from the models that are scored
    private.mkdir(parents=True, exist_ok=True)
    teacher = dense_model(task.teacher)
    paths = hand_pictures() if name == "hands" else selfie_pictures(teacher, webcam)

    gradual = start == "dense"
    first = Path(start) if start else folder / task.start.format(level=level)
    if not gradual and not first.is_file():
        raise TulleError(f"there is no {first}: run experiments/{name}.py, or name another --start")
    if macs and (name != "selfie" or not start or gradual):
        raise TulleError("--macs is for selfie, and needs a --start that has fewer zeros")
    begin = first if gradual or name != "selfie" else at_level(first, level, macs, paths[:CALIBRATION], private)
    settings = Settings(
        sparsity=level / 100 if gradual else None,
        allocation="uniform",
        augmentation=task.augmentation,
        steps=steps,
        batch=batch or task.batch,
        learning_rate=lr or task.learning_rate,
        measure=max(1, steps // 10),
        save=50,
    )

    def on_measurement(rows: list[Measurement]) -> None:
        console.print({key: round(value, 4) for key, value in rows[-1].row().items()})
        write_json(private / "curve.json", curve(rows))

    result = distill(
        teacher, paths, settings, start=None if gradual else set_normalisation(read(begin), 0.0, 255.0),
        folder=private, resume=True, on_measurement=on_measurement,
    )  # fmt: skip
    record: dict[str, Any] = {
        "teacher": task.teacher, "start": "dense" if gradual else {"file": first.name, "digest": digest(first)},
        "reconstructed": begin != first,
        "pictures": len(paths), "settings": asdict(settings), "curve": curve(result.measurements),
    }  # fmt: skip
    write_json(target.with_suffix(".json"), record)
    write_bytes(target, write(result.graph, weights="fp16", sparse=True))
    console.print(f"{target}: distance {result.measurements[-1].distance} % of the range")


def hand_pictures() -> list[Path]:
    """The pictures that experiments/hands.py does not measure on."""
    return [path for path in sorted(data_folder("hands").glob("*.jpg")) if not is_held_out(path)]


def selfie_pictures(teacher: Graph, webcam: bool) -> list[Path]:
    """Scenes, as files, and if wanted webcam frames."""
    folder = WORK / "selfie"

    def draw(numbers: list[int]) -> Iterator[Image.Image]:
        return map(Image.fromarray, scenes(teacher, folder / "bodies", numbers))

    paths = kept_pictures(folder / "scenes", SCENES, draw)
    return paths + (sorted(data_folder("webcam").glob("*.jpg")) if webcam else [])


def at_level(path: Path, level: int, macs: bool, pictures: list[Path], folder: Path) -> Path:
    """The model or, if it has too few zeros, the result of `reconstruct` on it with levels by sensitivity."""
    if zeros(path)["macs" if macs else "weights"] > level / 100 - 0.01:
        return path
    budget = {"target_macs": 1 - level / 100} if macs else {"sparsity": level / 100}
    options = {**budget, "method": "reconstruct", "allocation": "sensitivity"}
    images = [read_image(picture, HEIGHT, WIDTH) for picture in pictures]
    recipe = Recipe(f"from-{path.stem}", "", options, len(images))
    return make(recipe, set_normalisation(read(path), 0.0, 255.0), images, folder)


def curve(rows: list[Measurement]) -> list[dict[str, float | None]]:
    """As JSON, which has no NaN: there is no loss before the first step."""
    return [{**row.row(), "loss": row.loss if row.step else None} for row in rows]


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"Error: {error}")

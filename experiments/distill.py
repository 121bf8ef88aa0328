#!/usr/bin/env python3
"""Distils hand_landmark_full and selfie_segmentation_landscape into sparse models, without labels."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from selfie import free_pictures

from common import WORK, Recipe, console, data_folder, dense_model, is_held_out, make, progress
from tulle import TulleError
from tulle.files import write_bytes
from tulle.image import read_image
from tulle.passes.lower import set_normalisation
from tulle.tflite import read, write
from tulle.train.augment import Augmentation
from tulle.train.distill import distill
from tulle.train.settings import Measurement, Settings

EPILOG = """\b
A run begins with what one-shot reconstruction makes of the model, and keeps its zeros. It is written beside the
one-shot models, where experiments/hands.py and experiments/selfie.py find it with --score, as
hands/distilled.tflite or selfie/distilled-LEVEL.tflite in build/experiments, with a .json of how it was made. Stopped
runs go on.
\b
Examples:
  python experiments/distill.py hands
  python experiments/distill.py hands --start build/experiments/hands/uniform.tflite
  python experiments/distill.py hands --allocation erk --steps 3000
  python experiments/distill.py selfie --level 70 --steps 2000
"""

# A one-shot start knows only pictures like those it has seen. Stronger changes cost it more at first than short runs
# win back: mirrored right hands are left hands, which it has never seen.
GENTLE = Augmentation(rotation=10, scale=0.1, shift=0.03, mirror=False, brightness=0.05, tint=0.02, contrast=0.1, mix=0)


@dataclass(frozen=True)
class Task:
    """A model to distil: its teacher, its pictures, how large they are, and what it is called when done."""

    teacher: str
    height: int
    width: int
    name: str


TASKS = {
    "hands": Task("hand_landmark_full", 224, 224, "distilled"),
    "selfie": Task("selfie_segmentation_landscape", 144, 256, "distilled-{level}"),
}


@click.command(epilog=EPILOG)
@click.argument("task", type=click.Choice(list(TASKS)))
@click.option("--level", type=int, help="Zeros in %.  [default: 80 for hands, 70 for selfie]")
@click.option("--steps", type=int, default=1500, show_default=True)
@click.option("--batch", type=int, default=8, show_default=True)
@click.option("--lr", type=float, default=2e-3, show_default=True, help="The highest learning rate.")
@click.option(
    "--allocation", type=click.Choice(["uniform", "erk", "sensitivity"]), default="uniform", show_default=True,
    help="Of the start's zeros. With uniform, as many multiply-adds are left as weights; with the others more.",
)  # fmt: skip
@click.option("--images", type=int, default=64, show_default=True, help="That the one-shot start sees.")
@click.option(
    "--start", "given", type=click.Path(path_type=Path), metavar="FILE.tflite",
    help="Begin with this one, which experiments/hands.py or selfie.py made, instead of making one.",
)  # fmt: skip
def main(
    task: str, level: int | None, steps: int, batch: int, lr: float, allocation: str, images: int, given: Path | None
) -> None:
    """Distil TASK from its dense model."""
    wanted = TASKS[task]
    level = level or {"hands": 80, "selfie": 70}[task]
    folder = WORK / task
    name = ("" if allocation == "uniform" else f"{allocation}-") + wanted.name.format(level=level)
    private = folder / f"training-{name}"  # apart from the models that are scored
    private.mkdir(parents=True, exist_ok=True)
    paths = hand_pictures() if task == "hands" else selfie_pictures(folder / "pictures")
    teacher = dense_model(wanted.teacher)

    options = {"sparsity": level / 100, "method": "reconstruct", "allocation": allocation}
    start = given
    if start is None:
        some = np.random.default_rng(0).permutation(len(paths))[:images]
        shown = [read_image(paths[index], wanted.height, wanted.width) for index in some]
        start = make(Recipe("start", "", options, images), teacher, shown, private)

    settings = Settings(
        sparsity=None,
        augmentation=GENTLE,
        steps=steps,
        batch=batch,
        learning_rate=lr,
        measure=max(1, steps // 10),
        save=50,
    )

    def on_measurement(rows: list[Measurement]) -> None:
        console.print({key: round(value, 4) for key, value in rows[-1].row().items()})
        write_json(private / "curve.json", curve(rows))

    result = distill(
        teacher, paths, settings, start=set_normalisation(read(start), 0.0, 255.0), folder=private, resume=True,
        on_measurement=on_measurement,
    )  # fmt: skip
    target = folder / f"{name}.tflite"
    record: dict[str, Any] = {
        "teacher": wanted.teacher, "start": {**options, "images": images} if given is None else given.stem,
        "pictures": len(paths),
        "settings": asdict(settings), "curve": curve(result.measurements),
    }  # fmt: skip
    write_json(target.with_suffix(".json"), record)
    write_bytes(target, write(result.graph, weights="fp16", sparse=True))
    console.print(f"{target}: distance {result.measurements[-1].distance} % of the range")


def hand_pictures() -> list[Path]:
    """Those that experiments/hands.py does not measure on."""
    return [path for path in sorted(data_folder("hands").glob("*.jpg")) if not is_held_out(path)]


def selfie_pictures(folder: Path) -> list[Path]:
    """The pictures that experiments/selfie.py calibrates with, and may, as files."""
    done = folder / "complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pictures = free_pictures()
        for index in progress(range(len(pictures)), "Writing pictures"):
            Image.fromarray(pictures[index]).save(folder / f"{index:04d}.png")
        done.touch()
    return sorted(folder.glob("*.png"))


def curve(rows: list[Measurement]) -> list[dict[str, float | None]]:
    """As JSON can have it: there is no loss before the first step."""
    return [{**row.row(), "loss": row.loss if row.step else None} for row in rows]


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"Error: {error}")

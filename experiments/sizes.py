#!/usr/bin/env python3
"""File sizes of dense and sparse models in fp32, fp16 and int8, and what rounding the weights costs."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import brotli
import click
import numpy as np
import selfie
from hands import SIZE, Answers, answers, apart

from common import MODELS, RESULTS, ROOT, WORK, data_folder, insert_table, is_held_out, save_results
from tulle import TulleError
from tulle.compression import compress
from tulle.image import read_image
from tulle.pack.encoding import Weights

FOLDER = WORK / "sizes"
REFERENCE = "hand_landmark_full"
HANDS = (REFERENCE, "hand_landmark_sparse", "hand_landmark_lite")
SELFIES = ("selfie_segmentation", "selfie_segmentation_landscape")
SPARSE_SELFIE = ROOT / "demos" / "weights" / "selfie_segmentation_landscape_tulle_70.tflite"
VALUES: tuple[Weights, ...] = ("fp32", "fp16", "int8")

EPILOG = """\b
Needs ../shared/data/hands and people (or TULLE_SHARED), `make models`, and `pip install brotli`.
\b
Examples:
  python experiments/sizes.py             measure, and write the table into docs/sparsify.md
  python experiments/sizes.py --no-table  measure
"""


@click.command(epilog=EPILOG)
@click.option(
    "--only", type=click.Choice(["hands", "selfies"]), help="Measure these; of the others keep what is known."
)
@click.option("--no-table", is_flag=True, help="Leave docs/ alone.")
def main(only: str | None, no_table: bool) -> None:
    """Bytes of each model as .tflite and as .tulle: uncompressed, with gzip, and with Brotli.

    The quality of hand models is the mean landmark distance to the dense model on held-out pictures, in % of the crop;
    that of selfie models is IoU on the pictures of people/.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    chosen = {"hands": HANDS, "selfies": SELFIES, None: (*HANDS, *SELFIES)}[only]
    files = {path: path.stem for path in (MODELS / f"{name}.tflite" for name in chosen)}
    if only != "hands":
        files[SPARSE_SELFIE] = "selfie_segmentation_landscape, 70 % zeros"
    crops = sorted(data_folder("hands").glob("*.jpg"))
    pictures = tuple(read_image(path, SIZE, SIZE) for path in crops if is_held_out(path))
    teacher = answers(MODELS / f"{REFERENCE}.tflite", pictures)
    whole = (MODELS / f"{REFERENCE}.tflite").stat().st_size
    rows: list[dict[str, Any]] = []
    for source, title in files.items():
        rows.append(row(title, ".tflite", source.read_bytes(), whole))
        for values in VALUES:
            result = compress(source, values)
            stored = FOLDER / f"{source.stem}-{values}.tulle"
            result.save(stored)
            rows.append(row(title, f".tulle {values}", result.data, whole) | {"lossless": result.lossless})
            rows[-1]["quality"] = quality(stored, pictures, teacher)
            click.echo("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    if only:
        known = json.loads((RESULTS / "sizes.json").read_text())
        others = [row for row in known if row["model"] not in files.values()]
        rows = others + rows if only == "selfies" else rows + others
    save_results("sizes", rows)
    if not no_table:
        insert_table("sizes", ["model", "form", ">bytes", ">gzip", ">Brotli", ">quality"], [cells(r) for r in rows])


def row(title: str, form: str, data: bytes, whole: int) -> dict[str, Any]:
    """Sizes in bytes; `share` is of the dense hand model's .tflite file, before and after Brotli."""
    small = len(brotli.compress(data, quality=11))
    return {
        "model": title, "form": form, "bytes": len(data), "gzip": len(gzip.compress(data, 9, mtime=0)), "brotli": small,
        "share": len(data) / whole, "brotli_share": small / whole,
    }  # fmt: skip


def quality(path: Path, pictures: tuple[np.ndarray, ...], teacher: Answers) -> float:
    """Landmark distance in % of the crop (hand models), or IoU."""
    if path.stem.startswith("hand"):
        return float(apart(answers(path, pictures), teacher).mean())
    return selfie.evaluate_iou(path)


def cells(values: dict[str, Any]) -> list[str]:
    found = values.get("quality")
    shown = "" if found is None else f"{found:.2f} %" if values["model"].startswith("hand") else f"IoU {found:.3f}"
    return [
        values["model"], values["form"] + (" (lossless)" if values.get("lossless") else ""),
        *(f"{values[key] / 1e6:.3f} MB" for key in ("bytes", "gzip", "brotli")), shown,
    ]  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"Error: {error}")

#!/usr/bin/env python3
"""How much the mask of a person who stands still flickers, as it comes from the network and as backgrounds use it.

Pictures of people with the noise of a camera, another in every frame; prints the mean absolute change of the mask from
one frame to the next, in thousandths, of the network's own mask and of the steadied one, both made sure as alpha is.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

import tulle
from tulle.runtime.compositor import Compositor

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "demos" / "images" / "person"
SIZE = (640, 360)
SETTLED = 4  # frames after which it counts


def alpha(mask: np.ndarray) -> np.ndarray:
    """As in wasm/compose/matte.c."""
    share = ((mask - 0.4) / 0.5).clip(0, 1)
    return share * share * (3 - 2 * share)


@click.command(help=__doc__)
@click.option("--model", type=click.Path(), default=ROOT / "web" / "models" / "selfie_segmentation.tulle")
@click.option("--pictures", type=click.Path(path_type=Path), default=PICTURES, help="Folder of pictures of people.")
@click.option("--frames", default=20, show_default=True)
def main(model: str, pictures: Path, frames: int) -> None:
    table = Table("noise, of 255", "network", "steadied", "part of it")
    files = sorted(pictures.glob("*.jpg"))
    random = np.random.default_rng(0)
    with tulle.load(model) as network, Compositor(tulle.load(model)) as compositor:
        compositor.set_size("RGBA", *SIZE)
        for sigma in (3, 8):
            changes = []
            for file in files:
                rgb = np.asarray(ImageOps.fit(Image.open(file).convert("RGB"), SIZE)).astype(float)
                compositor.reset()
                masks = []
                for _ in range(frames):
                    noisy = (rgb + random.normal(0, sigma, rgb.shape)).clip(0, 255).astype(np.uint8)
                    pixels = np.dstack([noisy, np.full(noisy.shape[:2], 255, np.uint8)])
                    compositor([pixels.reshape(SIZE[1], -1)], "colour")
                    own = raw_mask(network, compositor)
                    masks.append((alpha(own), alpha(compositor.mask)))  # type: ignore[arg-type]
                steps = np.abs(np.diff(np.array(masks[SETTLED:]), axis=0)).mean((0, 2, 3))
                changes.append(1e3 * steps)
            raw, steadied = np.mean(changes, axis=0)
            table.add_row(str(sigma), f"{raw:.3f}", f"{steadied:.3f}", f"{steadied / raw:.2f}")
    Console().print(table)


def raw_mask(network: tulle.Model, compositor: Compositor) -> np.ndarray:
    """The network's answer to the very input that the compositor gave it."""
    shape = network.inputs[0].shape
    library, model = compositor._library, compositor._model._model
    given = library.read(library.call("tulle_model_input", model, 0), 4 * int(np.prod(shape)))
    (mask,) = network(np.frombuffer(given, np.float32).reshape(shape)).values()
    return np.asarray(mask)[0, ..., 0]


if __name__ == "__main__":
    main()

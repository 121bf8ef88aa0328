"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from typing import Any

import click

# The library opens files: its errors are better than click's.
FILE = click.Path(dir_okay=True)

tulle_target = click.option(
    "-o", "--output", "target", type=FILE, required=True, metavar="OUT.tulle", help="File to write."
)
stored_weights = click.option(
    "--weights", type=click.Choice(["auto", "fp32", "fp16"]), default="auto", show_default=True,
    help="Type to store weights as; auto: as in the source.",
)  # fmt: skip


class _OfPixels(click.types.FloatParamType):
    """A mean or a standard deviation of pixels, of which libraries often have one for each channel."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, str) and len(re.findall(r"[\d.]+", value)) > 1 and re.search(r"[,;\s]", value):
            self.fail(
                f"{value!r}: one number for all channels; a network that wants one for each has to do that itself: see "
                "docs/training.md, A network of your own",
                param,
                ctx,
            )
        return float(super().convert(value, param, ctx))


_OF_PIXELS = _OfPixels()

# Where nothing is said, what the model says holds.
input_mean = click.option("--input-mean", type=_OF_PIXELS, metavar="M", help="Images are fed as (pixel - M) / S.")
input_std = click.option("--input-std", type=_OF_PIXELS, metavar="S", help="See --input-mean.")
# Training has to know.
picture_mean = click.option(
    "--input-mean", type=_OF_PIXELS, default=0.0, show_default=True, help="Pictures are fed as (pixel - M) / S."
)
picture_std = click.option("--input-std", type=_OF_PIXELS, default=255.0, show_default=True, help="See --input-mean.")
device = click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda, auto, or any other accelerator of Lightning Fabric."
)

variant = click.option(
    "--variant",
    type=click.Choice(["auto", "simd", "relaxed"]),
    default="auto",
    show_default=True,
    help="The wasm build to run.",
)


def _shapes(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Options of the form NAME=1,3,320,320, repeatable."""
    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            name = ""
        if not name:
            raise click.BadParameter(f"{text!r} is not of the form NAME=1,3,320,320")
    return shapes


input_shapes = click.option(
    "--input-shape", "input_shapes", multiple=True, metavar="NAME=SIZES", callback=_shapes,
    help="Shape for an ONNX input with dynamic sizes, such as image=1,3,320,320; may be repeated.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")

"""`tulle compress`: the same model in fewer bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from tulle.cli import options

if TYPE_CHECKING:
    from tulle.compression import Compression
    from tulle.pack.encoding import Weights


@click.command("compress")
@click.argument("source", type=options.FILE, metavar="IN")
@options.tulle_target
@click.option(
    "--values", type=click.Choice(["auto", "fp32", "fp16", "int8"]), default="auto", show_default=True,
    help="auto: int8 or fp16 if lossless, else fp32. fp16, int8: round weights.",
)  # fmt: skip
@click.option(
    "--calibration", type=click.Path(), metavar="FOLDER",
    help="Pictures (or .npy arrays) to compare the outputs with those of IN on.",
)  # fmt: skip
@click.option("--images", type=click.IntRange(1), default=64, show_default=True, help="The most pictures to use.")
@options.as_json
def command(source: str, target: str, *, values: Weights, calibration: str | None, images: int, as_json: bool) -> None:
    """Store the weights of a .tulle or .tflite model in fewer bytes, and show the errors that causes.

    Zeros are never stored. Shows the error of each layer's weights and, with pictures, the change of the outputs.

    \b
    Examples:
        tulle compress hand.tulle -o small.tulle --values int8
        tulle compress hand.tulle -o small.tulle --values int8 --calibration hands/
    """
    from tulle.cli import output
    from tulle.cli.pictures import read_pictures
    from tulle.compression import compress, read_lowered
    from tulle.files import check_target, read_bytes

    check_target(target, source, kinds=(".tulle",))
    data = read_bytes(source)
    pictures = [] if calibration is None else read_pictures(calibration, read_lowered(data), images)
    result = compress(data, values, images=pictures, progress=partial(output.progress, text="Comparing"))
    result.save(target)
    for remark in result.notes:
        output.note(remark)
    if as_json:
        output.show_json(result.to_dict())
    else:
        _print(result, source, target)


def _print(result: Compression, source: str, target: str) -> None:
    from tulle.cli import output

    if not result.lossless:
        table = output.table("Weights", "layer", "op", "shape", ">zeros", ">RMS error", ">max error")
        for row in result.layers:
            table.add_row(
                output.short(row.name), row.op, output.shape(row.shape), output.share(row.zeros),
                f"{row.rms_error:.2%}", f"{row.max_error:.2%}",
            )  # fmt: skip
        output.show(table)
    if result.outputs:
        table = output.table("Outputs", "output", ">mean change", ">max change", ">range")
        for change in result.outputs:
            table.add_row(
                change.name, f"{change.mean_change:.3g}", f"{change.max_change:.3g}", f"{change.range:.3g}"
            )  # fmt: skip
        output.show(table)
    loss = "nothing lost" if result.lossless else "errors above are relative to each layer's RMS and largest weight"
    output.show(
        f"{target}: {output.size(len(result.data))}, {output.share(len(result.data) / result.source_bytes)} of "
        f"{source} ({output.size(result.source_bytes)}); {loss}"
    )

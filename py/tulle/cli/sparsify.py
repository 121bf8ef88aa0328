"""`tulle sparsify`: a dense .tflite model -> a sparse one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulle.cli import options
from tulle.errors import TulleError

if TYPE_CHECKING:
    from tulle.sparsify import Sparsified


@click.command("sparsify")
@click.argument("source", type=options.FILE, metavar="IN.tflite")
@click.option(
    "-o", "--output", "target", type=options.FILE, required=True, metavar="OUT",
    help="File to write, .tflite or .tulle.",
)  # fmt: skip
@click.option("--sparsity", type=float, metavar="SHARE", help="Share of the weights to be zero.  [default: 0.7]")
@click.option("--target-macs", type=float, metavar="SHARE", help="Instead: share of the multiply-adds to be left.")
@click.option(
    "--allocation", type=click.Choice(["uniform", "erk"]), default="uniform", show_default=True,
    help="The same level for every layer, or more for wide layers (ERK).",
)  # fmt: skip
@click.option(
    "--block", type=click.Choice(["1", "2", "4"]), default="1", show_default=True,
    help="So many neighbouring output channels share their columns.",
)  # fmt: skip
@click.option(
    "--layers", "patterns", metavar="GLOB", multiple=True,
    help="Only 1x1 convolutions whose name matches; may be given several times.  "
    "[default: all over more than one pixel]",
)  # fmt: skip
@click.option(
    "--weights", type=click.Choice(["auto", "fp32", "fp16"]), default="auto", show_default=True,
    help="To store; auto: as the source has them.",
)  # fmt: skip
@click.option("--input-mean", type=float, metavar="M", help="Images are fed as (pixel - M) / S.")
@click.option("--input-std", type=float, metavar="S", help="See --input-mean.")
def command(
    source: str,
    target: str,
    *,
    patterns: tuple[str, ...],
    block: str,
    weights: str,
    input_mean: float | None,
    input_std: float | None,
    **settings: Any,
) -> None:
    """Make the 1x1 convolutions of a TFLite model sparse, without labels or training.

    OUT.tflite holds layers with many zeros in sparse form, which LiteRT runs as it is.

    \b
    Examples:
        tulle sparsify hand.tflite -o sparse.tflite --sparsity 0.8
        tulle sparsify hand.tflite -o sparse.tulle --target-macs 0.3 --allocation erk
    """
    from tulle.cli import output
    from tulle.files import read_bytes, write_bytes
    from tulle.passes.lower import set_normalisation
    from tulle.sparsify import Options, match_layers, sparsify
    from tulle.tflite import read

    if Path(target).suffix not in (".tflite", ".tulle"):
        raise TulleError(f"{target} must end in .tflite or .tulle, which says what to write")
    graph = set_normalisation(read(source), input_mean, input_std)
    chosen = match_layers(graph, patterns) if patterns else None
    with output.busy(f"Sparsifying {source}"):
        result = sparsify(graph, Options(**settings, block=int(block), layers=chosen))
        data = _encode(result, target, weights)
        write_bytes(target, data)
    macs, left = (sum(getattr(layer, key) for layer in result.layers) for key in ("macs", "nonzero_macs"))
    output.show(
        f"{target}: {output.size(len(data))} ({source}: {output.size(len(read_bytes(source)))}), "
        f"{output.share(result.zeros)} of the weights of {len(result.layers)} layers are zero, "
        f"{output.count(left)} of their {output.count(macs)} MACs are left"
    )


def _encode(result: Sparsified, target: str, weights: str) -> bytes:
    from tulle.conversion import convert
    from tulle.tflite import write

    half = result.half if weights == "auto" else weights == "fp16"
    if Path(target).suffix == ".tulle":
        return convert(result.graph, weights="fp16" if half else "fp32").data
    return write(result.graph, weights="fp16" if half else "fp32", sparse=True)

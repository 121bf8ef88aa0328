"""`tulle prune`: makes the smallest weights of a .tflite model zero."""

from __future__ import annotations

import click

from tulle.cli import options


@click.command("prune")
@click.argument("source", type=options.FILE, metavar="IN.tflite")
@click.option("-o", "--output", "target", type=options.FILE, required=True, metavar="OUT.tflite", help="File to write.")
@click.option(
    "--sparsity", type=click.FloatRange(0, 1, max_open=True), default=0.8, show_default=True,
    help="Share of the weights of 1x1 convolutions to be zero.",
)  # fmt: skip
@click.option(
    "--allocation", type=click.Choice(["uniform", "erk"]), default="uniform", show_default=True,
    help="The same sparsity for every layer, or more for wide layers (ERK).",
)  # fmt: skip
@click.option("--weights", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True, help="To store.")
def command(source: str, target: str, *, sparsity: float, allocation: str, weights: str) -> None:
    """Make the smallest weights of a TFLite model's 1x1 convolutions zero.

    Without training afterwards the model becomes less accurate: this shows how fast a sparse model would be, and is
    where fine-tuning starts. Layers with many zeros are stored sparse, which LiteRT runs too.

    \b
    Examples:
        tulle prune mobilenet.tflite -o sparse.tflite --sparsity 0.8
        tulle convert sparse.tflite -o sparse.tulle
    """
    from tulle.cli import output
    from tulle.files import read_bytes, write_bytes
    from tulle.report import report
    from tulle.sparsify import magnitude
    from tulle.tflite import read, write

    with output.busy(f"Pruning {source}"):
        pruned = magnitude(read(source), sparsity, allocation=allocation)
        data = write(pruned, weights=weights, sparse=True)
        write_bytes(target, data)
    summary = report(pruned, "tflite", len(data))
    output.show(
        f"{target}: {output.size(len(data))} ({source}: {output.size(len(read_bytes(source)))}), "
        f"{output.share(summary.zeros)} of the weights are zero, "
        f"{output.count(summary.nonzero_macs)} of {output.count(summary.macs)} MACs are left"
    )

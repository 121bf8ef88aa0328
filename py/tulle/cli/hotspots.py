"""`tulle hotspots`: where the time of a dense network goes."""

from __future__ import annotations

from typing import Any

import click

from tulle.cli import options


@click.command("hotspots")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Counted runs of each model.")
@options.variant
@options.as_json
def command(models: tuple[str, ...], *, runs: int, variant: Any, as_json: bool) -> None:
    """Show how the time of a network divides among 1x1 convolutions and other ops, with all layers dense.

    MODEL is a .tflite or .tulle file, or an architecture of `tulle zoo list`. Measured through wasmtime on one thread.

    \b
    Example:
        tulle hotspots mobilenet_v1 mobilenet_v2 mobilenet_v3_large efficientnet_lite0
    """
    from tulle.cli import output
    from tulle.hotspots import measure

    results = []
    for model in models:
        with output.busy(f"Running {model}"):
            results.append(measure(model, runs=runs, variant=variant))
    if as_json:
        output.show_json([result.to_dict() for result in results])
        return
    table = output.table("Share of 1x1 convolutions", "model", ">1x1 share", ">article", ">ms")
    for result in results:
        article = "" if result.article is None else output.share(result.article)
        table.add_row(result.name, output.share(result.pointwise), article, f"{result.milliseconds:.2f}")
    output.show(table)
    for result in results:
        table = output.table(f"\n{result.name}, {result.variant}", "op", ">count", ">MACs", ">ms", ">share")
        for row in result.kinds:
            table.add_row(
                row.kind, str(row.count), output.count(row.macs), f"{row.milliseconds:.3f}", output.share(row.share)
            )
        output.show(table)

#!/usr/bin/env python3
"""The share of time that dense networks spend in 1x1 convolutions, in the browser engine, beside the article's figures.

`tulle hotspots` measures the same through wasmtime.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from harness.errors import explained
from profile_model import measure, place
from tulle.hotspots import ARTICLE, ModelShare, add_up, prepare

EPILOG = """\b
Examples:
  python bench/hotspots.py
  python bench/hotspots.py mobilenet_v3_small hand_landmark_full.tflite --variant simd --runs 100
"""


def share_of(source: str, variant: str, threads: int, runs: int) -> ModelShare:
    network = prepare(source)
    with tempfile.TemporaryDirectory(prefix="tulle-hotspots-") as temporary:
        folder = Path(temporary)
        profile = asyncio.run(measure(place(network.data, folder), folder, variant, threads, runs))
    return add_up(network, variant, profile["steps"])


def print_shares(console: Console, shares: list[ModelShare]) -> None:
    kinds = {row.kind: None for share in shares for row in share.kinds if row.share >= 0.02}
    table = Table(title="share of the time, every layer dense", title_justify="left")
    table.add_column("model")
    for name in ("ms", "1x1, article", *kinds):
        table.add_column(name, justify="right")
    for share in shares:
        shown = {row.kind: f"{100 * row.share:.0f} %" for row in share.kinds}
        article = "" if share.article is None else f"{100 * share.article:.0f} %"
        table.add_row(share.name, f"{share.milliseconds:.1f}", article, *(shown.get(kind, "") for kind in kinds))
    console.print(table)


@click.command(epilog=EPILOG)
@click.argument("models", nargs=-1)
@click.option("--variant", type=click.Choice(["relaxed", "simd"]), default="relaxed", show_default=True)
@click.option("--threads", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=40, show_default=True, help="Counted inferences of each model.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the shares here too.")
def main(models: tuple[str, ...], variant: str, threads: int, runs: int, json_path: Path | None) -> None:
    """Shows where the time of MODELS goes: .tflite or .tulle files, or architectures of `tulle zoo list`.

    Without MODELS, the four architectures that the article names.
    """
    console = Console()
    if not console.is_terminal:
        console.width = 150
    with explained(Console(stderr=True)):
        names = models or tuple(ARTICLE)
        shares = [
            share_of(name, variant, threads, runs) for name in track(names, "Measuring", console=Console(stderr=True))
        ]
    if json_path:
        json_path.write_text(json.dumps([share.to_dict() for share in shares], indent=1) + "\n")
    print_shares(console, shares)


if __name__ == "__main__":
    main()

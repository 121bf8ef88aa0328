"""`tulle train-sparse`: trains a sparse .tflite model to match a dense one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tulle.cli import options

if TYPE_CHECKING:
    from tulle.train.settings import Measurement


@click.command("train-sparse")
@click.argument("source", type=options.FILE, metavar="MODEL.tflite")
@click.option("-o", "--output", "target", type=options.FILE, required=True, metavar="OUT.tflite", help="File to write.")
@click.option("--data", type=options.FILE, required=True, metavar="FOLDER", help="Pictures; no labels are needed.")
@click.option(
    "--start", type=options.FILE, metavar="START.tflite",
    help="Begin with this one, as `tulle sparsify` makes it, instead of the dense model.",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(["magnitude", "rigl"]), default="magnitude", show_default=True,
    help="magnitude: zeros come gradually. rigl: all zeros from the first step on, but they move.",
)  # fmt: skip
@click.option(
    "--sparsity", type=float, metavar="SHARE",
    help="Share of the weights of 1x1 convolutions to be zero.  [default: 0.8; with --start, what it has]",
)  # fmt: skip
@click.option(
    "--allocation", type=click.Choice(["uniform", "erk", "global"]), default="erk", show_default=True,
    help="The same level for every layer, more for large layers, or whatever is smallest in all layers.",
)  # fmt: skip
@click.option("--steps", type=int, default=2000, show_default=True, help="Batches to train on.")
@click.option("--batch", type=int, default=16, show_default=True, help="Pictures in a batch, over all processes.")
@click.option(
    "--lr",
    "learning_rate",
    type=float,
    default=2e-3,
    show_default=True,
    help="The highest learning rate, in parts of a tensor's typical weight.",
)
@click.option(
    "--begin", type=float, default=0.05, show_default=True, metavar="SHARE", help="Of the steps: zeros begin to come."
)
@click.option(
    "--end",
    type=float,
    default=0.6,
    show_default=True,
    metavar="SHARE",
    help="Of the steps: zeros are where they stay.",
)
@click.option("--every", type=int, default=20, show_default=True, help="Steps between changes of what is zero.")
@click.option("--drop", "drop_fraction", type=float, default=0.3, show_default=True, help="rigl: share that moves.")
@click.option(
    "--features", type=float, default=1.0, show_default=True, help="Weight of the loss on features; 0: outputs only."
)
@click.option("--augment/--no-augment", default=True, show_default=True, help="Turn, scale, shift, recolour pictures.")
@click.option("--measure", type=int, default=200, show_default=True, help="Steps between measurements.")
@click.option("--checkpoint", type=options.FILE, metavar="FOLDER", help="Keep what is needed to go on after a stop.")
@click.option("--save", type=int, default=200, show_default=True, help="Steps between checkpoints.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, if there is one.")
@click.option("--csv", "table", type=options.FILE, metavar="FILE.csv", help="Write measurements here as well.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is random.")
@click.option(
    "--device", default="cpu", show_default=True, help="cpu, cuda, auto, or what else Lightning Fabric knows."
)
@click.option(
    "--weights", type=click.Choice(["auto", "fp32", "fp16"]), default="auto", show_default=True,
    help="To store; auto: as the source has them.",
)  # fmt: skip
@click.option("--input-mean", type=float, default=0.0, show_default=True, help="Pictures are fed as (pixel - M) / S.")
@click.option("--input-std", type=float, default=255.0, show_default=True, help="See --input-mean.")
def command(
    source: str,
    target: str,
    data: str,
    *,
    start: str | None,
    augment: bool,
    checkpoint: str | None,
    resume: bool,
    table: str | None,
    device: str,
    weights: str,
    input_mean: float,
    input_std: float,
    **settings: Any,
) -> None:
    """Train a sparse model to match MODEL.tflite, on unlabelled pictures.

    One picture in ten is held out for measuring the distance to the dense model. Under torchrun the same command uses
    all processes.

    \b
    Examples:
        tulle train-sparse hand.tflite -o sparse.tflite --data photos --sparsity 0.8 --steps 5000
        tulle train-sparse hand.tflite -o better.tflite --data photos --start sparse.tflite --method rigl
        tulle train-sparse hand.tflite -o sparse.tflite --data photos --checkpoint run1 --resume
        torchrun --nproc-per-node 4 -m tulle train-sparse hand.tflite -o sparse.tflite --data photos --device cuda
    """
    from pathlib import Path

    from tulle import TulleError
    from tulle.cli import output
    from tulle.files import check_target, write_bytes
    from tulle.passes.lower import set_normalisation
    from tulle.sparsify.oneshot import has_half_weights
    from tulle.tflite import read, write

    if resume and checkpoint is None:
        raise TulleError("--resume needs --checkpoint FOLDER, where the run is kept")
    check_target(target, source, start, kinds=(".tflite",))
    if table is not None:
        check_target(table, source, start, target)
    try:
        from tulle.train.data import find_pictures
        from tulle.train.distill import distill, make_fabric
        from tulle.train.settings import Settings
    except ImportError as error:
        raise TulleError(f"training needs PyTorch and more: pip install 'tulle[train]' ({error})") from error
    if settings["sparsity"] is None and start is None:
        settings["sparsity"] = 0.8
    if not augment:
        settings["augmentation"] = None
    dense = read(source)
    if weights == "auto":
        weights = "fp16" if has_half_weights(dense) else "fp32"
    teacher = set_normalisation(dense, input_mean, input_std)
    begin = None if start is None else set_normalisation(read(start), input_mean, input_std)
    fabric = make_fabric(device)

    def measured(measurements: list[Measurement]) -> None:
        row = measurements[-1]
        loss = "" if row.step == 0 else f"loss {row.loss:.4f}, "
        output.show(
            f"step {row.step}: {loss}{output.share(row.sparsity)} zeros, "
            f"held-out distance {row.mean_distance:.3f} % of the range"
        )
        if table is not None:
            write_bytes(table, _csv(measurements))

    with output.steps(settings["steps"], "Training", show=fabric.is_global_zero) as advance:
        result = distill(
            teacher, find_pictures(data), Settings(**settings), start=begin, resume=resume, fabric=fabric,
            progress=output.progress if fabric.is_global_zero else None,
            folder=None if checkpoint is None else Path(checkpoint), on_step=advance, on_measurement=measured,
        )  # fmt: skip
    if not fabric.is_global_zero:
        return
    if result.unreadable:
        output.note(f"{result.unreadable} pictures could not be read")
    encoded = write(result.graph, weights=weights, sparse=True)
    write_bytes(target, encoded)
    row = result.measurements[-1]
    distances = ", ".join(f"{name} {value:.3f} %" for name, value in row.distance.items())
    output.show(f"{target}: {output.size(len(encoded))}, {output.share(row.sparsity)} zeros; held-out {distances}")


def _csv(measurements: list[Measurement]) -> bytes:
    import csv
    import io

    text = io.StringIO()
    rows = [measurement.row() for measurement in measurements]
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()

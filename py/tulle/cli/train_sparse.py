"""`tulle train-sparse`: trains a sparse .tflite model to match a dense one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from tulle.cli import options
from tulle.train.layer_sparsity import ALLOCATIONS
from tulle.train.settings import METHODS, Settings

if TYPE_CHECKING:
    from tulle.train.settings import Measurement

_Command: TypeAlias = Callable[..., Any]


def _setting(*names: str, **keywords: Any) -> Callable[[_Command], _Command]:
    """An option whose type and default are those of the field of `Settings` that the last name is."""
    default = getattr(Settings, names[-1].removeprefix("--"))
    return click.option(*names, type=type(default), default=default, show_default=True, **keywords)


@click.command("train-sparse")
@click.argument("source", type=options.FILE, metavar="MODEL")
@click.option("-o", "--output", "target", type=options.FILE, required=True, metavar="OUT.tflite", help="File to write.")
@click.option("--data", type=options.FILE, required=True, metavar="FOLDER", help="Pictures; no labels are needed.")
@click.option(
    "--start", type=options.FILE, metavar="START.tflite",
    help="Begin with this model, made by `tulle sparsify`, instead of the dense one.",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(METHODS), default=Settings.method, show_default=True,
    help="magnitude: prune gradually. rigl: all zeros from the first step, but they move.",
)  # fmt: skip
@click.option(
    "--sparsity", type=float, metavar="SHARE",
    help="Share of the weights of 1x1 convolutions to be zero.  "
         f"[default: {Settings.sparsity}; with --start, what it has]",
)  # fmt: skip
@click.option(
    "--allocation", type=click.Choice(ALLOCATIONS), default=Settings.allocation, show_default=True,
    help="The same level for every layer, more for large layers, or the smallest weights of all layers.",
)  # fmt: skip
@_setting("--steps", help="Batches to train on.")
@_setting("--batch", help="Pictures per batch, over all processes.")
@_setting("--lr", "learning_rate", help="Peak learning rate, relative to a tensor's typical weight.")
@_setting("--begin", metavar="SHARE", help="Share of the steps at which pruning begins.")
@_setting("--end", metavar="SHARE", help="Share of the steps after which zeros are final.")
@_setting("--every", help="Steps between changes of the zeros.")
@_setting("--drop", "drop_fraction", help="rigl: share of weights that move.")
@_setting("--features", help="Weight of the loss on features; 0: outputs only.")
@click.option(
    "--augment/--no-augment", default=True, show_default=True, help="Rotate, scale, shift, recolour pictures."
)
@_setting("--measure", help="Steps between measurements.")
@click.option("--checkpoint", type=options.FILE, metavar="FOLDER", help="Keep the state needed to resume after a stop.")
@_setting("--save", help="Steps between checkpoints.")
@click.option("--resume", is_flag=True, help="Resume from the checkpoint, if there is one.")
@click.option("--csv", "table", type=options.FILE, metavar="FILE.csv", help="Write measurements here as well.")
@_setting("--seed", help="Seed of everything random.")
@options.device
@options.stored_weights
@options.picture_mean
@options.picture_std
@options.input_shapes
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
    input_shapes: dict[str, tuple[int, ...]],
    **settings: Any,
) -> None:
    """Train a sparse model to match MODEL (.tflite or .onnx), on unlabelled pictures.

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
    from tulle.conversion import read_model
    from tulle.files import check_target, write_bytes
    from tulle.passes.lower import set_normalisation
    from tulle.sparsify.oneshot import has_half_weights
    from tulle.tflite import write

    if resume and checkpoint is None:
        raise TulleError("--resume needs --checkpoint FOLDER, where the run is kept")
    check_target(target, source, start, kinds=(".tflite",))
    if table is not None:
        check_target(table, source, start, target)
    try:
        from tulle.train.data import find_pictures
        from tulle.train.distill import distill, make_fabric
    except ImportError as error:
        raise TulleError(f"training needs PyTorch and more: pip install 'tulle[train]' ({error})") from error
    if settings["sparsity"] is None and start is None:
        settings["sparsity"] = Settings.sparsity
    if not augment:
        settings["augmentation"] = None
    dense = read_model(source, None, input_shapes)
    output.notes(dense)
    if weights == "auto":
        weights = "fp16" if has_half_weights(dense) else "fp32"
    teacher = set_normalisation(dense, input_mean, input_std)
    begin = None if start is None else set_normalisation(read_model(start), input_mean, input_std)
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

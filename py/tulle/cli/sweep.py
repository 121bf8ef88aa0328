"""`tulle sweep`: searches sparsity, schedule, learning rate and method for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tulle.cli import options
from tulle.train.settings import METHODS, Settings, Space

if TYPE_CHECKING:
    from tulle.train.sweep import Result


@click.command("sweep")
@click.argument("source", type=options.FILE, metavar="MODEL.tflite")
@click.option("--data", type=options.FILE, required=True, metavar="FOLDER", help="Pictures; no labels are needed.")
@click.option(
    "--trials", type=click.IntRange(min=0), default=20, show_default=True, help="For this worker; 0: only show results."
)
@click.option(
    "--storage", default="sqlite:///sweep.db", show_default=True, metavar="URL",
    help="Where trials are kept: any Optuna storage.",
)  # fmt: skip
@click.option("--study", "name", metavar="NAME", help="The study's name in the storage.  [default: the model's]")
@click.option("-o", "--output", "folder", type=options.FILE, metavar="FOLDER", help="Write each trial's model here.")
@click.option(
    "--sparsity", type=float, nargs=2, default=Space.sparsity, show_default=True, metavar="FROM TO", help="To search."
)
@click.option(
    "--lr", "learning_rate", type=float, nargs=2, default=Space.learning_rate, show_default=True, metavar="FROM TO",
    help="To search.",
)  # fmt: skip
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, help="[default: both]")
@click.option("--steps", type=int, default=500, show_default=True, help="Steps of each trial.")
@click.option("--batch", type=int, default=Settings.batch, show_default=True, help="Pictures per batch.")
@click.option("--seed", type=int, default=Settings.seed, show_default=True, help="Of the training, not of the search.")
@options.device
@options.picture_mean
@options.picture_std
def command(
    source: str,
    data: str,
    *,
    trials: int,
    storage: str,
    name: str | None,
    folder: str | None,
    sparsity: tuple[float, float],
    learning_rate: tuple[float, float],
    methods: tuple[str, ...],
    steps: int,
    batch: int,
    seed: int,
    device: str,
    input_mean: float,
    input_std: float,
) -> None:
    """Search for the best settings to train MODEL.tflite sparse, on unlabelled pictures.

    Every trial trains like `tulle train-sparse`. The table shows the Pareto front: trials that no other beats in both
    time (of the pruned layers, by the cost model) and distance from the dense model on held-out pictures. Several
    workers may share one storage, and an interrupted search continues where it stopped.

    \b
    Examples:
        tulle sweep hand.tflite --data photos --trials 20 -o trials
        tulle sweep hand.tflite --data photos --storage postgresql://host/sweeps --study hand
        tulle sweep hand.tflite --data photos --trials 0
    """
    from pathlib import Path

    from tulle import TulleError
    from tulle.cli import output
    from tulle.conversion import read_model
    from tulle.passes.lower import set_normalisation
    from tulle.sparsify.oneshot import has_half_weights

    try:
        from tulle.train.data import find_pictures
        from tulle.train.sweep import open_study, results, sweep
    except ImportError as error:
        raise TulleError(f"training needs PyTorch and more: pip install 'tulle[train]' ({error})") from error

    dense = read_model(source)
    output.notes(dense)
    teacher = set_normalisation(dense, input_mean, input_std)
    pictures = find_pictures(data)
    target = None if folder is None else Path(folder)
    if target is not None:
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TulleError(f"{target} cannot be made: {error.strerror or error}") from None
    study = open_study(storage, name or Path(source).stem)

    def done(result: Result) -> None:
        output.show(
            f"trial {result.number}: {result.distance:.3f} % from the dense model, {result.milliseconds:.2f} ms, "
            f"{output.share(result.settings['sparsity'])} zeros, {result.settings['method']}"
        )

    if trials:
        space = Space(sparsity=sparsity, learning_rate=learning_rate, methods=methods or Space.methods)
        settings = Settings(steps=steps, batch=batch, seed=seed, measure=steps)
        with output.busy(f"Searching, {trials} trials of {steps} steps"):
            sweep(
                study, teacher, pictures, settings, trials=trials, space=space, folder=target, device=device,
                weights="fp16" if has_half_weights(dense) else "fp32", on_trial=done,
            )  # fmt: skip
    found = results(study)
    if not found:
        raise TulleError(f"the study {study.study_name!r} in {storage} has no finished trial yet")
    table = output.table(
        f"{len(found)} trials: those that none beats in both",
        ">trial", ">ms", ">distance %", ">zeros", "method", "allocation", ">learning rate", ">end",
    )  # fmt: skip
    for result in (result for result in found if result.best):
        setting = result.settings
        table.add_row(
            str(result.number), f"{result.milliseconds:.2f}", f"{result.distance:.3f}",
            output.share(setting["sparsity"]), setting["method"], setting["allocation"],
            f"{setting['learning_rate']:.2g}", f"{setting['end']:.2f}",
        )  # fmt: skip
    output.show(table)
    nearest = min(found, key=lambda result: result.distance)
    output.show(f"nearest to the dense model: trial {nearest.number}, {nearest.distance:.3f} %")

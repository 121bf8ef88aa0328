"""`tulle run`: a model on a picture."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tulle.cli import options
from tulle.errors import TulleError

if TYPE_CHECKING:
    import numpy as np

    from tulle.runtime import Model


@click.command("run")
@click.argument("model_file", type=options.FILE, metavar="MODEL")
@click.argument("image", type=options.FILE)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Run this many times, timed.")
@click.option("--save", "target", type=options.FILE, metavar="OUT.npz", help="Save the outputs as NumPy arrays.")
@click.option("--profile", "with_profile", is_flag=True, help="Show the time of each step, measured in one more run.")
@options.variant
def command(model_file: str, image: str, *, repeat: int, target: str | None, with_profile: bool, variant: str) -> None:
    """Run MODEL (.tulle or .tflite) on IMAGE, a picture or a .npy array.

    A picture is stretched to the model's input and normalised with the mean and std in the file.

    \b
    Examples:
        tulle run mobilenet.tulle cat.jpg
        tulle run hand.tulle hand.jpg --repeat 100 --profile --save landmarks.npz
    """
    from tulle.cli import output
    from tulle.files import check_target
    from tulle.image import read_input
    from tulle.runtime import load

    if target is not None:
        check_target(target, model_file, image)
    with output.busy(f"Loading {model_file}"):
        model = load(model_file, variant=variant)  # type: ignore[arg-type]
    with model:
        if len(model.inputs) != 1:
            raise TulleError(f"{model_file} has {len(model.inputs)} inputs; this command runs models with one")
        array = read_input(image, model.inputs[0].shape)
        if array.dtype == "uint8" and (model.inputs[0].mean, model.inputs[0].std) == (0, 1):
            output.note(
                "the model states no normalisation, so pixels go in as 0 to 255 (see tulle convert --input-std)"
            )
        outputs, milliseconds = _run(model, array, repeat)
        for name, values in outputs.items():
            _print_output(name, values)
        # The first run warms up caches, so it only counts if it is the only one.
        timed = milliseconds[1:] or milliseconds
        output.show(
            f"{sum(timed) / len(timed):.2f} ms a run, fastest {min(timed):.2f} ms "
            f"({len(timed)} timed, {model.variant} build, {model.threads} thread)"
        )
        if with_profile:
            _print_profile(model)
    if target is not None:
        _save(target, outputs)


def _run(model: Model, array: np.ndarray, repeat: int) -> tuple[dict[str, np.ndarray], list[float]]:
    from tulle.cli import output

    milliseconds = []
    outputs: dict[str, np.ndarray] = {}
    for _ in output.progress(range(repeat), "Running"):
        start = time.perf_counter()
        outputs = model(array)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return outputs, milliseconds


def _print_output(name: str, values: np.ndarray) -> None:
    import numpy as np

    from tulle.cli import output

    output.show(
        f"{name}: {output.shape(values.shape)}, {values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}"
    )
    flat = values.reshape(-1)
    if values.size <= 8:
        output.show("  " + "  ".join(f"{value:.6g}" for value in flat))
    elif _is_classifier(values):
        for index in np.argsort(-flat, kind="stable")[:5]:
            output.show(f"  class {index}: {flat[index]:.4f}")


def _is_classifier(values: np.ndarray) -> bool:
    """Whether the values are one vector of probabilities."""
    return bool(values.shape[-1] == values.size and values.min() >= 0 and abs(values.sum() - 1) < 1e-3)


def _print_profile(model: Model) -> None:
    from tulle.cli import output

    rows = model.profile()
    total = sum(row["ms"] for row in rows) or 1.0
    table = output.table("Steps", "name", "op", "kernel", ">ms", ">share", ">MACs", ">GMAC/s")
    for row in rows:
        rate = f"{row['macs'] / row['ms'] / 1e6:.1f}" if row["macs"] and row["ms"] else ""
        macs = output.count(row["macs"]) if row["macs"] else ""
        table.add_row(
            output.short(row["name"]), row["op"], row["kernel"], f"{row['ms']:.3f}", output.share(row["ms"] / total),
            macs, rate,
        )  # fmt: skip
    output.show("")
    output.show(table)


def _save(target: str, outputs: dict[str, np.ndarray]) -> None:
    """Like np.savez, which takes arrays by keyword and so cannot store one named like its own parameters."""
    import io
    import zipfile

    import numpy as np

    from tulle.files import write_bytes

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, values in outputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    write_bytes(target, buffer.getvalue())

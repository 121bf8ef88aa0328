"""`tulle sparsify`: a dense .tflite or .onnx model -> a sparse one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulle.cli import options
from tulle.errors import TulleError

if TYPE_CHECKING:
    import numpy as np

    from tulle.graph import Graph


@click.command("sparsify")
@click.argument("source", type=options.FILE, metavar="IN")
@click.option(
    "-o", "--output", "target", type=options.FILE, required=True, metavar="OUT",
    help="File to write, .tflite or .tulle.",
)  # fmt: skip
@click.option("--sparsity", type=float, metavar="SHARE", help="Share of the weights to be zero.  [default: 0.7]")
@click.option("--target-macs", type=float, metavar="SHARE", help="Instead: share of the multiply-adds to keep.")
@click.option(
    "--target-ms", type=float, metavar="MS",
    help="Instead: milliseconds for these layers in total, by the cost model (one thread of its machine).",
)  # fmt: skip
@click.option(
    "--calibration", type=click.Path(), metavar="FOLDER",
    help="Pictures (or .npy arrays) like those that the model will see; no labels.",
)  # fmt: skip
@click.option("--images", type=click.IntRange(1), default=256, show_default=True, help="The most pictures to use.")
@click.option(
    "--method", type=click.Choice(["magnitude", "reconstruct"]),
    help="Zero the smallest weights, or choose and solve for weights by each layer's output on the pictures.  "
    "[default: reconstruct with --calibration, else magnitude]",
)  # fmt: skip
@click.option(
    "--allocation", type=click.Choice(["uniform", "erk", "sensitivity"]), default="uniform", show_default=True,
    help="The same level for every layer, more for wide ones (ERK), or by each layer's effect on the outputs.",
)  # fmt: skip
@click.option(
    "--block", type=click.Choice(["1", "2", "4"]), default="1", show_default=True,
    help="Number of neighbouring output channels that have their zeros in the same columns.",
)  # fmt: skip
@click.option(
    "--layers", "patterns", metavar="GLOB", multiple=True,
    help="Only 1x1 convolutions whose name matches; may be given several times.  "
    "[default: all over more than one pixel]",
)  # fmt: skip
@options.stored_weights
@options.input_mean
@options.input_std
@options.input_shapes
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for the choice of pictures and pixels.")
@click.option("--report", "report_file", type=options.FILE, metavar="OUT.html", help="Write a report on every layer.")
def command(
    source: str,
    target: str,
    *,
    calibration: str | None,
    images: int,
    patterns: tuple[str, ...],
    block: str,
    weights: str,
    input_mean: float | None,
    input_std: float | None,
    report_file: str | None,
    input_shapes: dict[str, tuple[int, ...]],
    **settings: Any,
) -> None:
    """Make the 1x1 convolutions of a TFLite or ONNX model sparse, without labels or training.

    OUT.tflite stores layers with many zeros in sparse form, which LiteRT can run. With --calibration, finished layers
    are kept in OUT.work until the end: after an interruption the same command continues from there.

    \b
    Examples:
        tulle sparsify hand.tflite -o sparse.tflite --sparsity 0.8 --calibration hands/ --input-std 255
        tulle sparsify hand.tflite -o sparse.tulle --target-macs 0.3 --allocation sensitivity --calibration hands/
        tulle sparsify hand.tflite -o sparse.tflite --calibration hands/ --input-std 255 --report report.html
        tulle sparsify hand.tflite -o fast.tflite --sparsity 0.8 --method magnitude
        tulle sparsify net.onnx -o sparse.tulle --calibration pictures/ --input-std 255
    """
    from tulle.cli import output
    from tulle.conversion import read_model, source_size
    from tulle.files import check_target, write_bytes
    from tulle.inspection import report
    from tulle.passes.lower import set_normalisation
    from tulle.sparsify import Options, match_layers, sparsify
    from tulle.sparsify.encode import encode
    from tulle.sparsify.html_report import html

    if Path(target).suffix not in (".tflite", ".tulle"):
        raise TulleError(f"{target} must end in .tflite or .tulle, which says what to write")
    check_target(target, source)
    if report_file is not None:
        check_target(report_file, source, target)
    graph = set_normalisation(read_model(source, None, input_shapes), input_mean, input_std)
    output.notes(graph)
    choices = Options(
        **settings, block=int(block), layers=match_layers(graph, patterns) if patterns else None
    )  # fmt: skip
    choices.budget()  # report options out of range before reading the pictures
    pictures = [] if calibration is None else _read_pictures(calibration, graph, images, choices.seed)
    workfile = Path(f"{target}.work") if pictures else None
    if workfile is not None and workfile.exists():
        output.note(f"going on from {workfile}")
    result = sparsify(graph, choices, images=pictures, workfile=workfile, progress=output.progress)
    data = encode(result, Path(target).suffix, weights)
    write_bytes(target, data)
    if report_file is not None:
        write_bytes(report_file, html(result, Path(source).name).encode())
    if workfile is not None:
        workfile.unlink(missing_ok=True)
    macs, left = (sum(getattr(layer, key) for layer in result.layers) for key in ("macs", "nonzero_macs"))
    if not pictures:
        output.note(
            "without --calibration the smallest weights went, and what the outputs lose is not known: compare them "
            "before use, and see docs/sparsify.md for what pictures or training are worth"
        )
    output.show(
        f"{target}: {output.size(len(data))} ({source}: {output.size(source_size(source))}), "
        f"{output.share(result.zeros)} of the weights of {len(result.layers)} layers are zero "
        f"({output.share(report(result.graph, 'tflite', 0).zeros)} of all: other layers stay as they were), "
        f"{output.count(left)} of their {output.count(macs)} MACs are left"
    )


def _read_pictures(folder: str, graph: Graph, most: int, seed: int) -> list[np.ndarray]:
    from tulle.cli import output
    from tulle.cli.pictures import read_pictures

    images = read_pictures(folder, graph, most, seed)
    tensor = graph.tensors[graph.inputs[0]]
    if any(image.dtype == "uint8" for image in images) and (tensor.mean, tensor.std) == (0, 1):
        output.note("no normalisation is stated, so pixels go in as 0 to 255 (see --input-std)")
    output.note(f"calibrating on {len(images)} images")
    return images

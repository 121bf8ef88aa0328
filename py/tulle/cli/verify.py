"""`tulle verify`: compares a converted model's outputs with the original's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tulle.cli import options

if TYPE_CHECKING:
    from tulle.verification import Verification


@click.command("verify")
@click.argument("source", type=options.FILE, metavar="IN")
@click.argument("converted", type=options.FILE, metavar="OUT.tulle")
@click.option(
    "--input", "files", type=options.FILE, multiple=True, metavar="FILE",
    help="A picture, or a .npy array of the input's shape; may be repeated.",
)  # fmt: skip
@click.option(
    "--runs",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Number of random inputs to try, and of random pictures if a normalisation is stored.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random inputs.")
@click.option(
    "--tolerance", type=float, help="Largest error relative to an output's range [default: 0.001; 0.1 if IN rounds]."
)
@options.input_shapes
@options.variant
@options.as_json
def command(source: str, converted: str, *, files: tuple[str, ...], as_json: bool, **settings: Any) -> None:
    """Compare a .tulle file with the .tflite or .onnx file it was made from.

    Both run on random inputs and on those given. The errors are the largest absolute difference of each output, and
    the same relative to the output's range (its largest value minus its smallest; 1 for a sigmoid). The original runs
    in LiteRT or ONNX Runtime if the package ai-edge-litert or onnxruntime is installed, else in tulle's NumPy reference
    or ONNX's. Of a quantised original the tolerance is larger: two runtimes round its activations differently.

    Exit code 1 if an output is off by more than the tolerance.

    \b
    Examples:
        tulle verify hand.tflite hand.tulle
        tulle verify hand.tflite hand.tulle --input hand1.jpg --input hand2.jpg --runs 0
        tulle verify yolo.onnx yolo.tulle --input-shape images=1,3,320,320
    """
    from tulle.cli import output
    from tulle.image import read_input
    from tulle.runtime import load
    from tulle.verification import verify

    inputs = []
    if files:
        with load(converted) as model:
            inputs = [read_input(file, model.inputs[0].shape) for file in files]
    result = verify(source, converted, inputs=inputs, progress=partial(output.progress, text="Comparing"), **settings)
    if as_json:
        output.show_json(result.to_dict())
    else:
        _print(result)
    click.get_current_context().exit(0 if result.passed else 1)


def _print(result: Verification) -> None:
    from tulle.cli import output

    as_bytes = f" ({result.as_bytes} of them pictures as bytes)" if result.as_bytes else ""
    output.show(f"compared with {result.oracle} on {result.runs} inputs{as_bytes}, {result.variant} build\n")
    table = output.table("Errors", "output", ">max abs error", ">range", ">relative")
    for row in result.outputs:
        table.add_row(row.name, f"{row.max_error:.3g}", f"{row.range:.3g}", f"{row.relative_error:.3g}")
    output.show(table)
    verdict = "equal within" if result.passed else "NOT equal within"
    output.show(f"\n{verdict} {result.tolerance:g} of each output's range")

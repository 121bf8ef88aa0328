"""`tulle convert`: a .tflite or .onnx file -> a .tulle file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tulle.cli import options

if TYPE_CHECKING:
    from tulle.conversion import ConversionReport
    from tulle.passes import PassChange


@click.command("convert")
@click.argument("source", type=options.FILE, metavar="IN")
@options.tulle_target
@click.option(
    "--weights", type=click.Choice(["auto", "fp32", "fp16", "int8"]), default="auto", show_default=True,
    help="auto: int8 or fp16 if lossless, else fp32. fp16, int8: round weights (see tulle compress).",
)  # fmt: skip
@click.option(
    "--sparse", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
    help="Which layers run sparse. auto: those with enough zeros.",
)  # fmt: skip
@options.input_mean
@options.input_std
@click.option(
    "--outputs", multiple=True, metavar="TENSOR",
    help="Convert up to this tensor of IN instead of its outputs; may be repeated.",
)  # fmt: skip
@options.input_shapes
@click.option(
    "--quantized-io", is_flag=True,
    help="int8 and uint8 inputs and outputs of a quantised TFLite model stay integers instead of float32.",
)  # fmt: skip
@click.option("--report", "with_report", is_flag=True, help="Show every layer of the result.")
@click.option("--trace", is_flag=True, help="Show what every pass changed, and the graph's size after it.")
def command(
    source: str, target: str, *, outputs: tuple[str, ...], with_report: bool, trace: bool, **settings: Any
) -> None:
    """Convert a TFLite model, or an ONNX one (needs tulle[onnx]), to a .tulle file.

    \b
    Examples:
        tulle convert hand.tflite -o hand.tulle --input-mean 0 --input-std 255
        tulle convert mobilenet.tflite -o mobilenet.tulle --weights fp16 --report
        tulle convert palm.tflite -o palm.tulle --trace
        tulle convert mobilenet_int8.tflite -o mobilenet.tulle --quantized-io
        tulle convert ssd.tflite -o ssd.tulle --outputs raw_boxes --outputs raw_scores
        tulle convert yolo.onnx -o yolo.tulle --input-shape images=1,3,320,320
    """
    from tulle.cli import output
    from tulle.conversion import convert
    from tulle.files import check_target

    check_target(target, source, kinds=(".tulle",))
    with output.busy(f"Converting {source}"):
        conversion = convert(source, outputs=outputs or None, **settings)
        conversion.save(target)
    report = conversion.report
    output.notes(conversion.graph)
    output.show(
        f"{target}: {output.size(report.file_bytes)} ({source}: {output.size(report.source_bytes or 0)}), "
        f"{output.count(report.executed_macs)} MACs to do of {output.count(report.macs_before)}"
    )
    if trace:
        _print_passes(report.passes)
    if with_report:
        _print(report)


def _print(report: ConversionReport) -> None:
    from tulle.cli import output

    output.show(
        f"dead channels removed: {report.removed_channels}, which leaves "
        f"{output.count(report.macs_after)} of {output.count(report.macs_before)} MACs and "
        f"{output.count(report.parameters_after)} of {output.count(report.parameters_before)} parameters\n"
        f"layout changes: {report.permutes}, and {report.free_permutes} that move nothing\n"
    )
    table = output.table("Layers", "name", "op", "output", ">zeros", "runs", ">MACs", ">to do", ">channels removed")
    for layer in report.layers:
        table.add_row(
            output.short(layer.name), layer.op, output.shape(layer.output_shape), output.share(layer.zeros),
            layer.sparsity or "", output.count(layer.macs), output.count(layer.executed_macs),
            str(layer.removed_channels or ""),
        )  # fmt: skip
    output.show(table)


def _print_passes(passes: list[PassChange]) -> None:
    from tulle.cli import output

    table = output.table("Passes", "pass", ">ops", ">tensors", ">parameters", ">MACs", "changed")
    table.columns[-1].no_wrap = False
    for name, size, changes in [("as read", passes[0].before, {}), *((p.name, p.after, p.changes) for p in passes)]:
        table.add_row(
            name, str(size.ops), str(size.tensors), output.count(size.parameters), output.count(size.macs),
            ", ".join(f"{count:+} {kind}" for kind, count in changes.items()),
        )  # fmt: skip
    output.show(table)

"""`tulle inspect`: what is in a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tulle.cli import options

if TYPE_CHECKING:
    from tulle.inspection import ModelReport


@click.command("inspect")
@click.argument("file", type=options.FILE)
@options.input_shapes
@options.as_json
def command(file: str, *, input_shapes: dict[str, tuple[int, ...]], as_json: bool) -> None:
    """Show what is in a .tflite, .onnx or .tulle FILE.

    Inputs and outputs, ops and their share of the multiply-adds (MACs), and for every layer the share of its weights
    that is zero and its dead channels (those whose weights are all zero).

    \b
    Examples:
        tulle inspect model.tflite
        tulle inspect model.tulle --json
    """
    from tulle.cli import output
    from tulle.inspection import describe

    with output.busy(f"Reading {file}"):
        report = describe(file, input_shapes)
    if as_json:
        output.show_json(report.to_dict())
    else:
        _print(report)


def _print(report: ModelReport) -> None:
    from tulle.cli import output

    output.show(f"{report.name}: {report.format} file, {output.size(report.file_bytes)}")
    for what, ports in (("input", report.inputs), ("output", report.outputs)):
        for port in ports:
            normalised = f", (pixel - {port.mean:g}) / {port.std:g}" if (port.mean, port.std) != (0, 1) else ""
            output.show(f"  {what} {port.name}: {output.shape(port.shape)} {port.dtype}{normalised}")
    output.show(
        f"{output.count(report.macs)} MACs, {output.count(report.nonzero_macs)} with nonzero weights; "
        f"{output.count(report.parameters)} parameters\n"
        f"{output.share(report.zeros)} of {output.count(report.weights)} weights are zero; "
        f"{report.dead_channels} dead channels\n"
    )
    ops = output.table("Ops", "op", ">count", ">MACs", ">share")
    for op in report.ops:
        ops.add_row(op.op, str(op.count), output.count(op.macs), output.share(op.share) if op.macs else "")
    output.show(ops)
    output.show("")
    layers = output.table("Layers", "name", "op", "output", ">MACs", ">parameters", ">zeros", ">dead channels")
    for layer in report.layers:
        dead = f"{layer.dead_channels}/{layer.output_channels}" if layer.dead_channels else ""
        layers.add_row(
            output.short(layer.name), layer.op, output.shape(layer.output_shape), output.count(layer.macs),
            output.count(layer.parameters), output.share(layer.zeros), dead,
        )  # fmt: skip
    output.show(layers)

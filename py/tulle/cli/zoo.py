"""`tulle zoo`: lists the architectures that tulle builds, and writes one as a .tflite file."""

from __future__ import annotations

import click

from tulle.cli import options


@click.group("zoo")
def command() -> None:
    """Well-known architectures, built from their papers' tables.

    \b
    Examples:
        tulle zoo list
        tulle zoo build mobilenet_v3_small -o small.tflite --width 0.75 --size 160
    """


@command.command("list")
@options.as_json
def list_architectures(*, as_json: bool) -> None:
    """List the architectures with their size."""
    from tulle.cli import output
    from tulle.graph.stats import total_macs, total_parameters
    from tulle.zoo import ARCHITECTURES

    rows = []
    for name, architecture in ARCHITECTURES.items():
        graph = architecture.build()
        rows.append(
            {"name": name, "size": architecture.size, "macs": total_macs(graph),
             "parameters": total_parameters(graph), "paper": architecture.paper}
        )  # fmt: skip
    if as_json:
        output.show_json(rows)
        return
    table = output.table("Architectures", "name", ">image", ">MACs", ">parameters", "paper")
    for row in rows:
        side = int(str(row["size"]))
        table.add_row(
            str(row["name"]), f"{side}x{side}", output.count(float(str(row["macs"]))),
            output.count(float(str(row["parameters"]))), str(row["paper"]),
        )  # fmt: skip
    output.show(table)


@command.command("build")
@click.argument("name")
@click.option("-o", "--output", "target", type=options.FILE, required=True, metavar="OUT.tflite", help="File to write.")
@click.option("--width", type=float, default=1.0, show_default=True, help="Multiplies the number of channels.")
@click.option("--size", type=int, help="Height and width of the image. [default: the architecture's own]")
@click.option("--from", "weights_npz", type=options.FILE, metavar="FILE.npz", help="Weights. [default: random ones]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random weights.")
@click.option("--weights", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True, help="To store.")
def build(
    name: str, target: str, *, width: float, size: int | None, weights_npz: str | None, seed: int, weights: str
) -> None:
    """Write the architecture NAME as a .tflite file."""
    from tulle import TulleError
    from tulle.cli import output
    from tulle.files import check_target, write_bytes
    from tulle.tflite import write
    from tulle.zoo import ARCHITECTURES

    if name not in ARCHITECTURES:
        raise TulleError(f"there is no architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    check_target(target, weights_npz, kinds=(".tflite",))
    architecture = ARCHITECTURES[name]
    with output.busy(f"Building {name}"):
        graph = architecture.build(weights_npz, width=width, size=size or architecture.size, seed=seed)
        data = write(graph, weights=weights)
        write_bytes(target, data)
    mean, std = graph.tensors["input"].mean, graph.tensors["input"].std
    output.show(f"{target}: {output.size(len(data))}; convert it with --input-mean {mean:g} --input-std {std:g}")

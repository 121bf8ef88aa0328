"""Arguments and options that several commands have."""

from __future__ import annotations

import click

# Files are opened by the library, whose errors say more than click's.
FILE = click.Path(dir_okay=True)

variant = click.option(
    "--variant",
    type=click.Choice(["auto", "simd", "relaxed"]),
    default="auto",
    show_default=True,
    help="The wasm build to run.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")

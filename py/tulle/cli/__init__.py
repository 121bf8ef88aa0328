"""The `tulle` command: one module per subcommand, imported on demand.

The modules import slow packages (NumPy, wasmtime, rich) inside their functions, so that `tulle --help` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from tulle import TulleError, __version__

_COMMANDS = (
    "background", "compress", "convert", "hotspots", "inspect", "run", "sparsify", "sweep", "train-sparse", "verify",
    "zoo",
)  # fmt: skip
_FORMER_NAMES = {"share": "hotspots"}  # they work, and no help lists them


class _Group(click.Group):
    """Imports its commands by name, and reports errors as one message instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = _FORMER_NAMES.get(cmd_name, cmd_name)
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"tulle.cli.{cmd_name.replace('-', '_')}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TulleError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tulle")
def main() -> None:
    """Sparse convolutional networks, fast, in the browser.

    \b
    Convert a TFLite model, check it and run it:
        tulle convert model.tflite -o model.tulle --input-mean 0 --input-std 255
        tulle verify model.tflite model.tulle
        tulle run model.tulle picture.jpg
    """

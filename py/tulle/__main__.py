"""`python -m tulle` is the `tulle` command."""

from tulle.cli import main

main(prog_name="tulle")

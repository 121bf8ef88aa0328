#!/usr/bin/env python3
"""Makes `.venv` with the Python that runs this, unless it is there with the same version."""

import shutil
import subprocess
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent.parent / ".venv"
MINIMUM = (3, 10)


def main() -> None:
    if sys.version_info < MINIMUM:
        found, needed = sys.version.split()[0], ".".join(map(str, MINIMUM))
        sys.exit(
            f"error: {sys.executable} is Python {found}; tulle needs {needed} or newer."
            " Name one with `make PYTHON=python3.12 ...`"
        )
    if _version(VENV / "bin" / "python") == sys.version_info[:2]:
        return
    print(f"==> making .venv with Python {sys.version.split()[0]}", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit("error: `python3 -m venv` failed; on Debian and Ubuntu it needs the package python3-venv")


def _version(python: Path) -> "tuple[int, ...] | None":
    """(major, minor), None where there is no such Python or it, or its pip, does not run."""
    command = [str(python), "-c", "import pip, sys; print(*sys.version_info[:2])"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, result.stdout.split())) if result.returncode == 0 else None


if __name__ == "__main__":
    main()

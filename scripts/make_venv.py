#!/usr/bin/env python3
"""Makes `.venv` with the Python that runs this, unless it exists with the same version, and installs tulle into it.

    python3 scripts/make_venv.py [EXTRA]

tulle is installed in place ("editable"), with the packages of an extra of pyproject.toml if one is named: those of the
lock files (`locks/`), each with its hash. TULLE_UNLOCKED=1 takes the newest that pyproject.toml allows instead, as
Python 3.10 does, which has no lock.

The extra `dev` includes `train` if PyTorch is already in .venv, or if pip has a wheel of it in a folder
(`find-links`). PyTorch is never fetched from an index for this: on Linux that means gigabytes of CUDA libraries.
Without it the training tests skip; install any build with `.venv/bin/pip install torch` and run `make dev` again to
enable them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import CACHE, ROOT, SetupError, main_guard, run_logged, say
from locks import LOCKS, PYTHON

VENV = ROOT / ".venv"
MINIMUM = (3, 10)
TORCH = "torch==2.13.0"  # the tested version; the extra `train` allows others
LOCKED = {"": ["base"], "[site]": ["base", "site"], "[dev]": ["base", "dev"], "[dev,train]": ["base", "dev", "train"]}


def main() -> None:
    make_venv()
    extra = f"[{sys.argv[1]}]" if len(sys.argv) > 1 else ""
    if extra == "[dev]" and has_torch():
        extra = "[dev,train]"
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    log = CACHE / "pip.log"
    if "TULLE_UNLOCKED" in os.environ or sys.version_info < tuple(map(int, PYTHON.split("."))):
        run_logged(f"pip install tulle{extra} with the newest dependencies", [*pip, "-e", f"{ROOT}{extra}"], log)
        return
    files = [part for name in LOCKED[extra] for part in ("-r", str(LOCKS / f"{name}.txt"))]
    run_logged(f"pip install the dependencies of tulle{extra}", [*pip, "--require-hashes", "--no-deps", *files], log)
    run_logged("pip install tulle", [*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], log)


def make_venv() -> None:
    if sys.version_info < MINIMUM:
        raise SetupError(
            f"{sys.executable} is Python {sys.version.split()[0]}; tulle needs {'.'.join(map(str, MINIMUM))} or newer. "
            "Name one with `make PYTHON=python3.12 ...`"
        )
    if _version(VENV / "bin" / "python") == sys.version_info[:2]:
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError("`python3 -m venv` failed; on Debian and Ubuntu it needs the package python3-venv") from error


def has_torch() -> bool:
    """Whether PyTorch is in .venv, after installing it if pip finds its wheel without asking an index."""
    python = VENV / "bin" / "python"
    if subprocess.run([str(python), "-c", "import torch"], capture_output=True).returncode == 0:
        return True
    # Without its dependencies, which come from the index with tulle's.
    install = [str(python), "-m", "pip", "install", "--no-index", "--no-deps", TORCH]
    found = subprocess.run(install, capture_output=True).returncode == 0
    say(f"installed {TORCH}" if found else "no PyTorch in pip's find-links: the tests of training will skip")
    return found


def _version(python: Path) -> tuple[int, ...] | None:
    """(major, minor), or None if there is no such Python, or it or its pip does not run."""
    command = [str(python), "-c", "import pip, sys; print(*sys.version_info[:2])"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, result.stdout.split())) if result.returncode == 0 else None


if __name__ == "__main__":
    with main_guard():
        main()

#!/usr/bin/env python3
"""`make locks`: writes locks/*.txt, the exact versions and hashes of what builds and tests use, from pyproject.toml.

Each file extends another: base.txt is tulle's own dependencies and what builds it, site.txt and dev.txt extend it by an
extra, train.txt extends dev.txt. They hold for Python 3.11 and newer on any platform. tools.txt is apart: what this
script and sbom.py need. PyTorch is in none: which build of it a machine has is for its owner to say (make_venv.py).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from common import CACHE, ROOT, SetupError, main_guard, run_logged, say

LOCKS = ROOT / "locks"
PYTHON = "3.11"
"""The oldest Python that the locks hold for."""

BUILD = ("hatchling>=1.27", "editables")
TOOLS = ("uv", "cyclonedx-bom")
BOUNDS = ("backports.strenum<1.3",)
"""What uv does not see: later ones are for Python 3.10 and older, and uv ignores upper bounds."""

NOT_LOCKED = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)$")


def main() -> None:
    uv = tools() / "uv"
    LOCKS.mkdir(exist_ok=True)
    constraints = CACHE / "locks" / "constraints.txt"
    constraints.write_text("\n".join(BOUNDS) + "\n")
    everything = compiled(uv, BUILD, ["dev", "train"], constraints)
    constraints.write_text("".join(everything.values()))
    base = compiled(uv, BUILD, [], constraints)
    site = compiled(uv, BUILD, ["site"], constraints)
    dev = compiled(uv, BUILD, ["dev"], constraints)
    write("base", base)
    write("site", minus(site, base))
    write("dev", minus(dev, base))
    write("train", {name: block for name, block in minus(everything, dev).items() if not NOT_LOCKED.match(name)})
    write("tools", compiled(uv, TOOLS, None))


def compiled(uv: Path, more: tuple[str, ...], extras: list[str] | None, constraints: Path | None = None) -> dict:
    """The lock of pyproject.toml with extras (None: without it) and more: lines with hashes by package."""
    given = CACHE / "locks" / "given.txt"
    given.write_text("\n".join(more) + "\n")
    command = [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--python-version", PYTHON, given]
    if extras is not None:
        command += [ROOT / "pyproject.toml", *(part for extra in extras for part in ("--extra", extra))]
    if constraints is not None:
        command += ["--constraint", constraints]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        raise SetupError(f"uv found no versions that fit together:\n{result.stderr}")
    blocks: dict[str, str] = {}
    for block in re.split(r"^(?=\S)", result.stdout, flags=re.MULTILINE):
        if block:
            name = block.partition("==")[0]
            blocks[name] = blocks.get(name, "") + block
    return blocks


def minus(blocks: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    return {name: block for name, block in blocks.items() if name not in others}


def write(name: str, blocks: dict[str, str]) -> None:
    (LOCKS / f"{name}.txt").write_text("# Written by `make locks`.\n" + "".join(blocks.values()))
    say(f"locks/{name}.txt: {len(blocks)} packages")


def tools() -> Path:
    """The folder with uv and cyclonedx-py, in an environment of their own."""
    home = CACHE / "locks"
    lock = LOCKS / "tools.txt"
    wanted = lock.read_bytes() if lock.is_file() else b""
    stamp = home / "tools-installed"
    if not stamp.is_file() or stamp.read_bytes() != wanted:
        home.mkdir(parents=True, exist_ok=True)
        run_logged("python -m venv", [sys.executable, "-m", "venv", "--clear", home / "venv"], home / "log")
        packages = ["--require-hashes", "--no-deps", "-r", lock] if wanted else list(TOOLS)
        run_logged("pip install uv and cyclonedx-bom", [home / "venv/bin/pip", "install", *packages], home / "log")
        stamp.write_bytes(wanted)
    return home / "venv" / "bin"


if __name__ == "__main__":
    with main_guard():
        main()

"""wasm/image on random views with sanitizers, which wasm does not have: nothing beyond the pixels is read."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import missing
from paths import ROOT

CLANG = ROOT / ".cache" / "native" / "bin" / "clang"
SANITIZERS = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
FOLDERS = ("wasm", "wasm/include")


def test_random_views_stay_within_the_picture(tmp_path: Path) -> None:
    if not CLANG.exists():
        missing(f"no {CLANG.relative_to(ROOT)}: run `make native`")
    sources = [*sorted((ROOT / "wasm" / "image").glob("*.c")), Path(__file__).with_name("pictures.c")]
    program = tmp_path / "pictures"
    flags = ["-g", "-O1", "-std=gnu11", "-msse4.1", *SANITIZERS, *(f"-I{ROOT / folder}" for folder in FOLDERS)]
    subprocess.run([CLANG, *flags, *sources, "-lm", "-o", program], check=True, timeout=120)
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 10_000

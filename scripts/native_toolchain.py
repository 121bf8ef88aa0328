#!/usr/bin/env python3
"""Makes `.cache/native/bin/` with the clang that `make native` compiles with, and LLVM's tools beside it.

The first clang that builds all that is wanted (SIMDe, 32 bits, sanitizers, libFuzzer) is taken: `$CLANG`, `clang` on
PATH, or on a Debian-family machine as root the packages, which are installed. Once found it is not looked for again.

`--optional` is for `make test`: on a machine other than x86-64 Linux, or one that lacks it and where nothing may be
installed, it says so, and the tests of the native build skip.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import CACHE, SetupError, apt_install, is_debian_root, main_guard, say, write_if_changed

HOME = CACHE / "native"
BIN = HOME / "bin"
LOG = HOME / "setup.log"

PACKAGES = ["clang", "llvm", "libsimde-dev", "libc6-dev-i386"]
# These are named after a version: clang's, and the one of gcc whose C++ library clang uses.
RUNTIME = "libclang-rt-{clang}-dev"
CXX32 = "lib32stdc++-{gcc}-dev"

TOOLS = ("clang", "clang++", "llvm-cov", "llvm-profdata", "llvm-symbolizer")

# What is compiled and linked to see whether a clang will do, and with which flags.
PROGRAM = """
#include <pthread.h>
#include <simde/wasm/simd128.h>
#include <vector>
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  return simde_wasm_i32x4_extract_lane(simde_wasm_i32x4_splat(int(std::vector<int>(size).size())), 0) > 0 && data[0];
}
#ifndef FUZZER
int main() { return LLVMFuzzerTestOneInput(nullptr, 0); }
#endif
"""
ATTEMPTS = {
    "SIMDe": [],
    "32 bits": ["-m32"],
    "AddressSanitizer": ["-fsanitize=address,undefined"],
    "AddressSanitizer in 32 bits": ["-m32", "-fsanitize=address,undefined"],
    "ThreadSanitizer": ["-fsanitize=thread"],
    "libFuzzer": ["-DFUZZER", "-fsanitize=fuzzer,address"],
}


def main() -> None:
    optional = "--optional" in sys.argv
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        problem = f"the native build is for x86-64 Linux, this is {platform.system()} on {platform.machine()}"
        if not optional:
            raise SetupError(problem)
        say(problem)
        return
    try:
        clang = set_up()
    except SetupError as error:
        if not optional or os.environ.get("CI"):
            raise
        say(f"no native build: {error}")
        return
    say(f"clang for the native build: {clang}")


def set_up() -> str:
    """The clang in use, by its first line of version.

    Raises:
        SetupError: none will do.
    """
    asked = os.environ.get("CLANG")
    clang = find(asked or "clang")
    record = HOME / "checked"
    if clang is None or not record.is_file() or record.read_text() != identity(clang):
        missing = lacks(clang)
        if missing and not asked and is_debian_root():
            install()
            clang = find("clang")
            missing = lacks(clang)
        if missing or clang is None:
            raise SetupError(
                f"{asked or clang or 'clang'} lacks {', '.join(missing)} (see {LOG}). Install clang with its "
                f"sanitizers, SIMDe and libraries for 32 bits (Debian: {' '.join([*PACKAGES, RUNTIME, CXX32])}), "
                "or name a clang that has them with CLANG=/path/to/clang"
            )
        for name in TOOLS:
            tool = companion(clang, name)
            write_if_changed(BIN / name, f'#!/bin/sh\nexec {shlex.quote(str(tool))} "$@"\n', executable=True)
        write_if_changed(record, identity(clang))
    return identity(clang)


def find(name: str) -> Path | None:
    path = shutil.which(name)
    return Path(path) if path else None


def identity(clang: Path) -> str:
    version = subprocess.run([clang, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    return f"{version} ({clang})"


def companion(clang: Path, name: str) -> Path:
    """The tool that belongs to this clang: clang++-19 to clang-19."""
    folder = clang.resolve().parent  # LLVM's own, where all of its tools lie under their plain names
    return folder / name if (folder / name).exists() else clang.with_name(clang.name.replace("clang", name))


def lacks(clang: Path | None) -> list[str]:
    """What this clang cannot build."""
    if clang is None:
        return list(ATTEMPTS)
    tools = [name for name in TOOLS if not companion(clang, name).exists()]
    if tools:
        return tools
    missing = []
    with tempfile.TemporaryDirectory() as folder, LOG.open("a") as log:
        for what, flags in ATTEMPTS.items():
            command = [
                str(companion(clang, "clang++")),
                "-x",
                "c++",
                "-",
                "-pthread",
                *flags,
                "-o",
                f"{folder}/program",
            ]
            log.write(f"\n$ {shlex.join(command)}\n")
            log.flush()
            result = subprocess.run(command, input=PROGRAM, text=True, stdout=log, stderr=log)
            if result.returncode != 0:
                missing.append(what)
    return missing


def install() -> None:
    apt_install(PACKAGES, LOG)
    clang = find("clang")
    if clang is None:
        raise SetupError(f"there is no clang after apt-get install; see {LOG}")
    about = subprocess.run([clang, "-v"], capture_output=True, text=True).stderr
    version = re.search(r"version (\d+)", about)
    gcc = re.search(r"Selected GCC installation: .*/(\d+)", about)
    wanted = [CXX32.format(gcc=gcc[1])] if gcc else []
    wanted += [RUNTIME.format(clang=version[1])] if version else []
    apt_install(wanted, LOG)


if __name__ == "__main__":
    with main_guard():
        HOME.mkdir(parents=True, exist_ok=True)
        main()

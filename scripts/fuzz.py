#!/usr/bin/env python3
"""`make fuzz`: looks for files that crash, hang or take too much memory, and says which lines were reached on the way.

Half of the time goes to libFuzzer on loading and running `.tulle` files (tests/native/fuzz_target.c), a quarter each to
the readers of TFLite and ONNX (tests/fuzz_readers.py). What was found lies in build/fuzz/; what libFuzzer learns stays
in build/fuzz/corpus, so that another run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from common import CACHE, ROOT, SetupError, main_guard, say

BUILT = ROOT / "build" / "native"
HOME = ROOT / "build" / "fuzz"
CORPUS = HOME / "corpus"
TOOLS = CACHE / "native" / "bin"

# Makes files to start from, so that none lie in the tree.
SEEDS = ROOT / "tests" / "native" / "fuzz_corpus.py"

LIMITS = ["-max_len=20000", "-timeout=30", "-rss_limit_mb=3000", f"-artifact_prefix={HOME}/"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0, help="of the readers' files; another one tries other files")
    arguments = parser.parse_args()
    make_corpus()
    failed = [fuzz_runtime(arguments.seconds // 2)]
    report_coverage()
    failed += [fuzz_reader(kind, arguments.seconds // 4, arguments.seed) for kind in ("tflite", "onnx")]
    if any(failed):
        raise SetupError(f"files that fail are in {HOME.relative_to(ROOT)}")


def make_corpus() -> None:
    if CORPUS.is_dir() and any(CORPUS.iterdir()):
        return
    say("making files to start from, of the tests' models")
    CORPUS.mkdir(parents=True, exist_ok=True)
    seeds = HOME / "seeds"
    run([sys.executable, SEEDS, seeds])
    run([BUILT / "tulle-fuzz", "-merge=1", *LIMITS, CORPUS, seeds], quiet=True)


def fuzz_runtime(seconds: int) -> bool:
    """Whether something was found."""
    say(f"libFuzzer on loading and running, {seconds} s")
    log = HOME / "libfuzzer.log"
    status = run(
        [BUILT / "tulle-fuzz", f"-max_total_time={seconds}", "-print_final_stats=1", *LIMITS, CORPUS],
        quiet=True,
        log=log,
    )
    text = log.read_text(errors="replace")
    executed = re.search(r"number_of_executed_units: (\d+)", text)
    print(f"  {executed[1] if executed else '?'} executions, {len(list(CORPUS.iterdir()))} files in the corpus")
    if status:
        found = re.search(r"Test unit written to (.*)", text)
        summary = re.search(r"SUMMARY: .*", text)
        print(f"  {summary[0] if summary else 'it failed'} ({found[1] if found else log}); the log is {log}")
    return bool(status)


def report_coverage() -> None:
    """The share of lines that the corpus reaches, by file."""
    raw, profile = HOME / "coverage.profraw", HOME / "coverage.profdata"
    program = BUILT / "tulle-coverage"
    run([program, "-runs=0", "-timeout=60", CORPUS], quiet=True, env={"LLVM_PROFILE_FILE": str(raw)})
    run([TOOLS / "llvm-profdata", "merge", "-sparse", raw, "-o", profile])
    command = [TOOLS / "llvm-cov", "export", "-summary-only", f"-instr-profile={profile}", program]
    exported = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    if exported.returncode:
        raise SetupError(f"llvm-cov: {exported.stderr}")
    folders: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for file in json.loads(exported.stdout)["data"][0]["files"]:
        _, inside, name = file["filename"].rpartition("/wasm/")
        lines = file["summary"]["lines"]
        if inside and "generated" not in name and lines["count"]:
            folders[name.split("/")[0]].append((name, lines["covered"], lines["count"]))
    say("lines reached")
    for folder, files in sorted(folders.items()):
        covered, count = sum(file[1] for file in files), sum(file[2] for file in files)
        print(f"  {folder:32} {covered:5} of {count:5}  {covered / count:4.0%}")
        for name, covered, count in sorted(files):
            print(f"    {name:30} {covered:5} of {count:5}  {covered / count:4.0%}")


def fuzz_reader(kind: str, seconds: int, seed: int) -> bool:
    """Whether something was found."""
    say(f"changed {kind} files, {seconds} s")
    script = ROOT / "tests" / "fuzz_readers.py"
    limits = ["--count", "1000000000", "--seconds", str(seconds), "--seed", str(seed)]
    return bool(run([sys.executable, script, kind, *limits]))


def run(
    command: list[str | Path], *, quiet: bool = False, log: Path | None = None, env: dict[str, str] | None = None
) -> int:
    """The exit status; only fuzzing itself may end with another one than 0."""
    environment = {
        **os.environ,
        "ASAN_SYMBOLIZER_PATH": str(TOOLS / "llvm-symbolizer"),
        "UBSAN_OPTIONS": "print_stacktrace=1",
        **(env or {}),
    }
    sink = (log or HOME / "last.log").open("w") if quiet else None
    try:
        status = subprocess.run([str(part) for part in command], env=environment, stdout=sink, stderr=sink).returncode
    finally:
        if sink:
            sink.close()
    return status


if __name__ == "__main__":
    with main_guard():
        main()

"""scripts/common.py: long commands are shown, ended with all they started, and their failures explained."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import common
from common import SetupError


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "PROGRESS_SECONDS", 0.05)


def test_a_failure_shows_the_end_of_its_own_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    common.run_logged("first", ["echo", "of the first"], log)
    with pytest.raises(SetupError, match="second: exit status 3") as caught:
        common.run_logged("second", ["sh", "-c", "echo why; exit 3"], log)
    assert "\nwhy\n" in str(caught.value)
    assert "of the first" not in str(caught.value)
    assert "of the first" in log.read_text()


def test_progress_is_the_latest_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    common.run_logged("download", ["sh", "-c", r"printf '10 %%\r20 %%\r'; sleep 0.3"], tmp_path / "log")
    assert "20 %" in capfd.readouterr().out


def test_what_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    command = ["sh", "-c", f"sleep 600 & echo $! > '{child}'; wait"]
    for timeout in (0.1, 1, 10, 100):  # until it has got as far as that
        with pytest.raises(SetupError, match="stopped after"):
            common.run_logged("sleep", command, tmp_path / "log", timeout=timeout)
        if child.exists() and child.read_text():
            break
    state = subprocess.run(["ps", "-o", "stat=", "-p", child.read_text()], capture_output=True, text=True).stdout
    assert state.strip()[:1] in ("", "Z"), "it is gone, or dead and only not yet reaped"


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot start no-such-program"):
        common.run_logged("thing", ["no-such-program"], tmp_path / "log")

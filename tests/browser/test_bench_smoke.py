"""The benchmark runs, checks answers, writes whole reports or none, and its verdicts follow from its figures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paths import ROOT

pytestmark = pytest.mark.xdist_group("benchmarks")  # one at a time: they measure

BENCH = ROOT / "bench"
MODELS = ("hand_landmark_lite", "selfie_segmentation_landscape")
REQUIRED = ("onnx", "matplotlib", "playwright", "ai_edge_litert")


@pytest.fixture(scope="module")
def environment(models_dir: Path, chromium_path: str) -> dict[str, str]:
    """What run.py needs, or a skip that says what is missing."""
    for module in REQUIRED:
        pytest.importorskip(module, reason=f"the benchmark needs {module} (pip install -e '.[bench]')")
    if shutil.which("npm") is None and not (BENCH / "node_modules").is_dir():
        pytest.skip("no npm to install the peers with")
    return {**os.environ, "CHROMIUM": chromium_path}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes `import harness...` work."""
    monkeypatch.syspath_prepend(str(BENCH))
    yield


def run(program: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / program), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.browser
@pytest.mark.slow
def test_quick_run_measures_everyone(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(
        "run.py", "--quick", "--models", ",".join(MODELS), "--threads", "2", "--output", str(tmp_path),
        environment=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md", "results.svg"]

    report = json.loads((tmp_path / "results.json").read_text())
    assert [(group["model"], group["threads"]) for group in report["groups"]] == [(name, 2) for name in MODELS]
    for group in report["groups"]:
        check_group(group)
    markdown = (tmp_path / "results.md").read_text()
    assert "tulle / tulle, no worker" in markdown
    chart = ElementTree.parse(tmp_path / "results.svg").getroot()
    text = " ".join("".join(element.itertext()) for element in chart.iter("{http://www.w3.org/2000/svg}text"))
    for name in (*MODELS, "tulle", "litertjs", "tfjs-wasm", "onnxruntime-web"):
        assert name in markdown
        assert name in text


def check_group(group: dict[str, Any]) -> None:
    records = {record["name"]: record for record in group["contenders"]}
    expected = {"tulle", "tulle, no worker", "tulle simd", "litertjs", "tfjs-tflite", "tfjs-wasm", "onnxruntime-web"}
    if group["model"].startswith("selfie"):
        expected |= {"litertjs, built-in ops", "tfjs-tflite, built-in ops"}
    assert set(records) == expected
    if group["model"].startswith("selfie"):
        assert records["tfjs-tflite"]["status"] == "failed"
        assert "Convolution2DTransposeBias" in records.pop("tfjs-tflite")["error"]
    for name, record in records.items():
        assert record["status"] == "ok", f"{name}: {record['error']}"
        assert record["max_error"] <= 1e-2
        assert 0 < record["min_ms"] <= record["median_ms"] <= record["p90_ms"]
        assert record["memory_bytes"] >= 2**16
        assert record["download"]["raw"] > record["download"]["gzip"] > 1000
        assert record["open_ms"] > 0 and record["reload_ms"] > 0
    for name, variant, worker in (
        ("tulle", "relaxed", True), ("tulle, no worker", "relaxed", False), ("tulle simd", "simd", True)
    ):  # fmt: skip
        memory = records[name]["memory_bytes"]  # found from outside; tulle's own word for it has to agree
        assert records[name]["about"] == {"variant": variant, "threads": 2, "worker": worker, "memoryBytes": memory}
    assert records["tulle"]["max_error"] == records["tulle, no worker"]["max_error"]
    peers = [record for record in records.values() if record["runtime"] != "tulle"]
    assert group["fastest_peer"] == min(peers, key=lambda record: record["median_ms"])["name"]


@pytest.mark.browser
@pytest.mark.slow
def test_interrupted_run_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "results"
    command = [sys.executable, str(BENCH / "run.py"), "--force", "--models", MODELS[0], "--peers", "litertjs"]
    with subprocess.Popen(
        [*command, "--output", str(output)], env={**environment, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        # Tests that run in the background of a shell ignore the signal, and what they start does too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        while not list(tmp_path.glob("tulle-bench-*/*.nhwc")):  # the model is converted; the browser comes next
            assert process.poll() is None, "it ended before it could be interrupted"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "nothing was written" in errors
    assert not output.exists()
    assert not list(tmp_path.glob("tulle-bench-*"))


@pytest.mark.browser
@pytest.mark.slow
def test_profile_adds_up(environment: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "profile.json"
    done = run("profile_model.py", MODELS[0], "--runs", "5", "--json", str(kept), environment=environment)
    assert done.returncode == 0, done.stderr
    profile = json.loads(kept.read_text())
    steps = profile["steps"]
    assert {"conv2d", "depthwise_conv2d", "fully_connected"} <= {step["op"] for step in steps}
    assert 0 < sum(step["ms"] for step in steps) <= profile["wall_ms"] * 1.2
    assert "by kernel" in done.stdout and "GMAC/s" in done.stdout


@pytest.mark.browser
@pytest.mark.slow
def test_shares_of_the_time_add_up(environment: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "share.json"
    done = run("hotspots.py", "mobilenet_v2", "--runs", "3", "--json", str(kept), environment=environment)
    assert done.returncode == 0, done.stderr
    (share,) = json.loads(kept.read_text())
    kinds = {row["kind"]: row for row in share["kinds"]}
    assert abs(sum(row["share"] for row in kinds.values()) - 1) < 1e-6
    assert kinds["conv2d 1x1"]["count"] == 35 and kinds["conv2d 1x1"]["share"] == share["pointwise"] > 0.3
    assert "71 %" in done.stdout


def test_bad_arguments_are_explained(environment: dict[str, str], tmp_path: Path) -> None:
    done = run("run.py", "--models", "hand,foot", environment=environment)
    assert done.returncode == 2 and "hand, foot" in done.stderr
    done = run("run.py", "--threads", "0", environment=environment)
    assert done.returncode == 2 and "1 to 16" in done.stderr
    done = run("profile_model.py", str(tmp_path / "none.tulle"), environment=environment)
    assert done.returncode == 1 and "neither a file nor one of" in done.stderr


def test_answers_are_compared_by_name_and_relative_to_range(environment: dict[str, str], harness: None) -> None:
    from harness.errors import BenchError
    from harness.measure import compare

    expected = [{"points": np.float32([0, 100]), "score": np.float32([0.5])}]
    assert compare([[("score", np.float32([0.5])), ("points", np.float32([0, 101]))]], expected) == pytest.approx(0.01)
    assert compare([[("score", np.float32([0.7])), ("points", np.float32([0, 100]))]], expected) == pytest.approx(0.2)
    assert compare([[("a", np.float32([0, 100])), ("b", np.float32([0.5]))]], expected) == 0
    assert compare([[("points", np.float32([0, np.nan])), ("score", np.float32([0.5]))]], expected) == float("inf")
    with pytest.raises(BenchError, match="1 outputs instead of 2"):
        compare([[("points", np.float32([0, 100]))]], expected)


def test_errors_are_relative_to_known_ranges_and_some_values_may_stray(
    environment: dict[str, str], harness: None
) -> None:
    from harness.measure import compare

    expected = [{"map": np.linspace(0, 1, 200, dtype=np.float32)}]
    found = expected[0]["map"].copy()
    found[7] += 0.5
    assert compare([[("map", found)]], expected) == pytest.approx(0.5)
    assert compare([[("map", found)]], expected, {"map": 10.0}) == pytest.approx(0.05)
    assert compare([[("map", found)]], expected, stray=1e-3) == pytest.approx(0.5)
    assert compare([[("map", found)]], expected, stray=1e-2) == 0
    found[9] = np.nan
    found[10:13] += 0.25
    assert compare([[("map", found)]], expected, stray=1e-2) == pytest.approx(0.25)


@pytest.mark.browser
@pytest.mark.slow
def test_files_are_measured_and_kept(environment: dict[str, str], tmp_path: Path, harness: None) -> None:
    """A TFLite file, then an ONNX file: the report has both, each against the runtimes for its format."""
    from harness.export_onnx import export_onnx
    from tulle.tflite import write
    from tulle.zoo import mobilenet_v1

    graph = mobilenet_v1(width=0.25, size=32)
    sources = {"one.tflite": write(graph), "two.onnx": export_onnx(graph)}
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
        arguments = (str(tmp_path / name), "--threads", "1", "--force", "--output", str(tmp_path))
        done = run("run.py", *arguments, environment=environment)
        assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "files.json").read_text())
    peers = {"one": {"litertjs", "tfjs-tflite"}, "two": {"onnxruntime-web"}}
    assert set(report["files"]) == set(peers)
    for name, record in report["files"].items():
        [group] = record["groups"]
        assert set(group["contenders"]) == {"tulle", "tulle, no worker"} | peers[name]
        for contender in group["contenders"].values():
            assert contender["status"] == "ok", contender
            assert 0 < contender["ms"]["low"] <= contender["ms"]["median"] and contender["ms"]["runs"] >= 20
        # Dependent additions take a cycle each: what a processor does, whoever else uses it.
        assert all(0.3 < state["ghz"] < 8 and 0.2 < state["loads"] < 5 for state in group["core"])
    text = (tmp_path / "files.md").read_text()
    assert "| one |" in text and "| two |" in text and "geometric mean" in text


def test_the_worst_file_comes_first_and_wrong_answers_do_not_count(
    environment: dict[str, str], harness: None, tmp_path: Path
) -> None:
    from harness import file_report

    def one(runtime: str, ms: float, status: str = "ok") -> dict[str, Any]:
        figures = {"median": ms, "low": ms / 2, "runs": 60}
        return {"runtime": runtime, "status": status, "error": "", "max_error": 0.0, "open_ms": 1.0, "ms": figures}

    def file(*contenders: tuple[str, dict[str, Any]], loads: float = 2.0) -> dict[str, Any]:
        core = [{"ghz": 4.0, "loads": 2.0, "madds": 2.0}, {"ghz": 4.0, "loads": loads, "madds": 2.0}]
        group = {"threads": 1, "core": core, "contenders": dict(contenders)}
        about = {"source": "", "bytes": 1, "tulle_bytes": 1, "macs": 1, "oracle": "LiteRT", "date": ""}
        return {**about, "groups": [group]}

    files = {
        "good": file(("tulle", one("tulle", 1.0)), ("litertjs", one("litertjs", 3.0))),
        "bad": file(("tulle", one("tulle", 4.0)), ("litertjs", one("litertjs", 3.0)), loads=1.4),
        "lied to": file(
            ("tulle", one("tulle", 1.0)), ("litertjs", one("litertjs", 2.0)), ("other", one("other", 0.1, "wrong"))
        ),
        "wrong": file(("tulle", one("tulle", 1.0, "wrong")), ("litertjs", one("litertjs", 2.0))),
    }
    rows = [dict(zip(file_report.HEADER, row, strict=True)) for row in file_report.rows(files, 1)]
    assert [row["file"] for row in rows] == ["bad", "lied to", "good", "wrong"]
    assert [row["peer / tulle"] for row in rows] == ["0.75", "2.00", "3.00", ""]
    assert [row["core"] for row in rows] == ["shared", "", "", ""]
    ratios = [file_report.ratio(record["groups"][0], "tulle") for record in files.values()]
    assert file_report.summary(ratios) == "least 0.75, geometric mean 1.65, 3 files"

    report = {"files": {"good": files["good"]}, "left_out": {"gone": "no", "lost": "no"}}
    (tmp_path / "r.json").write_text(json.dumps({"files": {"bad": files["bad"], "good": {}}, "left_out": {}}))
    merged = file_report.merge(report, tmp_path / "r.json")
    assert merged["files"] == {"bad": files["bad"], "good": files["good"]}
    (tmp_path / "r.json").write_text(json.dumps({"files": {"gone": files["bad"]}, "left_out": {"old": "no"}}))
    assert file_report.merge(report, tmp_path / "r.json")["left_out"] == {"old": "no", "lost": "no"}


def test_busy_machine_is_refused(environment: dict[str, str], harness: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import machine
    from harness.errors import BenchError

    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 1.0, 1.0))
    with pytest.raises(BenchError, match=r"load average is 1\.50.*--force"):
        machine.wait_until_quiet(0, force=False)
    assert machine.wait_until_quiet(0, force=True) == 1.5
    monkeypatch.setattr(os, "getloadavg", lambda: (0.25, 1.0, 1.0))
    assert machine.wait_until_quiet(0, force=False) == 0.25


def test_wrong_and_other_models_cannot_be_fastest(environment: dict[str, str], harness: None) -> None:
    from harness.contenders import Contender
    from harness.measure import Result
    from harness.report import group_record

    def result(name: str, runtime: str, ms: float, model: str = "m", status: str = "ok") -> Result:
        times = [[ms] * 3, [2 * ms] * 3]
        return Result(Contender(name, runtime, model, "tflite"), status, times=times, open_ms=[9.0, 9.0])

    results = [
        result("tulle", "tulle", 2.0),
        result("litertjs", "litertjs", 6.0),
        result("tfjs-tflite", "tfjs-tflite", 1.0, status="wrong"),
        result("native", "native", 1.0),
        result("litertjs on twin", "litertjs", 1.0, model="twin"),
    ]
    group = group_record("m", 1, results, {})
    assert group["fastest_peer"] == "litertjs"
    ratios = {record["name"]: record["over_tulle"] for record in group["contenders"]}
    assert ratios["litertjs"] == {"median": 3.0, "low": 3.0, "high": 3.0}


def test_summary_has_a_ratio_with_and_without_the_worker(environment: dict[str, str], harness: None) -> None:
    from harness.contenders import NO_WORKER, Contender
    from harness.measure import Result
    from harness.report import SUMMARY_HEADER, group_record, key_rows, summary_rows

    def result(name: str, runtime: str, ms: float) -> Result:
        return Result(Contender(name, runtime, "m", "tflite"), times=[[ms] * 3, [2 * ms] * 3], open_ms=[9.0, 9.0])

    tulle, inline, peer = (
        result("tulle", "tulle", 2.0),
        result(NO_WORKER, "tulle", 1.5),
        result("peer", "litertjs", 3.0),
    )
    one = group_record("m", 1, [tulle, inline, peer], {})
    two = group_record("m", 2, [tulle, peer], {})
    rows = [dict(zip(SUMMARY_HEADER, row, strict=True)) for row in summary_rows([one, two])]
    assert [row["peer / tulle"] for row in rows] == ["1.50 (1.50-1.50)"] * 2
    assert [(row["no worker ms"], row["peer / no worker"]) for row in rows] == [("2.25", "2.00 (2.00-2.00)"), ("", "")]
    assert ["m", "1", "tulle / tulle, no worker", "1.33 (1.33-1.33)"] in key_rows([one, two])

"""The `tulle` command, in process and as a process: what it prints, writes, refuses, and leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import networks
import tulle
from paths import ROOT
from tulle import zoo
from tulle.cli import main

COMMANDS = ("convert", "inspect", "run", "sparsify", "verify")


def run(*arguments: str | Path) -> Result:
    """Runs a command that should succeed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def fail(*arguments: str | Path, code: int = 1) -> str:
    """Runs a command that should fail; its one line on stderr."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    if code == 1:
        assert result.stderr.startswith("Error: ")
    return result.stderr


def tulle_process(*arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "py"), **extra}
    return subprocess.run(
        [sys.executable, "-m", "tulle", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MobileNetV2 with random weights, as a .tflite file."""
    path = tmp_path_factory.mktemp("cli") / "mobilenet.tflite"
    path.write_bytes(tulle.tflite.write(zoo.mobilenet_v2(width=0.35, size=64)))
    return path


@pytest.fixture(scope="module")
def converted(model: Path) -> Path:
    path = model.with_suffix(".tulle")
    run("convert", model, "-o", path, "--input-mean", "128", "--input-std", "128")
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


# ---- help -----------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_the_version_is_the_package_s() -> None:
    text = run("--help").output
    assert all(f"  {command} " in text for command in COMMANDS)
    assert run("--version").output == f"tulle, version {tulle.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_its_options_allow(name: str) -> None:
    text = run(name, "--help").output
    examples = [line.split() for line in text.splitlines() if line.strip().startswith(f"tulle {name} ")]
    assert examples, text
    for _, command_name, *arguments in examples:
        command = main.get_command(click.Context(main), command_name)
        assert command is not None
        command.make_context(command_name, arguments)  # raises if an option does not exist


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from tulle.cli import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        "slow = ('numpy', 'wasmtime', 'rich', 'PIL', 'tflite', 'flatbuffers', 'torch'); "
        "print([name for name in slow if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "py")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout == "[]\n"


# ---- what they do ---------------------------------------------------------------------------------------------------


def test_convert_writes_what_the_function_makes(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tulle"
    result = run("convert", model, "-o", target, "--weights", "fp16", "--sparse", "never", "--input-std", "255")
    expected = tulle.convert(model, weights="fp16", sparse="never", input_std=255)
    assert target.read_bytes() == expected.data
    assert str(target) in result.stdout
    with tulle.load(target) as loaded:
        assert (loaded.inputs[0].mean, loaded.inputs[0].std) == (0, 255)


def test_convert_report_names_every_layer(model: Path, tmp_path: Path) -> None:
    conversion = tulle.convert(model)
    text = run("convert", model, "-o", tmp_path / "out.tulle", "--report").stdout
    assert "dead channels removed: 0" in text
    lines = text.splitlines()
    for layer in conversion.report.layers:
        assert any(layer.name[-30:] in line and layer.op in line for line in lines), layer.name


def test_convert_trace_shows_what_every_pass_did(model: Path, tmp_path: Path) -> None:
    text = run("convert", model, "-o", tmp_path / "out.tulle", "--trace").stdout
    lines = [line.split(maxsplit=5) for line in text.splitlines()[3:]]
    size = tulle.convert(model).report.passes[0].before
    assert lines[0][:4] == ["as", "read", str(size.ops), str(size.tensors)]
    assert [line[0] for line in lines[1:]] == [step.name for step in tulle.passes.PASSES]
    changes = {line[0]: line[-1] for line in lines}
    assert "dense layers" in changes["choose_sparsity"]
    assert "chw tensors" in changes["assign_layouts"]


def test_inspect(model: Path, converted: Path) -> None:
    graph = tulle.read_tflite(model)
    text = run("inspect", model).stdout
    assert "tflite file" in text
    assert "input input: 1x64x64x3 float32" in text
    assert "output probabilities: 1x1001 float32" in text
    assert "depthwise_conv2d" in text
    facts = json.loads(run("inspect", model, "--json").stdout)
    assert facts["format"] == "tflite"
    assert facts["file_bytes"] == model.stat().st_size
    assert facts["macs"] == sum(layer["macs"] for layer in facts["layers"]) == sum(op["macs"] for op in facts["ops"])
    assert {op["op"]: op["count"] for op in facts["ops"]}["depthwise_conv2d"] == 17
    assert sum(op["share"] for op in facts["ops"]) == pytest.approx(1)
    assert facts["inputs"] == [{"name": "input", "shape": [1, 64, 64, 3], "dtype": "float32", "mean": 0, "std": 1}]
    assert len(facts["layers"]) == sum(node.op in ("conv2d", "depthwise_conv2d") for node in graph)

    assert "(pixel - 128) / 128" in run("inspect", converted).stdout
    after = json.loads(run("inspect", converted, "--json").stdout)
    assert after["format"] == "tulle"
    assert (after["macs"], after["weights"]) == (facts["macs"], facts["weights"])


def test_sparsify_makes_the_share_of_zeros_asked_for(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "sparse.tflite"
    run("sparsify", model, "-o", target, "--sparsity", "0.8")
    layers = json.loads(run("inspect", target, "--json").stdout)["layers"]
    pointwise = [layer for layer in layers if layer["zeros"] > 0]
    assert len(pointwise) > 30
    assert all(layer["zeros"] == pytest.approx(0.8, abs=0.01) for layer in pointwise)
    assert target.stat().st_size < model.stat().st_size
    # The rest of the path takes it: sparse layers are found, and the answers are the original's.
    run("convert", target, "-o", tmp_path / "sparse.tulle")
    run("verify", target, tmp_path / "sparse.tulle", "--runs", "1")
    report = tulle.convert(target).report
    assert sum(layer.sparsity == "sparse" for layer in report.layers) == len(pointwise)
    assert report.executed_macs < 0.6 * report.macs_after


def test_verify_passes_and_fails(model: Path, converted: Path, tmp_path: Path, picture: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    text = run("verify", model, converted, "--runs", "2", "--input", picture).stdout
    # 2 of floats, 2 of bytes and the picture.
    assert "compared with LiteRT on 5 inputs (3 of them pictures as bytes)" in text
    assert "equal within 0.001" in text
    facts = json.loads(run("verify", model, converted, "--runs", "1", "--seed", "7", "--json").stdout)
    assert (facts["passed"], facts["oracle"]) == (True, "LiteRT")
    assert 0 < facts["outputs"][0]["relative_error"] < 1e-4

    other = tmp_path / "other.tulle"
    tulle.convert(zoo.mobilenet_v2(width=0.35, size=64, seed=1)).save(other)
    result = CliRunner().invoke(main, ["verify", str(model), str(other), "--runs", "1"])
    assert result.exit_code == 1
    assert "NOT equal within 0.001" in result.stdout


def test_run_classifies_saves_and_times(model: Path, converted: Path, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    result = run("run", converted, picture, "--repeat", "3", "--save", target, "--profile", "--variant", "simd")
    with Image.open(picture) as image:
        pixels = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
    with tulle.load(converted, variant="simd") as loaded:
        expected = loaded(pixels)["probabilities"]
    saved = np.load(target)
    np.testing.assert_array_equal(saved["probabilities"], expected)
    best = np.argsort(-expected[0], kind="stable")[:5]
    found = [int(line.split()[1].rstrip(":")) for line in result.stdout.splitlines() if line.startswith("  class ")]
    assert found == best.tolist()
    assert "2 timed, simd build, 1 thread" in result.stdout
    assert "depthwise_conv2d" in result.stdout
    assert result.stderr == ""
    # A .tflite file says nothing of normalisation, and the user is told.
    assert "no normalisation" in run("run", model, picture).stderr


def test_run_takes_arrays(converted: Path, tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    run("run", converted, tmp_path / "x.npy", "--save", tmp_path / "y.npz")
    with tulle.load(converted) as loaded:
        np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["probabilities"], loaded(array)["probabilities"])


@pytest.mark.parametrize("name", ["file", "allow_pickle", "a/b", "é"])
def test_outputs_of_any_name_are_saved(name: str, tmp_path: Path) -> None:
    build = networks.builder()
    y = build.node("activation", [build.input("x", (1, 2, 3, 4))], name, activation="relu")
    tulle.convert(build.finish(y)).save(tmp_path / "model.tulle")
    np.save(tmp_path / "x.npy", np.ones((1, 2, 3, 4), np.float32))
    run("run", tmp_path / "model.tulle", tmp_path / "x.npy", "--save", tmp_path / "out.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")[name], np.ones((1, 2, 3, 4)))


def test_that_a_quantised_model_becomes_float_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    from tflite_model import TfliteModel

    m = TfliteModel()
    x = m.input((1, 8, 8, 3), np.uint8, scale=[1 / 255], zero_point=[0])
    weight = m.tensor((4, 1, 1, 3), np.uint8, np.arange(12).reshape(4, 1, 1, 3), scale=[0.01], zero_point=[6])
    out = {"dtype": np.uint8, "quantization": {"scale": [0.02], "zero_point": [128]}}
    y = m.op("CONV_2D", [x, weight], (1, 8, 8, 4), "Conv2DOptions", strideH=1, strideW=1, **out)
    weight = m.tensor((4, 1, 1, 4), np.uint8, np.arange(16).reshape(4, 1, 1, 4), scale=[0.01], zero_point=[8])
    y = m.op("CONV_2D", [y, weight], (1, 8, 8, 4), "Conv2DOptions", strideH=1, strideW=1, **out)
    source = tmp_path / "quantised.tflite"
    source.write_bytes(m.finish(y))
    for command, target in (
        ("convert", "a.tulle"),
        ("sparsify", "b.tflite"),
        ("sparsify", "c.tulle"),
        ("compress", "d.tulle"),
    ):
        result = run(command, source, "-o", tmp_path / target)
        assert (
            result.stderr.count("note: the model is quantised (3 activations): it computes in its 8-bit integers") == 1
        ), command


def test_that_no_normalisation_is_stored_is_said(model: Path, tmp_path: Path) -> None:
    stated = run("convert", model, "-o", tmp_path / "a.tulle", "--input-std", "255")
    plain = run("convert", model, "-o", tmp_path / "b.tulle")
    assert stated.stderr == ""
    assert "note: no normalisation is stored for input" in plain.stderr and "--input-std" in plain.stderr


def test_a_normalisation_of_pixels_from_0_to_1_is_noticed(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tulle"
    small = run("convert", model, "-o", out, "--input-mean", "0.485", "--input-std", "0.229")
    assert "gets numbers from -2.118 to 1111" in small.stderr and "multiplied by 255" in small.stderr
    for text in ("0.485,0.456,0.406", "0.485 0.456 0.406", "[123.7, 116.3, 103.5]"):
        assert "one number for all channels" in fail("convert", model, "-o", out, "--input-mean", text, code=2)
        assert "docs/training.md" in fail("sparsify", model, "-o", out, "--input-std", text, code=2)
    assert "'x' is not a valid float" in fail("convert", model, "-o", out, "--input-mean", "x", code=2)


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_errors_are_one_message(model: Path, converted: Path, picture: Path, tmp_path: Path) -> None:
    nothing, text = tmp_path / "nothing", tmp_path / "text.tflite"
    text.write_text("no model")
    out = tmp_path / "out"
    assert "cannot be read: No such file" in fail("inspect", nothing)
    assert "neither a .tflite nor an .onnx" in fail("inspect", picture)
    assert "is empty" in fail("inspect", "/dev/null")
    assert "neither a .tflite nor an .onnx file" in fail("convert", picture, "-o", out)
    assert "nor an .onnx file but a .tulle file" in fail("convert", converted, "-o", out)
    assert "neither a .tflite nor an .onnx file" in fail("convert", text, "-o", out)
    assert "std not 0" in fail("convert", model, "-o", out, "--input-std", "0")
    assert "cannot be written" in fail("convert", model, "-o", tmp_path / "no" / "folder.tulle")
    assert "cannot be written" in fail("sparsify", model, "-o", tmp_path / "no" / "sparse.tflite")
    assert "cannot be read as a picture" in fail("run", converted, model)
    assert "cannot be read as a picture" in fail("run", converted, nothing)
    assert "No such file" in fail("run", nothing, picture)
    np.save(tmp_path / "wrong.npy", np.zeros((3, 4), np.float32))
    assert "has shape (3, 4); it must be (1, 64, 64, 3)" in fail("run", converted, tmp_path / "wrong.npy")
    assert "nothing to compare" in fail("verify", model, converted, "--runs", "0")
    assert "No such command" in fail("explode", code=2)
    assert "'--output'" in fail("convert", model, code=2)
    assert "less than 1" in fail("sparsify", model, "-o", f"{out}.tflite", "--sparsity", "1")
    assert not out.exists()


def test_truncated_files_are_refused_by_name(model: Path, converted: Path, tmp_path: Path) -> None:
    for whole in (model, converted):
        part = tmp_path / f"part{whole.suffix}"
        part.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        message = fail("inspect", part)
        assert str(part) in message
        assert "damaged" in message or "ends beyond" in message, message


def test_a_failed_conversion_leaves_the_old_file(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tulle"
    target.write_bytes(b"precious")
    fail("convert", model, "-o", target, "--input-std", "0")
    assert target.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["out.tulle"]
    target.chmod(0o640)
    run("convert", model, "-o", target)
    assert target.read_bytes() == tulle.convert(model).data
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["out.tulle"]


def test_as_a_process(model: Path, tmp_path: Path, picture: Path) -> None:
    target = tmp_path / "out.tulle"
    done = tulle_process("convert", model, "-o", target, "--input-mean", "128", "--input-std", "128")
    assert (done.returncode, done.stderr) == (0, "")
    done = tulle_process("run", target, picture)
    assert (done.returncode, done.stderr) == (0, "")
    assert "probabilities: 1x1001" in done.stdout
    done = tulle_process("run", target, tmp_path / "nothing.jpg")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    # Progress goes to a terminal only, results keep their width when piped.
    done = tulle_process("convert", model, "-o", target, "--report", COLUMNS="40")
    assert "\x1b" not in done.stdout + done.stderr
    assert "…" not in done.stdout.split("Layers")[1].splitlines()[1]

"""Reconstruction: what layers see, how they are solved for, which levels they get, and interrupted runs."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import networks
import tulle
from paths import ROOT
from tulle import tflite
from tulle.cli import main
from tulle.errors import TulleError
from tulle.graph import Graph, reference
from tulle.sparsify import Options, sparsify
from tulle.sparsify.calibration import read_folder
from tulle.sparsify.layers import find_layers
from tulle.sparsify.solve import output_error, solve
from tulle.sparsify.walk import Sight, prepare, walk
from tulle.zoo import mobilenet_v2

FREE = (-np.inf, np.inf)


@pytest.fixture(scope="module")
def network() -> Graph:
    return mobilenet_v2(width=0.35, size=32)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (24, 4, 4, 3), np.uint8)
    return list(small.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, images: list[np.ndarray]) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    for index, pixels in enumerate(images):
        Image.fromarray(pixels).save(path / f"{index:02}.png")
    return path


def correlated(pixels: int, channels: int, seed: int = 0) -> np.ndarray:
    """Inputs as in a network: few causes behind many channels."""
    random = np.random.default_rng(seed)
    causes = random.standard_normal((pixels, channels // 3))
    mixed = causes @ random.standard_normal((channels // 3, channels))
    return (mixed + 0.3 * random.standard_normal((pixels, channels))).astype(np.float32)


def with_bias(weight: np.ndarray) -> np.ndarray:
    return np.concatenate([weight, np.zeros((len(weight), 1))], axis=1)


def largest(weight: np.ndarray, keep: int) -> np.ndarray:
    smallest = np.argsort(np.abs(weight), axis=None)[: weight.size - keep]
    pruned = weight.copy()
    pruned.reshape(-1)[smallest] = 0
    return pruned


# ---- one layer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2, 4])
def test_the_kept_weights_are_the_least_squares_solution(block: int) -> None:
    x = correlated(2000, 24)
    weight = np.random.default_rng(1).standard_normal((12, 24))
    sight = Sight(x, (x @ weight.T + 3).astype(np.float32), FREE)
    keep = 12 * 24 // 4
    solved = solve(sight, weight, keep, block)
    assert np.count_nonzero(solved[:, :-1]) == keep
    used = solved[:, :-1] != 0
    for start in range(0, 12, block):
        assert (used[start : start + block] == used[start]).all()
    for row in range(12):
        inputs = np.concatenate([x[:, used[row]].astype(np.float64), np.ones((len(x), 1))], axis=1)
        best = np.linalg.lstsq(inputs, sight.y[:, row], rcond=None)[0]
        np.testing.assert_allclose(solved[row][[*used[row], True]], best, rtol=0.02, atol=0.02)


def test_the_choice_of_weights_beats_magnitude_with_the_same_refit() -> None:
    x = correlated(4000, 48)
    weight = np.random.default_rng(1).standard_normal((16, 48))
    sight = Sight(x, (x @ weight.T).astype(np.float32), FREE)
    solved = output_error(sight, solve(sight, weight, weight.size // 5))
    refitted = np.zeros((16, 49))
    for row, kept in enumerate(largest(weight, weight.size // 5) != 0):
        refitted[row, :-1][kept] = np.linalg.lstsq(x[:, kept], sight.y[:, row], rcond=None)[0]
    assert solved < 0.5 * output_error(sight, refitted)
    assert solved < 0.1 * output_error(sight, with_bias(largest(weight, weight.size // 5)))


def test_polishing_lowers_the_error() -> None:
    x = correlated(4000, 48, seed=3)
    weight = np.random.default_rng(2).standard_normal((16, 48))
    sight = Sight(x, (x @ weight.T).astype(np.float32), FREE)
    rough, polished = (output_error(sight, solve(sight, weight, 150, polish=polish)) for polish in (False, True))
    assert polished < rough


def test_redundant_inputs_cost_nothing() -> None:
    half = np.random.default_rng(0).standard_normal((3000, 10)).astype(np.float32)
    x = np.concatenate([half, half], axis=1)
    weight = np.random.default_rng(1).standard_normal((8, 20))
    sight = Sight(x, (x @ weight.T).astype(np.float32), FREE)
    assert output_error(sight, solve(sight, weight, weight.size // 2)) < 1e-4
    assert output_error(sight, with_bias(largest(weight, weight.size // 2))) > 0.05


def test_what_the_activation_hides_need_not_be_right() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((4000, 30)).astype(np.float32)
    weight = random.standard_normal((20, 30))
    y = (x @ weight.T - 4).astype(np.float32)  # three quarters of it are negative
    clamped, free = Sight(x, y, (0.0, np.inf)), Sight(x, y, FREE)
    assert output_error(clamped, solve(clamped, weight, 120)) < 0.95 * output_error(clamped, solve(free, weight, 120))


def test_an_input_that_never_changes_becomes_bias() -> None:
    x = correlated(1000, 9)
    x[:, 4] = 2.5
    weight = np.ones((3, 9))
    solved = solve(Sight(x, (x @ weight.T).astype(np.float32), FREE), weight, 24)
    assert (solved[:, 4] == 0).all()
    np.testing.assert_allclose(solved[:, -1], 2.5, atol=0.01)


def test_an_output_that_never_changes_is_bias_and_its_weights_go_to_others() -> None:
    x = correlated(1000, 9)
    weight = np.random.default_rng(1).standard_normal((6, 9))
    weight[[1, 4]] = 0
    sight = Sight(x, (x @ weight.T + 5).astype(np.float32), FREE)
    shares = []
    solved = solve(sight, weight, 27, watch=lambda share, now: shares.append((share, np.count_nonzero(now[:, :-1]))))
    assert (solved[[1, 4], :-1] == 0).all()
    np.testing.assert_allclose(solved[[1, 4], -1], 5)
    assert np.count_nonzero(solved[:, :-1]) == 27
    assert shares[-1] == (pytest.approx(0.5), 27)
    without = Sight(x, np.full((1000, 6), 5, np.float32), FREE)
    np.testing.assert_array_equal(solve(without, weight, 27), np.tile([0.0] * 9 + [5.0], (6, 1)))


@pytest.mark.parametrize("keep", [0, 1])
def test_next_to_nothing_is_kept(keep: int) -> None:
    x = correlated(500, 6)
    sight = Sight(x, (x @ np.ones((6, 4)) + 1).astype(np.float32), FREE)
    solved = solve(sight, np.ones((4, 6)), keep)
    assert np.count_nonzero(solved[:, :-1]) == keep
    assert np.isfinite(solved).all()


# ---- what layers see ------------------------------------------------------------------------------------------------


def test_a_walk_shows_what_the_reference_computes(network: Graph, images: list[np.ndarray]) -> None:
    layers = find_layers(network)
    dense, sparse = prepare(network, layers), prepare(network, layers)
    changed = layers[3]
    data = sparse.constant(changed.weight)
    assert data is not None
    inputs = {"input": (images[0].astype(np.float64)[None] - 128) / 128}
    for layer, sight in walk(dense, sparse, layers, images[:1]):
        if layer is changed:
            sparse.tensors[layer.weight].data = data * np.float32(0.5)
        expected = reference.run(dense, inputs, keep=lambda name: True)
        now = reference.run(sparse, inputs, keep=lambda name: True)
        node = next(node for node in dense if node.name == layer.name)
        after = [other for other in dense if node.output in other.inputs]
        y = expected[node.output]
        if after[0].op == "add":  # in the sparse copy the shortcut is off by so much
            other = next(name for name in after[0].inputs if name != node.output)
            y = expected[after[0].output] - now[other or ""]
        assert sight.clamp == ((0, 6) if after[0].op == "activation" else FREE)
        assert sight.x.shape == (layer.pixels, layer.inputs)
        scale = max(1.0, float(np.abs(y).max()))
        np.testing.assert_allclose(sight.x.reshape(-1), now[node.inputs[0] or ""].reshape(-1), atol=2e-4 * scale)
        np.testing.assert_allclose(sight.y.reshape(-1), y.reshape(-1), atol=2e-4 * scale)


def test_strided_layers_see_every_other_pixel() -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 6, 6, 3)), "strided", 4, stride=2)
    graph = build.finish(x)
    layers = find_layers(graph)
    image = np.random.default_rng(0).random((1, 6, 6, 3)).astype(np.float32)
    ((_, sight),) = walk(prepare(graph, layers), prepare(graph, layers), layers, [image])
    np.testing.assert_array_equal(sight.x, image[0, ::2, ::2].reshape(-1, 3))


# ---- whole models ---------------------------------------------------------------------------------------------------


def distance(graph: Graph, other: Graph, images: list[np.ndarray]) -> float:
    with tulle.load(graph) as a, tulle.load(other) as b:
        pairs = [(a(image)["scores"], b(image)["scores"]) for image in images]
    return float(np.mean([np.mean((x - y) ** 2) for x, y in pairs]) / np.var([x for x, _ in pairs]))


def small_classifier() -> Graph:
    """Two inverted residuals over 16x16 pixels; an output for each pixel."""
    build = networks.builder()
    x = build.conv2d(build.image(32, 1.0, mean=128, std=128), "entry", 12, kernel=3, stride=2, activation="relu6")
    x = build.inverted_residual(x, "first", 4, 12, 3, 1)
    x = build.inverted_residual(x, "second", 4, 12, 3, 1)
    return build.finish(build.conv2d(x, "scores", 6))


def test_reconstruction_keeps_unseen_outputs_where_magnitude_loses_them(images: list[np.ndarray]) -> None:
    graph, seen, unseen = small_classifier(), images[:16], images[16:]
    plain = sparsify(graph, Options(sparsity=0.6))
    solved = sparsify(graph, Options(sparsity=0.6), images=seen)
    assert (plain.method, solved.method, solved.images) == ("magnitude", "reconstruct", 16)
    assert solved.zeros == pytest.approx(0.6, abs=5e-3)
    assert distance(graph, solved.graph, unseen) < 0.3 * distance(graph, plain.graph, unseen)
    pruned = sparsify(graph, Options(sparsity=0.6, method="magnitude"), images=seen)
    assert distance(pruned.graph, plain.graph, unseen) == 0
    errors = [(a.error, b.error) for a, b in zip(solved.layers, pruned.layers, strict=True)]
    assert all(a is not None and b is not None and a < b for a, b in errors)


def test_the_same_seed_gives_the_same_model(network: Graph, images: list[np.ndarray]) -> None:
    options = Options(sparsity=0.7, layers=["stage1/block1/project", "stage2/block1/expand", "stage7/block1/project"])
    first, second = (tflite.write(sparsify(network, options, images=images[:8]).graph) for _ in range(2))
    assert first == second


def stack(*weights: np.ndarray) -> Graph:
    """1x1 convolutions behind each other, each with a relu."""
    build = networks.builder()
    x = build.input("x", (1, 8, 8, 3))
    for index, weight in enumerate(weights):
        names = [
            build.graph.add_constant(f"w{index}", weight.reshape(len(weight), 1, 1, -1)),
            build.graph.add_constant(f"b{index}", networks.noise_array((len(weight),), seed=index)),
        ]
        attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": "valid", "activation": "relu"}
        x = build.node("conv2d", [x, *names], f"y{index}", **attrs)
    return build.finish(x)


@pytest.mark.parametrize("method", ["magnitude", "reconstruct"])
@pytest.mark.parametrize("allocation", ["uniform", "erk", "sensitivity"])
@pytest.mark.parametrize("what", ["a layer of zeros", "black pictures"])
def test_layers_whose_output_does_not_vary(what: str, allocation: str, method: str) -> None:
    random = np.random.default_rng(0)
    weights = [random.standard_normal(shape).astype(np.float32) for shape in ((16, 3), (16, 16), (8, 16))]
    pictures = list(random.standard_normal((2, 1, 8, 8, 3)).astype(np.float32))
    if what == "black pictures":
        pictures = [np.zeros_like(picture) for picture in pictures]
    else:
        weights[1][:] = 0
    graph = stack(*weights)
    options = Options(sparsity=0.7, allocation=allocation, method=method)  # type: ignore[arg-type]
    result = sparsify(graph, options, images=pictures)
    assert result.zeros > 0.69
    expected, got = (reference.run(each, {"x": pictures[0]}, np.float32)["y2"] for each in (graph, result.graph))
    if (what, method) == ("black pictures", "reconstruct"):
        np.testing.assert_allclose(got, expected, atol=1e-5)  # what they show is what the biases make


def test_a_layer_that_does_not_matter_pays_for_one_that_does(images: list[np.ndarray]) -> None:
    build = networks.builder()
    x = build.conv2d(build.image(32, 1.0, mean=128, std=128), "entry", 16, kernel=3, stride=2, activation="relu")
    loud, quiet = build.conv2d(x, "loud", 16), build.conv2d(x, "quiet", 16)
    faint = build.graph.add_constant("faint", np.full((1, 1, 1, 16), 1e-3, np.float32))
    graph = build.finish(
        build.node("add", [loud, build.node("mul", [quiet, faint], "fainter", activation="none")], "sum",
                   activation="none")
    )  # fmt: skip
    for method in ("reconstruct", "magnitude"):
        options = Options(sparsity=0.6, allocation="sensitivity", method=method)  # type: ignore[arg-type]
        result = sparsify(graph, options, images=images[:8])
        levels = {layer.name: layer.zeros / layer.size for layer in result.layers}
        assert 0.6 <= result.zeros < 0.64  # levels come in steps of a hundredth of a layer or more
        assert levels["quiet"] > levels["loud"] + 0.3


def test_float16_weights_stay_float16(model_path: Callable) -> None:
    graph = tflite.read(model_path("selfie_segmentation_landscape"))
    image = np.random.default_rng(0).integers(0, 256, (144, 256, 3), np.uint8)
    names = ["conv2d_7", "conv2d_8"]
    result = sparsify(graph, Options(sparsity=0.5, layers=names), images=[image])
    assert result.half
    for name in names:
        weight = next(node.inputs[1] for node in result.graph if node.name == name)
        data = result.graph.constant(weight)
        assert data is not None
        np.testing.assert_array_equal(data, data.astype(np.float16).astype(np.float32))


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(network: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "mobilenet.tflite"
    path.write_bytes(tflite.write(network))
    return path


def arguments(model: Path, target: Path, folder: Path) -> list[str]:
    return ["sparsify", str(model), "-o", str(target), "--sparsity", "0.7", "--calibration", str(folder),
            "--input-mean", "128", "--input-std", "128", "--layers", "stage[1-4]/*", "--images", "8"]  # fmt: skip


def fail(*words: str | Path) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert result.exit_code == 1 and lines[0].startswith("Error: "), result.output
    return "\n".join(lines)


def process(words: list[str], **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tulle", *words], env=environment, text=True, stderr=subprocess.PIPE, **options
    )  # type: ignore[call-overload]


def test_a_killed_run_goes_on_to_the_same_file(
    model: Path, folder: Path, tmp_path: Path, litert: Callable, network: Graph
) -> None:
    whole, broken = tmp_path / "whole.tflite", tmp_path / "broken.tflite"
    steady = process(arguments(model, whole, folder))
    assert steady.wait() == 0, steady.stderr and steady.stderr.read()

    work = tmp_path / "broken.tflite.work"
    killed = process(arguments(model, broken, folder))
    while not (work.exists() and _layers_in(work) >= 5):
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not broken.exists()
    done = _layers_in(work)

    resumed = process(arguments(model, broken, folder))
    assert resumed.wait() == 0
    assert resumed.stderr is not None and "going on from" in resumed.stderr.read()
    assert done >= 5
    assert broken.read_bytes() == whole.read_bytes()
    inputs = networks.patchwork(network)
    with tulle.load(broken) as loaded:
        assert networks.error(loaded(inputs), litert(broken, inputs)) < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "broken.tflite",
        "whole.tflite",
    ]


def _layers_in(work: Path) -> int:
    with np.load(work) as file:
        return len(file["done"])


def test_another_runs_work_file_is_refused(model: Path, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tflite"
    work = tmp_path / "out.tflite.work"
    work.write_bytes(b"PK nonsense")
    assert "is damaged" in fail(*arguments(model, target, folder))
    with work.open("wb") as file:
        np.savez(file, fingerprint=np.array("another"))
    message = fail(*arguments(model, target, folder))
    assert "another model, other options or other images; remove it" in message
    assert not target.exists()


def test_a_full_disk_leaves_nothing_behind(model: Path, folder: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    run = process(arguments(model, tmp_path / "out.tflite", folder), preexec_fn=limit)
    assert run.wait() == 1
    assert run.stderr is not None
    text = run.stderr.read()
    assert "cannot be written: File too large" in text and "Traceback" not in text
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"out.tflite.work"}, left


def test_the_report_is_one_page_that_needs_nothing(model: Path, folder: Path, tmp_path: Path) -> None:
    words = [*arguments(model, tmp_path / "out.tulle", folder), "--report", str(tmp_path / "report.html")]
    run = CliRunner().invoke(main, [*words, "--images", "4"], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    page = (tmp_path / "report.html").read_text()
    assert (
        page.count("<tr>") == 2 + page.count("</bdi>") and page.count("</bdi>") == 19 and "stage2/block1/expand" in page
    )
    assert "4 calibration images" in page and "<svg" in page
    assert "http" not in page and "<script" not in page and "src=" not in page


def test_pictures_that_cannot_be_read_are_counted(network: Graph, model: Path, folder: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for index, path in enumerate(sorted(folder.iterdir())[:3]):
        (mixed / f"part{index}").mkdir()
        (mixed / f"part{index}" / f"{index}.png").write_bytes(path.read_bytes())
    (mixed / "cut.png").write_bytes(b"\x89PNG cut short")
    np.save(mixed / "wrong.npy", np.zeros((3, 3), np.float32))
    np.save(mixed / "nan.npy", np.full((1, 32, 32, 3), np.nan, np.float32))
    (mixed / "notes.txt").write_text("not a picture")
    found = read_folder(mixed, network)
    assert len(found.images) == 3 and len(found.skipped) == 3
    assert len(read_folder(mixed, network, most=2).images) == 2
    run = CliRunner().invoke(main, arguments(model, tmp_path / "out.tflite", mixed), catch_exceptions=False)
    assert "3 files were skipped; the first: " in run.stderr and "calibrating on 3 images" in run.stderr


def test_bad_input_is_one_message(model: Path, folder: Path, tmp_path: Path) -> None:
    out, empty = tmp_path / "out.tflite", tmp_path / "empty"
    empty.mkdir()
    assert "cannot be read: No such file" in fail(*arguments(model, out, tmp_path / "nothing"))
    assert "cannot be read: Not a directory" in fail(*arguments(model, out, model))
    assert "holds no pictures" in fail(*arguments(model, out, empty))
    (empty / "bad.jpg").write_bytes(b"no picture")
    assert "none of the 1 files" in fail(*arguments(model, out, empty))
    assert "must end in .tflite or .tulle" in fail(*arguments(model, tmp_path / "out.onnx", folder))
    assert "matches no 1x1 convolution" in fail(*arguments(model, out, folder), "--layers", "nothing")
    assert "needs calibration images" in fail("sparsify", model, "-o", out, "--method", "reconstruct")
    assert "needs calibration images" in fail("sparsify", model, "-o", out, "--allocation", "sensitivity")
    assert "not several" in fail(*arguments(model, out, folder), "--target-macs", "0.5")
    assert not out.exists() and not Path(f"{out}.work").exists()


def test_images_that_do_not_fit_are_refused(network: Graph) -> None:
    for image, cause in (
        (np.zeros((16, 16, 3), np.uint8), "does not fit the input"),
        (np.zeros((1, 32, 32, 3)), "float64"),
        (np.full((1, 32, 32, 3), np.inf, np.float32), "not finite"),
    ):
        with pytest.raises(TulleError, match=cause):
            sparsify(network, images=[image])

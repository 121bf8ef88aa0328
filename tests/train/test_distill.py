"""Distillation: it learns, resumes exactly, runs in several processes, and says what is wrong."""

from __future__ import annotations

import dataclasses
import math
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="PyTorch is not installed (see docs/training.md)")
pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed (see docs/training.md)")

import networks  # noqa: E402
import tulle  # noqa: E402
from tulle import tflite  # noqa: E402
from tulle.cli import main  # noqa: E402
from tulle.errors import TulleError  # noqa: E402
from tulle.graph import Graph, reference  # noqa: E402
from tulle.sparsify import magnitude, prunable_layers  # noqa: E402
from tulle.train.data import find_pictures, split  # noqa: E402
from tulle.train.distill import Trained, distill, make_fabric  # noqa: E402
from tulle.train.losses import Distance, block_ends, distances  # noqa: E402
from tulle.train.settings import Settings  # noqa: E402

QUICK = Settings(sparsity=0.7, steps=12, batch=4, every=2, measure=5, save=5, learning_rate=2e-3)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def zeros(graph: Graph) -> float:
    weights = [graph.constant(node.inputs[1]) for node in graph if node.name in prunable_layers(graph)]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.size for weight in weights)


def constants(graph: Graph) -> dict[str, np.ndarray]:
    return {name: tensor.data for name, tensor in graph.tensors.items() if tensor.data is not None}


def same(a: Graph, b: Graph) -> bool:
    return all(np.array_equal(values, constants(b)[name]) for name, values in constants(a).items())


# ---- learning


@pytest.mark.parametrize("method", ["magnitude", "rigl"])
@pytest.mark.parametrize("features", [0.0, 1.0])
def test_training_comes_nearer_to_the_teacher(method: str, features: float, teacher: Graph, pictures: Path) -> None:
    settings = dataclasses.replace(QUICK, method=method, steps=120, features=features, measure=120, every=5)
    result = distill(teacher, find_pictures(pictures), settings)
    pruned = distill(  # the same zeros at once, and one step that learns nothing
        teacher, find_pictures(pictures), dataclasses.replace(settings, method="rigl", steps=1, learning_rate=1e-12)
    )
    assert zeros(result.graph) == pytest.approx(0.7, abs=0.002)
    assert result.measurements[-1].mean_distance < 0.6 * pruned.measurements[-1].mean_distance
    assert result.measurements[-1].sparsity == pytest.approx(zeros(result.graph))


def test_measured_distance_is_that_of_the_written_file(teacher: Graph, pictures: Path, litert: Callable) -> None:
    result = distill(teacher, find_pictures(pictures), QUICK)
    data = tflite.write(result.graph, sparse=True)
    _, held_out = split(find_pictures(pictures))
    answers: dict[str, list[np.ndarray]] = {"numbers": [], "probability": []}
    expected: dict[str, list[np.ndarray]] = {"numbers": [], "probability": []}
    for path in held_out:
        image = {"image": tulle.image.read_image(path, 24, 24)[None].astype(np.float32) / 255}
        for outputs, model in ((answers, data), (expected, tflite.write(teacher))):
            for name, values in litert(model, image).items():
                outputs[name].append(values)
    for name, reach in (("numbers", np.ptp(expected["numbers"])), ("probability", 1.0)):
        distance = 100 * np.abs(np.array(answers[name]) - np.array(expected[name])).mean() / reach
        assert result.measurements[-1].distance[name] == pytest.approx(distance, rel=1e-3)


def test_start_keeps_its_zeros(teacher: Graph, pictures: Path) -> None:
    start = magnitude(teacher, 0.6, allocation="erk")
    settings = dataclasses.replace(QUICK, sparsity=None)
    result = distill(teacher, find_pictures(pictures), settings, start=start)
    for name in prunable_layers(start):
        weight = next(node for node in start if node.name == name).inputs[1]
        before, after = start.tensors[weight].data, result.graph.tensors[weight].data
        assert np.array_equal(before == 0, after == 0) and not np.array_equal(before, after)


def test_rigl_moves_the_zeros_of_the_start(teacher: Graph, pictures: Path) -> None:
    start = magnitude(teacher, 0.6)
    settings = dataclasses.replace(QUICK, sparsity=None, method="rigl", end=1.0)
    result = distill(teacher, find_pictures(pictures), settings, start=start)
    assert zeros(result.graph) == pytest.approx(zeros(start))
    assert any(
        not np.array_equal(start.tensors[name].data == 0, values == 0)
        for name, values in constants(result.graph).items()
        if values.ndim == 4
    )


def test_trained_model_runs_in_litert_and_tulle(teacher: Graph, pictures: Path, litert: Callable) -> None:
    graph = distill(teacher, find_pictures(pictures), QUICK).graph
    data = tflite.write(graph, sparse=True)
    inputs = networks.patchwork(teacher)
    expected = reference.run(graph, inputs)
    assert networks.error(litert(data, inputs), expected, graph) < 1e-4
    assert networks.error(tulle.load(tulle.convert(data).data)(inputs), expected, graph) < 1e-4


# ---- losses


def test_loss_of_equal_answers_is_zero_and_grows(teacher: Graph) -> None:
    module = tulle.train.from_graph(teacher)
    features = block_ends(teacher)
    assert features == ["block/add"]
    with torch.no_grad():
        answers = module(torch.rand(8, 24, 24, 3), features)
    loss = Distance(module.graph, features, 1.0, answers)
    assert float(loss(answers, answers)) == pytest.approx(0, abs=1e-6)
    for name in answers:
        changed = {**answers, name: answers[name] * 0.5}
        assert float(loss(changed, answers)) > 1e-3
    shifted = {**answers, "numbers": answers["numbers"] + answers["numbers"].std()}
    assert float(Distance(module.graph, [], 0.0, answers)(shifted, answers)) == pytest.approx(0.5, rel=1e-4)


def test_loss_of_masks_is_what_their_union_does_not_share() -> None:
    build = networks.builder(seed=0)
    x = build.conv2d(build.input("image", (1, 10, 10, 3)), "last", 1)
    graph = build.finish(build.node("activation", [x], "mask", activation="sigmoid"))
    loss = Distance(graph, [], 0.0, {"mask": torch.rand(2, 10, 10, 1)})
    teacher = torch.zeros(2, 10, 10, 1)
    teacher[0, :4] = 1  # the other picture's mask is empty
    student = teacher.clone()
    student[0, :2], student[0, 5] = 0.5, 1
    assert float(loss({"mask": teacher}, {"mask": teacher})) == 0
    missing, wrong, either = 20 * 0.5, 10, 50
    # A hundredth of the pixels is added to each union.
    expected = (missing + wrong) / (either + 1) / 2
    assert float(loss({"mask": student}, {"mask": teacher})) == pytest.approx(expected, rel=1e-5)
    student[1, 0, 0] = 1
    expected += 1 / (1 + 1) / 2
    assert float(loss({"mask": student}, {"mask": teacher})) == pytest.approx(expected, rel=1e-5)


def test_distance_of_probabilities_is_of_their_whole_range(teacher: Graph) -> None:
    numbers, probability = torch.tensor([[0.0, 4.0]]), torch.tensor([[0.5], [0.6]])
    got = distances(
        teacher,
        {"numbers": numbers + 1, "probability": probability + 0.02},
        {"numbers": numbers, "probability": probability},
    )
    assert got == pytest.approx({"numbers": 25.0, "probability": 2.0})


# ---- resuming


class Stop(Exception):
    pass


@pytest.mark.parametrize("method", ["magnitude", "rigl"])
def test_resumed_run_gives_the_same_model(method: str, teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, method=method)
    whole = distill(teacher, find_pictures(pictures), settings)

    def stop(step: int, loss: float) -> None:
        if step == 8:
            raise Stop

    with pytest.raises(Stop):
        distill(teacher, find_pictures(pictures), settings, folder=tmp_path / "run", on_step=stop)
    steps = []
    resumed = distill(
        teacher, find_pictures(pictures), settings, folder=tmp_path / "run", resume=True,
        on_step=lambda step, loss: steps.append(step),
    )  # fmt: skip
    assert steps == list(range(6, 13))  # from the checkpoint after step 5
    assert same(whole.graph, resumed.graph)
    rows = [[row.row() for row in result.measurements] for result in (whole, resumed)]
    np.testing.assert_equal(*rows)


@pytest.mark.slow
def test_killed_command_resumes_to_the_same_file(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    """kill -9 in the middle of things: no output yet, a whole checkpoint, and at last the same bytes."""
    model, folder = tmp_path / "model.tflite", tmp_path / "run"
    model.write_bytes(tflite.write(teacher))
    options = ["--steps", "60", "--batch", "4", "--save", "1", "--every", "4", "--measure", "30"]

    def arguments(target: Path) -> list[str]:
        return [str(model), "-o", str(target), "--data", str(pictures), *options]

    killed, whole = tmp_path / "killed.tflite", tmp_path / "whole.tflite"
    process = subprocess.Popen(
        [sys.executable, "-m", "tulle", "train-sparse", *arguments(killed), "--checkpoint", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 240
    while not (folder / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert not killed.exists()
    for run in ([*arguments(killed), "--checkpoint", str(folder), "--resume"], arguments(whole)):
        code, text = run_command(*run)
        assert code == 0, text
    assert killed.read_bytes() == whole.read_bytes()


def test_checkpoint_of_another_run_is_refused(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    paths = find_pictures(pictures)
    distill(teacher, paths, QUICK, folder=tmp_path)
    with pytest.raises(TulleError, match="--resume goes on"):
        distill(teacher, paths, QUICK, folder=tmp_path)
    with pytest.raises(TulleError, match=r"other settings \(steps 12, now 13\)"):
        distill(teacher, paths, dataclasses.replace(QUICK, steps=13), folder=tmp_path, resume=True)
    damaged = (tmp_path / "last.pt").read_bytes()[:-100]
    (tmp_path / "last.pt").write_bytes(damaged)
    with pytest.raises(TulleError, match="cannot be read as a checkpoint"):
        distill(teacher, paths, QUICK, folder=tmp_path, resume=True)


def test_checkpoint_never_runs_code(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"settings": {}, "model": Evil()}, tmp_path / "last.pt")
    with pytest.raises(TulleError, match="cannot be read as a checkpoint"):
        distill(teacher, find_pictures(pictures), QUICK, folder=tmp_path, resume=True)
    assert not (tmp_path / "ran").exists()


# ---- several processes

WORKER = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from tulle.tflite import read
from tulle.passes.lower import set_normalisation
from tulle.train.data import find_pictures
from tulle.train.distill import _Training, make_fabric
from tulle.train.settings import Settings


def train(model, pictures, method, fabric):
    settings = Settings(method=method, sparsity=0.7, steps=12, batch=4, every=2, measure=5, learning_rate=2e-3)
    graph = set_normalisation(read(model), 0, 255)
    training = _Training(graph, graph, find_pictures(pictures), settings, fabric)
    training.run(None, False, None, None)
    return {"masks": training.masks.masks, "weights": training.student.state_dict(), "processes": fabric.world_size}


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, pictures, folder = map(Path, sys.argv[1:])
    fabric = make_fabric("cpu")
    for method in ("magnitude", "rigl"):
        torch.save(train(model, pictures, method, fabric), folder / f"{method}{fabric.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_agree_with_each_other_and_with_one(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    worker, model = tmp_path / "worker.py", tmp_path / "model.tflite"
    worker.write_text(WORKER)
    model.write_bytes(tflite.write(teacher))
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(worker), str(model), str(pictures), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=600,
    )  # fmt: skip
    train = runpy.run_path(str(worker))["train"]
    for method in ("magnitude", "rigl"):
        first, second = (torch.load(tmp_path / f"{method}{rank}.pt") for rank in (0, 1))
        alone = train(model, pictures, method, make_fabric("cpu"))
        assert (first["processes"], alone["processes"]) == (2, 1)
        for name, mask in first["masks"].items():
            assert torch.equal(mask, second["masks"][name])
            assert mask.sum() == alone["masks"][name].sum()
            assert (mask != alone["masks"][name]).float().mean() < 0.02  # sums in another order may tip a tie
        for name, weight in first["weights"].items():
            assert torch.equal(weight, second["weights"][name])
            typical = alone["weights"][name].abs().mean() + 1e-3
            assert (weight - alone["weights"][name]).abs().mean() < 0.05 * typical


# ---- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 1.0}, "sparsity 1.0"),
        ({"sparsity": math.nan}, "sparsity nan"),
        ({"method": "lottery"}, "method must be"),
        ({"allocation": "best"}, "allocation must be"),
        ({"steps": 0}, "steps must be"),
        ({"batch": 0}, "batch must be"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"begin": 0.8}, "begin and end"),
        ({"learning_rate": 1e30, "steps": 5}, "lower learning rate"),
    ],
)
def test_bad_settings_are_named(change: dict, message: str, teacher: Graph, pictures: Path) -> None:
    with pytest.raises(TulleError, match=message):
        distill(teacher, find_pictures(pictures), dataclasses.replace(QUICK, **change))


def test_models_that_cannot_be_trained_are_named(teacher: Graph, pictures: Path) -> None:
    build = networks.builder()
    no_layers = build.finish(build.conv2d(build.input("image", (1, 8, 8, 3)), "entry", 4, kernel=3))
    with pytest.raises(TulleError, match="no 1x1 convolutions"):
        distill(no_layers, find_pictures(pictures), dataclasses.replace(QUICK, features=0.0))
    with pytest.raises(TulleError, match="no blocks"):
        distill(no_layers, find_pictures(pictures), QUICK)
    build = networks.builder()
    no_image = build.finish(build.conv2d(build.input("map", (1, 8, 8, 5)), "entry", 4))
    with pytest.raises(TulleError, match="one image"):
        distill(no_image, find_pictures(pictures), QUICK)
    with pytest.raises(TulleError, match="other inputs or outputs"):
        distill(teacher, find_pictures(pictures), QUICK, start=no_image)


def run_command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["train-sparse", *arguments])
    return result.exit_code, result.output


def test_command_counts_unreadable_pictures_and_writes_measurements(
    teacher: Graph, pictures: Path, tmp_path: Path
) -> None:
    model, target, table, data = (tmp_path / name for name in ("m.tflite", "out.tflite", "t.csv", "data"))
    model.write_bytes(tflite.write(teacher, weights="fp16"))
    data.mkdir()
    for path in find_pictures(pictures):
        (data / path.name).symlink_to(path)
    (data / "broken.png").write_bytes(b"\x89PNG")
    code, text = run_command(
        str(model), "-o", str(target), "--data", str(data), "--steps", "6", "--batch", "4", "--measure", "3",
        "--csv", str(table), "--every", "1",
    )  # fmt: skip
    assert code == 0, text
    assert "1 pictures could not be read" in text and f"{target}: " in text
    header, *rows = table.read_text().splitlines()
    assert header == "step,loss,learning_rate,sparsity,numbers,probability"
    assert [row.split(",")[0] for row in rows] == ["0", "3", "6"]
    written = tflite.read(target)
    assert any(node.op == "dequantize" for node in written) and any(node.op == "densify" for node in written)


def test_failed_command_writes_nothing(teacher: Graph, pictures: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(tflite.write(teacher))
    target = tmp_path / "out.tflite"
    for arguments, message in (
        (["--data", str(tmp_path / "none")], "no folder"),
        (["--data", str(pictures), "--sparsity", "1.5"], "sparsity 1.5"),
        (["--data", str(pictures), "--resume"], "--resume needs --checkpoint"),
        (["--data", str(pictures), "--lr", "1e30", "--steps", "5"], "lower learning rate"),
        (["--data", str(pictures), "-o", str(tmp_path / "missing" / "out.tflite")], "cannot be written"),
    ):
        code, text = run_command(str(model), "-o", str(target), *arguments)
        assert code != 0 and message in text, text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.tflite"]


def test_fabric_is_one_process_without_torchrun() -> None:
    assert make_fabric("cpu").world_size == 1


def test_result_tells_what_it_is(teacher: Graph, pictures: Path) -> None:
    result = distill(teacher, find_pictures(pictures), QUICK)
    assert isinstance(result, Trained) and result.unreadable == 0
    assert [row.step for row in result.measurements] == [0, 5, 10, 12]
    assert math.isnan(result.measurements[0].loss) and result.measurements[0].mean_distance == 0

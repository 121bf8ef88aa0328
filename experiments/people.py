#!/usr/bin/env python3
"""Trains a sparse network for backgrounds in calls: selfie_segmentation_landscape for smaller pictures, pruned where
its time goes."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from people_scenes import HEIGHT, WIDTH, Set, open_set
from selfie import evaluate_iou
from torch import Tensor

from common import (
    MODELS,
    ROOT,
    WORK,
    all_times,
    cached,
    console,
    dense_model,
    insert_table,
    progress,
    save_figure,
    save_results,
    with_earlier,
    zeros,
)
from tulle import TulleError
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.graph.shapes import output_shape
from tulle.passes.fold_constants import fold_constants
from tulle.passes.remove_dead_code import remove_dead_code
from tulle.sparsify import Options, sparsify
from tulle.tflite import read, write
from tulle.train import FixedMasks, GraphModule, MagnitudePruner, RigL, checkpoint, from_graph, to_graph
from tulle.train.distill import typical_size
from tulle.train.losses import block_ends

FOLDER = WORK / "selfie"
DENSE = "selfie_segmentation_landscape"
METHODS = ("reconstruct", "magnitude", "rigl", "dense")
HELD_OUT = 800
IMAGES = 320  # that `reconstruct` is calibrated on
AVERAGE = 0.999  # of the weights: the share that a step keeps
EVERY = 100  # steps between RigL's moves, as in its paper

EPILOG = """\b
Needs ../shared/data/clean and ../shared/video (or TULLE_SHARED), `make models`, PyAV, scikit-image and OpenCV (`pip
install av scikit-image opencv-python-headless`), GCompris (an error says how to get it), and what
clean/avatars_mit/README.md names for rendering avatars. people/ is only for --table. Scenes are made once, in
build/experiments/selfie; stopped runs continue.
\b
Examples:
  python experiments/people.py --name first --whole conv2d_21
  python experiments/people.py --start first --steps 7000 --rate 1.2e-3       the network that ships
  python experiments/people.py --name d112 --method dense --height 112 --width 192 --steps 3000
  python experiments/people.py --name rigl-70-0 --method rigl --sparsity 0.7 --thin 0 --batch 4 --rate 1e-3 \
      --steps 4000 --no-calibrate
  python experiments/people.py --compare magnitude-70 --compare rigl-70    the table of these, over their seeds
  python experiments/people.py --table                             score what ships, and write the table
"""


@dataclass(frozen=True)
class Run:
    """Everything that a result depends on.

    Attributes:
        method: "reconstruct" (the zeros of LEVELS), "magnitude", "rigl" or "dense".
        sparsity: of "magnitude" and "rigl": of the 1x1 convolutions at a quarter of the picture's size and below.
        height, width: of the input.
        steps, batch, rate, seed: of training; the rate is relative to each tensor's typical weight.
        features: weight of the distance from the dense network's activations at the ends of blocks.
        truth: how much who really stands there counts in what to answer, beside the two dense networks' answers.
        both: how much that counts beside the answer of the network that training began with, for pictures of this size.
        thin: channels of the last layers, at half the picture's size; 0: leave those layers as they are.
        scenes: how many to train on.
        start: name of the result that training begins with, zeros included; empty: the dense network.
        whole: layers of LEVELS, separated by commas, that keep all their weights.
        calibrate: whether the last bias is moved to where held-out scenes agree best.
    """

    method: str = "reconstruct"
    sparsity: float = 0.5
    height: int = 128
    width: int = 240
    steps: int = 8_000
    batch: int = 8
    rate: float = 1.5e-3
    features: float = 10.0
    truth: float = 0.0
    both: float = 0.0
    thin: int = 8
    seed: int = 0
    scenes: int = 15_900
    start: str = ""
    whole: str = ""
    calibrate: bool = True


# Zeros by layer, of "reconstruct". The other layers cannot spare as many as it takes to save time (about 40 %).
LEVELS = {
    "conv2d_5": 0.69, "conv2d_8": 0.5, "conv2d_20": 0.69, "conv2d_21": 0.69, "conv2d_31": 0.6,
}  # fmt: skip


def levels(run: Run) -> dict[str, float]:
    return {name: level for name, level in LEVELS.items() if name not in run.whole.split(",")}


def dense_graph(run: Run) -> Graph:
    """The dense network for pictures of another size."""
    graph = fold_constants(dense_model(DENSE)).copy()
    (source,) = graph.inputs
    graph.tensors[source].shape = (1, run.height, run.width, 3)
    for node in graph:
        rows, columns, _ = graph.tensors[node.inputs[0] or ""].shape[1:]
        tensor = graph.tensors[node.output]
        if node.op in ("resize_bilinear", "transpose_conv2d"):  # whose size is theirs to say
            tensor.shape = (1, 2 * rows, 2 * columns, tensor.shape[3])
        tensor.shape = output_shape(graph, node)
    return graph


def student_graph(run: Run, data: Set) -> Graph:
    """The network that training begins with."""
    graph = fold_constants(read(FOLDER / f"{run.start}.tflite")) if run.start else dense_graph(run)
    if run.thin and not run.start:
        graph = thinner(graph, run, data)
    if run.method == "reconstruct":
        graph = reconstructed(graph, run, data)
    return graph


def reconstructed(graph: Graph, run: Run, data: Set) -> Graph:
    """The graph with the zeros of LEVELS, its weights solved for so that its activations stay what they are."""
    (source,) = graph.inputs
    graph.tensors[source].mean, graph.tensors[source].std = 0.0, 255.0
    images = list(np.uint8(np.rint(255 * batch(data, np.arange(IMAGES), run)[0].numpy())))
    wanted = levels(run)
    for level in sorted(set(wanted.values())):
        layers = [name for name in wanted if wanted[name] == level]
        options = Options(sparsity=level, method="reconstruct", layers=layers)
        graph = sparsify(graph, options, images=images, progress=progress).graph
    return graph


@torch.no_grad()
def thinner(graph: Graph, run: Run, data: Set) -> Graph:
    """The graph without its last depthwise convolution, which adds to its own input at half the picture's size, and
    with `run.thin` of that input's channels: one after another the one goes that the loss misses least."""
    graph = graph.copy()
    nodes = {node.name: node for node in graph}
    last, before = nodes["conv2d_transpose"], nodes["conv2d_42"]
    last.inputs[0] = nodes["depthwise_conv2d_10"].inputs[0]
    graph = remove_dead_code(graph)
    module = from_graph(graph)
    weight = module.layer(last.name).weight  # [inputs, outputs, rows, columns]
    images, target = batch(data, np.arange(24), run)
    kept = list(range(len(weight)))
    while len(kept) > run.thin:
        losses = []
        for channel in kept:
            was = weight[channel].clone()
            weight[channel] = 0
            losses.append(float(loss(answer(module, images), target)))
            weight[channel] = was
        weight[kept.pop(int(np.argmin(losses)))] = 0
    for name, pick in (
        (before.inputs[1], np.s_[kept]), (before.inputs[2], np.s_[kept]), (last.inputs[1], np.s_[..., kept]),
    ):  # fmt: skip
        tensor = graph.tensors[name or ""]
        tensor.data = np.ascontiguousarray(tensor.data[pick])
        tensor.shape = tensor.data.shape
    for node in graph:
        graph.tensors[node.output].shape = output_shape(graph, node)
    return graph


# ---- pictures


def batch(data: Set, numbers: np.ndarray, run: Run) -> tuple[Tensor, Tensor]:
    """Pictures [N, H, W, 3] from 0 to 1, and what to answer [N, H, W, 1]: the mean of the dense networks' answers, and
    as far as `run.truth` says who really stands there. (Less so where only the dense networks' answer on the
    photographs that people were cut out of is known.)"""
    pictures = torch.from_numpy(data.pictures[numbers]).float() / 255
    teachers = torch.from_numpy(data.teachers[numbers]).float().mean(1) / 255
    truth = torch.from_numpy(data.truth[numbers]).float() / 255
    weight = run.truth * torch.where(torch.from_numpy(data.known[numbers]) > 0, 1, 0.7).reshape(-1, 1, 1)
    target = (weight * truth + (1 - weight) * teachers)[..., None]
    if (run.height, run.width) != (HEIGHT, WIDTH):
        pictures, target = (
            F.interpolate(x.permute(0, 3, 1, 2), (run.height, run.width), mode="bilinear", antialias=True)
            .permute(0, 2, 3, 1)
            .clamp(0, 1)
            for x in (pictures, target)
        )
    return pictures, target


def augmented(images: Tensor, target: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mirrors every other picture, moves every other batch a little, and changes the light."""
    both = torch.cat([images, target], 3)
    count = len(both)
    across = torch.from_numpy(random.choice([-1.0, 1.0], count)).float()
    if random.random() < 0.5:
        scale = torch.from_numpy(np.exp(random.uniform(-0.2, 0.2, (2, count)))).float()
        shift = torch.from_numpy(random.uniform(-0.1, 0.1, (2, count))).float()
        angle = torch.from_numpy(random.normal(0, 0.06, count)).float()
        rows = [
            torch.stack([across * scale[0], -angle * HEIGHT / WIDTH, shift[0]], 1),
            torch.stack([across * angle * WIDTH / HEIGHT, scale[1], shift[1]], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), [count, 4, *both.shape[1:3]], align_corners=False)
        moved = F.grid_sample(both.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)
        both = moved.permute(0, 2, 3, 1)
    else:
        both = torch.where(across.reshape(-1, 1, 1, 1) < 0, both.flip(2), both)
    images, target = both[..., :3], both[..., 3:]
    gain = torch.from_numpy(np.exp(random.normal(0, 0.2, (count, 1, 1, 1)) + random.normal(0, 0.05, (count, 1, 1, 3))))
    images = (images - 0.5) * gain.float() + 0.5 + torch.from_numpy(random.normal(0, 0.06, (count, 1, 1, 1))).float()
    return images.clamp(0, 1), target


# ---- training


def answer(module: GraphModule, images: Tensor) -> Tensor:
    (result,) = module(images).values()
    return result


def loss(answered: Tensor, target: Tensor) -> Tensor:
    """The soft Jaccard distance of each picture's masks, and a little cross-entropy, which also rewards being sure."""
    apart = (answered - target).abs().flatten(1).sum(1)
    either = torch.maximum(answered, target).flatten(1).sum(1)
    jaccard = (apart / (either + 0.01 * target[0].numel())).mean()
    return jaccard + 0.2 * F.binary_cross_entropy(answered.clamp(1e-5, 1 - 1e-5), target)


def selected(graph: Graph) -> set[str]:
    """The layers to prune: 1x1 convolutions over at most a quarter of the picture's sides, but not those of gates, nor
    those after an upsampling: tulle runs them before it, where they take little time."""
    height, width = graph.tensors[graph.inputs[0]].shape[1:3]
    makers = graph.producer()
    chosen = set()
    for node in graph:
        if node.op == "conv2d" and graph.tensors[node.inputs[1] or ""].shape[1:3] == (1, 1):
            rows, columns = graph.tensors[node.output].shape[1:3]
            before = makers.get(node.inputs[0] or "")
            if 1 < rows * columns <= height * width // 16 and before and before.op != "resize_bilinear":
                chosen.add(node.name)
    return chosen


def trained(run: Run, data: Set, held_out: Set, folder: Path) -> tuple[Graph, list[dict[str, float]]]:
    """The trained network, its weights averaged over the last steps, and measurements. A stopped run continues."""
    torch.manual_seed(run.seed)
    dense = from_graph(dense_graph(run))
    module = from_graph(student_graph(run, data))
    shapes = module.graph.tensors
    features = [
        name
        for name in block_ends(dense.graph)
        if name in shapes and shapes[name].shape == dense.graph.tensors[name].shape
    ]
    with torch.no_grad():
        sample = dense(batch(data, np.arange(64), run)[0], keep=features)
    sizes = {name: float(sample[name].var()) for name in features}
    groups = [{"params": [weight], "size": typical_size(weight)} for weight in module.parameters()]
    optimizer = torch.optim.Adam(groups, lr=run.rate)
    masks = masks_of(module, optimizer, run)
    average = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    curve: list[dict[str, float]] = []
    state = checkpoint.load(folder, asdict(run))
    if state:
        module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        masks.load_state_dict(state["masks"])
        average, curve = state["average"], state["curve"]
    losses: list[tuple[float, float]] = []
    while masks.steps < run.steps:
        step = masks.steps
        random = np.random.default_rng([run.seed, step])
        images, target = augmented(*batch(data, random.integers(0, run.scenes, run.batch), run), random)
        rising = max(1, run.steps // 20)
        falling = max(0, step - rising) / (run.steps - rising)
        rate = min(1, (step + 1) / rising) * 0.5 * (1 + math.cos(math.pi * falling))
        for group in optimizer.param_groups:
            group["lr"] = run.rate * rate * group["size"]
        optimizer.zero_grad()
        with torch.no_grad():
            wanted = dense(images, keep=features)
        own = module(images, keep=features)
        apart = torch.stack([F.mse_loss(own[name], wanted[name]) / sizes[name] for name in features]).mean()
        (output,) = dense.graph.outputs
        target = run.both * target + (1 - run.both) * wanted[output]
        distance = loss(own[output], target) + run.features * apart
        distance.backward()
        masks.step()
        losses.append((float(distance.detach()), float(apart.detach())))
        keep = min(AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, weight in module.named_parameters():
                average[name].lerp_(weight, 1 - keep)
        if masks.steps % max(1, run.steps // 5) == 0 or masks.steps == run.steps:
            scores = score(averaged(module, average, masks), held_out, run)
            means = dict(zip(("loss", "features"), np.mean(losses, 0).tolist(), strict=True))
            curve.append({"step": masks.steps, **means, "zeros": masks.sparsity, **scores})
            console.print(time.strftime("%H:%M:%S"), {key: round(value, 4) for key, value in curve[-1].items()})
            losses = []
        if masks.steps % 1000 == 0:
            state = {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "masks": masks.state_dict(),
                     "average": average, "curve": curve}  # fmt: skip
            checkpoint.save(folder, state, asdict(run))
    return to_graph(averaged(module, average, masks)), curve


def masks_of(module: GraphModule, optimizer: torch.optim.Optimizer, run: Run) -> FixedMasks:
    names = levels(run) if run.method == "reconstruct" else selected(module.graph)
    layers = {id(module.layer(name)) for name in names}

    def select(_: str, layer: torch.nn.Module) -> bool:
        return id(layer) in layers

    if run.method == "rigl":
        if not run.start:  # zeros at random places would undo what the dense network knows
            MagnitudePruner(module, optimizer, sparsity=run.sparsity, begin=0, end=0, select=select)
        return RigL(module, optimizer, sparsity=None, end=run.steps * 3 // 4, every=EVERY, select=select)
    if run.method in ("reconstruct", "dense"):
        return FixedMasks(module, optimizer, select)
    return MagnitudePruner(
        module, optimizer, sparsity=run.sparsity, begin=run.steps // 50, end=run.steps * 6 // 10,
        every=max(10, run.steps // 400), select=select,
    )  # fmt: skip


def averaged(module: GraphModule, average: dict[str, Tensor], masks: FixedMasks) -> GraphModule:
    """Another module with the averaged weights, zero where the masks are."""
    result = from_graph(module.graph)
    with torch.no_grad():
        for name, weight in result.named_parameters():
            weight.copy_(average[name] * masks.masks[name] if name in masks.masks else average[name])
    return result


CUTS = np.arange(0.3, 0.71, 0.05)
"""Probabilities from which on a pixel may count as a person's."""


def calibrated(graph: Graph, held_out: Set, run: Run) -> Graph:
    """The graph with its last bias moved so that it says one half where, cut at one of CUTS, it has the best masks of
    held-out scenes: the mean of "known" and "unknown" of `score`. Distilled networks say a little less than they
    should."""
    module = from_graph(graph)
    scores = [score(module, held_out, run, cut) for cut in CUTS]
    best = CUTS[int(np.argmax([one["known"] + one["unknown"] for one in scores]))]
    console.print(f"cut at {best:.2f}")
    graph = graph.copy()
    (last,) = [node for node in graph if node.op == "transpose_conv2d"]
    bias = graph.tensors[last.inputs[2] or ""]
    assert bias.data is not None
    bias.data = np.float32(bias.data + math.log((1 - best) / best))
    return graph


@torch.no_grad()
def score(module: GraphModule, held_out: Set, run: Run, cut: float = 0.5) -> dict[str, float]:
    """On held-out scenes with people: mean intersection over union with the truth where it is known and with the dense
    networks elsewhere ("unknown"), and with the dense networks everywhere ("agreement"). `cut`: the probability from
    which on a pixel is a person's."""
    scores: dict[str, list[float]] = {"known": [], "unknown": [], "agreement": []}
    for first in range(0, HELD_OUT, 40):
        numbers = np.arange(first, first + 40)
        images, _ = batch(held_out, numbers, run)
        answered = answer(module, images).permute(0, 3, 1, 2)
        found = (F.interpolate(answered, (HEIGHT, WIDTH), mode="bilinear") > cut).numpy()[:, 0]
        truth = held_out.truth[numbers] > 127
        dense = held_out.teachers[numbers].mean(1) > 127.5
        for number in range(len(numbers)):
            kind = "known" if held_out.known[first + number] else "unknown"
            for key, mask in ((kind, truth[number]), ("agreement", dense[number])):
                if mask.mean() > 0.01:
                    union = np.count_nonzero(found[number] | mask)
                    scores[key].append(np.count_nonzero(found[number] & mask) / union)
    return {key: float(np.mean(values)) for key, values in scores.items()}


# ---- what the documents show


def shown() -> dict[str, Path]:
    """The networks of the table, by what it calls them."""
    weights = ROOT / "demos" / "weights"
    return {
        "dense, 256x144": MODELS / f"{DENSE}.tflite",
        "dense, 256x256": MODELS / "selfie_segmentation.tflite",
        "dense, 240x128, not trained": FOLDER / "dense240.tflite",
        "dense, 208x128, distilled": FOLDER / "b208.tflite",
        "dense, 192x112, trained for 3,000 steps": FOLDER / "d112.tflite",
        "50 % zeros, 256x144": weights / f"{DENSE}_tulle_50.tflite",
        "70 % zeros, 256x144": weights / f"{DENSE}_tulle_70.tflite",
        "**sparse, 240x128**": weights / "selfie_segmentation_240x128_tulle.tflite",
    }


def write_table() -> None:
    """IoU, times (of experiments/times.py) and sizes, into experiments/results/background.json and docs/sparsify.md.

    The settings and scores of all runs go into experiments/results/people.json.
    """
    write_bytes(FOLDER / "dense240.tflite", write(dense_graph(Run()), weights="fp16"))
    rows: list[dict[str, Any]] = []
    for title, path in shown().items():
        if not path.is_file():
            rows += [row for row in with_earlier("background", []) if row["name"] == title]
            continue
        row = {"name": title, "file": path.name, "iou": cached("selfie-scores", path, evaluate_iou),
               "bytes": path.stat().st_size, **zeros(path), "milliseconds": all_times(path)}  # fmt: skip
        rows.append(row)
        console.print(row)
    save_results("background", rows)
    records = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    runs = [{"name": name, **record} for name, record in records.items() if "run" in record]
    if runs:
        save_results("people", with_earlier("people", runs))
    dense = rows[0]["milliseconds"]
    table = []
    for row in rows:
        times = [f"{ms:.2f} ({ms / whole:.2f})" for ms, whole in zip(row["milliseconds"], dense, strict=True)]
        table.append([row["name"], f"{row['iou']:.3f}", *times, f"{row['bytes'] / 1e6:.2f} MB"])
    header = ["network", ">IoU", ">engine, 1 thread, ms", ">page", ">engine, 2 threads", ">page", ">file"]
    insert_table("background", header, table)
    draw(rows)


def write_comparison(names: tuple[str, ...]) -> None:
    """Scores the results NAME-0, NAME-1, ... beside the dense network; into experiments/results/people.json and
    docs/training.md."""
    held_out = open_set("held-out", HELD_OUT, held_out=True)
    dense = FOLDER / "dense240.tflite"
    write_bytes(dense, write(dense_graph(Run()), weights="fp16"))
    scores = score(from_graph(dense_graph(Run())), held_out, Run())
    table = [["dense, not trained", *compared([{**scores, "iou": cached("selfie-scores", dense, evaluate_iou)}])]]
    runs: list[dict[str, Any]] = []
    for name in names:
        found = []
        for path in sorted(FOLDER.glob(f"{name}-[0-9].tflite")):
            record = json.loads(path.with_suffix(".json").read_text())
            iou = cached("selfie-scores", path, evaluate_iou)
            runs.append({"name": path.stem, **record, "iou": iou})
            found.append({**record["curve"][-1], "iou": iou})
        if found:
            table.append([f"`{name}`, {len(found)} seeds", *compared(found)])
    save_results("people", with_earlier("people", runs))
    header = ["network", *(f">{column}" for column in COMPARED.values())]
    insert_table("rigl", header, table, ROOT / "docs" / "training.md")


COMPARED = {"iou": "people/", "known": "scenes, truth known", "unknown": "other scenes, dense networks' answer",
            "agreement": "all scenes, dense networks' answer"}  # fmt: skip


def compared(scores: list[dict[str, float]]) -> list[str]:
    """For each column the mean, and the standard deviation if there are several."""
    columns = [[row[key] for row in scores] for key in COMPARED]
    spread = [f" ± {np.std(column, ddof=1):.3f}" if len(column) > 1 else "" for column in columns]
    return [f"{np.mean(column):.3f}{more}" for column, more in zip(columns, spread, strict=True)]


def draw(rows: list[dict[str, Any]]) -> None:
    """IoU against the engine's time on one thread, in parts of the dense network's, into docs/img."""
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    places = {"dense": (-6, 5, "right"), "zeros": (6, -10, "left"), "sparse": (-6, -12, "right")}
    for kind, colour in (("dense", "#7d8794"), ("zeros", "#2f6f9f"), ("sparse", "#c4552d")):
        *place, side = places[kind]
        points = sorted(
            (row["milliseconds"][0] / rows[0]["milliseconds"][0], row["iou"], row["name"].strip("*"))
            for row in rows
            if kind in row["name"] and "256x256" not in row["name"]
        )
        axes.plot([x for x, *_ in points], [y for _, y, _ in points], "o-", color=colour, markersize=4, linewidth=1)
        for x, y, name in points:
            axes.annotate(name, (x, y), place, textcoords="offset points", ha=side, fontsize=8, color=colour)
    axes.set_xlabel("time in the engine, of that of the dense network for 256x144")
    axes.set_ylabel("IoU on people/")
    axes.set_xlim(0.2, 1.1)
    axes.margins(y=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, "background-time")


@click.command(epilog=EPILOG)
@click.option("--name", default="people", help="Of the result.", show_default=True)
@click.option("--method", type=click.Choice(METHODS), default=Run.method, show_default=True)
@click.option("--sparsity", type=float, default=Run.sparsity, show_default=True)
@click.option("--height", type=int, default=Run.height, help="Of the input.", show_default=True)
@click.option("--width", type=int, default=Run.width, help="Of the input.", show_default=True)
@click.option("--steps", type=int, default=Run.steps, show_default=True)
@click.option("--batch", type=int, default=Run.batch, show_default=True)
@click.option("--rate", type=float, default=Run.rate, help="The highest learning rate.", show_default=True)
@click.option("--features", type=float, default=Run.features, show_default=True)
@click.option("--truth", type=float, default=Run.truth, show_default=True)
@click.option("--both", type=float, default=Run.both, show_default=True)
@click.option("--thin", type=int, default=Run.thin, show_default=True)
@click.option("--seed", type=int, default=Run.seed, show_default=True)
@click.option("--scenes", type=int, default=Run.scenes, show_default=True)
@click.option("--start", default=Run.start, metavar="NAME", help="Go on from this result, and keep its zeros.")
@click.option("--whole", default=Run.whole, metavar="LAYERS", help="Layers that keep all weights, comma-separated.")
@click.option("--calibrate/--no-calibrate", default=Run.calibrate, show_default=True)
@click.option("--table", is_flag=True, help="Train nothing: score the networks that ship, and write the table.")
@click.option("--compare", multiple=True, metavar="NAME", help="Train nothing: a table of NAME-0, NAME-1, ...")
def main(name: str, table: bool, compare: tuple[str, ...], **settings: Any) -> None:
    """Trains a network; writes NAME.tflite and NAME.json into build/experiments/selfie."""
    if table:
        write_table()
        return
    if compare:
        write_comparison(compare)
        return
    run = Run(**settings)
    data = open_set("train", run.scenes)
    held_out = open_set("held-out", HELD_OUT, held_out=True)
    graph, curve = trained(run, data, held_out, FOLDER / f"training-{name}")
    if run.calibrate:
        graph = calibrated(graph, held_out, run)
    path = FOLDER / f"{name}.tflite"
    write_bytes(path, write(graph, weights="fp16", sparse=run.method != "dense"))
    record = {"run": asdict(run), "curve": curve, **zeros(path)}
    write_bytes(path.with_suffix(".json"), (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"Error: {error}")

#!/usr/bin/env python3
"""Trains a small MobileNetV2 on CIFAR-10: dense, with gradual magnitude pruning, and with RigL.

    python experiments/cifar10.py --data ../shared/data/cifar10.tar.xz --seeds 3
    python experiments/cifar10.py --summary

Every run is kept in build/experiments/cifar10; stopped runs continue from their last epoch, finished ones are not
repeated. `--summary` writes the results so far into docs/training.md, docs/img/cifar10.svg and
experiments/results/cifar10.json, where results of earlier summaries stay.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from tulle import TulleError
from tulle.files import write_bytes
from tulle.train import FixedMasks, MagnitudePruner, RigL, is_pointwise

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "experiments" / "cifar10"
RESULTS = ROOT / "experiments" / "results" / "cifar10.json"
GUIDE = ROOT / "docs" / "training.md"
CHART = ROOT / "docs" / "img" / "cifar10.svg"
METHODS = ("dense", "magnitude", "rigl")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

WIDTH = 0.5  # multiplies the channels
BATCH = 128
LEARNING_RATE = 0.2
WEIGHT_DECAY = 5e-4
WARM_UP = 0.05  # share of all steps, then the learning rate falls as a cosine
# Shares of all steps at which pruning begins and is complete, and steps between changes.
MAGNITUDE_FROM, MAGNITUDE_TO, MAGNITUDE_EVERY = 0.2, 0.7, 50
RIGL_TO, RIGL_EVERY, RIGL_DROP = 0.75, 100, 0.3

MEAN = torch.tensor([125.3, 123.0, 113.9])
STD = torch.tensor([63.0, 62.1, 66.7])
console = Console(stderr=True, highlight=False)


# ---- the network


# Expansion, channels at width 1, blocks, stride of the first: MobileNetV2's table cut down for pictures of 32x32
# pixels.
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 3, 1), (6, 96, 2, 2))
ENTRY, LAST = 32, 512


def mobilenet(width: float) -> nn.Sequential:
    """MobileNetV2 (Sandler et al. 2018) for 32x32 pixels; the entry has stride 2."""

    def channels(count: int) -> int:
        return max(8, int(count * width + 4) // 8 * 8)

    inputs = channels(ENTRY)
    layers: list[nn.Module] = [convolution(3, inputs, kernel=3, stride=2)]
    for expansion, count, blocks, stride in BLOCKS:
        for block in range(blocks):
            layers.append(InvertedResidual(inputs, channels(count), expansion, stride if block == 0 else 1))
            inputs = channels(count)
    layers += [convolution(inputs, channels(LAST)), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels(LAST), len(CLASSES)))


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU6."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if activation else nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand by 1x1, depthwise 3x3, project by 1x1; add the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [convolution(inputs, hidden)] if expansion > 1 else []
        depthwise = convolution(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.body = nn.Sequential(*expand, depthwise, convolution(hidden, outputs, activation=False))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.adds else y


# ---- the data


@dataclass(frozen=True)
class Data:
    """Pictures uint8 (N, 32, 32, 3) and labels int64 (N,)."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_data(archive: Path) -> Data:
    """Reads train/ and test/ by class from the archive, or from an earlier run's copy."""
    cache = WORK / "data.npz"
    if not cache.is_file():
        if not archive.is_file():
            raise TulleError(f"{archive} is no file: name CIFAR-10's archive of JPEG files with --data")
        with console.status(f"reading {archive.name}"):
            arrays = _decode(archive)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(cache, buffer.getvalue())
    with np.load(cache) as saved:
        return Data(**{name: torch.from_numpy(saved[name]) for name in saved.files})


def _decode(archive: Path) -> dict[str, np.ndarray]:
    images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile():
                continue
            split, label, _ = member.name.split("/")
            file = tar.extractfile(member)
            assert file is not None
            images[split].append(np.asarray(Image.open(file).convert("RGB")))
            labels[split].append(CLASSES.index(label))
    return {
        **{f"{split}_images": np.stack(pictures) for split, pictures in images.items()},
        **{f"{split}_labels": np.array(numbers) for split, numbers in labels.items()},
    }


def normalised(images: Tensor) -> Tensor:
    """float32 (N, 3, 32, 32), channels last in memory."""
    return ((images - MEAN) / STD).permute(0, 3, 1, 2)


def batches(data: Data, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch in random order, each picture shifted by up to 4 pixels and mirrored or not; an incomplete last batch is
    dropped."""
    count = len(data.train_labels)
    padded = nn.functional.pad(data.train_images, (0, 0, 4, 4, 4, 4), value=128)
    order = torch.randperm(count, generator=generator)
    pixel = torch.arange(32)
    for chosen in order[: count // BATCH * BATCH].split(BATCH):
        top, left = torch.randint(9, (2, BATCH, 1), generator=generator)
        mirror = torch.randint(2, (BATCH, 1), generator=generator, dtype=torch.bool)
        columns = left + torch.where(mirror, 31 - pixel, pixel)
        images = padded[chosen[:, None, None], (top + pixel)[:, :, None], columns[:, None, :]]
        yield normalised(images), data.train_labels[chosen]


def accuracy(model: nn.Module, data: Data) -> float:
    """Share of the test pictures that the model classifies correctly."""
    model.eval()
    with torch.inference_mode():
        right = sum(
            int((model(normalised(images)).argmax(1) == labels).sum())
            for images, labels in zip(data.test_images.split(500), data.test_labels.split(500), strict=True)
        )
    model.train()
    return right / len(data.test_labels)


# ---- a run


@dataclass(frozen=True)
class Run:
    """One training: "dense", "magnitude" or "rigl"."""

    method: str
    sparsity: float
    seed: int
    epochs: int
    width: float

    @property
    def name(self) -> str:
        level = f"-{self.sparsity:.0%}" if self.sparsity else ""
        return f"{self.method}{level.rstrip('%')}-width{self.width:g}-epochs{self.epochs}-seed{self.seed}"


def plan(seeds: int, epochs: int, width: float, levels: list[float]) -> list[Run]:
    """All runs of a seed before those of the next, so that unfinished results can be compared."""
    kinds = [("dense", 0.0), *((method, level) for level in levels for method in ("magnitude", "rigl"))]
    return [Run(method, level, seed, epochs, width) for seed in range(seeds) for method, level in kinds]


def masks_of(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> FixedMasks:
    """The pruner of the run. Both methods use RigL's allocation, so that only the method differs."""
    if run.method == "magnitude":
        return MagnitudePruner(
            model, optimizer, sparsity=run.sparsity, allocation="erk",
            begin=int(MAGNITUDE_FROM * steps), end=int(MAGNITUDE_TO * steps), every=MAGNITUDE_EVERY,
        )  # fmt: skip
    if run.method == "rigl":
        return RigL(
            model, optimizer, sparsity=run.sparsity, allocation="erk", seed=run.seed,
            end=int(RIGL_TO * steps), every=RIGL_EVERY, drop_fraction=RIGL_DROP,
        )  # fmt: skip
    return FixedMasks(model, optimizer)


def learning_rate(step: int, steps: int) -> float:
    """The learning rate at `step` of `steps`: a linear rise, then half a cosine down to zero."""
    rising = max(1, int(WARM_UP * steps))
    if step < rising:
        return LEARNING_RATE * (step + 1) / rising
    return LEARNING_RATE / 2 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def train(run: Run, data: Data) -> dict[str, Any]:
    """Trains, or continues training, and returns the record that is written at the end."""
    torch.manual_seed(run.seed)
    model = mobilenet(run.width).to(memory_format=torch.channels_last)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    rest = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    steps_an_epoch = len(data.train_labels) // BATCH
    steps = run.epochs * steps_an_epoch
    masks = masks_of(run, model, optimizer, steps)
    generator = torch.Generator().manual_seed(run.seed)
    curve: list[dict[str, float]] = []
    seconds = 0.0

    checkpoint = WORK / f"{run.name}.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint)
        for part, saved in ((model, "model"), (optimizer, "optimizer"), (masks, "masks")):
            part.load_state_dict(state[saved])
        generator.set_state(state["generator"])
        curve, seconds = state["curve"], state["seconds"]

    for epoch in range(len(curve), run.epochs):
        start, total = time.process_time(), 0.0
        loop = batches(data, generator)
        if console.is_terminal:
            loop = iter(track(loop, f"{run.name}, epoch {epoch + 1}/{run.epochs}", steps_an_epoch, console=console))
        for images, labels in loop:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(masks.steps, steps)
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            masks.step()
            total += loss.item()
        seconds += time.process_time() - start
        point = {
            "epoch": epoch + 1,
            "loss": round(total / steps_an_epoch, 4),
            "accuracy": accuracy(model, data),
            "sparsity": round(masks.sparsity, 4),
        }
        if not math.isfinite(total):
            raise TulleError(f"{run.name}: the loss is no number in epoch {epoch + 1}")
        curve.append(point)
        console.print(f"{run.name}: {point}")
        buffer = io.BytesIO()
        torch.save(
            {
                "model": model.state_dict(), "optimizer": optimizer.state_dict(), "masks": masks.state_dict(),
                "generator": generator.get_state(), "curve": curve, "seconds": seconds,
            },
            buffer,
        )  # fmt: skip
        write_bytes(checkpoint, buffer.getvalue())

    pointwise = sum(layer.weight.numel() for name, layer in model.named_modules() if is_pointwise(name, layer))
    return {
        "method": run.method, "sparsity": run.sparsity, "seed": run.seed, "epochs": run.epochs, "width": run.width,
        "accuracy": curve[-1]["accuracy"], "processor_seconds": round(seconds),
        "parameters": sum(weight.numel() for weight in model.parameters()), "pointwise_parameters": pointwise,
        "curve": curve,
    }  # fmt: skip


# ---- what came out


def summarise() -> None:
    """Adds finished runs to the results, and writes the table and the chart of all of them."""
    records = {_key(record): record for record in (json.loads(RESULTS.read_text()) if RESULTS.is_file() else [])}
    records |= {_key(record): record for record in map(_read_record, sorted(WORK.glob("*.json")))}
    if not records:
        raise TulleError(f"there is no finished run in {WORK}: train first")
    rows = [records[key] for key in sorted(records)]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(RESULTS, (json.dumps(rows, indent=1) + "\n").encode())
    CHART.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(CHART, chart(rows).encode())
    table = "\n".join(table_lines(rows))
    if GUIDE.is_file():
        head, found, rest = GUIDE.read_text().partition("<!-- cifar10 begin -->\n")
        _, ended, tail = rest.partition("<!-- cifar10 end -->")
        if found and ended:
            write_bytes(GUIDE, f"{head}{found}{table}\n{ended}{tail}".encode())
    print(table)


def _read_record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _key(record: dict[str, Any]) -> tuple:
    order = METHODS.index(record["method"])
    return -record["epochs"], record["width"], record["sparsity"], order, record["seed"]


Kind: TypeAlias = tuple[int, float, str, float]


def _groups(rows: list[dict[str, Any]]) -> dict[Kind, list[dict[str, Any]]]:
    """Runs that only differ in the seed, by epochs, width, method and sparsity."""
    groups: dict[Kind, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["epochs"], row["width"], row["method"], row["sparsity"]), []).append(row)
    return groups


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    dense = [row for row in rows if (row["method"], row["width"]) == ("dense", WIDTH)]
    base = {(row["epochs"], row["seed"]): row["accuracy"] for row in dense}
    lines = [
        "| epochs | width | zeros in 1x1 convolutions | method | test accuracy % | against dense, points | seeds |",
        "|---:|---:|---:|---|---:|---:|---:|",
    ]
    for (epochs, width, method, sparsity), runs in _groups(rows).items():
        drops = [run["accuracy"] - base[epochs, run["seed"]] for run in runs if (epochs, run["seed"]) in base]
        drop = "" if (method, width) == ("dense", WIDTH) else _spread(drops, "+.2f")
        accuracy = _spread([run["accuracy"] for run in runs], ".2f")
        lines.append(f"| {epochs} | {width:g} | {sparsity:.0%} | {method} | {accuracy} | {drop} | {len(runs)} |")
    return lines


def _spread(values: list[float], form: str) -> str:
    """Mean and standard deviation over seeds, in % or points."""
    if not values:
        return ""
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):{form}}{spread}"


def chart(rows: list[dict[str, Any]]) -> str:
    """Mean test accuracy after every epoch, one line for each method and level; only runs of the most common length."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tulle"  # the same file for the same figures
    from matplotlib import pyplot

    lengths = [row["epochs"] for row in rows]
    usual = max(set(lengths), key=lambda length: (lengths.count(length), length))
    colours = {0.0: "#444444", 0.7: "#1b7f5c", 0.8: "#c77700", 0.9: "#b3324b"}
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for (epochs, width, method, sparsity), runs in _groups(rows).items():
        if epochs != usual:
            continue
        mean = np.mean([[point["accuracy"] for point in run["curve"]] for run in runs], axis=0)
        label = "dense" if method == "dense" else f"{method} {sparsity:.0%}"
        if width != WIDTH:
            label += f", width {width:g}"
        style = {"rigl": "--"}.get(method, "-") if width == WIDTH else {"rigl": "-."}.get(method, ":")
        axes.plot(np.arange(1, len(mean) + 1), 100 * mean, style, label=label, color=colours.get(sparsity))
    axes.set(xlabel="epoch", ylabel="test accuracy %", title=f"CIFAR-10, small MobileNetV2, {usual} epochs")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=2)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "cifar10.tar.xz")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1, help="train seeds 0 to N-1 (default 1)")
    parser.add_argument("--width", type=float, default=WIDTH, help="multiplies the channels (default 0.5)")
    parser.add_argument("--levels", type=float, nargs="*", default=[0.7, 0.8, 0.9], help="shares of zeros")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--part", type=int, nargs=2, default=[0, 1], metavar=("K", "N"),
                        help="train only every N-th run, beginning with the K-th, for N processes at once")  # fmt: skip
    parser.add_argument("--summary", action="store_true", help="write table and chart of what was trained")
    arguments = parser.parse_args()
    if arguments.summary:
        summarise()
        return
    data = load_data(arguments.data)
    first, every = arguments.part
    runs = plan(arguments.seeds, arguments.epochs, arguments.width, arguments.levels)
    for run in [run for run in runs if run.method in arguments.methods][first::every]:
        record = WORK / f"{run.name}.json"
        if not record.is_file():
            write_bytes(record, json.dumps(train(run, data)).encode())
            (WORK / f"{run.name}.pt").unlink()


if __name__ == "__main__":
    try:
        main()
    except TulleError as error:
        sys.exit(f"error: {error}")

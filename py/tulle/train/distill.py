"""`distill`: trains a sparse student to match its dense teacher, on unlabelled pictures.

    paths = find_pictures("photos")
    result = distill(read("model.tflite"), paths, Settings(sparsity=0.8, steps=5000))
    data = write(result.graph, sparse=True)

Runs in one process or, under torchrun, in all of them, with the same pictures in each step.
"""

from __future__ import annotations

import atexit
import gc
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from tulle.errors import TulleError
from tulle.graph import Graph
from tulle.sparsify import prunable_layers
from tulle.train import checkpoint
from tulle.train.data import Batches, Pictures, Progress, seeded, split
from tulle.train.gradual_pruning import MagnitudePruner
from tulle.train.losses import Distance, block_ends, distances
from tulle.train.masks import FixedMasks, Select
from tulle.train.module import GraphModule, from_graph, to_graph
from tulle.train.rigl import RigL
from tulle.train.settings import Measurement, Settings

MOST_HELD_OUT = 256
SAMPLE = 64  # pictures to measure the variance of outputs and features on
MOST_GRADIENT = 1.0
SMALLEST_SIZE = 1e-3


class Diverged(TulleError):
    """The loss has become NaN or infinite."""


@dataclass(frozen=True)
class Trained:
    """The trained model, the measurements, and the number of pictures that could not be read."""

    graph: Graph
    measurements: list[Measurement]
    unreadable: int


def make_fabric(device: str = "auto") -> Fabric:
    """Lightning Fabric for this process, or for all processes that torchrun has started.

    Args:
        device: "auto", "cpu", "cuda" or another accelerator that Fabric knows.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device, devices=here, num_nodes=processes // here, strategy="ddp" if processes > 1 else "auto"
    )
    fabric.launch()
    if processes > 1:
        atexit.register(_leave_group)
    return fabric


def _leave_group() -> None:
    # Gloo's threads hold Python objects for a moment after each exchange. A process that ends under them is now and
    # then aborted; the group waits for them when nothing uses it any more, and the models that did are in cycles.
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def distill(
    teacher: Graph,
    pictures: Sequence[Path],
    settings: Settings,
    *,
    start: Graph | None = None,
    folder: Path | None = None,
    resume: bool = False,
    fabric: Fabric | None = None,
    progress: Progress | None = None,
    on_step: Callable[[int, float], None] | None = None,
    on_measurement: Callable[[list[Measurement]], None] | None = None,
) -> Trained:
    """Trains.

    Args:
        teacher: a model with one image as input, [1, H, W, 3] of (pixel - mean) / std with its input's mean and std.
        pictures: files; one in ten is held out (see `data.is_held_out`).
        start: the model to begin with, such as a result of one-shot pruning; by default the teacher. Its outputs must
            be the teacher's.
        folder: where checkpoints go; None for none.
        resume: continue from the checkpoint there, if any; the result is the same as without interruption.
        fabric: from `make_fabric`.
        progress: wraps the loop that reads the pictures; called with a range of numbers and a title.
        on_step: called with the number of steps done and the loss.
        on_measurement: called with all measurements so far.

    Raises TulleError for models, pictures or settings that do not fit, a checkpoint of another run, or if training
    diverges.
    """
    return _Training(teacher, start or teacher, pictures, settings, fabric or make_fabric("cpu"), progress).run(
        folder, resume, on_step, on_measurement
    )


class _Training:
    def __init__(
        self,
        teacher: Graph,
        start: Graph,
        paths: Sequence[Path],
        settings: Settings,
        fabric: Fabric,
        progress: Progress | None = None,
    ) -> None:
        settings.check()
        if settings.batch % fabric.world_size:
            raise TulleError(f"a batch of {settings.batch} cannot be shared by {fabric.world_size} processes evenly")
        self.settings, self.fabric = settings, fabric
        height, width, self.mean, self.std = _image_input(teacher)
        if _signature(start) != _signature(teacher):
            raise TulleError("the start has other inputs or outputs than the teacher")
        learn, held_out = split(paths)
        self.learn, bad = Pictures(learn, height, width).without_unreadable(progress)
        self.held_out, more = Pictures(held_out[:MOST_HELD_OUT], height, width).without_unreadable()
        self.unreadable = bad + more
        if not len(self.learn) or not len(self.held_out):
            raise TulleError(f"{self.unreadable} of {len(paths)} pictures cannot be read: too few are left")

        self.teacher = from_graph(teacher).eval().requires_grad_(False).to(fabric.device)
        self.student = from_graph(start)
        self.features = _shared_features(self.teacher.graph, self.student.graph) if settings.features else []
        groups = [{"params": [weight], "size": typical_size(weight)} for weight in self.student.parameters()]
        optimizer = torch.optim.Adam(groups, lr=settings.learning_rate)
        self.model, self.optimizer = fabric.setup(self.student, optimizer)
        self.masks = self._make_masks()
        self.measurements: list[Measurement] = []
        self.losses: list[float] = []

    def run(
        self,
        folder: Path | None,
        resume: bool,
        on_step: Callable[[int, float], None] | None,
        on_measurement: Callable[[list[Measurement]], None] | None,
    ) -> Trained:
        settings = self.settings
        if folder is not None:
            self._restore(folder, resume)
        loss_of = self._loss()
        answers = [self._teach(self._images(batch)) for batch in self._held_out_batches()]
        first = self.masks.steps
        if first == 0:
            self._measure(answers, on_measurement)
        for step, pictures in zip(range(first, settings.steps), self._batches(first), strict=True):
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(step) * group["size"]
            images = self._augmented(step, pictures)
            with torch.no_grad():
                expected = self._teach(images)
            loss = loss_of(self.model(images, self.features), expected)
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            # With few pictures per batch a step is sometimes far too large.
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), MOST_GRADIENT)
            self.masks.step()
            mean = self.fabric.all_reduce(loss.detach())
            assert isinstance(mean, Tensor)
            self.losses.append(float(mean))
            if not math.isfinite(self.losses[-1]):
                raise Diverged(f"the loss is {self.losses[-1]} at step {step + 1}: try a lower learning rate")
            if on_step:
                on_step(step + 1, self.losses[-1])
            last = step + 1 == settings.steps
            if last or (step + 1) % settings.measure == 0:
                self._measure(answers, on_measurement)
            if folder is not None and (last or (step + 1) % settings.save == 0):
                self._save(folder)
        return Trained(to_graph(self.student), self.measurements, self.unreadable)

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step: a linear rise over the first 5 %, then half a cosine down to zero."""
        settings = self.settings
        rising = max(1, settings.steps // 20)
        if step < rising:
            return settings.learning_rate * (step + 1) / rising
        progress = (step - rising) / max(1, settings.steps - rising)
        return settings.learning_rate / 2 * (1 + math.cos(math.pi * progress))

    # ---- masks

    def _make_masks(self) -> FixedMasks:
        settings, select = self.settings, _selection(self.student)
        if settings.sparsity is None and settings.method == "magnitude":
            return FixedMasks(self.student, self.optimizer, select)
        begin, end = (int(share * settings.steps) for share in (settings.begin, settings.end))
        if settings.method == "rigl":
            if settings.sparsity is not None:
                # Random places, as for training from scratch, would lose most of what the teacher knows.
                self._pruner(select, 0, 0).prune(settings.sparsity)
            return RigL(
                self.student, self.optimizer, sparsity=None, end=end, every=settings.every,
                drop_fraction=settings.drop_fraction, select=select,
            )  # fmt: skip
        return self._pruner(select, begin, end)

    def _pruner(self, select: Select, begin: int, end: int) -> MagnitudePruner:
        settings = self.settings
        assert settings.sparsity is not None
        present = FixedMasks(self.student, self.optimizer, select).sparsity
        return MagnitudePruner(
            self.student, self.optimizer, sparsity=settings.sparsity, begin=begin, end=end, every=settings.every,
            initial=min(present, settings.sparsity), allocation=settings.allocation, select=select,
        )  # fmt: skip

    # ---- pictures

    def _batches(self, first: int) -> DataLoader:
        batches = Batches(
            len(self.learn), self.settings.batch, range(first, self.settings.steps), seed=self.settings.seed,
            rank=self.fabric.global_rank, processes=self.fabric.world_size,
        )  # fmt: skip
        return DataLoader(self.learn, batch_sampler=batches)

    def _held_out_batches(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=16)

    def _images(self, pictures: Tensor) -> Tensor:
        """uint8 pictures as the model's input."""
        return (pictures.to(self.fabric.device).float() - self.mean) / self.std

    def _augmented(self, step: int, pictures: Tensor) -> Tensor:
        augmentation = self.settings.augmentation
        if augmentation is None:
            return self._images(pictures)
        numbers = augmentation.draw(self.settings.batch, seeded(self.settings.seed + 1, step))
        first = self.fabric.global_rank * len(pictures)
        pixels = pictures.to(self.fabric.device).float()
        return (augmentation.apply(pixels, numbers[first : first + len(pictures)]) - self.mean) / self.std

    # ---- loss and measurement

    def _teach(self, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.teacher(images, self.features)

    def _loss(self) -> Distance:
        count = min(SAMPLE, len(self.learn))
        sample = [self._teach(self._images(torch.stack([self.learn[index]]))) for index in range(count)]
        together = {name: torch.cat([answer[name] for answer in sample]) for name in sample[0]}
        return Distance(self.teacher.graph, self.features, self.settings.features, together)

    def _measure(
        self, answers: list[dict[str, Tensor]], on_measurement: Callable[[list[Measurement]], None] | None
    ) -> None:
        names = self.teacher.graph.outputs
        with torch.no_grad():
            own = [self.student(self._images(batch)) for batch in self._held_out_batches()]
        joined = [{name: torch.cat([part[name] for part in parts]) for name in names} for parts in (own, answers)]
        loss = sum(self.losses) / len(self.losses) if self.losses else math.nan
        self.losses = []
        step = self.masks.steps
        self.measurements.append(
            Measurement(
                step, loss, self.learning_rate(step), self.masks.sparsity, distances(self.teacher.graph, *joined)
            )
        )
        if on_measurement and self.fabric.is_global_zero:
            on_measurement(self.measurements)

    # ---- checkpoints

    def _fingerprint(self) -> dict[str, Any]:
        """Everything that must be the same in a resumed run as in the one that stopped."""
        return {**asdict(self.settings), "model": self.teacher.graph.name, "pictures": len(self.learn)}

    def _save(self, folder: Path) -> None:
        if self.fabric.is_global_zero:
            state = {
                "model": self.student.state_dict(), "optimizer": self.optimizer.optimizer.state_dict(),
                "masks": self.masks.state_dict(), "measurements": [asdict(row) for row in self.measurements],
                "losses": self.losses,
            }  # fmt: skip
            checkpoint.save(folder, state, self._fingerprint())
        self.fabric.barrier()

    def _restore(self, folder: Path, resume: bool) -> None:
        state = checkpoint.load(folder, self._fingerprint()) if resume else None
        if state is None:
            if not resume and (folder / checkpoint.NAME).exists():
                raise TulleError(f"{folder} holds a checkpoint: --resume goes on from it; or name another folder")
            return
        self.student.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.masks.load_state_dict(state["masks"])
        self.measurements = [Measurement(**row) for row in state["measurements"]]
        self.losses = state["losses"]


def typical_size(weight: Tensor) -> float:
    """The root mean square of a tensor's nonzero values, which its learning rate is relative to.

    With batch normalisation folded in, weights of one layer are hundreds of times larger than those of another; a
    common step is too long for some and negligible for others (Adafactor's relative step: Shazeer & Stern 2018, arXiv
    1804.04235).
    """
    values = weight.detach()[weight.detach() != 0]
    return max(SMALLEST_SIZE, float(values.square().mean().sqrt())) if len(values) else SMALLEST_SIZE


def _selection(student: GraphModule) -> Select:
    """The layers that one-shot sparsification prunes too."""
    layers = {id(student.layer(name)) for name in prunable_layers(student.graph)}
    if not layers:
        raise TulleError("the model has no 1x1 convolutions over more than one pixel: nothing to make sparse")
    return lambda name, module: id(module) in layers


def _image_input(graph: Graph) -> tuple[int, int, float, float]:
    """Height, width, mean and std of the only input."""
    inputs = [graph.tensors[name] for name in graph.inputs]
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[3] != 3:
        raise TulleError("only models with one image [1, H, W, 3] as input can be trained on pictures")
    return shape[1], shape[2], inputs[0].mean, inputs[0].std


def _signature(graph: Graph) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, graph.tensors[name].shape) for name in (*graph.inputs, *graph.outputs)]


def _shared_features(teacher: Graph, student: Graph) -> list[str]:
    computed = student.producer()
    shared = [
        name
        for name in block_ends(teacher)
        if name in computed and student.tensors[name].shape == teacher.tensors[name].shape
    ]
    if not shared:
        raise TulleError("teacher and start have no block ends in common: set the weight of features to 0")
    return shared

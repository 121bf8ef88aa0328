"""`MagnitudePruner` and `RigL` on small modules: schedules, exact counts, a change computed by hand, and resuming."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (see docs/training.md)")

from torch import nn  # noqa: E402

import tulle  # noqa: E402
from tulle.errors import TulleError  # noqa: E402
from tulle.train import FixedMasks, MagnitudePruner, RigL, is_pointwise, polynomial_sparsity  # noqa: E402
from tulle.train.layer_sparsity import layer_sparsities  # noqa: E402
from tulle.train.rigl import moved  # noqa: E402


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 40, 1),
        nn.ReLU(),
        nn.Conv2d(40, 8, 1),
        nn.Flatten(),
        nn.LazyLinear(5),
    )


def built(seed: int = 0) -> nn.Sequential:
    model = network(seed)
    model(torch.zeros(1, 3, 6, 6))
    return model


def train(model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable, first: int, count: int) -> None:
    """Steps `first` to `first + count - 1`, each on a batch of its own number."""
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number)
        images = torch.randn(4, 3, 6, 6, generator=generator)
        labels = torch.randint(5, (4,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        step()


def zeros(model: nn.Module) -> list[int]:
    return [int((weight == 0).sum()) for weight in (model[2].weight, model[4].weight)]


# ---- allocation and schedule


def test_schedule_is_the_cubic_one() -> None:
    values = [polynomial_sparsity(t, initial=0.1, final=0.9, begin=10, end=50) for t in (0, 10, 20, 30, 50, 99)]
    assert values == pytest.approx([0.1, 0.1, 0.9 - 0.8 * 0.75**3, 0.9 - 0.8 * 0.5**3, 0.9, 0.9])
    assert polynomial_sparsity(7, initial=0.0, final=0.5, begin=7, end=7) == 0.5


def test_erk_follows_the_formula() -> None:
    shapes = {"a": (64, 32, 3, 3), "b": (128, 256, 1, 1), "c": (512, 512, 1, 1)}
    shares = layer_sparsities(shapes, 0.8, "erk")
    raw = {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}
    factors = {name: (1 - shares[name]) / raw[name] for name in shapes}
    assert factors["a"] == pytest.approx(factors["b"]) and factors["b"] == pytest.approx(factors["c"])
    kept = sum((1 - shares[name]) * math.prod(shape) for name, shape in shapes.items())
    assert kept == pytest.approx(0.2 * sum(map(math.prod, shapes.values())))


def test_erk_leaves_small_layers_dense_and_keeps_the_total() -> None:
    shapes = {"small": (4, 4, 1, 1), "large": (100, 100, 1, 1)}
    shares = layer_sparsities(shapes, 0.5, "erk")
    assert shares["small"] == 0
    assert (1 - shares["large"]) * 10000 + 16 == pytest.approx(0.5 * 10016)


# ---- which layers


def test_pointwise_layers_are_selected_and_shared_weights_come_once() -> None:
    model = built()
    model[4].weight = nn.Parameter(torch.randn(8, 40, 1, 1))
    model.append(nn.Conv2d(40, 8, 1))
    model[7].weight = model[4].weight
    masks = FixedMasks(model, torch.optim.SGD(model.parameters(), 0.1))
    assert list(masks.weights) == ["2.weight", "4.weight"]
    assert not is_pointwise("", nn.Conv2d(8, 8, 1, groups=8))


def test_no_layer_to_select_is_an_error() -> None:
    model = nn.Linear(3, 3)
    with pytest.raises(TulleError, match="no layer"):
        FixedMasks(model, torch.optim.SGD(model.parameters(), 0.1))


def test_fixed_masks_keep_zeros_under_momentum_and_decay() -> None:
    model = built()
    with torch.no_grad():
        model[2].weight[::2] = 0
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
    masks = FixedMasks(model, optimizer)
    assert masks.sparsity == pytest.approx(320 / 960)
    before = model[2].weight.detach().clone()
    train(model, optimizer, masks.step, 0, 5)
    assert (model[2].weight[::2] == 0).all()
    assert (model[2].weight[1::2] != before[1::2]).all()


# ---- gradual magnitude pruning


@pytest.mark.parametrize("allocation", ["uniform", "erk", "global"])
def test_magnitude_reaches_the_exact_count_at_every_change(allocation: str) -> None:
    model = built()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    pruner = MagnitudePruner(
        model, optimizer, sparsity=0.85, begin=2, end=11, every=3, initial=0.2, allocation=allocation
    )
    shapes = {"2": (40, 16, 1, 1), "4": (8, 40, 1, 1)}
    for done in range(1, 15):
        train(model, optimizer, pruner.step, done - 1, 1)
        # Changes after steps 2, 5, 8 and 11.
        at = None if done < 2 else 11 if done >= 11 else done - (done - 2) % 3
        target = 0.0 if at is None else 0.85 + (0.2 - 0.85) * (1 - (at - 2) / 9) ** 3
        if allocation == "global":
            assert sum(zeros(model)) == round(target * 960)
        else:
            shares = layer_sparsities(shapes, target, allocation)
            assert zeros(model) == [round(shares["2"] * 640), round(shares["4"] * 320)]
        assert pruner.sparsity == pytest.approx(sum(zeros(model)) / 960)


def test_magnitude_takes_the_smallest() -> None:
    model = nn.Conv2d(3, 2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, -0.1, 0.3], [-0.9, 0.2, -0.4]]).reshape(2, 3, 1, 1))
    pruner = MagnitudePruner(model, torch.optim.SGD(model.parameters(), 0.1), sparsity=0.5, begin=0, end=0)
    # A schedule that ends before the first step is done by then.
    assert model.weight.flatten().tolist() == pytest.approx([0.5, 0, 0, -0.9, 0, -0.4])
    assert pruner.sparsity == pytest.approx(0.5)


def test_magnitude_never_brings_back_a_weight() -> None:
    model = built()
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    pruner = MagnitudePruner(model, optimizer, sparsity=0.9, begin=0, end=20, every=1, allocation="global")
    for done in range(20):
        before = {name: mask.clone() for name, mask in pruner.masks.items()}
        train(model, optimizer, pruner.step, done, 1)
        assert all((before[name] >= mask).all() for name, mask in pruner.masks.items())


@pytest.mark.parametrize(
    "change",
    [{"sparsity": 1.0}, {"sparsity": -0.1}, {"sparsity": math.nan}, {"initial": 0.9}, {"begin": 20}, {"every": 0},
     {"allocation": "best"}],
)  # fmt: skip
def test_magnitude_refuses_bad_arguments(change: dict) -> None:
    model = built()
    arguments = {"sparsity": 0.8, "begin": 0, "end": 10, **change}
    with pytest.raises(TulleError):
        MagnitudePruner(model, torch.optim.SGD(model.parameters(), 0.1), **arguments)


# ---- RigL


def test_rigl_share_decays_as_a_cosine() -> None:
    model = built()
    rigl = RigL(model, torch.optim.SGD(model.parameters(), 0.1), sparsity=0.5, end=100, drop_fraction=0.4)
    shares = [rigl.share_to_move(step) for step in (0, 25, 50, 75, 100, 200)]
    assert shares == pytest.approx([0.4, 0.2 * (1 + math.sqrt(0.5)), 0.2, 0.2 * (1 - math.sqrt(0.5)), 0, 0])


def test_rigl_moves_as_computed_by_hand() -> None:
    weight = torch.tensor([0.9, -0.1, 0.0, 0.0, 0.5, 0.2])
    mask = torch.tensor([True, True, False, False, True, True])
    gradient = torch.tensor([9.0, 0.3, -2.0, 0.1, -8.0, 0.5])
    # 0.1 and 0.2 go; of what is not kept, gradients 2.0 and 0.5 are largest: 0.2 comes back at once.
    assert moved(weight, gradient, mask, 2).tolist() == [True, False, True, False, True, True]
    assert moved(weight, gradient, mask, 1).tolist() == [True, False, True, False, True, True]
    assert moved(weight, gradient, mask, 0).tolist() == mask.tolist()


def test_rigl_change_by_hand_in_training() -> None:
    """One layer of four weights whose gradients are known: what moves, where it starts, what momentum is left."""
    model = nn.Conv2d(4, 1, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([1.0, 0.2, 0.0, 0.0]).reshape(1, 4, 1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    rigl = RigL(model, optimizer, sparsity=None, end=4, every=1, drop_fraction=1.0)

    def step() -> list[float]:
        optimizer.zero_grad()
        x = torch.tensor([1.0, 0.5, -0.25, 3.0]).reshape(1, 4, 1, 1)
        model(x).sum().backward()  # the gradient is x
        rigl.step()
        return model.weight.flatten().tolist()

    assert step() == pytest.approx([0.9, 0.15, 0, 0])  # a plain step, on what is there
    # share = 1/2 (1 + cos(pi / 4)) = 0.85, of 2 weights: 1 goes, and the largest other gradient grows, from zero.
    assert step() == pytest.approx([0.9, 0, 0, 0])
    assert rigl.masks["weight"].flatten().tolist() == [True, False, False, True]
    momentum = optimizer.state[model.weight]["momentum_buffer"].flatten().tolist()
    assert momentum == pytest.approx([1.0, 0, 0, 0])


@pytest.mark.parametrize("allocation", ["erk", "uniform"])
def test_rigl_keeps_every_layers_count_and_stops_at_the_end(allocation: str) -> None:
    model = built()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    rigl = RigL(model, optimizer, sparsity=0.75, end=12, every=3, allocation=allocation, seed=5)
    shares = layer_sparsities({"2": (40, 16, 1, 1), "4": (8, 40, 1, 1)}, 0.75, allocation)
    counts = [round(shares["2"] * 640), round(shares["4"] * 320)]
    changed_after = []
    for done in range(1, 20):
        masks = copy.deepcopy(rigl.masks)
        dense_before = model[0].weight.detach().clone()
        train(model, optimizer, rigl.step, done - 1, 1)
        assert [int((~mask).sum()) for mask in rigl.masks.values()] == counts
        assert all((weight[~rigl.masks[name]] == 0).all() for name, weight in rigl.weights.items())
        if any((masks[name] != mask).any() for name, mask in rigl.masks.items()):
            changed_after.append(done)
            assert torch.equal(model[0].weight, dense_before)  # the optimizer rests
    assert changed_after == [4, 7, 10]  # before steps 3, 6 and 9; not before step 12, the end


def test_rigl_random_masks_depend_on_the_seed_alone() -> None:
    def masks(seed: int) -> torch.Tensor:
        model = built()
        return RigL(model, torch.optim.SGD(model.parameters(), 0.1), sparsity=0.5, end=9, seed=seed).masks["2.weight"]

    assert torch.equal(masks(1), masks(1)) and not torch.equal(masks(1), masks(2))


@pytest.mark.parametrize(
    "change",
    [{"sparsity": 1.0}, {"sparsity": None}, {"end": -1}, {"every": 0}, {"drop_fraction": 0.0},
     {"drop_fraction": 1.5}, {"allocation": "global"}],
)  # fmt: skip
def test_rigl_refuses_bad_arguments(change: dict) -> None:
    model = built()
    arguments = {"sparsity": 0.8, "end": 10, **change}
    with pytest.raises(TulleError):
        RigL(model, torch.optim.SGD(model.parameters(), 0.1), **arguments)


def test_rigl_wants_gradients() -> None:
    model = built()
    rigl = RigL(model, torch.optim.SGD(model.parameters(), 0.1), sparsity=0.5, end=10, every=1)
    rigl.steps = 1
    with pytest.raises(TulleError, match="backward"):
        rigl.step()


# ---- resuming


def magnitude(model: nn.Module, optimizer: torch.optim.Optimizer) -> FixedMasks:
    return MagnitudePruner(model, optimizer, sparsity=0.8, begin=1, end=9, every=2, allocation="global")


def rigl(model: nn.Module, optimizer: torch.optim.Optimizer) -> FixedMasks:
    return RigL(model, optimizer, sparsity=0.6, end=10, every=2, seed=3)


@pytest.mark.parametrize("make", [magnitude, rigl])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_resumed_run_equals_uninterrupted_one_bit_for_bit(make: Callable, kind: type) -> None:
    def start(seed: int) -> tuple[nn.Module, torch.optim.Optimizer, FixedMasks]:
        model = built(seed)
        optimizer = kind(model.parameters(), 0.02, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
        return model, optimizer, make(model, optimizer)

    model, optimizer, masks = start(0)
    train(model, optimizer, masks.step, 0, 5)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), masks.state_dict()))
    train(model, optimizer, masks.step, 5, 8)

    resumed, resumed_optimizer, resumed_masks = start(1)
    for target, state in zip((resumed, resumed_optimizer, resumed_masks), saved, strict=True):
        target.load_state_dict(state)
    train(resumed, resumed_optimizer, resumed_masks.step, 5, 8)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))
    assert all(torch.equal(masks.masks[name], resumed_masks.masks[name]) for name in masks.masks)


def test_state_of_other_layers_is_refused() -> None:
    model, other = built(), nn.Conv2d(4, 4, 1)
    masks = FixedMasks(model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(TulleError, match="other layers"):
        masks.load_state_dict(FixedMasks(other, torch.optim.SGD(other.parameters(), 0.1)).state_dict())


def test_a_pruned_network_of_ones_own_runs_sparse(tmp_path: Path) -> None:
    """The way of docs/training.md from a PyTorch module to a .tulle file."""
    pytest.importorskip("onnx", reason="the onnx package is not installed")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    pruner = MagnitudePruner(net, optimizer, sparsity=0.8, begin=0, end=4, every=1)
    for _ in range(6):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.rand(4, 3, 64, 64)), torch.randint(10, (4,))).backward()
        optimizer.step()
        pruner.step()
    net.eval()
    picture = torch.randint(256, (1, 3, 64, 64)).to(torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that this exporter is the older one
        torch.onnx.export(net, (torch.zeros(1, 3, 64, 64),), tmp_path / "net.onnx", dynamo=False)
        expected = net(picture / 255).numpy()
    conversion = tulle.convert(tmp_path / "net.onnx", input_std=255)
    assert [layer.sparsity for layer in conversion.report.layers] == ["dense", "sparse", "dense"]
    assert conversion.report.layers[1].zeros == pytest.approx(0.8, abs=0.01)
    with tulle.load(conversion.data) as model:
        (got,) = model(picture[0].permute(1, 2, 0).numpy()).values()
    np.testing.assert_allclose(got, expected, atol=1e-5)

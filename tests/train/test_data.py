"""Pictures, their order and their changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (see docs/training.md)")

from tulle.errors import TulleError  # noqa: E402
from tulle.train.augment import Augmentation  # noqa: E402
from tulle.train.data import Batches, Pictures, find_pictures, is_held_out, seeded, split  # noqa: E402

STILL = Augmentation(rotation=0, scale=0, shift=0, mirror=False, brightness=0, tint=0, contrast=0, mix=0)


# ---- files


def test_pictures_are_found_in_order_and_split_by_name(pictures: Path) -> None:
    paths = find_pictures(pictures)
    assert len(paths) == 40 and paths == sorted(paths)
    learn, held_out = split(paths)
    assert sorted([*learn, *held_out]) == paths
    assert held_out == [path for path in paths if is_held_out(path.name)]


def test_which_pictures_are_held_out_never_changes() -> None:
    held_out = [number for number in range(100) if is_held_out(f"picture{number}.png")]
    assert held_out == [8, 11, 23, 28, 47, 62, 67, 78, 84, 88, 89, 97, 99]


def test_unreadable_pictures_are_counted(tmp_path: Path, pictures: Path) -> None:
    good = find_pictures(pictures)[:3]
    (tmp_path / "bad.png").write_bytes(good[0].read_bytes()[:60])
    (tmp_path / "worse.jpg").write_bytes(b"")
    left, bad = Pictures([*good, tmp_path / "bad.png", tmp_path / "worse.jpg"], 8, 10).without_unreadable()
    assert (left.paths, bad) == (good, 2)
    assert left[1].shape == (8, 10, 3) and left[1].dtype == torch.uint8


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(TulleError, match="no folder"):
        find_pictures(tmp_path / "none")
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(TulleError, match="no pictures"):
        find_pictures(tmp_path)
    with pytest.raises(TulleError, match="too few"):
        split([Path("a.png"), Path("b.png")])


# ---- order


def test_each_round_has_every_picture_once() -> None:
    places = [index for batch in Batches(10, 4, range(5), seed=1) for index in batch]
    assert sorted(places[:10]) == sorted(places[10:]) == list(range(10))
    assert places[:10] != places[10:]


def test_order_depends_on_seed_and_step_alone() -> None:
    whole = list(Batches(10, 4, range(8), seed=1))
    assert list(Batches(10, 4, range(5, 8), seed=1)) == whole[5:]
    assert list(Batches(10, 4, range(8), seed=2)) != whole
    halves = [list(Batches(10, 4, range(8), seed=1, rank=rank, processes=2)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


def test_batches_larger_than_the_set_go_round() -> None:
    (batch,) = Batches(3, 8, range(1), seed=0)
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2] and len(batch) == 8


# ---- changes


def images(count: int = 2, size: int = 12) -> torch.Tensor:
    values = np.random.default_rng(0).random((count, size, size, 3)) * 255
    return torch.from_numpy(values.astype(np.float32))


def numbers(**at: float) -> torch.Tensor:
    result = torch.zeros(2, 11)
    for place, value in at.items():
        result[:, int(place[1:])] = value
    return result


def test_no_change_is_none() -> None:
    changed = STILL.apply(images(), STILL.draw(2, seeded(0, 0)))
    assert torch.allclose(changed, images(), atol=1e-3)


def test_quarter_turn() -> None:
    turned = Augmentation(**{**vars(STILL), "rotation": 90.0}).apply(images(), numbers(n0=1.0))
    assert torch.allclose(turned, torch.rot90(images(), 1, (1, 2)), atol=1e-2)


def test_quarter_turn_of_an_oblong_keeps_proportions() -> None:
    """A square in the middle of a wide picture stays a square."""
    wide = torch.zeros(2, 8, 16, 3)
    wide[:, 2:6, 6:10] = torch.rand(2, 4, 4, 3, generator=seeded(0, 0)) * 255
    turned = Augmentation(**{**vars(STILL), "rotation": 90.0}).apply(wide, numbers(n0=1.0))
    assert torch.allclose(turned[:, 2:6, 6:10], torch.rot90(wide[:, 2:6, 6:10], 1, (1, 2)), atol=1e-2)


def test_mirror() -> None:
    mirrored = Augmentation(**{**vars(STILL), "mirror": True}).apply(images(), numbers(n2=-0.5))
    assert torch.allclose(mirrored, images().flip(2), atol=1e-2)


def test_light_and_contrast() -> None:
    brighter = Augmentation(**{**vars(STILL), "brightness": 0.1}).apply(images(), numbers(n7=1.0))
    assert torch.allclose(brighter, (images() + 25.5).clamp(max=255), atol=1e-2)
    flatter = Augmentation(**{**vars(STILL), "contrast": 0.5}).apply(images(), numbers(n6=-1.0))
    assert torch.allclose(flatter, (images() - 127.5) * np.exp(-0.5) + 127.5, atol=1e-2)


def test_mix_takes_from_the_neighbour() -> None:
    mixed = Augmentation(**{**vars(STILL), "mix": 0.4}).apply(images(), numbers(n5=0.5))
    assert torch.allclose(mixed, 0.8 * images() + 0.2 * images().flip(0), atol=1e-2)


def test_changes_stay_in_range_and_depend_on_the_generator() -> None:
    everything = Augmentation()
    first, again, other = (everything.apply(images(), everything.draw(2, seeded(0, n))) for n in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 255 and first.shape == (2, 12, 12, 3)

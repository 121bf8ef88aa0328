"""Backgrounds: every stage of wasm/compose against NumPy in float64, the Python class, and the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import background_oracle as oracle
import tulle
from background_oracle import Colours
from paths import ROOT
from tulle import TulleError
from tulle.background import Background
from tulle.cli import main
from tulle.graph import Graph, Node, Tensor
from tulle.runtime.compositor import Compositor, FrameFormat

HEIGHT, WIDTH = 18, 31


def network(height: int = HEIGHT, width: int = WIDTH, gain: float = 30.0) -> Graph:
    """Bright is person: a sigmoid of the mean of 3 x 3 pixels, with each channel's own weight."""
    graph = Graph("bright")
    graph.inputs = [graph.add_tensor(Tensor("image", (1, height, width, 3), mean=0.0, std=255.0))]
    weight = np.array([0.5, 0.3, 0.2], np.float32) * gain / 9
    weight = graph.add_constant("weight", np.broadcast_to(weight, (1, 3, 3, 3)).copy())
    bias = graph.add_constant("bias", np.array([-0.5 * gain], np.float32))
    graph.outputs = [graph.add_tensor(Tensor("mask", (1, height, width, 1)))]
    conv = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "sparsity": "dense", "activation": "sigmoid"}
    graph.nodes = [Node("conv2d", "conv", ["image", weight, bias], ["mask"], conv)]
    return graph


def scene(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Blobs of colour with noise: bright and dark parts with edges in between."""
    coarse = random.random((height // 24 + 3, width // 24 + 3, 3)) * 255
    rgb = coarse.repeat(24, 0).repeat(24, 1)[:height, :width]
    return (rgb + random.normal(0, 6, rgb.shape)).clip(0, 255)


def frame_of(rgb: np.ndarray, colours: Colours) -> list[np.ndarray]:
    height, width = rgb.shape[:2]
    if not colours.yuv:
        alpha = np.random.default_rng(0).integers(0, 256, (height, width, 1))  # which is ignored
        return [np.dstack([rgb, alpha]).astype(np.uint8).reshape(height, 4 * width)]
    y, u, v = (plane.clip(0, 255).round().astype(np.uint8) for plane in np.moveaxis(colours.from_rgb(rgb), 2, 0))
    u, v = u[::2, ::2], v[::2, ::2]
    if colours.format == "I420":
        return [y, u, v]
    return [y, np.stack([u, v], -1).reshape(u.shape[0], -1)]


def floats(compositor: Compositor, name: str, count: int) -> np.ndarray:
    """The network's input or output as it lies in memory."""
    library = compositor._library
    return np.frombuffer(library.read(library.call(name, compositor._model._model, 0), 4 * count), np.float32)


@pytest.fixture(scope="module")
def compositor() -> Iterator[Compositor]:
    with Compositor(tulle.load(network())) as compositor:
        yield compositor


FORMATS = [
    Colours("RGBA"),
    Colours("I420"),
    Colours("NV12", "bt709", True),
    Colours("I420", "bt2020"),
]
# Odd, tiny, smaller than the mask, and of both kinds of level 0: more than half a million pixels are halved.
SIZES = [(97, 131), (1, 1), (2, 1), (11, 17), (705, 711), (36, 62)]


def prepare(compositor: Compositor, colours: Colours, size: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    compositor.set_size(
        colours.format,  # type: ignore[arg-type]
        size[1],
        size[0],
        matrix=colours.matrix,  # type: ignore[arg-type]
        full_range=colours.full_range,
    )
    compositor.reset()
    return frame_of(scene(np.random.default_rng(seed), *size), colours)


def alpha_of(compositor: Compositor, frame: list[np.ndarray], colours: Colours) -> np.ndarray:
    """Level 0's alpha by the oracle, from the mask of the last run."""
    level0, _ = oracle.split(frame, colours.format)
    small = oracle.guide(level0, HEIGHT, WIDTH)
    mask = compositor.mask
    assert mask is not None
    return oracle.refine(level0, small, oracle.sure(mask.astype(np.float64)), colours)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", FORMATS, ids=lambda colours: f"{colours.format}-{colours.matrix}")
def test_the_network_sees_the_frame(compositor: Compositor, colours: Colours, size: tuple[int, int]) -> None:
    frame = prepare(compositor, colours, size)
    compositor(frame, "blur")
    level0, _ = oracle.split(frame, colours.format)
    expected = colours.to_rgb(oracle.guide(level0, HEIGHT, WIDTH)) / 255
    given = floats(compositor, "tulle_model_input", HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(given, expected, atol=2e-5)


@pytest.mark.parametrize("colours", FORMATS[:2], ids=lambda colours: colours.format)
def test_the_mask_is_steadied(compositor: Compositor, colours: Colours) -> None:
    random = np.random.default_rng(1)
    still = scene(random, 90, 120)
    prepare(compositor, colours, (90, 120))
    before = None
    for step in range(4):
        rgb = still + random.normal(0, 2, still.shape)
        rgb[:, 40:80] += 4 * step  # a little brighter: still, to the filter
        rgb[:, 80:] += 25 * (step % 2)  # moves
        frame = frame_of(rgb.clip(0, 255), colours)
        compositor(frame, "colour")
        raw = floats(compositor, "tulle_model_output", HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
        small = oracle.guide(oracle.split(frame, colours.format)[0], HEIGHT, WIDTH)
        before = oracle.steady(raw, small, colours, before)
        np.testing.assert_allclose(compositor.mask, before[0], atol=2e-5)
        assert step == 0 or np.abs(before[0] - raw).max() > 0.05
    kept = compositor.mask
    compositor(frame_of(scene(random, 90, 120), colours), "colour", fresh=False)
    np.testing.assert_array_equal(compositor.mask, kept)
    compositor.reset()
    assert compositor.mask is None
    compositor(frame, "colour", fresh=False)  # there is none to take again
    np.testing.assert_allclose(compositor.mask, raw, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_alpha_follows_the_frame(compositor: Compositor, size: tuple[int, int]) -> None:
    colours = Colours("RGBA")
    frame = prepare(compositor, colours, size)
    (cut,) = compositor(frame, "cutout")
    cut = cut.reshape(*size, 4)
    np.testing.assert_array_equal(cut[..., :3], frame[0].reshape(*size, 4)[..., :3])
    expected = alpha_of(compositor, frame, colours)
    if expected.shape != size:
        expected = oracle.double(expected, *size)
    assert np.abs(cut[..., 3].astype(int) - expected).max() <= 1
    if min(size) > 50:
        assert 0.05 < (expected > 0).mean() < 0.95 and ((expected > 0) & (expected < 255)).mean() > 0.02


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", FORMATS, ids=lambda colours: f"{colours.format}-{colours.matrix}")
@pytest.mark.parametrize(("effect", "strength"), [("blur", 0.06), ("blur", 0.5), ("blur", 1.0), ("colour", 0.0)])
def test_effects(compositor: Compositor, colours: Colours, size: tuple[int, int], effect: str, strength: float) -> None:
    frame = prepare(compositor, colours, size)
    result = compositor(frame, effect, strength=strength, colour=(10, 170, 68))  # type: ignore[arg-type]
    alpha = alpha_of(compositor, frame, colours)
    expected = oracle.composite(frame, colours, alpha, effect, strength, (10, 170, 68))
    for plane, wanted in zip(result, expected, strict=True):
        difference = np.abs(plane.astype(int) - wanted)
        # A rounding the other way in alpha or in the blur is seen as one, rarely two.
        assert difference.max() <= 2 and (difference > 1).mean() < 1e-3


@pytest.mark.parametrize("size", [(97, 131), (705, 711), (1, 1)])
@pytest.mark.parametrize("colours", FORMATS[:3], ids=lambda colours: colours.format)
def test_pictures_cover_the_frame(compositor: Compositor, colours: Colours, size: tuple[int, int]) -> None:
    """Behind a person that is nowhere is the picture, and so the oracle of the mixture gets it from there."""
    picture = np.dstack([scene(np.random.default_rng(7), 50, 90), np.full((50, 90), 9)]).astype(np.uint8)
    frame = prepare(compositor, colours, size)
    compositor.set_picture(picture)
    night = frame_of(np.zeros((*size, 3)), colours)
    backdrop = compositor(night, "picture")
    # The middle of the picture, at the frame's size.
    height, width = size
    side = min(90 / width, 50 / height)
    left, top = (90 - side * width) / 2, (50 - side * height) / 2
    rgb = picture[..., :3].astype(float)
    wanted = colours.from_rgb(sampled(rgb, size, (top, left), (side, side)))
    luma = backdrop[0].reshape(height, width, 4)[..., :3] if not colours.yuv else backdrop[0][..., None]
    assert np.abs(luma - wanted[..., : luma.shape[2]].clip(0, 255)).max() <= 1
    compositor.reset()
    result = compositor(frame, "picture")
    alpha = alpha_of(compositor, frame, colours)
    small = sampled(rgb, (16, 16), (top, left), (side * height / 16, side * width / 16))
    light = frame_from(sampled(np.floor(small + 0.5), size, (0, 0), (16 / height, 16 / width)), colours)
    expected = oracle.composite(frame, colours, alpha, "picture", backdrop=backdrop, light=light)
    for plane, wanted in zip(result, expected, strict=True):
        assert np.abs(plane.astype(int) - wanted).max() <= 2
    compositor.set_picture(None)
    with pytest.raises(TulleError, match="there is no picture yet"):
        compositor(frame, "picture")


def sampled(
    rgb: np.ndarray, size: tuple[int, int], corner: tuple[float, float], steps: tuple[float, float]
) -> np.ndarray:
    """A part of a picture at another size, as wasm/image samples it: bilinear up to four pixels for one, else means."""
    for axis in (0, 1):
        length, step = size[axis], steps[axis]
        samples = 1 if step <= 4 else int(np.ceil(step))
        total = np.zeros(1)
        for k in range(samples):
            x = corner[axis] + (np.arange(length) + (k + 0.5) / samples) * step - 0.5
            floor = np.floor(x).astype(int)
            share = (x - floor).reshape([-1 if i == axis else 1 for i in range(3)])
            before, after = rgb.take(floor, axis, mode="clip"), rgb.take(floor + 1, axis, mode="clip")
            total = total + (before + (after - before) * share) / samples
        rgb = total
    return rgb


def frame_from(rgb: np.ndarray, colours: Colours) -> list[np.ndarray]:
    """A frame whose chroma is the mean of up to 2 x 2 pixels."""
    if not colours.yuv:
        return frame_of(rgb, colours)
    height, width = rgb.shape[:2]
    luma = colours.from_rgb(rgb)[..., 0]
    wide = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    mean = wide.reshape(wide.shape[0] // 2, 2, wide.shape[1] // 2, 2, 3).mean((1, 3))
    u, v = np.moveaxis(colours.from_rgb(mean)[..., 1:], 2, 0)
    planes = [np.floor(plane.clip(0, 255) + 0.5).astype(np.uint8) for plane in (luma, u, v)]
    if colours.format == "I420":
        return planes
    return [planes[0], np.stack(planes[1:], -1).reshape(planes[1].shape[0], -1)]


def test_none_is_the_frame(compositor: Compositor) -> None:
    for colours in FORMATS:
        frame = prepare(compositor, colours, (31, 45))
        for effect, strength in (("none", 0.5), ("blur", 0.0)):
            for plane, given in zip(compositor(frame, effect, strength=strength), frame, strict=True):  # type: ignore[arg-type]
                np.testing.assert_array_equal(plane, given)


def test_networks_and_sizes_that_do_not_fit_are_refused(compositor: Compositor) -> None:
    hands = tulle.load(network(5, 7))
    hands.close()
    with pytest.raises(TulleError, match="the model is closed"):
        Compositor(hands)
    other = network()
    other.nodes[0].attrs["strides"] = (2, 2)  # another mask than the input's size
    other.tensors["mask"].shape = (1, HEIGHT // 2, (WIDTH + 1) // 2, 1)
    with tulle.load(other) as model, pytest.raises(TulleError, match="finds no people"):
        Compositor(model)
    for width, height in ((0, 4), (4, 0), (16385, 4), (4, 1 << 31), (-1, 4)):
        with pytest.raises(TulleError, match="1 to 16384 pixels a side"):
            compositor.set_size("RGBA", width, height)
    for width, height, said in ((0, 4, "empty"), (4, 16385, "at most 16384"), (1 << 31, 1 << 31, "at most 16384")):
        assert compositor._library.call("tulle_compositor_set_size", compositor._pointer, 3, width, height, 0, 0) == 1
        assert said in compositor._model._error()
    for arguments in ((5, 4, 4, 0, 0), (1, 4, 4, 0, 0), (3, 4, 4, 3, 0), (3, 4, 4, 0, 2)):
        assert compositor._library.call("tulle_compositor_set_size", compositor._pointer, *arguments) == 1
    with pytest.raises(TulleError, match="out of memory for frames of this size"):
        compositor.set_size("RGBA", 16384, 16384)
    with pytest.raises(TulleError, match="comes first"):
        compositor([np.zeros((1, 4), np.uint8)], "blur")
    compositor.set_size("I420", 5, 3)
    planes = [np.zeros((3, 5), np.uint8), np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8)]
    compositor(planes, "blur")
    for wrong in ({"strength": 1.5}, {"colour": (0, 0, 256)}, {"strength": float("nan")}):
        with pytest.raises(TulleError):
            compositor(planes, "blur", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TulleError, match="only RGBA"):
        compositor(planes, "cutout")
    with pytest.raises(TulleError, match=r"uint8 \(2, 3\), not uint8 \(2, 2\)"):
        compositor([planes[0], planes[1], planes[2][:, :2]], "blur")


def test_memory_is_steady(compositor: Compositor) -> None:
    """Runs take none, and sizes give back what they took."""
    if not hasattr(compositor._library, "_memory"):
        pytest.skip("not in wasmtime")
    formats: list[FrameFormat] = ["I420", "NV12", "RGBA"]

    def round_() -> int:
        for format in formats:
            frame = prepare(compositor, Colours(format), (300, 400))
            compositor.set_picture(np.full((20, 30, 4), 80, np.uint8))
            for effect in ("blur", "picture", "colour"):
                compositor(frame, effect)  # type: ignore[arg-type]
        return int(compositor._library._memory.data_len(compositor._library._store))  # type: ignore[attr-defined]

    sizes = [round_() for _ in range(12)]
    assert sizes[2:] == sizes[2:3] * 10


# ---- the class and the command ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def background(package_models: Path) -> Iterator[Background]:
    with Background() as background:
        yield background


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    with Image.open(ROOT / "demos" / "images" / "person" / "1.jpg") as image:
        return np.asarray(image.convert("RGB"))


def test_the_person_stays_and_the_background_goes(background: Background, person: np.ndarray) -> None:
    cut = background(person, cutout=True)
    alpha = cut[..., 3]
    np.testing.assert_array_equal(cut[..., :3], person)
    inside, outside = alpha == 255, alpha == 0
    assert inside.mean() > 0.1 and outside.mean() > 0.1 and inside.mean() + outside.mean() > 0.8
    green = background(person, colour="#00aa44")
    assert np.array_equal(green, background(person, colour=(0, 170, 68)))
    assert np.abs(green[outside].astype(int) - (0, 170, 68)).max() <= 1
    blurred = background(person)
    assert blurred.shape == person.shape

    def roughness(picture: np.ndarray) -> float:
        steps = np.abs(np.diff(picture.astype(float).mean(2), axis=1))
        return float(steps[outside[:, 1:] & outside[:, :-1]].mean())

    assert roughness(blurred) < 0.5 * roughness(person)
    assert roughness(background(person, blur=1.0)) < roughness(background(person, blur=0.1))


def test_options_of_the_class(background: Background, person: np.ndarray) -> None:
    with pytest.raises(TulleError, match="one background at a time, not blur and cutout"):
        background(person, blur=0.5, cutout=True)
    for wrong in ({"blur": 2.0}, {"colour": "red"}, {"colour": (1, 2)}, {"picture": np.zeros((3, 3))}):
        with pytest.raises(TulleError):
            background(person, **wrong)
    with pytest.raises(TulleError, match="a picture is uint8"):
        background(np.zeros((4, 4)))
    other = Background(network())
    other.close()
    other.close()
    with pytest.raises(TulleError, match="closed"):
        other(person)


def test_the_command(package_models: Path, tmp_path: Path) -> None:
    run = CliRunner()
    source = ROOT / "demos" / "images" / "person" / "1.jpg"
    with Image.open(source) as image:
        upright = np.asarray(image.convert("RGB"))
    # The same picture lying on its side, which its EXIF data says.
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(turned, exif=exif)
    for name, options in (
        ("blur.png", ["--blur", "0.6"]),
        ("picture.png", ["--picture", str(source)]),
        ("colour.png", ["--colour", "#00aa44"]),
        ("mask.png", ["--mask"]),
        ("plain.png", []),
    ):
        target = tmp_path / name
        done = run.invoke(main, ["background", str(turned), "-o", str(target), *options])
        assert done.exit_code == 0, done.output
        with Background() as background, Image.open(target) as result:
            expected = {
                "blur.png": lambda: background(upright, blur=0.6),
                "picture.png": lambda: background(upright, picture=upright),
                "colour.png": lambda: background(upright, colour="#00aa44"),
                "mask.png": lambda: background(upright, cutout=True),
                "plain.png": lambda: background(upright),
            }[name]()
            assert result.mode == ("RGBA" if name == "mask.png" else "RGB")
            np.testing.assert_array_equal(np.asarray(result), expected)
    for arguments, said in (
        (["-o", str(tmp_path / "x.jpg"), "--mask"], "holds no transparency"),
        (["-o", str(tmp_path / "x.gibberish")], "no picture is written with the suffix"),
        (["-o", str(tmp_path / "x.png"), "--mask", "--blur", "1"], "one background at a time"),
        (["-o", str(tmp_path / "x.png"), "--colour", "red"], "is no colour"),
        (["-o", str(turned)], "is read as well"),
        (["-o", str(tmp_path / "nowhere" / "x.png")], "cannot be written"),
    ):
        done = run.invoke(main, ["background", str(turned), *arguments])
        assert done.exit_code == 1 and said in done.output, done.output
    empty = tmp_path / "empty.png"
    Image.fromarray(np.full((90, 160, 3), 128, np.uint8)).save(empty)
    done = run.invoke(main, ["background", str(empty), "-o", str(tmp_path / "nobody.png")])
    assert done.exit_code == 0 and "finds nobody" in done.output

"""Pictures of people in front of all kinds of things, composed of pictures whose licences let derived models ship.

People are drawn, or cut out by the dense model's own mask, recoloured, and placed before other pictures and drawn
shapes. Nothing has to look real: the sparse model learns the dense model's answer, whatever it is. README.md lists
the sources and their licences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from bodies import bodies
from photographs import portraits, things
from PIL import Image, ImageDraw, ImageFilter

from common import SHARED, data_folder, progress
from tulle import TulleError
from tulle.graph import Graph
from tulle.graph.reference import run
from tulle.image import Region, read_image, to_input
from tulle.runtime import TensorInfo

Item = TypeVar("Item")

WIDTH, HEIGHT = 256, 144  # of selfie_segmentation_landscape's input

BODIES = 1500


def scenes(dense: Graph, folder: Path, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Pictures by number, uint8 (144, 256, 3), always the same ones; drawn people are kept in the folder."""
    frames = carphone_frames()
    drawings = bodies(folder, BODIES)
    clip = [cut_out(dense, frame) for frame in frames[::4]]
    photographed = [cut_out(dense, portrait) for portrait in portraits()]
    backgrounds = things()
    hands = sorted(data_folder("hands").glob("*.jpg"))

    def one_of(items: Sequence[Item]) -> Item:
        return items[int(random.integers(len(items)))]

    def hand() -> np.ndarray:
        return read_image(one_of(hands), 100, 100)

    def background() -> np.ndarray:
        kind = random.random()
        if kind < 0.2:
            return drawn(backgrounds, random)
        if kind < 0.3:
            return clouds(random)
        if kind < 0.85:
            return cut(one_of(backgrounds), random)
        return cut(hand() if kind < 0.92 else one_of(frames), random)

    for number in progress(numbers, "Making scenes"):
        random = np.random.default_rng(number)
        if number % 12 == 0:
            scene = cut(one_of(frames), random)
        else:
            scene = tinted(background(), random)
            if random.random() < 0.4:
                scene = blurred(scene, 4, random)
            for _ in range(random.choice([0, 1, 2, 4], p=[0.06, 0.6, 0.24, 0.1])):
                some = random.choice(3, p=[0.7, 0.15, 0.15])
                scene = before(one_of((drawings, photographed, clip)[some]), scene, random)
        if number % 12 == 1:
            scene = pasted(tinted(hand(), random), scene, random)
        scene = tinted(scene, random)
        yield blurred(scene, 1.5, random) if random.random() < 0.25 else scene


def carphone_frames() -> list[np.ndarray]:
    """The clip, uint8 (144, 176, 3) each."""
    try:
        import av
    except ImportError:
        raise TulleError("reading the clip needs PyAV: pip install av") from None

    clip = SHARED / "video" / "carphone_pristine.mp4"
    if not clip.is_file():
        raise TulleError(f"there is no {clip}; TULLE_SHARED names the folder that holds video/")
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def cut(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A region of a picture, rotated a little, and mirrored half of the time; uint8 (144, 256, 3)."""
    size = random.uniform(0.5, 1.1)
    x, y = 0.5 + (0.5 - size / 2) * random.uniform(-1, 1, 2)
    region = Region(x, y, size, size * random.uniform(0.8, 1.2), random.normal(0, 0.15))
    info = TensorInfo("frame", (1, HEIGHT, WIDTH, 3), takes_images=True)
    mirrored = pixels[:, ::-1] if random.random() < 0.5 else pixels
    return np.rint(to_input(np.ascontiguousarray(mirrored), info, region)[0]).clip(0, 255).astype(np.uint8)


def tinted(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Changes the light: exposure, colour, contrast, saturation. Strong colours are rare, as in photographs."""
    gain = random.uniform(0.75, 1.3) * np.exp(random.normal(0, random.choice([0.04, 0.2], p=[0.75, 0.25]), 3))
    values = (pixels / 255.0) ** random.uniform(0.65, 1.5) * gain
    grey = values.mean(axis=2, keepdims=True)
    return np.rint(255 * np.clip(grey + random.uniform(0.4, 1.2) * (values - grey), 0, 1)).astype(np.uint8)


def blurred(pixels: np.ndarray, most: float, random: np.random.Generator) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(random.uniform(0.5, most))))


def pasted(front: np.ndarray, back: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Pastes a picture into another at a random place and size, with soft edges."""
    height = int(random.uniform(0.3, 0.9) * back.shape[0])
    small = Image.fromarray(front).resize((height, height), Image.Resampling.BILINEAR)
    across, down = np.meshgrid(*2 * [np.linspace(-1, 1, height)])
    soft = np.clip(4 * (1 - np.hypot(across, down)), 0, 1)
    result = Image.fromarray(back)
    place = int(random.integers(back.shape[1] - height + 1)), int(random.integers(back.shape[0] - height + 1))
    result.paste(small, place, Image.fromarray(np.uint8(255 * soft)))
    return np.asarray(result)


def cut_out(dense: Graph, picture: np.ndarray) -> Image.Image:
    """The picture as RGBA, with only its people opaque."""
    small = Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    (mask,) = run(dense, {dense.inputs[0]: np.float32(small)[None] / 255}).values()
    alpha = Image.fromarray(np.uint8(255 * mask.reshape(HEIGHT, WIDTH)))
    result = Image.fromarray(picture)
    result.putalpha(alpha.resize(result.size, Image.Resampling.BILINEAR))
    return result


def before(person: Image.Image, scene: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Places a person at a random size, place and colour in front of a scene. The lower edge of someone who is only
    partly visible lies below that of the scene."""
    whole = not np.asarray(person.getchannel("A"))[-1].any()
    height = int((random.uniform(0.25, 1.1) if whole else random.uniform(0.35, 1.5)) * HEIGHT)
    width = max(1, int(height * person.width / person.height * random.uniform(0.75, 1.6)))
    sized = person.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
    if random.random() < 0.5:
        sized = sized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    alpha = sized.getchannel("A")
    coloured = Image.fromarray(tinted(np.asarray(sized.convert("RGB")), random))
    coloured.putalpha(alpha)
    turned = coloured.rotate(random.normal(0, 8), Image.Resampling.BILINEAR)
    result = Image.fromarray(scene)
    place = (
        int(random.normal(0, 0.25) * WIDTH + (WIDTH - width) / 2),
        int(HEIGHT * random.uniform(0.6, 1.1)) - height if whole else HEIGHT - int(height * random.uniform(0.5, 0.95)),
    )
    result.paste(turned, place, turned)
    return np.asarray(result)


def clouds(random: np.random.Generator) -> np.ndarray:
    """Noise that is equally strong at all scales, like pictures."""
    down, across = np.meshgrid(np.fft.fftfreq(HEIGHT), np.fft.fftfreq(WIDTH), indexing="ij")
    falling = np.maximum(np.hypot(down, across), 1 / WIDTH) ** -random.uniform(0.8, 2)
    waves = np.fft.fft2(random.normal(0, 1, (3, HEIGHT, WIDTH))) * falling
    noise = np.fft.ifft2(waves).real
    noise = noise / noise.std((1, 2), keepdims=True)
    mixed = np.einsum("ij,jhw->hwi", (1, 0.3, 0.3) + random.normal(0, 0.2, (3, 3)), noise)
    return np.uint8(np.clip(colour(random) + random.uniform(15, 60) * mixed, 0, 255))


def drawn(textures: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Overlapping ellipses and boxes, filled with a colour or a piece of a picture."""
    image = Image.new("RGB", (WIDTH, HEIGHT), tuple(colour(random)))
    for _ in range(int(random.integers(5, 40))):
        shape = Image.new("L", image.size)
        draw = ImageDraw.Draw(shape)
        half = random.uniform(3, 60, 2)
        centre = random.uniform(0, 1, 2) * (WIDTH, HEIGHT)
        box = [*(centre - half), *(centre + half)]
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)(box, fill=255)
        if random.random() < 0.3:
            fill = Image.fromarray(tinted(cut(textures[int(random.integers(len(textures)))], random), random))
            image.paste(fill, (0, 0), shape)
        else:
            image.paste(tuple(colour(random)), (0, 0), shape)
    return np.asarray(image)


def colour(random: np.random.Generator) -> list[int]:
    """A random colour, mostly a dull one."""
    grey, spread = random.uniform(0, 255), random.choice([20, 100], p=[0.75, 0.25])
    return [int(value) for value in np.clip(grey + random.normal(0, spread, 3), 0, 255)]

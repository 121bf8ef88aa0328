"""Pictures of people before all kinds of things, put together from pictures whose licences let the results ship.

People are cut out by the dense model's own mask and set, recoloured, before other pictures and drawn shapes. Nothing
has to look real: what the sparse model is to learn is the dense model's answer, whatever it is.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from common import SHARED, data_folder, progress
from tulle import TulleError
from tulle.graph import Graph
from tulle.graph.reference import run
from tulle.image import Region, read_image, to_input
from tulle.runtime import TensorInfo

WIDTH, HEIGHT = 256, 144  # of selfie_segmentation_landscape's input

# Of scikit-image: public domain or CC0, as its `skimage.data` says of each. The first two show people.
PEOPLE = ("astronaut.png", "camera.png")
THINGS = ("chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "brick.png", "grass.png", "gravel.png")


def scenes(dense: Graph, count: int) -> list[np.ndarray]:
    """`count` pictures, uint8 (144, 256, 3), always the same ones."""
    photographs = skimage_folder()
    frames = carphone_frames()
    people = [cut_out(dense, frame) for frame in frames[::4]]
    portraits = [cut_out(dense, read_rgb(photographs / name)) for name in PEOPLE]
    things = [read_rgb(photographs / name) for name in THINGS]
    hands = sorted(data_folder("hands").glob("*.jpg"))
    random = np.random.default_rng(0)

    def hand() -> np.ndarray:
        return read_image(hands[int(random.integers(len(hands)))], 100, 100)

    def background() -> np.ndarray:
        kind = random.random()
        if kind < 0.4:
            return drawn(things, random)
        if kind < 0.7:
            return cut(things[int(random.integers(len(things)))], random)
        return cut(hand() if kind < 0.85 else frames[int(random.integers(len(frames)))], random)

    pictures = []
    for index in progress(range(count), "Making scenes"):
        if index % 5 == 0:
            scene = cut(frames[int(random.integers(len(frames)))], random)
        else:
            scene = tinted(background(), random)
            for _ in range(random.choice([0, 1, 2], p=[0.1, 0.75, 0.15])):
                some = portraits if random.random() < 0.4 else people
                scene = before(some[int(random.integers(len(some)))], scene, random)
        if index % 6 == 1:
            scene = pasted(tinted(hand(), random), scene, random)
        scene = tinted(scene, random)
        if random.random() < 0.2:
            blurred = Image.fromarray(scene).filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2)))
            scene = np.asarray(blurred)
        pictures.append(scene)
    return pictures


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
    """A region of a picture, turned a little, and mirrored half of the time; uint8 (144, 256, 3)."""
    size = random.uniform(0.5, 1.1)
    x, y = 0.5 + (0.5 - size / 2) * random.uniform(-1, 1, 2)
    region = Region(x, y, size, size * random.uniform(0.8, 1.2), random.normal(0, 0.15))
    info = TensorInfo("frame", (1, HEIGHT, WIDTH, 3), takes_images=True)
    mirrored = pixels[:, ::-1] if random.random() < 0.5 else pixels
    return np.rint(to_input(np.ascontiguousarray(mirrored), info, region)[0]).clip(0, 255).astype(np.uint8)


def tinted(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Other light: exposure, colour, contrast, saturation."""
    values = (pixels / 255.0) ** random.uniform(0.6, 1.6) * random.uniform(0.7, 1.3, 3)
    grey = values.mean(axis=2, keepdims=True)
    return np.rint(255 * np.clip(grey + random.uniform(0.3, 1.3) * (values - grey), 0, 1)).astype(np.uint8)


def pasted(front: np.ndarray, back: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A picture in a random place and size of another, with soft edges."""
    height = int(random.uniform(0.3, 0.9) * back.shape[0])
    small = Image.fromarray(front).resize((height, height), Image.Resampling.BILINEAR)
    across, down = np.meshgrid(*2 * [np.linspace(-1, 1, height)])
    soft = np.clip(4 * (1 - np.hypot(across, down)), 0, 1)
    result = Image.fromarray(back)
    place = int(random.integers(back.shape[1] - height + 1)), int(random.integers(back.shape[0] - height + 1))
    result.paste(small, place, Image.fromarray(np.uint8(255 * soft)))
    return np.asarray(result)


def skimage_folder() -> Path:
    """The pictures that scikit-image installs."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise TulleError("some of the pictures are scikit-image's: pip install scikit-image")
    return Path(found.origin).parent / "data"


def read_rgb(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def cut_out(dense: Graph, picture: np.ndarray) -> Image.Image:
    """The picture as RGBA, its people alone opaque."""
    small = Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    (mask,) = run(dense, {dense.inputs[0]: np.float32(small)[None] / 255}).values()
    alpha = Image.fromarray(np.uint8(255 * mask.reshape(HEIGHT, WIDTH)))
    result = Image.fromarray(picture)
    result.putalpha(alpha.resize(result.size, Image.Resampling.BILINEAR))
    return result


def before(person: Image.Image, scene: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A person in a random size, place and colour before a scene; their lower edge is below that of the picture."""
    height = int(random.uniform(0.6, 1.7) * HEIGHT)
    width = int(height * person.width / person.height * random.uniform(0.75, 1.5))
    sized = person.resize((width, height), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        sized = sized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    alpha = sized.getchannel("A")
    coloured = Image.fromarray(tinted(np.asarray(sized.convert("RGB")), random))
    coloured.putalpha(alpha)
    turned = coloured.rotate(random.normal(0, 8), Image.Resampling.BILINEAR)
    result = Image.fromarray(scene)
    place = (
        int(random.uniform(-0.6, 0.6) * WIDTH + (WIDTH - width) / 2),
        HEIGHT - int(height * random.uniform(0.5, 0.95)),
    )
    result.paste(turned, place, turned)
    return np.asarray(result)


def drawn(textures: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Ellipses and boxes over each other, of one colour or of a piece of a picture."""
    image = Image.new("RGB", (WIDTH, HEIGHT), tuple(random.integers(0, 256, 3).tolist()))
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
            image.paste(tuple(random.integers(0, 256, 3).tolist()), (0, 0), shape)
    return np.asarray(image)

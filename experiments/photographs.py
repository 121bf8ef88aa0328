"""Photographs of things, whose licences let derived models ship: backgrounds for pictures of people."""

from __future__ import annotations

import io
import re
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from common import WORK
from tulle import TulleError

# From scikit-image: public domain or CC0, as its `skimage.data` documents. The first two show people.
PORTRAITS = ("astronaut.png", "camera.png")
THINGS = ("chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "brick.png", "grass.png", "gravel.png")

# From GCompris: the pictures of these activities that its copyright file lists under one of these licences (53: tools,
# fish, buildings, ...). That file names the authors of those under CC-BY.
GCOMPRIS = WORK / "gcompris"
DRAWN = ("babyshapes.rcc", "clickgame.rcc", "lang.rcc")  # activities whose pictures are drawings
ACTIVITIES = ("categorization", "erase", "explore_world_animals")
LICENCES = re.compile(r"public-domain|CC0-1\.0|CC-BY-\d\.\d", re.IGNORECASE)


def portraits() -> list[np.ndarray]:
    return [read_rgb(skimage_folder() / name) for name in PORTRAITS]


def things() -> list[np.ndarray]:
    """Photographs without people, uint8 (height, width, 3)."""
    return [read_rgb(skimage_folder() / name) for name in THINGS] + gcompris_photographs()


def skimage_folder() -> Path:
    """The pictures that scikit-image installs."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise TulleError("some of the pictures are scikit-image's: pip install scikit-image")
    return Path(found.origin).parent / "data"


def read_rgb(file: Path | io.BytesIO) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def all_gcompris_photographs(least: int = 160) -> list[np.ndarray]:
    """The photographs of all of GCompris's activities whose sides have at least so many pixels, whatever their licence:
    for figures only, nothing made from them may ship."""
    pictures = []
    folder = GCOMPRIS / "usr/share/gcompris-qt/rcc"
    for path in sorted(path for path in folder.glob("*.rcc") if path.name not in DRAWN):
        for name, data in sorted(read_resources(path.read_bytes()).items()):
            if name.endswith((".webp", ".jpg")):
                picture = read_rgb(io.BytesIO(data))
                if min(picture.shape[:2]) >= least:
                    pictures.append(picture)
    return pictures


def gcompris_photographs() -> list[np.ndarray]:
    """The pictures with a suitable licence."""
    copyrights = GCOMPRIS / "usr/share/doc/gcompris-qt-data/copyright"
    if not copyrights.is_file():
        raise TulleError(
            f"some of the pictures are GCompris's: `apt-get download gcompris-qt-data` (Debian 12), then "
            f"`dpkg-deb -x gcompris-qt-data_*.deb {GCOMPRIS}`"
        )
    wanted = set()
    for paragraph in re.split(r"\n\s*\n", copyrights.read_text()):
        files = re.search(r"^Files:(.*?)^\S", paragraph, re.DOTALL | re.MULTILINE)
        licence = re.search(r"^License:\s*(\S+)$", paragraph, re.MULTILINE)
        if files and licence and LICENCES.fullmatch(licence[1]):
            wanted |= {name.rsplit(".", 1)[0] for name in files[1].split() if re.search(r"\.(jpg|png)$", name)}
    pictures = []
    for activity in ACTIVITIES:
        resources = read_resources((GCOMPRIS / f"usr/share/gcompris-qt/rcc/{activity}.rcc").read_bytes())
        for path, data in sorted(resources.items()):
            # The package has as .webp what the sources have as .jpg and .png.
            if path.removeprefix("gcompris/").rsplit(".", 1)[0] in wanted:
                pictures.append(read_rgb(io.BytesIO(data)))
    return pictures


def read_resources(data: bytes) -> dict[str, bytes]:
    """The files in a Qt resource file, by path."""
    magic, version, tree, contents, names = struct.unpack_from(">4s4I", data)
    if magic != b"qres":
        raise TulleError("this is no resource file of Qt's")
    row = 14 if version == 1 else 22
    files = {}

    def visit(node: int, folder: str) -> None:
        place, flags = struct.unpack_from(">IH", data, tree + node * row)
        (length,) = struct.unpack_from(">H", data, names + place)
        start = names + place + 6  # after a hash
        path = f"{folder}/{data[start : start + 2 * length].decode('utf-16-be')}".lstrip("/") if node else ""
        if flags & 2:
            count, first = struct.unpack_from(">II", data, tree + node * row + 6)
            for child in range(first, first + count):
                visit(child, path)
            return
        (offset,) = struct.unpack_from(">I", data, tree + node * row + 10)
        (length,) = struct.unpack_from(">I", data, contents + offset)
        content = data[contents + offset + 4 : contents + offset + 4 + length]
        files[path] = zlib.decompress(content[4:]) if flags & 1 else content

    visit(0, "")
    return files

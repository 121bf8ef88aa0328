"""A Chromium with a camera that is not real: it shows a file of pictures, and is granted to whoever asks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser

from conftest import FLAGS


@contextmanager
def camera_browser(chromium: Browser, executable: str, clip: Path) -> Iterator[Browser]:
    """A Chromium of its own whose only camera shows `clip`, a .mjpeg or .y4m file, again and again."""
    flags = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={clip}",
    ]
    browser = chromium.browser_type.launch(executable_path=executable, args=[*FLAGS, *flags])
    try:
        yield browser
    finally:
        browser.close()


def write_mjpeg(path: Path, frames: Iterable[np.ndarray]) -> Path:
    """Writes RGB frames, uint8 [height, width, 3], as the JPEG pictures one after another that Chromium takes."""
    with path.open("wb") as file:
        for frame in frames:
            picture = io.BytesIO()
            Image.fromarray(frame).save(picture, "JPEG", quality=92)
            file.write(picture.getvalue())
    return path

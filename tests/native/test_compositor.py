"""wasm/compose with sanitizers: nothing beyond the frames and planes is touched, and two threads race for nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tulle
from background_oracle import Colours
from native.conftest import native_file
from native.hosts import HostProcess, LoadedLibrary
from python.test_background import frame_of, network, scene
from tulle.runtime.compositor import Compositor

SIZES = [(97, 131), (1, 1), (2, 1), (1, 33), (16, 16), (705, 713)]
FORMATS = [Colours("RGBA"), Colours("I420"), Colours("NV12")]


def results(variant: str) -> list[np.ndarray]:
    """All formats, sizes and effects."""
    random = np.random.default_rng(5)
    found = []
    for shape in ((18, 31), (7, 5)):  # the network's size
        with Compositor(tulle.load(network(*shape), variant=variant)) as compositor:  # type: ignore[arg-type]
            compositor.set_picture(np.dstack([scene(random, 21, 33), np.zeros((21, 33))]).astype(np.uint8))
            for size in SIZES:
                for colours in FORMATS:
                    compositor.set_size(colours.format, size[1], size[0])  # type: ignore[arg-type]
                    frame = frame_of(scene(random, *size), colours)
                    for effect in ("blur", "picture", "colour", "none"):
                        found += compositor(frame, effect, strength=random.random())  # type: ignore[arg-type]
                    if not colours.yuv:
                        found += compositor(frame, "cutout", fresh=False)
    return found


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
@pytest.mark.usefixtures("address_sanitizer")
def test_memory_is_respected(variant: str) -> None:
    assert len(results(variant)) > 200


def test_threads_race_for_nothing(use_host: Callable) -> None:
    use_host(lambda build: HostProcess(native_file("tulle-host-tsan"), threads=2))
    two = results("relaxed")
    use_host(lambda build: LoadedLibrary(native_file("libtulle-relaxed.so")))
    for plane, other in zip(two, results("relaxed"), strict=True):
        np.testing.assert_array_equal(plane, other)

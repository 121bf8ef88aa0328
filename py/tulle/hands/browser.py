"""Pyodide in a web page: the npm package's tulle/hands, awaited from Python."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tulle.errors import TulleError
from tulle.files import PathLike, read_bytes
from tulle.runtime.browser import awaited, find_scripts, import_script
from tulle.runtime.host import IN_PYODIDE, Variant


async def create(
    max_hands: int = 2,
    *,
    model: PathLike | bytes | None = None,
    detector: PathLike | bytes | None = None,
    smoothing: bool = False,
    threads: int | None = None,
    variant: Variant = "auto",
) -> AsyncHandTracker:
    """The page's own hand tracker, in a worker; needs Pyodide in a web page or in a worker of one.

    Args:
        max_hands, model, detector, smoothing, variant: as of `HandTracker`; a str is a URL.
        threads: as of `tulle.load_async`.

    Raises TulleError for what is no such network, for options out of range, and outside a page.
    """
    if not IN_PYODIDE:
        raise TulleError("create() tracks hands in the browser, from Pyodide; in CPython use tulle.hands.HandTracker")
    import js
    from pyodide.ffi import to_js

    if not hasattr(js, "Worker"):
        raise TulleError(
            "create() needs a browser's web workers, and this engine has none: use tulle.hands.HandTracker"
        )

    def network(source: PathLike | bytes) -> Any:
        if isinstance(source, str):
            return source
        return js.Blob.new(to_js([to_js(source if isinstance(source, bytes) else read_bytes(source))]))

    options: dict[str, Any] = {"maxHands": max_hands, "smoothing": smoothing, "variant": variant}
    if model is not None:
        options["model"] = network(model)
    if detector is not None:
        options["detector"] = network(detector)
    if threads is not None:
        options["threads"] = threads
    module = await import_script(find_scripts() / "hands" / "index.js")
    tracker = await awaited(module.HandTracker.create(to_js(options, dict_converter=js.Object.fromEntries)))
    return AsyncHandTracker(tracker)


class AsyncHandTracker:
    """The JavaScript HandTracker: `await detect(picture)`. `create` makes these."""

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker
        self.variant: str = tracker.variant
        self.threads: int = tracker.threads
        self.notes: list[str] = list(tracker.notes)
        """What `create` did otherwise than asked, and why."""

    async def detect(self, picture: Any, timestamp: float | None = None, *, mirrored: bool = False) -> dict[str, Any]:
        """The hands in a frame, as docs/hands.md describes them: `result["hands"][0]["landmarks"][8]["x"]`.

        Args:
            picture: what the JavaScript takes (a video, canvas, ImageBitmap, ...), or uint8 (H, W, 3) or (H, W, 4).
            timestamp: in milliseconds; now, if left out.
            mirrored: whether left and right are exchanged in the picture.
        """
        import js
        from pyodide.ffi import JsProxy, to_js

        source = picture if isinstance(picture, JsProxy) else _image_data(picture)
        now = js.performance.now() if timestamp is None else timestamp
        options = to_js({"mirrored": mirrored}, dict_converter=js.Object.fromEntries)
        result = await awaited(self._tracker.detect(source, now, options))
        converted: dict[str, Any] = result.to_py()
        return converted

    async def reset(self) -> None:
        """Forgets all hands, before the first frame of another video."""
        await awaited(self._tracker.reset())

    async def close(self) -> None:
        """Ends the worker."""
        await awaited(self._tracker.close())

    async def __aenter__(self) -> AsyncHandTracker:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _image_data(picture: Any) -> Any:
    """An array as the browser's ImageData."""
    import js
    from pyodide.ffi import to_js

    try:
        view = memoryview(picture)
        height, width, channels = view.shape or ()
    except (TypeError, ValueError):
        raise TulleError("a picture is uint8 (H, W, 3) or (H, W, 4), or a JavaScript object such as a canvas") from None
    if view.format != "B" or channels not in (3, 4):
        raise TulleError(f"a picture is uint8 (H, W, 3) or (H, W, 4), not {view.format} {view.shape}")
    data = view.tobytes()
    if channels == 3:
        opaque = bytearray(b"\xff") * (height * width * 4)
        for channel in range(3):
            opaque[channel::4] = data[channel::3]
        data = bytes(opaque)
    return js.ImageData.new(js.Uint8ClampedArray.new(to_js(data).buffer), width, height)

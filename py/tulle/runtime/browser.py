"""Pyodide in a web page: models run by the threaded browser engine (web/src), awaited from Python.

Pyodide's own heap cannot be shared between threads, so this engine has its own memory; inputs and outputs are copied
between the two. The wheel contains the engine's scripts, so no server has to provide them.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tulle.errors import TulleError
from tulle.runtime.host import IN_PYODIDE, Variant
from tulle.runtime.limits import Limits
from tulle.runtime.model import name_inputs, tulle_bytes
from tulle.runtime.tables import Profile, model_html
from tulle.runtime.tensors import FORMATS, TensorInfo, find_numpy, output, prepare

if TYPE_CHECKING:
    from tulle.files import ModelFile
    from tulle.graph import Graph

_SCRIPTS = Path(__file__).resolve().parent.parent / "_pyodide" / "web" / "src"
_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".tulle": "application/octet-stream"}

# How the scripts name each other: `from './x.js'`, but not in a comment that imports types alone, `import './x.js'`,
# and `new URL('./x.js', import.meta.url)`.
_REFERENCE = re.compile(
    r"(?:(?<=from )|(?<=^import ))'(\.\.?/[\w./-]+)'(?! \*/)|new URL\('(\.\.?/[\w./-]+)', import\.meta\.url\)",
    re.MULTILINE,
)


async def load_async(
    source: ModelFile | Graph,
    *,
    threads: int | None = None,
    variant: Variant = "auto",
    limits: Limits | None = None,
    integers: bool = True,
    timeout: float | None = None,
) -> AsyncModel:
    """A model in the browser engine; needs Pyodide in a web page or in a worker of one.

    Args:
        source: URL of a `.tulle` file as a str; a Path, bytes or a Graph as in `load`.
        threads: 1 to 16; by default one per processor, at most four. A page that is not cross-origin isolated gets
            one: `notes` and a warning say so.
        variant, limits, integers: as in `load`.
        timeout: seconds without any progress after which it and later runs give up; by default 30.

    Raises TulleError if the file cannot be had, is not a model or is beyond a limit, for options out of range, and
    outside a page.
    """
    if not IN_PYODIDE:
        raise TulleError("load_async runs models in the browser, from Pyodide; in CPython use tulle.load")
    import js
    from pyodide.ffi import to_js

    if not hasattr(js, "Worker"):
        raise TulleError("load_async needs a browser's web workers, and this engine has none: use tulle.load")
    data = source if isinstance(source, str) else to_js(tulle_bytes(source))
    limits = limits or Limits()
    options: dict[str, Any] = {
        "variant": variant,
        "integers": integers,
        "limits": {
            "fileBytes": limits.file_bytes,
            "tensorBytes": limits.tensor_bytes,
            "ops": limits.ops,
            "memoryBytes": limits.memory_bytes,
            "macs": limits.macs,
        },
    }
    if threads is not None:
        options["threads"] = threads
    if timeout is not None:
        options["timeout"] = timeout * 1000
    engine = await import_script(find_scripts() / "index.js")
    model = await awaited(engine.load(data, to_js(options, dict_converter=js.Object.fromEntries)))
    for note in model.notes:
        warnings.warn(f"tulle: {note}", RuntimeWarning, stacklevel=2)
    return AsyncModel(model)


class AsyncModel:
    """A network in the browser engine: `await model(array)` gives {name: array}, as `Model` does.

    Use it with `async with`, or `await close()`, to free its memory.
    """

    def __init__(self, model: Any) -> None:
        """`model`: the JavaScript object. `load_async` makes these."""
        self._model = model
        self._numpy = find_numpy()
        info = model.info
        self.name: str = info.name
        self.info = {
            "file_bytes": info.fileBytes,
            "weight_bytes": info.weightBytes,
            "arena_bytes": info.arenaBytes,
        }
        self.variant: str = model.variant
        self.threads: int = model.threads
        self.notes: list[str] = list(model.notes)
        """Where `load_async` did not do what was asked, and why."""
        self.inputs = [replace(_port(row), mean=row.mean, std=row.std, takes_images=row.image) for row in model.inputs]
        self.outputs = [_port(row) for row in model.outputs]

    async def __call__(self, inputs: Any) -> dict[str, Any]:
        """Runs the model once, off the page's own thread; arguments and result are those of `Model`."""
        import js
        from pyodide.ffi import to_js

        arrays = [[info.name, self._to_js(info, value)] for info, value in name_inputs(self.inputs, inputs)]
        named = js.Object.fromEntries(to_js(arrays))
        values = (await awaited(self._model.run(named))).to_py()
        return {info.name: output(info, bytearray(values[info.name]), self._numpy) for info in self.outputs}

    async def profile(self) -> Profile:
        """Runs the model once more and returns the time of each step, like `Model.profile`."""
        return Profile((await awaited(self._model.profile())).to_py())

    async def close(self) -> None:
        """Frees the model's memory; closing the last model ends the engine's workers."""
        await awaited(self._model.close())

    async def __aenter__(self) -> AsyncModel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<tulle.AsyncModel {self.name}: {self.variant}, {self.threads} threads>"

    def _repr_html_(self) -> str:
        how = f"{self.variant}, {self.threads} thread{'' if self.threads == 1 else 's'} of the browser engine"
        return model_html(self.name, self.inputs, self.outputs, self.info, how)

    def _to_js(self, info: TensorInfo, value: Any) -> Any:
        import js
        from pyodide.ffi import to_js

        is_picture, data = prepare(info, value, self._numpy)
        if not is_picture:
            return to_js(data.cast(FORMATS[info.dtype]))
        height, width = info.shape[1:3]
        return js.ImageData.new(js.Uint8ClampedArray.new(to_js(data).buffer), width, height)


def _port(row: Any) -> TensorInfo:
    """An input or output as the JavaScript model describes it."""
    if row.dtype == "float32":
        return TensorInfo(row.name, tuple(row.shape))
    return TensorInfo(row.name, tuple(row.shape), row.dtype, scale=row.scale, zero_point=row.zeroPoint)


async def awaited(promise: Any) -> Any:
    """The promise's result; a rejection is raised as TulleError."""
    from pyodide.ffi import JsException

    try:
        return await promise
    except JsException as error:
        raise TulleError(str(getattr(error, "message", error))) from None


def find_scripts() -> Path:
    """The folder of the npm package's modules."""
    return _SCRIPTS


async def import_script(path: Path) -> Any:
    """A JavaScript module of the npm package, the same one every time."""
    from pyodide.code import run_js

    return await awaited(run_js("url => import(url)")(_url(path)))


@cache
def _url(path: Path) -> str:
    """A blob: URL of one of the engine's files; files that it refers to get such URLs too."""
    from js import URL, Blob, Object
    from pyodide.ffi import to_js

    try:
        data = path.read_bytes()
    except OSError as error:
        raise TulleError(f"{path} cannot be read: {error.strerror}; install tulle's wheel for Pyodide") from None
    if path.suffix == ".js":

        def replace(match: re.Match[str]) -> str:
            script, file = match.groups()
            url = _url((path.parent / (script or file)).resolve())
            return f"'{url}'" if script else f"new URL('{url}')"

        data = _REFERENCE.sub(replace, data.decode()).encode()
    options = to_js({"type": _TYPES[path.suffix]}, dict_converter=Object.fromEntries)
    return URL.createObjectURL(Blob.new(to_js([to_js(data)]), options))

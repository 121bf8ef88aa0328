"""Reading and writing whole files: one error type, and never half a file."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tulle.errors import TulleError

PathLike = str | os.PathLike[str]

# JupyterLite's drive loses about one answer in a thousand and says that the file does not exist: its kernel (0.8, in
# pages that are cross-origin isolated) may read the shared memory of an answer before all of it is written.
READS = 5 if sys.platform == "emscripten" else 1


def read_bytes(path: PathLike) -> bytes:
    """The file's bytes. Raises TulleError if it cannot be read or is empty."""
    try:
        data = _read(Path(path))
    except OSError as error:
        raise TulleError(f"{path} cannot be read: {error.strerror or error}") from None
    if not data:
        raise TulleError(f"{path} is empty")
    return data


def _read(path: Path) -> bytes:
    for _ in range(READS - 1):
        with suppress(FileNotFoundError):
            return path.read_bytes()
    return path.read_bytes()


def write_bytes(path: PathLike, data: bytes) -> None:
    """Writes the file, or leaves things as they were: a neighbour is written first, then renamed.

    Of a symbolic link the target is written; devices and pipes are written to as they are.

    Raises TulleError if that cannot be done.
    """
    temporary = None
    try:
        if _is_special(path):
            with open(path, "wb") as pipe:
                pipe.write(data)
            return
        target = Path(os.path.realpath(path))
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        # Temporary files are the owner's alone; this one gets the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~mask)
        temporary.replace(target)
    except OSError as error:
        raise TulleError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()


def _is_special(path: PathLike) -> bool:
    """Whether the path names something other than a file, a folder or nothing yet."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


MODELS = (".tflite", ".onnx", ".tulle")


def check_target(path: PathLike, *sources: PathLike | None, kinds: Sequence[str] = ()) -> None:
    """Raises TulleError where a file cannot or should not be written, before the work rather than after.

    Args:
        sources: files that are read, which it must not replace.
        kinds: of the suffixes of model files, those that name what will be in it.
    """
    suffix = Path(path).suffix.lower()
    if kinds and suffix in MODELS and suffix not in kinds:
        raise TulleError(f"{path}: what is written is a {' or '.join(kinds)} file, so give it such a name")
    for source in sources:
        with suppress(OSError):
            if source is not None and os.path.samefile(path, source):
                raise TulleError(f"{path} is read as well, and would be lost: give what is written another name")
    folder = Path(os.path.realpath(path)).parent
    fits = os.access(path, os.W_OK) if _is_special(path) else folder.is_dir() and os.access(folder, os.W_OK)
    if not fits or os.path.isdir(path):
        raise TulleError(f"{path} cannot be written: {folder} must be a folder that you may write to")

"""Reading and writing whole files: one error type, and never half a file."""

from __future__ import annotations

import os
import sys
import tempfile
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

    Raises TulleError if that cannot be done.
    """
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        # Temporary files are the owner's alone; this one gets the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise TulleError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()

"""Reading and writing whole files: one error type, never a partly written file. `file_kind` recognises model files."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tulle.errors import TulleError

PathLike = str | os.PathLike[str]
ModelFile = PathLike | bytes | bytearray | memoryview | BinaryIO
"""See `in_memory`; mmap and other buffers will do too."""

# FlatBuffers' identifiers, at byte 4.
TFLITE_IDENTIFIER = b"TFL3"
TULLE_IDENTIFIER = b"TULL"

# Protobuf tags of the fields that may precede the graph in ONNX's ModelProto, in any order, and of the graph.
_ONNX_VERSION = 0x08  # no text contains it
_ONNX_VARINTS = (_ONNX_VERSION, 0x28)  # and model_version
_ONNX_BYTES = (0x12, 0x1A, 0x22, 0x32, 0x42, 0x72)  # producer, its version, domain, doc, opset_import, metadata_props
_ONNX_GRAPH = 0x3A
_ONNX_FIELDS = 1000  # more than any model has before its graph

# JupyterLite's drive loses about one reply in a thousand and reports that the file does not exist: its kernel (0.8, in
# cross-origin isolated pages) may read a reply in shared memory before all of it is written.
READS = 5 if sys.platform == "emscripten" else 1


def read_bytes(path: PathLike) -> bytes:
    """The file's bytes. Raises TulleError if it cannot be read or is empty."""
    try:
        data = _read(Path(path))
    except OSError as error:
        is_address = str(path).startswith(("http:/", "https:/"))
        hint = ": files are read, not addresses, so download it first" if is_address else ""
        raise TulleError(f"{path} cannot be read: {error.strerror or error}{hint}") from None
    if not data:
        raise TulleError(f"{path} is empty")
    return data


def _read(path: Path) -> bytes:
    for _ in range(READS - 1):
        with suppress(FileNotFoundError):
            return path.read_bytes()
    return path.read_bytes()


def in_memory(source: Any) -> Any:
    """A file that is in memory or open, as bytes; a path or a Graph as it is.

    Args:
        source: besides these bytes, bytearray, memoryview, mmap or another buffer; a file opened for reading in binary
            mode, read from where it stands; a Conversion.

    Raises TulleError if it is none of these, or cannot be read.
    """
    if isinstance(source, str | os.PathLike) or hasattr(source, "nodes"):
        return source
    if isinstance(getattr(source, "data", None), bytes):  # a Conversion
        return source.data
    read = getattr(source, "read", None)
    try:
        try:
            return bytes(memoryview(source))
        except TypeError:
            data = read() if callable(read) else None
    except (OSError, ValueError) as error:
        raise TulleError(f"the model cannot be read: {error}") from None
    if isinstance(data, bytes):
        return data
    kind = type(source).__name__
    what = "open the file in mode 'rb'" if isinstance(data, str) else "give a path, bytes, an open file or a Graph"
    if hasattr(source, "state_dict"):
        what = "export a PyTorch module with torch.onnx.export first"
    raise TulleError(f"a model cannot be read from {kind}: {what}")


def file_kind(data: bytes) -> Literal["tflite", "tulle", "onnx"] | None:
    """The kind of a model file by its first bytes; None if it is none of these. The rest of the file is not checked."""
    if data[4:8] == TFLITE_IDENTIFIER:
        return "tflite"
    if data[4:8] == TULLE_IDENTIFIER:
        return "tulle"
    return "onnx" if _begins_like_onnx(data) else None


def _begins_like_onnx(data: bytes) -> bool:
    """ONNX files have no identifier, but few kinds of fields can come before the graph."""
    place, versioned = 0, False
    for _ in range(_ONNX_FIELDS):
        tag = data[place] if place < len(data) else None
        if tag == _ONNX_GRAPH:
            return versioned
        if tag not in (*_ONNX_VARINTS, *_ONNX_BYTES):
            return False
        versioned = versioned or tag == _ONNX_VERSION
        value, place = _varint(data, place + 1)
        place += value if tag in _ONNX_BYTES else 0
    return False


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A protobuf number of at most ten bytes, and where it ends."""
    value = 0
    for index, byte in enumerate(data[place : place + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    return 0, len(data)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Writes the file completely or not at all: a temporary file beside it is written, then renamed.

    Writes to a symbolic link's target, and directly to devices and pipes.

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
        # Only the owner may read temporary files; give this one the permissions of any new file.
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
    """Whether the path exists and is neither a file nor a folder."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


MODELS = (".tflite", ".onnx", ".tulle")


def check_target(path: PathLike, *sources: PathLike | None, kinds: Sequence[str] = ()) -> None:
    """Raises TulleError if a file cannot or should not be written: before the work, not after it.

    Args:
        sources: files that are read, which it must not replace.
        kinds: the model files' suffixes that fit its contents.
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

"""A small static web server for the browser tests: any folders and bytes, with or without cross-origin isolation."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
}


class Site:
    """Serves on a port of its own of 127.0.0.1 while used as a context manager.

    Args:
        isolated: send the COOP and COEP headers that make a page cross-origin isolated.
        cors: let pages of other origins read everything.
    """

    def __init__(self, *, isolated: bool = True, cors: bool = False) -> None:
        self.headers: dict[str, str] = {"Cache-Control": "no-store"}
        if isolated:
            self.headers["Cross-Origin-Opener-Policy"] = "same-origin"
            self.headers["Cross-Origin-Embedder-Policy"] = "require-corp"
        if cors:
            self.headers["Access-Control-Allow-Origin"] = "*"
        self._folders: dict[str, Path] = {}
        self._files: dict[str, bytes] = {}
        self._halves: dict[str, bool] = {}  # whether the connection ends there
        self.pauses: dict[str, float] = {}  # by path, seconds before each of 16 parts
        self._redirects: dict[str, str] = {}
        self._types: dict[str, str] = {}
        # Of every request answered: seconds since the epoch when it came, path, and bytes of content.
        self.log: list[tuple[float, str, int]] = []
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def mount(self, path: str, folder: Path) -> None:
        """Serves the files of a folder under `path`, which starts and ends with a slash; the last mount wins."""
        others = {old: place for old, place in self._folders.items() if old != path}
        self._folders = {path: folder.resolve(), **others}

    def put(self, path: str, content: bytes, content_type: str | None = None) -> str:
        """Serves these bytes at `path`, in front of any folder; gives the path."""
        self._files[path] = content
        if content_type:
            self._types[path] = content_type
        return path

    def put_stalling(self, path: str, content: bytes) -> str:
        """As put, but only the first half of the bytes ever comes."""
        self._halves[path] = False
        return self.put(path, content)

    def put_cut(self, path: str, content: bytes) -> str:
        """As put, but the connection breaks after the first half of the bytes."""
        self._halves[path] = True
        return self.put(path, content)

    def redirect(self, path: str, to: str) -> str:
        self._redirects[path] = to
        return path

    def target(self, path: str) -> str | None:
        return self._redirects.get(path)

    def content_type(self, path: str) -> str:
        suffix = ".html" if path.endswith("/") else Path(path).suffix
        return self._types.get(path) or TYPES.get(suffix, "application/octet-stream")

    def find(self, path: str) -> bytes | None:
        if path in self._files:
            return self._files[path]
        for prefix, folder in self._folders.items():
            if path.startswith(prefix):
                index = "index.html" if path.endswith("/") else ""
                file = folder.joinpath(path[len(prefix) :] + index).resolve()
                return file.read_bytes() if file.is_relative_to(folder) and file.is_file() else None
        return None

    def is_halved(self, path: str) -> bool:
        return path in self._halves

    def is_cut(self, path: str) -> bool:
        return self._halves.get(path, False)

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Keeps quiet about browsers that hang up, as a closing or aborting page does."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        target = self.site.target(path)
        if target is not None:
            self.send_response(302)
            self.send_header("Location", target)
            for name, value in self.site.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.site.find(path)
        self.site.log.append((time.time(), path, len(content or b"")))
        self.send_response(200 if content is not None else 404)
        for name, value in self.site.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", self.site.content_type(path))
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if content is None:
            return
        if self.site.is_halved(path):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if not self.site.is_cut(path):
                self.site.closing.wait(60)
            self.close_connection = True
        elif path in self.site.pauses:
            step = -(-len(content) // 16)
            for start in range(0, len(content), step):
                self.site.closing.wait(self.site.pauses[path])
                self.wfile.write(content[start : start + step])
                self.wfile.flush()
        else:
            self.wfile.write(content)

    log_message: Callable[..., None] = lambda *_: None

"""A server for the contenders' pages: cross-origin isolated, and counting what each contender downloads.

Every contender gets its own path prefix, `/c/<contender>/`, in front of the same files, so that a request shows
whose it is, and no contender finds another's files in a cache.
"""

from __future__ import annotations

import contextlib
import gzip
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
}
RUNTIME_TYPES = {".js", ".mjs", ".wasm"}
SERVED = ("bench/page/", "bench/node_modules/", "web/", "data/")


@cache
def _gzip_size(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


class Server:
    """Serves the checkout's pages and runtimes, and `data` (models and inputs) under `data/`.

    Use as a context manager; `url(contender, path)` is the address of a file for that contender.
    """

    def __init__(self, checkout: Path, data: Path) -> None:
        self._checkout = checkout
        self._data = data
        self._downloads: dict[str, set[Path]] = {}
        self._worker_prologue = (checkout / "bench/page/memory_hook.js").read_bytes()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # the base class writes to stderr
                pass

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()

    def url(self, contender: str, path: str) -> str:
        return f"http://127.0.0.1:{self._httpd.server_address[1]}/c/{contender}/{path}"

    def downloads(self, contender: str) -> dict[str, int]:
        """Bytes of JavaScript and wasm that the contender's page requested, each file once, raw and gzipped."""
        paths = self._downloads.get(contender, set())
        return {
            "raw": sum(path.stat().st_size for path in paths),
            "gzip": sum(_gzip_size(path) for path in paths),
            "files": len(paths),
        }

    def _find(self, relative: str) -> Path | None:
        """The file at a path below the prefix; None if there is none, or if it must not be served."""
        if not relative.startswith(SERVED) or ".." in Path(relative).parts:
            return None
        folder, _, rest = relative.partition("/")
        path = self._data / rest if folder == "data" else self._checkout / relative
        return path if path.is_file() else None

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = unquote(urlsplit(request.path).path).split("/", 3)
        path = self._find(parts[3]) if len(parts) == 4 and parts[1] == "c" else None
        if path is None:
            request.send_error(404)
            return
        body = path.read_bytes()
        if path.suffix in RUNTIME_TYPES and not parts[3].startswith(("bench/page/", "data/")):
            self._downloads.setdefault(parts[2], set()).add(path)
        # A worker's script and what it imports start with the memory hook.
        if request.headers.get("Sec-Fetch-Dest") in ("worker", "sharedworker"):
            body = self._worker_prologue + b"\n" + body
        request.send_response(200)
        request.send_header("Content-Type", CONTENT_TYPES.get(path.suffix, "application/octet-stream"))
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Cross-Origin-Opener-Policy", "same-origin")
        request.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        request.send_header("Cross-Origin-Resource-Policy", "same-origin")
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # the page may have been closed meanwhile
            request.wfile.write(body)

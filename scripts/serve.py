#!/usr/bin/env python3
"""Serves the checkout's pages to this machine, cross-origin isolated, so that WebAssembly threads work.

    python scripts/serve.py [--port 8000] [--open demos/hands/]      the checkout's own pages
    python scripts/serve.py --site build/site --open .                a built site

Of the checkout, only folders that pages may need are served (`SERVED`), and never hidden files. Nothing is cached, so
edits show on reload.
"""

from __future__ import annotations

import argparse
import errno
import os
import posixpath
import sys
import webbrowser
from collections.abc import Callable, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
SERVED = ("bench", "demos", "docs", "tests", "web")
PORT = 8000
PORTS_TRIED = 20

# What the pages run under, and a site of them can: no script but files of this server, WebAssembly, and Pyodide from
# where tulle/convert takes it. With Pyodide's packages from here too, `https:` and the CDN can go.
POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval' https://cdn.jsdelivr.net",
        "connect-src 'self' https:",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)


class Handler(SimpleHTTPRequestHandler):
    """Static files with the headers of cross-origin isolation and the policy.

    `served`: the folders of the root; None for all.
    """

    def __init__(self, *args: Any, served: Sequence[str] | None = SERVED, **kwargs: Any) -> None:
        self.served = served
        super().__init__(*args, **kwargs)

    extensions_map = {  # noqa: RUF012, the base class declares it as an instance's
        **SimpleHTTPRequestHandler.extensions_map,
        "": "application/octet-stream",
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".md": "text/markdown; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".wasm": "application/wasm",
        ".webp": "image/webp",
    }

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def translate_path(self, path: str) -> str:
        """The file for a request, or a nonexistent one for a path that is not served.

        The path is decoded once and resolved through symbolic links, and has to stay inside the root.
        """
        root = Path(self.directory).resolve()
        nowhere = str(root / ".not-served")
        decoded = unquote(urlsplit(path).path, errors="replace")
        parts = [part for part in posixpath.normpath(decoded).split("/") if part]
        if self.served is not None and (not parts or parts[0] not in self.served):
            return nowhere
        if "\0" in decoded or "\\" in decoded:
            return nowhere
        if any(part.startswith(".") for part in parts):
            return nowhere
        file = root.joinpath(*parts).resolve()
        if not file.is_relative_to(root):
            return nowhere
        return str(file) + ("/" if decoded.endswith("/") else "")

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """No listings: a folder without an index.html is not found."""
        self.send_error(404)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs only failures."""
        if not isinstance(code, int) or code >= 400:
            super().log_request(code, size)

    def log_error(self, format: str, *args: object) -> None:
        """Logs nothing more than the request's own line."""


def make_server(root: Path = ROOT, port: int = 0, served: Sequence[str] | None = SERVED) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, not yet serving; port 0 picks a free one (see `server.server_port`).

    `served` are the folders of the root that it serves, None for the whole root.
    """
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(root), served=served))


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve pages to this machine, cross-origin isolated.")
    parser.add_argument("--port", type=int, help=f"default: {PORT}, or the next free one")
    parser.add_argument(
        "--open", metavar="PATH", default="", help="print this page's address and open it in the browser"
    )
    parser.add_argument("--site", metavar="FOLDER", type=Path, help="serve this folder instead of the checkout")
    arguments = parser.parse_args()

    root, served = (ROOT, SERVED) if arguments.site is None else (arguments.site.resolve(), None)
    if not root.is_dir():
        sys.exit(f"error: {root} is no folder: run `make site`")
    make = partial(make_server, root, served=served)
    server = _on_a_free_port(make) if arguments.port is None else make(port=arguments.port)
    address = f"http://127.0.0.1:{server.server_port}/{arguments.open.lstrip('./')}"
    print(f"\n    {address}\n\nCtrl-C ends it.", flush=True)
    if arguments.open and _has_screen():
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()


def _on_a_free_port(make: Callable[..., ThreadingHTTPServer]) -> ThreadingHTTPServer:
    for port in range(PORT, PORT + PORTS_TRIED):
        try:
            return make(port=port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    sys.exit(f"error: ports {PORT} to {PORT + PORTS_TRIED - 1} are all taken: choose one with --port")


def _has_screen() -> bool:
    """Whether there is a screen to open a browser on: webbrowser would start a text browser in this terminal."""
    if os.environ.get("CI"):
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    main()

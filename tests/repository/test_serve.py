"""scripts/serve.py: cross-origin isolation, types, and nothing served that should not be."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import serve

Get = Callable[[str], http.client.HTTPResponse]


@pytest.fixture
def get(tmp_path: Path) -> Iterator[Get]:
    """GET of a path exactly as given, from a server over a small tree with a secret outside and a link to it."""
    root = tmp_path / "checkout"
    for name, text in {
        "web/src/index.js": "export {};",
        "web/dist/tulle-simd.wasm": "\0asm",
        "demos/hands/index.html": "<!doctype html>",
        "demos/models/a.tulle": "TULL",
        "demos/.hidden/key": "secret",
        ".git/config": "secret",
        "pyproject.toml": "secret",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "outside.txt").write_text("secret")
    (root / "web" / "link.txt").symlink_to(tmp_path / "outside.txt")

    server = serve.make_server(root)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def get(path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.request("GET", path)
        return connection.getresponse()

    yield get
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/web/src/index.js?v=1", "text/javascript; charset=utf-8"),
        ("/web/dist/tulle-simd.wasm", "application/wasm"),
        ("/demos/hands/", "text/html; charset=utf-8"),
        ("/demos/models/a.tulle", "application/octet-stream"),
    ],
)
def test_pages_are_isolated_and_typed(get: Get, path: str, content_type: str) -> None:
    answer = get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/pyproject.toml",
        "/.git/config",
        "/web/../.git/config",
        "/web/%2e%2e/pyproject.toml",
        "/web/..%2f..%2foutside.txt",
        "/web/%252e%252e/pyproject.toml",
        "//etc/passwd",
        "/web/../../outside.txt",
        "/web/link.txt",
        "/demos/.hidden/key",
        "/web/src/",
        "/web/src/index.js%00.html",
        "/web\\..\\pyproject.toml",
        "/web/src/index.js/",
    ],
)
def test_nothing_else_is_served(get: Get, path: str) -> None:
    answer = get(path)
    assert answer.status == 404
    assert b"secret" not in answer.read()


def test_a_folder_is_redirected_to_itself(get: Get) -> None:
    answer = get("/demos/hands")
    assert (answer.status, answer.headers["Location"]) == (301, "/demos/hands/")


def test_a_site_is_served_whole_but_for_what_is_hidden(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "compare").mkdir(parents=True)
    (site / "index.html").write_text("front")
    (site / "compare" / "index.html").write_text("compare")
    (site / ".key").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    (site / "link.txt").symlink_to(tmp_path / "outside.txt")
    server = serve.make_server(site, served=None)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        found = {}
        for path in ("/", "/compare/", "/.key", "/link.txt", "/../outside.txt"):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            found[path] = (answer.status, answer.read())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert found["/"] == (200, b"front") and found["/compare/"] == (200, b"compare")
    for path in ("/.key", "/link.txt", "/../outside.txt"):
        assert found[path][0] == 404 and b"secret" not in found[path][1], path

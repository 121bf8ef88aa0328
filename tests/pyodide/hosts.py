"""What Pyodide's tests share: versions, wheels, and the site that serves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyodide_wheels
from browser.server import Site
from paths import ROOT, SHARED

HERE = Path(__file__).parent
VERSIONS = pyodide_wheels.VERSIONS
wheel_of = pyodide_wheels.wheel_of
PYTHONS = {"314.0.7": "cp314", "0.29.5": "cp313"}
# micropip as Pyodide's own distribution has it, and what the converter needs; all plain Python.
PURE = ("micropip==0.11.1", "packaging==26.2", "flatbuffers==25.12.19", "tflite==2.18.0")

Run = Callable[..., Any]


class PythonError(Exception):
    """What Python in Pyodide raised: the end of its traceback."""


def numpy_wheel(site: Site, version: str) -> str:
    """URL of NumPy's wheel, from the shared folder."""
    found = list((SHARED / "wheels").glob(f"numpy-*-{PYTHONS[version]}-*.whl"))
    if not found:
        pytest.skip("no wheel of NumPy for Pyodide in the shared folder")
    site.mount("/numpy/", SHARED / "wheels")
    return f"{site.url}/numpy/{found[0].name}"


def pyodide_site(*, isolated: bool = True) -> Site:
    site = Site(isolated=isolated, cors=True)
    site.mount("/pyodide/", pyodide_wheels.HOME)
    site.mount("/dist/", ROOT / "dist")
    site.mount("/tests/", HERE)
    site.mount("/web/", ROOT / "web")
    site.put("/page.html", b"<!doctype html><title>Pyodide</title><link rel=icon href=data:,>")
    return site


IN_WORKER = """(options) => new Promise((resolve) => {
  const script = `onmessage = ({ data }) => import('${location.origin}/tests/runner.mjs')
    .then(({ run }) => run(data))
    .then((result) => postMessage({ result }), ({ message }) => postMessage({ error: message }))`;
  const worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })), { type: 'module' });
  worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
  worker.onerror = ({ message }) => resolve({ error: message });
  worker.postMessage(options);
})"""

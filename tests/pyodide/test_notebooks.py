"""The notebooks under demos/notebooks run to the end, cell by cell, in Pyodide in a worker in Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import build_notebooks
from browser.server import Site
from paths import ROOT
from pyodide.hosts import VERSIONS, Run, numpy_wheel, wheel_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = ROOT / "demos" / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

# What JupyterLite's kernel does with a cell, without IPython.
CODE = """
import contextlib, io, json, sys
from pyodide.code import eval_code_async
sys.path.insert(0, "/")
import os
os.chdir("/")
namespace, shown = {}, []
for cell in cells:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        value = await eval_code_async(cell, namespace)
    html = value._repr_html_() if hasattr(value, "_repr_html_") else ""
    shown.append({"printed": printed.getvalue(), "html": html, "text": "" if value is None or html else repr(value)})
json.dumps(shown)
"""


def cells(name: str) -> list[str]:
    """The code of a notebook; the runner has installed what `%pip` asks for."""
    document = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    code = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in document["cells"] if cell["cell_type"] == "code")
    return [text for text in code if not text.startswith("%pip")]


@pytest.fixture(scope="module")
def files(site: Site, model_path: Callable[[str], Path]) -> dict[str, str]:
    """What lies beside the notebooks: URL by path in Pyodide."""
    for name in build_notebooks.CONVERTED + build_notebooks.PLAIN:
        model_path(name)  # skips the test where it is missing
    files = {f"/{name}": data for name, data in build_notebooks.contents().items()}
    return {path: site.url + site.put("/notebooks" + path, data) for path, data in files.items()}


def check_first_steps(shown: list[dict[str, str]]) -> None:
    assert "hand_landmark_sparse" in shown[0]["html"] and "relaxed" in shown[0]["html"]
    assert "'Identity': (1, 63)" in shown[1]["text"]
    assert "spmm" in shown[2]["html"]
    assert "ms on one thread" in shown[3]["text"]
    assert "2 threads> gives the same numbers: True" in shown[4]["printed"]


def check_hands(shown: list[dict[str, str]]) -> None:
    presence = float(shown[1]["printed"].split(": ")[1].split(";")[0])
    assert presence > 0.9
    assert shown[2]["html"].count("<circle") == 21


def check_background(shown: list[dict[str, str]]) -> None:
    assert 5 < int(shown[1]["printed"].split("%")[0]) < 95
    assert shown[1]["html"].startswith("<svg") and shown[2]["html"].startswith("<svg")


def check_sparsify(shown: list[dict[str, str]]) -> None:
    dense, sparse = (float(shown[index]["text"].strip("'").split()[0]) for index in (0, 1))
    assert sparse < 0.75 * dense
    assert "times as fast" in shown[2]["printed"] and "spmm" in shown[2]["html"]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_to_the_end(
    name: str, site: Site, files: dict[str, str], in_chromium: Run, pure_wheels: dict[str, str]
) -> None:
    version = VERSIONS[0]
    packages = [numpy_wheel(site, version), f"{site.url}/dist/{wheel_of(version).name}"]
    packages += [f"{site.url}/pyodide/wheels/{pure_wheels[wheel]}" for wheel in ("flatbuffers", "tflite")]
    code = {"globals": {"cells": cells(name)}, "files": files}
    shown = json.loads(in_chromium(version, CODE, worker=True, packages=packages, **code))
    globals()[f"check_{name.replace('-', '_')}"](shown)

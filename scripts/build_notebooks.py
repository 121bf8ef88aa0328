#!/usr/bin/env python3
"""Builds the notebooks: a folder with everything they read, and a JupyterLite site that runs them in the browser.

    build/notebooks         notebooks, models and pictures, for any Jupyter
    build/notebooks-site    static files: JupyterLite, Pyodide, tulle's wheel and the packages that the kernel needs

The site only needs other hosts for NumPy, unless there is a wheel of it for Pyodide in `../shared/wheels` (or
`$TULLE_SHARED/wheels`), and for packages that a reader imports. These come from Pyodide's own site.

Run with the Python of `.venv`, after `make models pyodide`. To open it:

    python scripts/serve.py --site build/notebooks-site --open "notebooks/?path=first-steps.ipynb"
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyodide_wheels
import tulle
from common import CACHE, ROOT, SetupError, main_guard, run_logged, say

SOURCE = ROOT / "demos" / "notebooks"
FOLDER = ROOT / "build" / "notebooks"
SITE = ROOT / "build" / "notebooks-site"

CONVERTED = ("hand_landmark_tulle", "selfie_segmentation")  # pixels are fed as value / 255
PLAIN = ("hand_landmark_lite.tflite",)
PICTURES = ("open-hand.jpg",)

HOME = CACHE / "jupyterlite"
LOG = HOME / "setup.log"
JUPYTERLITE = ("jupyterlite-core[contents]==0.8.6", "jupyterlite-pyodide-kernel==0.8.6")
APPS = ("lab", "notebooks")

PYODIDE = pyodide_wheels.VERSIONS[0]
PYODIDE_SITE = f"https://cdn.jsdelivr.net/pyodide/v{PYODIDE}/full/"
PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")

# Packages that the kernel installs at start, and tulle for converting: from Pyodide's list of packages, or not in it.
LISTED = ("micropip", "ipython", "jedi")
UNLISTED = ("comm==0.2.3", "flatbuffers==25.12.19", "tflite==2.18.0")
SHARED_WHEELS = Path(os.environ.get("TULLE_SHARED") or ROOT.parent / "shared") / "wheels"

# On a cross-origin isolated page the kernel's calls go through the package coincident, which takes the value of
# Atomics.waitAsync for a promise. If the other side was faster it is a string, and the cell would never end.
MEND_WAIT_ASYNC = """<script>
      const { waitAsync } = Atomics;
      if (waitAsync) {
        Atomics.waitAsync = (...parameters) => {
          const result = waitAsync(...parameters);
          return result.async ? result : { async: true, value: Promise.resolve(result.value) };
        };
      }
    </script>"""

# It also passes answers in shared memory, and the receiver begins to read when the first characters arrive. So these
# are written last here; otherwise a busy machine sometimes breaks the kernel.
FIRST_TO_LAST = re.compile(
    r"for\(let (\w+)=new (\w+)\((\w+)\.buffer\),(\w+)=0;\4<(\w+)\.length;\4\+\+\)\1\[\4\]=\5\.charCodeAt\(\4\)"
)
LAST_TO_FIRST = (
    r"for(let \1=new \2(\3.buffer),\4=\5.length;--\4>1;)\1[\4]=\5.charCodeAt(\4);"
    r"Atomics.store(\3,0,\5.charCodeAt(0)|\5.charCodeAt(1)<<16)"
)


def main() -> None:
    notebooks = write_folder()
    say(f"{notebooks} notebooks in {FOLDER.relative_to(ROOT)}")
    build_site()
    say(f"the site is in {SITE.relative_to(ROOT)}; to look at it:")
    page = '"notebooks/?path=first-steps.ipynb"'
    print(f"    python scripts/serve.py --site {SITE.relative_to(ROOT)} --open {page}")


# ---- what the notebooks read ----------------------------------------------------------------------------------------


def write_folder() -> int:
    """Fills build/notebooks; returns the number of notebooks."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    notebooks = {path.name: path.read_bytes() for path in SOURCE.glob("*.ipynb")}
    for name, data in (notebooks | contents()).items():
        (FOLDER / name).write_bytes(data)
    return len(notebooks)


def contents() -> dict[str, bytes]:
    """The files beside the notebooks, by name."""
    files = {path.name: path.read_bytes() for path in SOURCE.glob("*.py")}
    for name in CONVERTED:
        files[f"{name}.tulle"] = tulle.convert(model(f"{name}.tflite"), input_mean=0, input_std=255).data
    files |= {name: model(name).read_bytes() for name in PLAIN}
    return files | {name: (ROOT / "demos" / "images" / name).read_bytes() for name in PICTURES}


def model(name: str) -> Path:
    """A TFLite file; tulle's own are in the repository."""
    own, fetched = ROOT / "demos" / "weights" / name, CACHE / "models" / name
    if own.is_file():
        return own
    if not fetched.is_file():
        raise SetupError(f"{fetched} is missing: run `make models`")
    return fetched


# ---- the site -------------------------------------------------------------------------------------------------------


def build_site() -> None:
    """Builds build/notebooks-site from build/notebooks; a failure leaves the previous site unchanged."""
    tool = install_jupyterlite()
    with tempfile.TemporaryDirectory(dir=SITE.parent) as temporary:
        source, site = Path(temporary, "source"), Path(temporary, "site")
        add_pyodide(source / "static" / "pyodide")
        add_wheels(source / "pypi", [pyodide_wheels.wheel_of(PYODIDE), *download(UNLISTED)])
        command: list[str | Path] = [tool, "lite", "build", "--lite-dir", source, "--output-dir", site]
        command += ["--contents", FOLDER, "--no-sourcemaps", "--no-libarchive", *(f"--apps={app}" for app in APPS)]
        run_logged("jupyter lite build", command, LOG)
        for app in APPS:
            page = site / app / "index.html"
            head, body = page.read_text().split("<head>", 1)
            page.write_text(f"{head}<head>\n    {MEND_WAIT_ASYNC}{body}")
        mend_answers(site / "extensions" / "@jupyterlite" / "pyodide-kernel-extension" / "static")
        shutil.rmtree(SITE, ignore_errors=True)
        site.rename(SITE)


def mend_answers(scripts: Path) -> None:
    """Makes both sides of the kernel's calls, page and worker, write the beginning of an answer last."""
    mended = 0
    for script in scripts.glob("*.js"):
        text, count = FIRST_TO_LAST.subn(LAST_TO_FIRST, script.read_text())
        if count:
            script.write_text(text)
        mended += count
    if mended != 2:
        raise SetupError(f"JupyterLite's kernel writes answers in {mended} places, not 2: see FIRST_TO_LAST")


def install_jupyterlite() -> Path:
    """Installs JupyterLite in a separate virtual environment; returns its `jupyter` command."""
    venv = HOME / "venv"
    ready = venv / ("." + hashlib.sha256(" ".join(JUPYTERLITE).encode()).hexdigest()[:16])
    if not ready.exists():
        shutil.rmtree(venv, ignore_errors=True)
        run_logged("a virtual environment for JupyterLite", [sys.executable, "-m", "venv", venv], LOG)
        run_logged("pip install JupyterLite", [venv / "bin" / "pip", "install", *JUPYTERLITE], LOG)
        ready.touch()
    return venv / "bin" / "jupyter"


def add_pyodide(folder: Path) -> None:
    """Pyodide with the listed packages that the kernel installs; the list says where all others are."""
    package = pyodide_wheels.fetch(PYODIDE)
    folder.mkdir(parents=True)
    for name in PYODIDE_FILES:
        shutil.copyfile(package / name, folder / name)
    lock = json.loads((package / "pyodide-lock.json").read_text())
    entries: dict[str, dict[str, Any]] = lock["packages"]
    wheels = download([f"{name}=={entries[name]['version']}" for name in needed(entries, LISTED)])
    wheels += SHARED_WHEELS.glob(entries["numpy"]["file_name"])
    here = {normal(wheel.name.partition("-")[0]): wheel for wheel in wheels}
    for name, entry in entries.items():
        if name in here:
            data = here[name].read_bytes()
            (folder / here[name].name).write_bytes(data)
            entry |= {"file_name": here[name].name, "sha256": hashlib.sha256(data).hexdigest()}
        else:
            entry["file_name"] = PYODIDE_SITE + entry["file_name"]
    (folder / "pyodide-lock.json").write_text(json.dumps(lock))


def needed(entries: dict[str, dict[str, Any]], names: Iterable[str]) -> list[str]:
    """The packages and all their dependencies."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = normal(left.pop())
        if name not in found:
            found.add(name)
            left += entries[name]["depends"]
    return sorted(found)


def normal(name: str) -> str:
    """A project's name, normalised as in package lists."""
    return re.sub(r"[-_.]+", "-", name).lower()


def download(requirements: Iterable[str]) -> list[Path]:
    """Plain Python wheels, kept in .cache/pyodide/wheels; each requirement is `name==version`."""
    folder = pyodide_wheels.HOME / "wheels"

    def find(requirement: str) -> list[Path]:
        name, _, version = requirement.partition("==")
        return list(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))

    missing = [requirement for requirement in requirements if not find(requirement)]
    if missing:
        options = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.14", "--dest", str(folder)]
        command = [sys.executable, "-m", "pip", "download", *options, *missing]
        run_logged(f"pip download of {len(missing)} wheels for Pyodide", command, LOG)
    return [find(requirement)[0] for requirement in requirements]


def add_wheels(folder: Path, wheels: Iterable[Path]) -> None:
    folder.mkdir(parents=True)
    for wheel in wheels:
        shutil.copyfile(wheel, folder / wheel.name)


if __name__ == "__main__":
    with main_guard():
        main()

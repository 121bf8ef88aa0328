#!/usr/bin/env python3
"""Builds the wheels for Pyodide, `dist/tulle-*-pyemscripten_*_wasm32.whl`, with pyodide-build.

pyodide-build needs Python 3.12 or newer (this one, `$PYODIDE_PYTHON`, one on PATH or from pyenv) and a cross-build
environment. The official one is fetched if possible. Only names and versions in it reach our wheel, no headers or
libraries, so a minimal one, made here from the npm package `pyodide`, works as well and needs no other host.

    scripts/pyodide_wheels.py            both wheels, each only if something in it has changed
    scripts/pyodide_wheels.py --minimal  the same, without trying to fetch pyodide-build's cross-build environment
    scripts/pyodide_wheels.py --fetch    only the npm packages, in .cache/pyodide/VERSION, which the tests run
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from common import CACHE, ROOT, SetupError, main_guard, run_logged, say, write_if_changed

VERSIONS = ("314.0.7", "0.29.5")
PYODIDE_BUILD = "pyodide-build==0.39.2"
MINIMUM_PYTHON = (3, 12)

HOME = CACHE / "pyodide"
LOG = HOME / "setup.log"
DIST = ROOT / "dist"
FETCH_SECONDS = 900.0

# The contents of a wheel, as patterns below the checkout.
INPUTS = [f"{folder}/**/*" for folder in ("py/tulle", "wasm", "web/src", "web/models", "third_party")]
INPUTS += [
    "scripts/*.mk",
    "scripts/hatch_hook.py",
    "scripts/pyodide_wheels.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
]


def main() -> None:
    for version in VERSIONS:
        fetch(version)
    if "--fetch" in sys.argv[1:]:
        return
    stale = [version for version in VERSIONS if not is_fresh(version)]
    if not stale:
        say(f"the wheels for Pyodide in {DIST.relative_to(ROOT)} are up to date")
        return
    tool = install_pyodide_build()
    for version in stale:
        build(tool, version, try_own="--minimal" not in sys.argv[1:])


def fetch(version: str) -> Path:
    """The folder of the npm package, unpacked."""
    folder = HOME / version
    if not (folder / "package.json").is_file():
        HOME.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm")
        if npm is None:
            raise SetupError("no npm on PATH: run this through make")
        run_logged(f"npm pack pyodide@{version}", [npm, "pack", "--pack-destination", HOME, f"pyodide@{version}"], LOG)
        archive, partial = HOME / f"pyodide-{version}.tgz", HOME / f"{version}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        shutil.rmtree(folder, ignore_errors=True)
        (partial / "package").rename(folder)
        partial.rmdir()
        archive.unlink()
    return folder


# ---- pyodide-build --------------------------------------------------------------------------------------------------


def install_pyodide_build() -> Path:
    """A virtual environment with pyodide-build; its `pyodide` command."""
    venv = HOME / "venv"
    tool, ready = venv / "bin" / "pyodide", venv / f".{PYODIDE_BUILD}"
    if not ready.exists():
        shutil.rmtree(venv, ignore_errors=True)
        run_logged("a virtual environment for pyodide-build", [find_python(), "-m", "venv", venv], LOG)
        packages = [PYODIDE_BUILD, "hatchling>=1.27"]
        run_logged(f"pip install {PYODIDE_BUILD}", [venv / "bin" / "pip", "install", *packages], LOG)
        ready.touch()
    return tool


def find_python() -> str:
    asked = os.environ.get("PYODIDE_PYTHON")
    names = [asked] if asked else [sys.executable, "python3.13", "python3.12", "python3.14", "python3"]
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.1[2-9].*/bin/python"), reverse=True)
    for name in [*names, *([] if asked else map(str, pyenv))]:
        path = shutil.which(name)
        if path and python_version(path) >= MINIMUM_PYTHON:
            return path
    raise SetupError(
        f"pyodide-build needs Python {'.'.join(map(str, MINIMUM_PYTHON))} or newer, and none was found"
        + (f" (PYODIDE_PYTHON={asked})" if asked else "")
        + ": install one, or name it in $PYODIDE_PYTHON"
    )


def python_version(python: str) -> tuple[int, ...]:
    code = "import sys, ensurepip; print(*sys.version_info[:2])"
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return tuple(map(int, result.stdout.split())) if result.returncode == 0 else (0,)


def build(tool: Path, version: str, *, try_own: bool) -> None:
    """Builds the wheel for a Pyodide, in the official cross-build environment if that is available and works."""
    inputs = digest()
    built = False
    if try_own:
        try:
            build_in(fetch_cross_build_environment(tool, version), tool, version)
            built = True
        except SetupError as error:
            say(f"{str(error).splitlines()[0]}: building with a minimal one instead")
    if not built:
        build_in(make_cross_build_environment(tool, version), tool, version)
    wheel = wheel_of(version)
    stamp(version).write_text(f"{inputs} {hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    say(f"{wheel.relative_to(DIST.parent)}: {wheel.stat().st_size / 1e3:.0f} kB")


def build_in(environment: Path, tool: Path, version: str) -> None:
    command: list[str | Path] = [tool, "build", ROOT, "--outdir", DIST, "--no-isolation"]
    command += ["--xbuildenv-path", environment]
    run_logged(f"pyodide build for Pyodide {version}", command, LOG, env=tool_environment(tool, environment))


def tool_environment(tool: Path, environment: Path) -> dict[str, str]:
    return {"PYODIDE_XBUILDENV_PATH": str(environment), "PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"}


def wheel_of(version: str) -> Path:
    """The wheel in dist/. Raises SetupError if there is none."""
    abi = describe(HOME / version)["PYODIDE_ABI_VERSION"]
    found = sorted(DIST.glob(f"tulle-*-pyemscripten_{abi}_wasm32.whl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SetupError(f"there is no wheel of tulle for Pyodide {version} in {DIST}: run `make pyodide`")
    return found[-1]


# ---- building only what has changed ---------------------------------------------------------------------------------


def digest() -> str:
    """A digest of everything that goes into a wheel."""
    total = hashlib.sha256()
    for pattern in INPUTS:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and not {"__pycache__", "_wasm"} & set(path.parts):
                total.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return total.hexdigest()


def stamp(version: str) -> Path:
    """The file with the digests of the wheel in dist/ and of everything it was built from."""
    return HOME / f"wheel-{version}.stamp"


def is_fresh(version: str) -> bool:
    try:
        inputs, wheel = stamp(version).read_text().split()
        return inputs == digest() and wheel == hashlib.sha256(wheel_of(version).read_bytes()).hexdigest()
    except (OSError, ValueError, SetupError):
        return False


# ---- the cross-build environment ------------------------------------------------------------------------------------


def fetch_cross_build_environment(tool: Path, version: str) -> Path:
    """The official one, kept once fetched. Raises SetupError if it is not available."""
    environment = HOME / f"xbuildenv-own-{version}"
    ready = environment / ".ready"
    if not ready.exists():
        shutil.rmtree(environment, ignore_errors=True)
        # --force: it demands the same Python version as Pyodide's, which only wheels with CPython extensions need.
        command: list[str | Path] = [tool, "xbuildenv", "install", version, "--force", "--path", environment]
        env = tool_environment(tool, environment)
        title = f"pyodide-build's cross-build environment for Pyodide {version}"
        run_logged(title, command, LOG, env=env, timeout=FETCH_SECONDS)
        ready.touch()
    return environment


def make_cross_build_environment(tool: Path, version: str) -> Path:
    """A minimal one, newly made."""
    environment = HOME / f"xbuildenv-{version}"
    shutil.rmtree(environment, ignore_errors=True)
    archive = pack_cross_build_environment(version, describe(HOME / version))
    command: list[str | Path] = [tool, "xbuildenv", "install", "--path", environment, "--url", archive.as_uri()]
    env = tool_environment(tool, environment)
    run_logged(f"a minimal cross-build environment for Pyodide {version}", command, LOG, env=env)
    return environment


def describe(package: Path) -> dict[str, str]:
    """The settings of a Pyodide that pyodide-build needs, by their names in its Makefile.envs."""
    info = json.loads((package / "pyodide-lock.json").read_text())["info"]
    emscripten = re.fullmatch(r"emscripten_(\d+)_(\d+)_(\d+)", info["platform"])
    if not emscripten:
        raise SetupError(f"{package}: platform {info['platform']!r} in pyodide-lock.json is not as expected")
    major, minor, micro = info["python"].split(".")
    install = f"$(PYODIDE_ROOT)/../cpython/installs/python-{info['python']}"
    return {
        "PYVERSION": info["python"],
        "PYMAJOR": major,
        "PYMINOR": minor,
        "PYMICRO": micro,
        "PYODIDE_VERSION": json.loads((package / "package.json").read_text())["version"],
        "PYODIDE_ABI_VERSION": info["abi_version"],
        "PYODIDE_EMSCRIPTEN_VERSION": ".".join(emscripten.groups()),
        "PLATFORM_TRIPLET": "wasm32-emscripten",
        "SYSCONFIG_NAME": "_sysconfigdata__emscripten_wasm32-emscripten",
        "CPYTHONINSTALL": install,
        "TARGETINSTALLDIR": install,
        "PYTHONINCLUDE": f"{install}/include",
        "CFLAGS_BASE": "",
        "LDFLAGS_BASE": "",
    }


def pack_cross_build_environment(version: str, names: dict[str, str]) -> Path:
    """An archive that `pyodide xbuildenv install` takes."""
    root = HOME / f"xbuildenv-source-{version}" / "xbuildenv"
    shutil.rmtree(root.parent, ignore_errors=True)
    lines = [f"export {name}={value}" for name, value in names.items()]
    makefile = "\n".join([*lines, "", ".output_vars:", "\t@env", ""])
    write_if_changed(root / "pyodide-root" / "Makefile.envs", makefile)
    write_if_changed(root / "requirements.txt", "")
    write_if_changed(
        root / "pyodide-root" / "dist" / "pyodide-lock.json", (HOME / version / "pyodide-lock.json").read_text()
    )
    module = f"{names['SYSCONFIG_NAME']}.py"
    with zipfile.ZipFile(HOME / version / "python_stdlib.zip") as library:
        data = library.read(module).decode()
    write_if_changed(root / "cpython" / "installs" / f"python-{names['PYVERSION']}" / "sysconfigdata" / module, data)
    archive = HOME / f"xbuildenv-{version}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root, "xbuildenv")
    return archive


if __name__ == "__main__":
    with main_guard():
        main()

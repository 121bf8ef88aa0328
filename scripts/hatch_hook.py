"""Puts the compiled C library into wheels, after compiling it with emcc if needed.

A plain build (`pip wheel .`) makes py3-none-any with the wasm that wasmtime runs. Under pyodide-build, which sets
$PYODIDE and $PYODIDE_ABI_VERSION, it makes py3-none-pyemscripten_*_wasm32 with the side modules for Pyodide and the
browser engine for `load_async`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLAIN = ("py/tulle/_wasm/tulle-simd.wasm", "py/tulle/_wasm/tulle-relaxed.wasm")
SIDE_MODULES = ("build/pyodide/tulle-simd.so", "build/pyodide/tulle-relaxed.so.wasm")
NETWORKS = ("palm_detection", "hand_landmark", "selfie_segmentation")  # in web/models, by `make models`
ENGINE = tuple(f"web/dist/tulle-{build}.wasm" for build in ("simd", "relaxed", "simd-threads", "relaxed-threads"))


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # a checkout, where `make build` provides
            return
        root = Path(self.root)
        inside: dict[str, str] = build_data["force_include"]
        if os.environ.get("PYODIDE"):
            make(root, "scripts/pyodide.mk", SIDE_MODULES)
            make(root, "scripts/wasm.mk", ENGINE)
            inside |= {str(root / path): f"tulle/_pyodide/{Path(path).name}" for path in SIDE_MODULES}
            inside |= {str(root / path): f"tulle/_pyodide/web/dist/{Path(path).name}" for path in ENGINE}
            inside[str(root / "web/src")] = "tulle/_pyodide/web/src"
            inside |= {path: f"tulle/_pyodide/{name}" for path, name in networks(root).items()}
            build_data["tag"] = f"py3-none-pyemscripten_{os.environ['PYODIDE_ABI_VERSION']}_wasm32"
            build_data["pure_python"] = False
        else:
            make(root, "scripts/wasm.mk", PLAIN)
            inside |= {str(root / path): path.removeprefix("py/") for path in PLAIN}
            inside |= {path: f"tulle/_models/{Path(name).name}" for path, name in networks(root).items()}


def networks(root: Path) -> dict[str, str]:
    """The networks that come with tulle, where they have been made; without them only what uses them is of no use."""
    paths = [f"web/models/{name}.tulle" for name in NETWORKS]
    return {str(root / path): path for path in paths if (root / path).is_file()}


def make(root: Path, makefile: str, targets: tuple[str, ...]) -> None:
    """Brings the targets up to date; without a compiler, existing files are used."""
    emcc = os.environ.get("EMCC") or str(root / ".cache" / "toolchain" / "bin" / "emcc")
    emcc = emcc if shutil.which(emcc) else shutil.which("emcc") or ""
    missing = [target for target in targets if not (root / target).is_file()]
    if not emcc:
        if missing:
            raise RuntimeError(
                f"building tulle compiles C to WebAssembly ({', '.join(missing)}) and finds no emcc: install "
                "Emscripten 3.1.58 or newer and put emcc on PATH or in $EMCC; the wheel of tulle needs no compiler"
            )
        return
    # pyodide-build points Python's and make's variables at its own cross-compiler, which emcc must not see.
    private = re.compile(r"_?PYTHON|PYWASMCROSS|MAKE|(C|CXX|LD)FLAGS$")
    environment = {name: value for name, value in os.environ.items() if not private.match(name)}
    command = ["make", "--no-print-directory", f"-j{os.cpu_count() or 1}", "-f", makefile, f"EMCC={emcc}", *targets]
    subprocess.run(command, cwd=root, env=environment, check=True)

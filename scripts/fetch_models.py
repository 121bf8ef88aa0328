#!/usr/bin/env python3
"""Fills `.cache/models` with the TFLite models that the demo, the tests and the benchmark use.

They are Google's MediaPipe models (Apache-2.0), extracted from npm packages that the npm client downloads, and checked
against the digests below. The published sparse hand model is not in any package: it comes from `../shared/models` (or
`$TULLE_SHARED/models`) if that folder exists, otherwise from MediaPipe's public storage. If neither is available it is
left out: nothing requires it, since tulle's own sparse hand model is in `demos/weights`.
`.cache/models/SOURCES.json` says where each file came from.

Files that exist and match are left alone. Needs `npm` on PATH; run with the Python of `.venv`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from common import CACHE, ROOT, SetupError, main_guard, run_logged, say

MODELS = CACHE / "models"
PACKAGES = CACHE / "npm"
SOURCES = MODELS / "SOURCES.json"
LOG = PACKAGES / "setup.log"

HANDS = "@mediapipe/hands@0.4.1675469240"
SELFIE = "@mediapipe/selfie_segmentation@0.1.1675465747"
MEDIAPIPE = "Apache-2.0 (MediaPipe, Google)"

SPARSE = "hand_landmark_sparse.tflite"
SPARSE_SHA256 = "8fbb7bfa9b6ed8c9f6f76af5cc70965ea867ddbacd5eda1a89085ad6946ce16b"
SPARSE_URL = "https://storage.googleapis.com/mediapipe-assets/hand_landmark_sparse.tflite"
SPARSE_BYTES = 2_175_808

# Many files in one, made by Emscripten's file packager: the offsets are in the loader script.
PACKED = "hands_solution_packed_assets.data"
PACKED_LOADER = "hands_solution_packed_assets_loader.js"


@dataclass(frozen=True)
class Model:
    """A model in an npm package; `packed`: inside the package's packed assets."""

    name: str
    package: str
    sha256: str
    packed: bool = False


PACKAGED = [
    Model("hand_landmark_full.tflite", HANDS, "8c026882c9ec059ce0f8e75266bee5a9a23c341a40e0000df755374d3d1b9b68"),
    Model("hand_landmark_lite.tflite", HANDS, "d7fde8ac11f8ce03f8663775bfc323f4fc9f2a38062b4f4efa142874ef5b2a48"),
    Model(
        "palm_detection_full.tflite", HANDS, "2f25e740121983f68ffc05f99991d524dc0ea812134f6316a26125816941ee85", True
    ),
    Model(
        "palm_detection_lite.tflite", HANDS, "e9a4aaddf90dda56a87235303cf00e4c2d3fb28725f68fd88772997dac905c18", True
    ),
    Model("selfie_segmentation.tflite", SELFIE, "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"),
    Model(
        "selfie_segmentation_landscape.tflite",
        SELFIE,
        "4aafe6223bb8dac6fac8ca8ed56852870a33051ef3f6238822d282a109962894",
    ),
]


def main() -> None:
    MODELS.mkdir(parents=True, exist_ok=True)
    sources = read_sources()
    for package in (HANDS, SELFIE):
        missing = [m for m in PACKAGED if m.package == package and digest(MODELS / m.name) != m.sha256]
        if missing:
            take_from_package(package, missing)
    for model in PACKAGED:
        sources[model.name] = {"source": f"npm {model.package}", "licence": MEDIAPIPE, "sha256": model.sha256}
    sparse = fetch_sparse(sources.pop(SPARSE, None))
    if sparse is not None:
        sources[SPARSE] = sparse
    write_file(SOURCES, (json.dumps(sources, indent=2, sort_keys=True) + "\n").encode())
    say(f"models: {MODELS} ({len(sources)} files)")


# ---- npm packages -------------------------------------------------------------------------------------------------


def take_from_package(package: str, models: list[Model]) -> None:
    with tarfile.open(npm_pack(package)) as archive:
        offsets: dict[str, tuple[int, int]] = {}
        packed = b""
        if any(model.packed for model in models):
            offsets = parse_packed_offsets(read_member(archive, PACKED_LOADER).decode())
            packed = read_member(archive, PACKED)
        for model in models:
            if model.packed:
                if model.name not in offsets:
                    raise SetupError(f"{package}: {PACKED_LOADER} lists no {model.name}")
                begin, end = offsets[model.name]
                content = packed[begin:end]
            else:
                content = read_member(archive, model.name)
            save(model.name, content, model.sha256, f"npm package {package}")


def npm_pack(package: str) -> Path:
    """The package's archive, downloaded unless it is there."""
    name, version = package.removeprefix("@").replace("/", "-").rsplit("@", 1)
    archive = PACKAGES / f"{name}-{version}.tgz"
    if not archive.exists():
        # Moved into place at the end: npm writes under the final name, and a partial file must not be taken for
        # complete.
        partial = PACKAGES / "partial"
        partial.mkdir(parents=True, exist_ok=True)
        run_logged(f"npm pack {package}", ["npm", "pack", package, "--pack-destination", partial], LOG)
        (partial / archive.name).replace(archive)
    return archive


def read_member(archive: tarfile.TarFile, name: str) -> bytes:
    """A file at the top of an npm package (`package/NAME`)."""
    try:
        file = archive.extractfile(f"package/{name}")
    except KeyError:
        file = None
    if file is None:
        raise SetupError(f"{archive.name!s}: no {name} inside")
    return file.read()


def parse_packed_offsets(loader: str) -> dict[str, tuple[int, int]]:
    """(begin, end) by file name, from the metadata that Emscripten's file packager puts into its loader script.

    The script ends with a call of `loadPackage` with JSON like
    {"files": [{"filename": "/a/b.tflite", "start": 0, "end": 11}], "remote_package_size": 11}.
    """
    match = re.search(r'\{"files":\s*\[.*?\].*?\}(?=\);)', loader, re.DOTALL)
    try:
        files = json.loads(match.group(0))["files"] if match else None
        offsets = {Path(f["filename"]).name: (int(f["start"]), int(f["end"])) for f in files or []}
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{PACKED_LOADER}: its list of files is not as expected: {error}") from error
    if not offsets:
        raise SetupError(f"{PACKED_LOADER}: no list of files in it")
    return offsets


# ---- MediaPipe's sparse hand model ----------------------------------------------------------------------------------


def fetch_sparse(before: dict[str, str] | None) -> dict[str, str] | None:
    """Puts the sparse hand model in place; its record for SOURCES.json, or None if it is not available."""
    published = {"licence": MEDIAPIPE, "sha256": SPARSE_SHA256}
    shared = Path(os.environ.get("TULLE_SHARED") or ROOT.parent / "shared") / "models" / SPARSE
    if before is not None and digest(MODELS / SPARSE) == before["sha256"] == SPARSE_SHA256:
        return before
    if shared.is_file():
        save(SPARSE, shared.read_bytes(), SPARSE_SHA256, str(shared))
        return {**published, "source": "published by MediaPipe, from the shared folder"}
    (MODELS / SPARSE).unlink(missing_ok=True)  # another file of that name
    try:
        save(SPARSE, download(SPARSE_URL), SPARSE_SHA256, SPARSE_URL)
        return {**published, "source": SPARSE_URL}
    except (OSError, SetupError) as error:
        say(f"{SPARSE} cannot be had ({error}): left out, tulle's own sparse hand model takes its place")
        return None


def download(url: str) -> bytes:
    """The file's content; raises OSError if it is not available."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        content: bytes = answer.read(SPARSE_BYTES + 1)
        return content


# ---- files --------------------------------------------------------------------------------------------------------


def digest(path: Path) -> str | None:
    """SHA-256 in hex, or None if there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def save(name: str, content: bytes, sha256: str, source: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SetupError(f"{name} from {source}: SHA-256 is {found}, expected {sha256}; the file there is another one")
    write_file(MODELS / name, content)


def write_file(path: Path, content: bytes) -> None:
    """Replaces the file in one step, so that an interruption leaves no partial file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def read_sources() -> dict[str, dict[str, str]]:
    try:
        sources: dict[str, dict[str, str]] = json.loads(SOURCES.read_text())
        return {name: dict(record) for name, record in sources.items() if (MODELS / name).is_file()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise SetupError(f"{SOURCES} is not readable ({error}): remove it and run this again") from error


if __name__ == "__main__":
    with main_guard():
        main()

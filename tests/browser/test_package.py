"""The npm package: what `npm pack` makes is type-checked, bundled by Vite and run from the bundle."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

import build_models
from browser.camera import camera_browser, write_mjpeg
from browser.conftest import HERE, OpenPage, tiny_graph
from browser.server import Site
from browser.test_background import pictures_of_people
from browser.test_demo_hands import scene
from conftest import missing
from paths import ROOT
from sharing import locked
from tulle.pack import pack

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WEB = ROOT / "web"
OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH")


def npm(folder: Path, *arguments: str) -> str:
    """Standard output of an npm command; skips the test where npm or its registry is out of reach."""
    program = shutil.which("npm") or missing("no npm: run `make node`")
    command = [program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode and OFFLINE.search(done.stderr):
        missing(f"npm {' '.join(arguments)} needs the registry: {done.stderr.strip()}")
    assert done.returncode == 0, f"npm {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def tarball(built: Path, archive: Path, package_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as `npm pack` makes it."""
    if not (WEB / "node_modules" / "typescript").is_dir():
        npm(WEB, "ci", "--no-audit", "--no-fund")
    target = tmp_path_factory.mktemp("tarball")
    with locked("npm-pack"):  # which writes web/types
        npm(WEB, "pack", "--pack-destination", str(target))
    return next(target.glob("tulle-*.tgz"))


@pytest.fixture(scope="session")
def app(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Vite app with the tarball installed."""
    app = tmp_path_factory.mktemp("vite") / "app"
    shutil.copytree(HERE / "vite_app", app)
    npm(app, "install", "--no-audit", "--no-fund", str(tarball))
    return app


def test_tarball_holds_sources_builds_and_types(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {member.name.removeprefix("package/") for member in archive.getmembers()}
    expected = {"package.json", "LICENSE", "README.md"}
    for source in (WEB / "src").rglob("*.js"):
        path = source.relative_to(WEB / "src")
        expected |= {f"src/{path}", f"types/{path.with_suffix('.d.ts')}"}
    expected |= {"bin/tulle.js", "dist/tulle-python.zip"}
    expected |= {f"models/{name}.tulle" for name in build_models.NETWORKS}
    for build in ("simd", "relaxed", "simd-threads", "relaxed-threads"):
        expected.add(f"dist/tulle-{build}.wasm")
    assert names == expected


def test_types_serve_a_typescript_app(app: Path) -> None:
    compiler = WEB / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        ["node", str(compiler), "--project", "."], cwd=app, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout


def test_vite_app_runs_from_its_bundle(app: Path, open_page: OpenPage) -> None:
    npm(app, "run", "build")
    with Site() as site:
        site.mount("/", app / "dist")
        site.put("/tiny.tulle", pack(tiny_graph()))
        page = open_page(site, "/index.html", ready="window.results")
        results = page.evaluate("results")
        loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert results == [
        *(
            {"variant": variant, "threads": threads, "worker": worker, "y": [2.5] * 48}
            for variant in ("simd", "relaxed")
            for threads, worker in ((1, True), (2, True), (1, False))
        ),
        True,
    ]
    assert all("/src/" not in name for name in loaded), "the page took unbundled files"
    assert json.loads((app / "package.json").read_text())["dependencies"].keys() == {"tulle"}


@contextmanager
def served(app: Path, name: str, how: str) -> Iterator[str]:
    """The address of the app's page `name`, which uses tulle/`name`: bundled, or as it is with an import map."""
    with Site() as site:
        if how == "Vite":
            npm(app, "run", "build")
            site.mount("/", app / "dist")
        else:
            site.mount("/", app)
            imports = f'{{ "imports": {{ "tulle/{name}": "/node_modules/tulle/src/{name}/index.js" }} }}'
            head = f'<head>\n    <script type="importmap">{imports}</script>'
            site.put(f"/{name}.html", (app / f"{name}.html").read_text().replace("<head>", head).encode())
        yield f"{site.url}/{name}.html"


# What the page says, once it is of a right hand.
NAMED = """(() => {
  const { textContent } = document.querySelector('p');
  return textContent.startsWith('Right 0.') && textContent;
})()"""


@pytest.mark.parametrize("how", ["Vite", "plain server"])
def test_a_page_names_the_hands_before_the_camera(
    how: str, app: Path, chromium: Browser, chromium_path: str, tmp_path: Path
) -> None:
    """hands.js, bundled, and as it is with an import map; the camera shows a right hand that moves sideways."""
    with served(app, "hands", how) as address:
        frames = [scene(("open-hand", x, 220, 0, False), width=640, height=480) for x in range(200, 440, 12)]
        with camera_browser(chromium, chromium_path, write_mjpeg(tmp_path / "clip.mjpeg", frames)) as browser:
            page = browser.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            texts = set()
            for _ in range(20):
                texts.add(page.wait_for_function(NAMED, timeout=30_000).json_value())
                page.wait_for_timeout(100)
            assert errors == []
    assert len(texts) > 3, "the finger moves"
    assert all(0.2 < float(text.split()[1].rstrip(",")) < 0.9 for text in texts)


# The middle of each picture, and how sharp its left edge is, where nobody is.
BLURRED = """async () => {
  const video = document.querySelector('video');
  const context = new OffscreenCanvas(640, 360).getContext('2d', { willReadFrequently: true });
  const seen = [];
  for (let i = 0; i < 12; i++) {
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    context.drawImage(video, 0, 0, 640, 360);
    const { data } = context.getImageData(0, 0, 100, 360);
    let edges = 0;
    for (let at = 4; at < data.length; at += 4) if (at % 400) edges += Math.abs(data[at + 1] - data[at - 3]);
    seen.push((edges * 4) / data.length);
  }
  return Math.max(...seen);
}"""


@pytest.mark.parametrize("how", ["Vite", "plain server"])
def test_a_page_blurs_the_camera(how: str, app: Path, chromium: Browser, chromium_path: str, tmp_path: Path) -> None:
    """background.js, bundled, and as it is with an import map; it has to stay short."""
    lines = (app / "background.js").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) < 15
    person = pictures_of_people()[0]
    sharp = np.abs(np.diff(person[:, :100, 1].astype(int), axis=1)).mean()
    clip = write_mjpeg(tmp_path / "clip.mjpeg", [person] * 30)
    with served(app, "background", how) as address, camera_browser(chromium, chromium_path, clip) as browser:
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(address)
        page.wait_for_function("document.querySelector('video').currentTime > 0.5", timeout=60_000)
        assert page.evaluate(BLURRED) < 0.5 * sharp
        assert errors == []

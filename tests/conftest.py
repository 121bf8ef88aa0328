"""Fixtures that every test may use: models, the shared folder, LiteRT as the oracle, and Chromium."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn, TypeAlias

import numpy as np
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

import build_demo
import build_models
import convert_archive
from common import SetupError
from paths import MODELS, ROOT, SHARED, WEIGHTS
from sharing import locked

LiteRT: TypeAlias = Callable[[Path | bytes, Mapping[str, np.ndarray]], dict[str, np.ndarray]]

# MediaPipe's sparse hand model. It is in no package, so not every machine can have it: tests of that very file skip
# without it, and all others use tulle's own, hand_landmark_tulle.
PUBLISHED_SPARSE = "hand_landmark_sparse"

TESTS = ROOT / "tests"

# The files whose tests take longest, first of all: no worker is then left with one of them at the end.
LONGEST = (
    "pyodide/test_notebooks.py",
    "pyodide/test_npx.py",
    "browser/test_site_model.py",
    "pyodide/test_convert.py",
    "browser/test_site.py",
    "browser/test_demo_background.py",
    "browser/test_background.py",
    "browser/test_bench_smoke.py",
    "browser/test_bench_kernels_smoke.py",
    "browser/test_demo_hands.py",
    "browser/test_models.py",
    "pyodide/test_bridge.py",
    "browser/test_hands.py",
    "browser/test_pictures.py",
    "browser/test_site_compare.py",
    "browser/test_runtime.py",
    "browser/test_firefox.py",
    "python/test_install.py",
    "browser/test_inline.py",
    "pyodide/test_models.py",
    "pyodide/test_hands.py",
    "browser/test_package.py",
    "native/test_models.py",
    "train/test_distill.py",
)

# How long a test waits for what a page is to show, in milliseconds. On a busy machine the usual 5 s are too few.
expect.set_options(timeout=60_000)

# Playwright's own list, which a second --disable-features replaces, and the heap profiler, which Chromium turns on in a
# few browsers. A page of Pyodide may crash then ("Target crashed"): for an allocation that it samples it looks for
# frames in the 8 KB above, and a stack of WebAssembly's promise integration may end before.
DISABLED_FEATURES = """HeapProfilerReporting AimEnabled AvoidCorsURLLoaderRestartOnRedirect
AvoidUnnecessaryBeforeUnloadCheckSync DestroyProfileOnBrowserClose HttpsFirstBalancedModeAutoEnable HttpsUpgrades
LensOverlay MediaRouter NetworkTimeServiceQuerying OptimizationHints PaintHolding PreconnectToSearch
ThirdPartyStoragePartitioning"""

# What keeps Chromium from looking for hosts outside, and lets it run as root.
FLAGS = [
    f"--disable-features={','.join(DISABLED_FEATURES.split())}",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="run all of tests/native, ten thousand frames: no sample")
    parser.addoption("--figures", action="store_true", help="print what the tests measured (record_property)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not terminalreporter.config.getoption("--figures"):
        return
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties if report.when == "call" else ():
            text = json.dumps(value, default=float)
            terminalreporter.write_line(f"{report.nodeid.removeprefix('tests/')}: {name} {text}")


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether all is to be run (`make sanitize`, `make soak`), not a short form of it (`make test`)."""
    return bool(request.config.getoption("--thorough"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file go to one worker, which sets up once what they share; those with Chromium are marked so."""
    for item in items:
        if "chromium_path" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(TESTS).as_posix()))
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(TESTS).as_posix(), len(order)))


def missing(what: str) -> NoReturn:
    """Skips the test for want of something that `make test` provides; in CI, where nothing may be wanting, fails it."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder beside the checkout with pictures and weights; the test skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared folder at {SHARED} (TULLE_SHARED names another place)")
    return SHARED


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder with the fetched TFLite models."""
    if not MODELS.is_dir():
        missing("no models: run `make models`")
    return MODELS


@pytest.fixture(scope="session")
def model_path(models_dir: Path) -> Callable[[str], Path]:
    """`model_path("hand_landmark_full")` is the path of that TFLite file: tulle's own, or one that was fetched."""

    def path(name: str) -> Path:
        own = WEIGHTS / f"{name}.tflite"
        if own.is_file():
            return own
        file = models_dir / f"{name.removesuffix('.tflite')}.tflite"
        if name == PUBLISHED_SPARSE and not file.is_file():
            pytest.skip(f"MediaPipe's {name} could not be fetched here")
        if not file.is_file():
            missing(f"no {file.relative_to(ROOT)}: run `make models`")
        return file

    return path


@pytest.fixture(scope="session")
def demo_models(models_dir: Path) -> Path:
    """demos/models, with all that the pages load converted as `make demo` does it."""
    with locked("demo-models"):
        try:
            build_demo.build_all()
        except SetupError as error:
            missing(str(error))
    return build_demo.TARGET


@pytest.fixture(scope="session")
def package_models(models_dir: Path) -> Path:
    """web/models, the networks that the npm package contains."""
    with locked("package-models"):
        try:
            build_models.build()
        except SetupError as error:
            missing(str(error))
    return build_models.TARGET


@pytest.fixture(scope="session")
def archive() -> Path:
    """web/dist/tulle-python.zip, the converter of tulle/convert, of the checkout as it is."""
    with locked("pyodide"):
        try:
            convert_archive.build()
        except SetupError as error:
            missing(str(error))
    return convert_archive.TARGET


@pytest.fixture(scope="session")
def litert() -> LiteRT:
    """Runs a TFLite file (path or bytes) in LiteRT's interpreter: inputs by name to outputs by name, both float32.

    Inputs have the model's own shapes. All of the model's inputs have to be given.
    """
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")

    def run(model: Path | bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        interpreter = interpreter_module.Interpreter(**source, num_threads=1)
        interpreter.allocate_tensors()
        expected = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
        assert set(inputs) == set(expected), f"the model's inputs are {sorted(expected)}, given {sorted(inputs)}"
        for name, index in expected.items():
            interpreter.set_tensor(index, np.asarray(inputs[name], np.float32))
        interpreter.invoke()
        return {d["name"]: interpreter.get_tensor(d["index"]).copy() for d in interpreter.get_output_details()}

    return run


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The Chromium that scripts/chromium.py found (`make chromium`), or `$CHROMIUM`."""
    record = ROOT / ".cache" / "chromium-path"
    recorded = record.read_text().strip() if record.is_file() else None
    path = os.environ.get("CHROMIUM") or recorded or shutil.which("chromium")
    if not path:
        missing("no Chromium: run `make chromium`")
    return path


@pytest.fixture(scope="session")
def chromium(chromium_path: str) -> Iterator[Browser]:
    """One Chromium for the whole session: Playwright's synchronous interface can be started only once."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield browser
        browser.close()

"""An engine that dies (a trap, an error in a worker, a missing file): callers hear of it, and load() starts afresh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from browser import wasm_patch
from browser.conftest import OpenPage, evaluate, expect_workers, package_site
from browser.server import Site

pytestmark = pytest.mark.browser

Patch = Callable[..., Site]


@pytest.fixture
def patched(built: Path) -> Iterator[Patch]:
    """`patched("simd", tulle_model_run=code)` is a site whose build of that name has the function's code replaced."""
    with package_site() as site:

        def patch(build: str, **bodies: bytes) -> Site:
            wasm = (built / f"tulle-{build}.wasm").read_bytes()
            site.put(f"/web/dist/tulle-{build}.wasm", wasm_patch.replace(wasm, bodies))
            return site

        yield patch


@pytest.mark.parametrize(("how", "engine"), [({"threads": 1}, "1 thread"), ({"worker": False}, "1 thread, no worker")])
def test_a_trap_rejects_what_is_pending_and_load_starts_afresh(
    patched: Patch, open_page: OpenPage, built: Path, how: dict[str, object], engine: str
) -> None:
    site = patched("simd", tulle_model_run=wasm_patch.UNREACHABLE)
    page = open_page(site)
    result = evaluate(
        page,
        """
        window.options = { variant: 'simd', ...how };
        const load = () => tulle.load('/tiny.tulle', options);
        const [one, other] = await Promise.all([load(), load()]);
        const input = new Float32Array(48);
        const runs = await Promise.all([one.run(input), other.run(input), one.run(input)].map(outcome));
        const late = await outcome(other.run(input));
        await one.close();
        await other.close();
        return [...runs, late];
        """,
        how=how,
    )
    for outcome in result:
        assert outcome == {
            "error": f"the engine (simd, {engine}) stopped: unreachable; load the model again",
            "isTulleError": True,
            "name": "TulleError",
        }
    expect_workers(page, 0)
    site.put("/web/dist/tulle-simd.wasm", (built / "tulle-simd.wasm").read_bytes())
    again = "return (await (await tulle.load('/tiny.tulle', options)).run(new Float32Array(48).fill(1))).y[0]"
    assert evaluate(page, again) == 2


def test_a_pool_worker_that_dies_while_the_engine_waits(patched: Patch, open_page: OpenPage) -> None:
    """The engine worker never answers again, so only the page can notice."""
    site = patched(
        "simd-threads", tulle_model_run=wasm_patch.FOREVER, tulle_engine_worker=wasm_patch.wait_then_trap(500)
    )
    page = open_page(site)
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { variant: 'simd', threads: 2 });
        return outcome(model.run(new Float32Array(48)));
        """,
    )
    assert result["isTulleError"]
    assert result["error"].startswith("the engine (simd, 2 threads) stopped: ")
    assert "unreachable" in result["error"]
    expect_workers(page, 0)


def test_an_error_in_the_engine_worker(page: Page) -> None:
    evaluate(page, "window.model = await tulle.load('/tiny.tulle', { threads: 1 })")
    page.workers[0].evaluate("setTimeout(() => { throw new Error('boom') })")
    expect_workers(page, 0)
    result = evaluate(page, "return outcome(model.run(new Float32Array(48)))")
    assert result["isTulleError"]
    assert result["error"] == "the engine (relaxed, 1 thread) stopped: Uncaught Error: boom; load the model again"
    again = "return (await (await tulle.load('/tiny.tulle', { threads: 1 })).run(new Float32Array(48).fill(1))).y[0]"
    assert evaluate(page, again) == 2


def test_missing_parts_of_the_package(built: Path, open_page: OpenPage, tmp_path: Path) -> None:
    with package_site() as site:
        site.mount("/web/dist/", tmp_path)
        page = open_page(site)
        call = "return outcome(tulle.load('/tiny.tulle', { threads: 2, variant: 'simd' }))"
        result = evaluate(page, call)
        assert result["isTulleError"]
        assert (
            result["error"] == f"cannot load the engine {site.url}/web/dist/tulle-simd-threads.wasm: HTTP 404 Not Found"
        )
        expect_workers(page, 0)

        site.mount("/web/dist/", built)
        site.put("/web/src/thread.js", b"import './absent.js';")
        result = evaluate(page, call)
        assert result["isTulleError"]
        assert result["error"].startswith("the engine (simd, 2 threads) stopped: a worker script could not be loaded")
        expect_workers(page, 0)


def test_a_build_that_is_not_wasm(built: Path, open_page: OpenPage) -> None:
    with package_site() as site:
        site.put("/web/dist/tulle-simd.wasm", b"<!doctype html>")
        page = open_page(site)
        result = evaluate(page, "return outcome(tulle.load('/tiny.tulle', { threads: 1, variant: 'simd' }))")
        assert result["isTulleError"]
        assert result["error"].startswith(f"cannot load the engine {site.url}/web/dist/tulle-simd.wasm: ")
        assert "magic" in result["error"]

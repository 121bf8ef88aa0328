"""Faults that a page meets, injected: workers that end, a network that fails, wrong types; docs/web.md lists them.

test_crash.py has the engine's own crashes, test_loading.py wrong files and arguments.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from browser import wasm_patch
from browser.conftest import OpenPage, evaluate, expect_workers, package_site, tiny_graph
from browser.server import Site
from tulle.pack import pack

pytestmark = pytest.mark.browser

LOAD = "return outcome(tulle.load(url, { threads: 1, variant: 'simd', timeout: 700 }))"

# Keeps the workers that are started from now on in `workers`.
KEEP_WORKERS = """
    window.workers = [];
    const Native = Worker;
    window.Worker = class extends Native {
      constructor(...args) { super(...args); workers.push(this); }
    };
"""


@pytest.fixture
def own_site(built: Path) -> Iterator[Site]:
    """A site whose files a test may replace."""
    with package_site() as site:
        yield site


def failure(result: Any) -> str:
    assert result["isTulleError"], result
    return str(result["error"])


# ---- workers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_an_engine_worker_ended_in_mid_run(own_site: Site, built: Path, open_page: OpenPage, threads: int) -> None:
    """No event tells of it: `terminate()` by someone else, `close()` inside, or the browser."""
    build = "simd" if threads == 1 else "simd-threads"
    wasm = (built / f"tulle-{build}.wasm").read_bytes()
    own_site.put(f"/web/dist/tulle-{build}.wasm", wasm_patch.replace(wasm, {"tulle_model_run": wasm_patch.FOREVER}))
    page = open_page(own_site)
    options = {"threads": threads, "variant": "simd", "timeout": 1500}
    result = evaluate(
        page,
        KEEP_WORKERS
        + """
        const model = await tulle.load('/tiny.tulle', options);
        const runs = [model.run(new Float32Array(48)), model.run(new Float32Array(48))].map(outcome);
        workers[0].terminate();
        const answers = await Promise.all(runs);
        await model.close();
        return answers;
        """,
        options=options,
    )
    for answer in result:
        assert failure(answer).endswith(
            "stopped: it has not answered for 1.5 s (the option timeout); load the model again"
        )
    expect_workers(page, 0)
    own_site.put(f"/web/dist/tulle-{build}.wasm", wasm)
    again = "return (await (await tulle.load('/tiny.tulle', options)).run(new Float32Array(48).fill(1))).y[0]"
    assert evaluate(page, again, options=options) == 2


def test_a_helper_ended_between_runs_is_not_missed(page: Page) -> None:
    result = evaluate(
        page,
        KEEP_WORKERS
        + """
        const model = await tulle.load('/tiny.tulle', { threads: 3, timeout: 3000 });
        workers[1].terminate();
        workers[2].terminate();
        return (await model.run(new Float32Array(48).fill(3))).y[5];
        """,
    )
    assert result == 6


IN_WORKER = """
    const script = `import { load } from '${location.origin}/web/src/index.js';
      let answer;
      try { answer = await (${fault})(load); } catch (error) { answer = { error: String(error) }; }
      postMessage(answer);`;
    const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
    return new Promise((resolve) => {
      new Worker(url, { type: 'module' }).onmessage = ({ data }) => resolve(data);
    });
"""


@pytest.mark.parametrize("place", ["return fault(tulle.load);", IN_WORKER], ids=["page", "own worker"])
def test_a_helper_that_traps_while_this_thread_computes(
    own_site: Site, built: Path, open_page: OpenPage, place: str
) -> None:
    """With `worker: false` the thread that waits for the helper hears no events. It may sleep in a worker only."""
    patched = wasm_patch.replace(
        (built / "tulle-simd-threads.wasm").read_bytes(), {"tulle_engine_worker": wasm_patch.ENTER_THEN_TRAP}
    )
    own_site.put("/web/dist/tulle-simd-threads.wasm", patched)
    page = open_page(own_site)
    fault = """
        const fault = async (load) => {
          const model = await load(new URL('/tiny.tulle', self.origin), { variant: 'simd', threads: 2, worker: false });
          const start = performance.now();
          for (let i = 0; i < 100000; i += 1) {
            try {
              await model.run(new Float32Array(48));
            } catch ({ name, message }) {
              return { name, message, ms: performance.now() - start };
            }
          }
        };
    """
    result = evaluate(page, fault + place)
    assert result["name"] == "TulleError"
    assert result["message"] == (
        "the engine (simd, 2 threads, no worker) stopped: unreachable: a helper thread crashed; load the model again"
    )
    assert result["ms"] < 5000, "it need not wait for ten seconds"


def test_worker_scripts_that_never_come(own_site: Site, open_page: OpenPage) -> None:
    own_site.put_stalling("/web/src/engine.js", b"import './calls.js';" + b" " * 1000)
    page = open_page(own_site)
    assert failure(evaluate(page, LOAD, url="/tiny.tulle")) == (
        "the engine (simd, 1 thread) stopped: it has not answered for 0.7 s (the option timeout); load the model again"
    )
    expect_workers(page, 0)


def test_worker_scripts_of_a_wrong_type(own_site: Site, open_page: OpenPage) -> None:
    own_site.put("/web/src/engine.js", b"<!doctype html>", "text/html")
    page = open_page(own_site)
    assert "a worker script could not be loaded" in failure(evaluate(page, LOAD, url="/tiny.tulle"))
    expect_workers(page, 0)


# ---- the wasm --------------------------------------------------------------------------------------------------------


def test_wasm_of_another_type_is_compiled_all_the_same(own_site: Site, built: Path, open_page: OpenPage) -> None:
    wasm = (built / "tulle-simd.wasm").read_bytes()
    page = open_page(own_site)
    for content_type in ("text/plain", "application/octet-stream"):
        own_site.put("/web/dist/tulle-simd.wasm", wasm, content_type)
        run = "const model = await tulle.load('/tiny.tulle', { threads: 1, variant: 'simd' });"
        run += "const { y } = await model.run(new Float32Array(48).fill(1)); await model.close(); return y[0];"
        assert evaluate(page, run) == 2


@pytest.mark.parametrize("content_type", ["application/wasm", "application/octet-stream"])
def test_wasm_that_comes_slowly_is_waited_for(
    own_site: Site, built: Path, open_page: OpenPage, content_type: str
) -> None:
    """As long as bytes arrive, however long it takes in all."""
    path = "/web/dist/tulle-simd.wasm"
    own_site.put(path, (built / "tulle-simd.wasm").read_bytes(), content_type)
    own_site.pauses[path] = 0.5  # sixteen times
    page = open_page(own_site)
    code = """const before = performance.now();
      const model = await tulle.load('/tiny.tulle', { threads: 1, variant: 'simd', timeout: 4000 });
      await model.close();
      return performance.now() - before"""
    assert evaluate(page, code) > 7500


def test_wasm_that_does_not_compile_or_come(own_site: Site, built: Path, open_page: OpenPage) -> None:
    wasm = (built / "tulle-simd.wasm").read_bytes()
    page = open_page(own_site)
    file = "/web/dist/tulle-simd.wasm"
    start = f"cannot load the engine {own_site.url}{file}: "

    def error() -> str:
        message = failure(evaluate(page, LOAD, url="/tiny.tulle"))
        expect_workers(page, 0)
        assert message.startswith(start)
        return message.removeprefix(start)

    own_site.put(file, wasm[: len(wasm) // 2])
    assert "WebAssembly" in error()
    own_site.put(file, wasm, "text/html; charset=utf-8")
    assert error() == "the answer is a web page"
    own_site.put(file, wasm, "application/wasm")
    own_site.put_cut(file, wasm)
    assert error()
    own_site.put_stalling(file, wasm)
    assert error() == "nothing came for 0.7 s (the option timeout)"


def test_no_memory_for_threads(page: Page) -> None:
    """As on a phone whose address space has no gibibyte in a row. The page's own thread makes the memory here."""
    result = evaluate(
        page,
        """
        WebAssembly.Memory = function () { throw new RangeError('could not allocate memory'); };
        return outcome(tulle.load('/tiny.tulle', { threads: 2, worker: false }));
        """,
    )
    assert failure(result) == (
        "the browser has no memory for threads (could not allocate memory): load with threads: 1, or close other pages"
    )
    expect_workers(page, 0)


# ---- the network -----------------------------------------------------------------------------------------------------


def test_a_download_that_breaks_or_stalls(own_site: Site, open_page: OpenPage) -> None:
    page = open_page(own_site)
    content = pack(tiny_graph()) + bytes(100_000)
    cut = failure(evaluate(page, LOAD, url=own_site.put_cut("/cut.tulle", content)))
    assert cut.startswith("cannot fetch /cut.tulle: the connection broke before the end (")
    stalled = failure(evaluate(page, LOAD, url=own_site.put_stalling("/stalled.tulle", content)))
    assert stalled == "cannot fetch /stalled.tulle: nothing came for 0.7 s (the option timeout)"
    expect_workers(page, 0)


def test_redirects(own_site: Site, open_page: OpenPage) -> None:
    page = open_page(own_site)
    own_site.put("/login", b"<!doctype html><title>Log in</title>", "text/html")
    moved = own_site.redirect("/moved.tulle", "/tiny.tulle")
    result = evaluate(page, "return (await (await tulle.load(url)).run(new Float32Array(48).fill(1))).y[0]", url=moved)
    assert result == 2
    login = failure(evaluate(page, LOAD, url=own_site.redirect("/private.tulle", "/login")))
    assert login == (
        f"cannot load /private.tulle (redirected to {own_site.url}/login): "
        "not a .tulle file: this is a web page: there may be no file at this address"
    )
    missing = failure(evaluate(page, LOAD, url=own_site.redirect("/old.tulle", "/absent.tulle")))
    assert missing == f"cannot fetch /old.tulle: HTTP 404 Not Found (redirected to {own_site.url}/absent.tulle)"
    circle = failure(evaluate(page, LOAD, url=own_site.redirect("/circle.tulle", "/circle.tulle")))
    assert "the server cannot be reached" in circle
    with Site() as other:
        foreign = own_site.redirect("/foreign.tulle", other.url + other.put("/tiny.tulle", pack(tiny_graph())))
        assert "CORS" in failure(evaluate(page, LOAD, url=foreign))


# ---- what pages do ---------------------------------------------------------------------------------------------------


def test_a_detached_input(page: Page) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { threads: 1 });
        const answers = [];
        for (const input of [new Float32Array(48), new Uint8Array(48)]) {
          structuredClone(input.buffer, { transfer: [input.buffer] });
          answers.push(await outcome(model.run(input)));
        }
        return [...answers, (await model.run(new Float32Array(48).fill(1))).y[0]];
        """,
    )
    for answer in result[:2]:
        assert "0: its ArrayBuffer is detached, as after a transfer to a worker" in failure(answer)
    assert result[2] == 2


@pytest.mark.parametrize("how", [{"threads": 2}, {"worker": False}])
def test_fifty_loads_and_closes_at_once(page: Page, how: dict[str, object]) -> None:
    result = evaluate(
        page,
        """
        const one = async (_, i) => {
          const model = await tulle.load('/tiny.tulle', how);
          const running = model.run(new Float32Array(48).fill(i));
          const closing = model.close();
          const { y } = await running;
          await closing;
          return y[7];
        };
        return Promise.all(Array.from({ length: 50 }, one));
        """,
        how=how,
    )
    assert result == [2 * i for i in range(50)]
    expect_workers(page, 0)


KEEP_RUNNING = """
    window.model = await tulle.load('/tiny.tulle', { threads: 2, timeout: 1000 });
    window.running = true;
    window.done = (async () => {
      let longest = 0;
      for (let count = 0; running; count += 1) {
        const start = performance.now();
        const { y } = await model.run(new Float32Array(48).fill(count));
        longest = Math.max(longest, performance.now() - start);
        if (y[0] !== 2 * count) throw new Error(`${y[0]} instead of ${2 * count}`);
      }
      return longest;
    })();
"""


def test_a_page_that_sleeps_in_mid_run(page: Page, chromium: Browser) -> None:
    """As in a closed notebook, for longer than `timeout`: the workers sleep too, and are not dead."""
    evaluate(page, KEEP_RUNNING)
    processes = chromium.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [process["id"] for process in processes if process["type"] == "renderer"]
    assert renderers
    for signal in (SIGSTOP, SIGCONT):
        for process in renderers:
            os.kill(process, signal)
        if signal == SIGSTOP:
            time.sleep(3)
    page.wait_for_timeout(300)
    assert evaluate(page, "window.running = false; return done") > 2000


@pytest.mark.parametrize("threads", [1, 2])
def test_a_tab_that_is_hidden_and_frozen_in_mid_run(page: Page, threads: int) -> None:
    """As Chromium does with a tab behind others: its timers stop, for longer than `timeout`, and go on."""
    evaluate(page, KEEP_RUNNING.replace("threads: 2", f"threads: {threads}"))
    behind = page.context.new_page()  # in front of it
    behind.goto("about:blank")
    behind.bring_to_front()
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    time.sleep(2.5)
    session.send("Page.setWebLifecycleState", {"state": "active"})
    page.wait_for_timeout(300)
    evaluate(page, "window.running = false; return done")
    assert evaluate(page, "return (await model.run(new Float32Array(48).fill(4))).y[0]") == 8

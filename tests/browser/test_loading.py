"""Loading: progress, abort, downloads that end early, and pages of another origin."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from browser.conftest import OpenPage, evaluate, expect_workers, package_site, tiny_graph
from browser.server import Site
from tulle.pack import pack

pytestmark = pytest.mark.browser


def test_progress_ends_at_the_whole_file(page: Page, site: Site) -> None:
    padded = pack(tiny_graph()) + bytes(3_000_000)
    result = evaluate(
        page,
        """
        const seen = [];
        const model = await tulle.load('/tiny.tulle', { threads: 1, onProgress: (progress) => seen.push(progress) });
        const many = [];
        await outcome(tulle.load(url, { threads: 1, onProgress: ({ loaded, total }) => many.push([loaded, total]) }));
        return { seen, many, y: (await model.run(new Float32Array(48).fill(1))).y[0] };
        """,
        url=site.put("/padded.tulle", padded),
    )
    size = len(pack(tiny_graph()))
    assert result["seen"][-1] == {"loaded": size, "total": size}
    assert result["y"] == 2
    loaded = [done for done, _ in result["many"]]
    assert len(loaded) > 1
    assert loaded == sorted(loaded)
    assert loaded[-1] == len(padded)
    assert {total for _, total in result["many"]} == {len(padded)}


def test_abort_while_the_file_arrives(page: Page, site: Site) -> None:
    result = evaluate(
        page,
        """
        const controller = new AbortController();
        const onProgress = () => controller.abort();
        const loading = tulle.load(url, { threads: 2, signal: controller.signal, onProgress });
        const plain = await outcome(loading);
        const timed = await outcome(tulle.load(url, { signal: AbortSignal.timeout(300) }));
        const reason = new Error('the user left');
        const before = await tulle.load(url, { signal: AbortSignal.abort(reason) }).catch((error) => error);
        return { plain, timed, before: before.message, isReason: before.cause === reason };
        """,
        url=site.put_stalling("/stalling.tulle", pack(tiny_graph()) + bytes(100_000)),
    )
    assert result["plain"]["isTulleError"]
    assert result["plain"]["error"].startswith("loading /stalling.tulle was aborted: ")
    assert result["timed"]["isTulleError"]
    assert result["timed"]["error"].startswith("loading /stalling.tulle was aborted: ")
    assert result["before"] == "loading /stalling.tulle was aborted: the user left"
    assert result["isReason"]
    expect_workers(page, 0)


def test_abort_while_the_engine_loads_frees_the_model(page: Page) -> None:
    result = evaluate(
        page,
        """
        const kept = await tulle.load('/tiny.tulle', { threads: 1 });
        const file = await bytes('/tiny.tulle');
        const memory = async () => { await kept.run(new Float32Array(48)); return kept.info.memoryBytes; };
        const before = await memory();
        const outcomes = [];
        for (let i = 0; i < 50; i += 1) {
          const controller = new AbortController();
          const loading = tulle.load(file, { threads: 1, signal: controller.signal });
          // Lets load() get as far as asking the engine, which cannot answer before this task ends.
          for (let turn = 0; turn < 20; turn += 1) await undefined;
          controller.abort();
          outcomes.push((await outcome(loading)).isTulleError);
        }
        return { outcomes, before, after: await memory() };
        """,
    )
    assert result["outcomes"] == [True] * 50
    assert result["after"] == result["before"]


def test_imported_from_another_origin(built: object, open_page: OpenPage) -> None:
    with package_site(cors=True) as cdn, Site() as app:
        app.put("/tiny.tulle", pack(tiny_graph()))
        html = f"""<!doctype html><title>app</title><link rel="icon" href="data:,"><script type="module">
            window.tulle = await import('{cdn.url}/web/src/index.js');
            window.ready = true;
            </script>"""
        page = open_page(app, app.put("/page.html", html.encode()))
        result = evaluate(
            page,
            """
            const outputs = [];
            for (const how of [{ threads: 1 }, { threads: 2 }, { worker: false }]) {
              const model = await tulle.load('/tiny.tulle', how);
              outputs.push([model.threads, model.worker, (await model.run(new Float32Array(48).fill(3))).y[9]]);
            }
            return { outputs, isolated: crossOriginIsolated };
            """,
        )
        assert result == {"outputs": [[1, True, 6], [2, True, 6], [1, False, 6]], "isolated": True}
        expect_workers(page, 3)
        assert all(worker.url.startswith(f"blob:{app.url}/") for worker in page.workers)


def test_under_a_strict_content_security_policy(built: object, open_page: OpenPage) -> None:
    with package_site() as strict:
        policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
        strict.headers["Content-Security-Policy"] = policy
        page = open_page(strict)
        result = evaluate(
            page,
            """
            const model = await tulle.load('/tiny.tulle', { threads: 2 });
            return (await model.run(new Float32Array(48).fill(1))).y[0];
            """,
        )
    assert result == 2


def test_in_a_worker_of_the_app(page: Page, site: Site) -> None:
    site.put(
        "/app-worker.js",
        b"""
        import { load } from '/web/src/index.js';
        const model = await load('/tiny.tulle', { threads: 2 });
        const { y } = await model.run(new ImageData(4, 4));
        postMessage({ threads: model.threads, y: y[5] });
        """,
    )
    result = evaluate(
        page,
        """
        const worker = new Worker('/app-worker.js', { type: 'module' });
        return new Promise((resolve, reject) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = ({ message }) => reject(new Error(message));
        });
        """,
    )
    assert result == {"threads": 2, "y": -1}

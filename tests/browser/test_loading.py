"""Loading: progress, abort, downloads that end early, and pages of another origin."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess

import pytest
from playwright.sync_api import Page

from browser.conftest import OpenPage, evaluate, expect_workers, package_site, tiny_graph
from browser.server import Site
from paths import ROOT
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
              const model = await tulle.load('/tiny.tulle', { worker: true, ...how });
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
            const broken = [];
            document.addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => {
              broken.push(`${effectiveDirective} ${blockedURI}`);
            });
            const integrity = `sha256-${hash}`;
            const outputs = [];
            for (const how of [{ threads: 1 }, { threads: 2 }, { worker: false }, { worker: false, threads: 2 }]) {
              const model = await tulle.load('/tiny.tulle', { ...how, integrity });
              outputs.push((await model.run(new ImageData(4, 4))).y[0]);
              outputs.push((await model.run(new ImageData(9, 7), { fit: 'cover' })).y[0]);
              await model.close();
            }
            const own = broken.length;
            const inline = document.createElement('script');
            inline.textContent = 'window.ran = true';
            document.head.append(inline);
            try { (0, eval)('window.ran = true'); } catch { outputs.push('no eval'); }
            await new Promise((resolve) => { setTimeout(resolve, 100); });
            return { outputs, own, broken, ran: window.ran };
            """,
            hash=base64.b64encode(hashlib.sha256(pack(tiny_graph())).digest()).decode(),
        )
    assert result["outputs"] == [*[-1] * 8, "no eval"]
    assert result["own"] == 0
    assert result["broken"] == ["script-src-elem inline", "script-src eval"], "the policy was in force"
    assert "ran" not in result or result["ran"] is None


def test_in_a_worker_of_the_app(page: Page, site: Site) -> None:
    site.put(
        "/app-worker.js",
        b"""
        import { load } from '/web/src/index.js';
        const model = await load('/tiny.tulle', { threads: 2, worker: true });
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


def test_sources_of_another_realm(page: Page) -> None:
    """Made in an iframe, by an extension or a test runner: their classes are other ones than the page's."""
    result = evaluate(
        page,
        """
        const frame = document.body.appendChild(document.createElement('iframe'));
        const realm = frame.contentWindow;
        const file = new Uint8Array(await bytes('/tiny.tulle'));
        const buffer = new realm.ArrayBuffer(file.length);
        new realm.Uint8Array(buffer).set(file);
        const shared = new SharedArrayBuffer(file.length);
        new Uint8Array(shared).set(file);
        const sources = { buffer, array: new realm.Uint8Array(buffer), view: new realm.DataView(buffer), shared,
                          blob: new realm.Blob([file]), file: new realm.File([file], 'm'),
                          url: new realm.URL('/tiny.tulle', location) };
        const outputs = {};
        for (const [name, source] of Object.entries(sources)) {
          const loaded = await outcome(tulle.load(source, { threads: 1 }));
          if (loaded.error) outputs[name] = loaded.error;
          else outputs[name] = (await loaded.value.run(new Float32Array(48).fill(1))).y[0];
        }
        return outputs;
        """,
    )
    assert result == dict.fromkeys(("buffer", "array", "view", "shared", "blob", "file", "url"), 2)


@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        (
            "'/tiny.tulle'",
            "{ thread: 2 }",
            'load() has no option "thread"; it has threads, variant, worker, onProgress, ',
        ),
        ("'/tiny.tulle'", "'simd'", "the options of load() are an object, not String"),
        ("'/tiny.tulle'", "{ variant: 1n }", 'variant must be "auto" or one of simd, relaxed, not 1'),
        ("{}", "undefined", "load() takes a URL, a Blob, an ArrayBuffer or a typed array, not Object"),
        ("null", "null", "load() takes a URL, a Blob, an ArrayBuffer or a typed array, not Null"),
        ("detached.buffer", "null", "cannot read the model in memory: its ArrayBuffer is detached"),
        ("detached", "{}", "cannot read the model in memory: its ArrayBuffer is detached"),
    ],
)
def test_wrong_arguments_are_named(page: Page, source: str, options: str, error: str) -> None:
    result = evaluate(
        page,
        f"""
        const buffer = await bytes('/tiny.tulle');
        const detached = new DataView(buffer);
        structuredClone(buffer, {{ transfer: [buffer] }});
        return outcome(tulle.load({source.replace("detached.buffer", "buffer")}, {options}));
        """,
    )
    assert result["isTulleError"] and result["error"].startswith(error), result
    expect_workers(page, 0)


def test_integrity(page: Page, site: Site) -> None:
    """The hashes are hashlib's; those of weaker kinds do not count beside a stronger one, as in HTML."""
    data = pack(tiny_graph())
    hashes = {}
    for name in ("sha256", "sha384", "sha512"):
        hashes[name] = f"{name}-{base64.b64encode(hashlib.new(name, data).digest()).decode()}"
    wrong = f"sha512-{base64.b64encode(bytes(64)).decode()}"
    cases = [*hashes.values(), f"  {wrong} {hashes['sha512']}?v=1 ", f"{hashes['sha256']} {wrong}", wrong]
    result = evaluate(
        page,
        """
        const file = await bytes('/tiny.tulle');
        const answers = [];
        for (const source of ['/tiny.tulle', file, new Blob([file])]) {
          for (const integrity of cases) {
            const { value, error, isTulleError } = await outcome(tulle.load(source, { threads: 1, integrity }));
            answers.push(value ? (await value.run(new Float32Array(48).fill(1))).y[0] : isTulleError && error);
            await value?.close();
          }
        }
        const strange = await outcome(tulle.load('/tiny.tulle', { integrity: 'md5-AAAA' }));
        Object.defineProperty(crypto, 'subtle', { value: undefined });
        return { answers, strange, insecure: await outcome(tulle.load('/tiny.tulle', { integrity: cases[0] })) };
        """,
        cases=cases,
    )
    for start, what in ((0, "/tiny.tulle"), (6, "the model in memory"), (12, "the model in a Blob")):
        refusal = f"cannot load {what}: its hash is {hashes['sha512']}, which is not in the option integrity: "
        refusal += "it is another file, or damaged"
        assert result["answers"][start : start + 6] == [2, 2, 2, 2, refusal, refusal]
    assert result["strange"]["error"].startswith('integrity must be like "sha256-..." (or sha384, sha512)')
    assert result["insecure"]["error"].startswith("integrity needs crypto.subtle, which")
    expect_workers(page, 0)


def test_null_as_options(page: Page) -> None:
    assert evaluate(page, "const model = await tulle.load('/tiny.tulle', null); return model.inputs[0].name;") == "x"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"<!doctype html><title>Not found</title>", "this is a web page: there may be no file at this address"),
        (b"\xef\xbb\xbf\n  <?xml version='1.0'?><Error/>", "this is a web page"),
        (b"PK\x03\x04" + bytes(50), "this is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "this is a pointer of Git LFS"),
        (b"no model <at> all", "it does not begin with the TULL identifier"),
    ],
)
def test_files_of_something_else(page: Page, site: Site, content: bytes, error: str) -> None:
    url = site.put("/model.tulle", content)
    result = evaluate(page, "return outcome(tulle.load(url, { threads: 1 }));", url=url)
    assert result["isTulleError"] and f"cannot load /model.tulle: not a .tulle file: {error}" in result["error"]


@pytest.mark.parametrize("content", [b"\x1c\0\0\0TFL3" + bytes(50), b"\x08\x08\x12\x07pytorch\x1a\x052.4.1:"])
def test_a_file_to_convert_without_the_converter(page: Page, site: Site, content: bytes) -> None:
    url = site.put("/model.tulle", content)
    options = {"threads": 1, "convert": {"pyodide": f"{site.url}/nowhere/"}}
    result = evaluate(page, "return outcome(tulle.load(url, options));", url=url, options=options)
    assert result["isTulleError"] and "Pyodide cannot be loaded from" in result["error"]
    assert "convert the file beforehand" in result["error"]


def test_without_webassembly(page: Page) -> None:
    """As in Lockdown Mode."""
    result = evaluate(
        page,
        """
        delete globalThis.WebAssembly;
        return { able: tulle.support(), loaded: await outcome(tulle.load('/tiny.tulle')) };
        """,
    )
    assert result["able"] == {"simd": False, "relaxedSimd": False, "threads": True, "crossOriginIsolated": True}
    assert result["loaded"]["isTulleError"] and result["loaded"]["error"].startswith("this browser has no WebAssembly,")


IMPORTED = """
const answer = async (load, file) => {
  const failed = await load(file, { threads: 1 }).catch(({ name, message }) => `${name}: ${message}`);
  const model = await load(file, { worker: false });
  return [failed, (await model.run(new Float32Array(48).fill(1))).y[0]];
};
"""


def test_in_a_service_worker(page: Page, site: Site) -> None:
    """Which has no workers of its own."""
    script = f"import {{ load }} from '/web/src/index.js';{IMPORTED}"
    script += "onmessage = async ({ data, source }) => source.postMessage(await answer(load, data));"
    site.put("/service.js", script.encode())
    failed, y = evaluate(
        page,
        """
        const { installing, active } = await navigator.serviceWorker.register('/service.js', { type: 'module' });
        navigator.serviceWorker.startMessages();
        const heard = new Promise((resolve) => { navigator.serviceWorker.onmessage = ({ data }) => resolve(data); });
        (installing ?? active).postMessage(await bytes('/tiny.tulle'));
        return heard;
        """,
    )
    assert failed.startswith("TulleError: no worker can be started here (") and "worker: false" in failed
    assert y == 2


def test_in_a_frame_of_no_origin(built: object, open_page: OpenPage) -> None:
    with package_site(cors=True) as site:
        script = f"import {{ load }} from '{site.url}/web/src/index.js';{IMPORTED}"
        script += f"const file = await (await fetch('{site.url}/tiny.tulle')).arrayBuffer();"
        script += "parent.postMessage(await answer(load, file), '*');"
        result = evaluate(
            open_page(site),
            """
            const frame = document.createElement('iframe');
            frame.sandbox = 'allow-scripts';
            frame.srcdoc = `<script type="module">${script}</scr` + 'ipt>';
            const heard = new Promise((resolve) => addEventListener('message', ({ data }) => resolve(data)));
            document.body.append(frame);
            return heard;
            """,
            script=script,
        )
    failed, y = result
    assert failed.startswith("TulleError: ") and "worker: false" in failed
    assert y == 2


def test_in_node() -> None:
    """Which runs no workers of the web's kind, and before version 21 has no navigator."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    code = f"""
    delete globalThis.navigator;
    const {{ load, support, TulleError }} = await import({json.dumps((ROOT / "web/src/index.js").as_uri())});
    const error = await load(new Uint8Array(100)).catch((error) => error);
    console.log(JSON.stringify([error instanceof TulleError, error.message, support().simd]));
    """
    done = subprocess.run([node, "--input-type=module", "-e", code], capture_output=True, text=True, timeout=60)
    is_tulle_error, message, simd = json.loads(done.stdout)
    assert is_tulle_error and simd and "worker: false" in message, message


def test_missing_normalisation_is_noted(page: Page, site: Site) -> None:
    graph = tiny_graph()
    graph.tensors["x"].mean, graph.tensors["x"].std = 0.0, 1.0
    small = tiny_graph()
    small.tensors["x"].mean, small.tensors["x"].std = 0.5, 0.25
    result = evaluate(
        page,
        """
        const notes = async (source) => (await tulle.load(source, { threads: 1 })).notes;
        return [await notes('/tiny.tulle'), await notes(url), await notes(small)];
        """,
        url=site.put("/plain.tulle", pack(graph)),
        small=site.put("/small.tulle", pack(small)),
    )
    assert result[0] == []
    assert len(result[1]) == 1 and result[1][0].startswith('no normalisation is stored for input "x"')
    assert len(result[2]) == 1 and 'input "x" gets (pixel - 0.5) / 0.25' in result[2][0]

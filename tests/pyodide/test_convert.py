"""tulle/convert: models converted in the page, in Pyodide from this machine, are those that Python makes."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite as schema
from playwright.sync_api import Page

import pyodide_wheels
import tulle
from browser.conftest import OpenPage, built, decode, evaluate, expect_workers, open_page, package_site
from browser.server import Site
from conftest import LiteRT
from paths import ROOT
from python.test_tflite_read import patched, rename_op
from tulle.inspection import describe
from tulle.sparsify import Options, sparsify
from tulle.tflite import read

__all__ = ["built", "open_page"]  # fixtures

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WHEELS = pyodide_wheels.HOME / "wheels"
MODEL = "selfie_segmentation"
START = "const { convert, inspect, shutDown, PYODIDE_VERSION } = await import('/web/src/convert/index.js');"
# What came of a promise, with bytes as base64.
SETTLE = """const settle = (promise) => promise.then(
  (bytes) => ({ bytes: encode({ bytes }).bytes }),
  ({ name, message, cause }) => ({ name, message, cause: String(cause) }));"""


@pytest.fixture(scope="session")
def site(archive: Path, pyodide_folder: Path, model_path: Callable[[str], Path]) -> Iterator[Site]:
    with package_site() as site:
        site.mount("/pyodide/", pyodide_folder)
        site.put("/model.tflite", model_path(MODEL).read_bytes())
        yield site


@pytest.fixture
def page(open_page: OpenPage, site: Site) -> Page:
    return open_page(site)


def in_page(page: Page, body: str, **arguments: Any) -> Any:
    return evaluate(page, f"{START}{SETTLE} const pyodide = '/pyodide/'; {body}", **arguments)


@pytest.fixture
def model(model_path: Callable[[str], Path]) -> Path:
    return model_path(MODEL)


def test_versions_are_those_of_the_checkout(page: Page) -> None:
    versions = evaluate(page, "const { VERSION, PYODIDE_VERSION } = await import('/web/src/convert/python.js');"
                              "return [VERSION, PYODIDE_VERSION]")  # fmt: skip
    package = json.loads((ROOT / "web" / "package.json").read_text())
    assert versions == [tulle.__version__, pyodide_wheels.VERSIONS[0]]
    assert [package["version"], package["peerDependencies"]["pyodide"]] == versions


def test_archive_holds_what_the_wheel_installs(archive: Path, wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels[pyodide_wheels.VERSIONS[0]]) as wheel, zipfile.ZipFile(archive) as ours:
        names = {name for name in ours.namelist() if name.startswith("tulle/")}
        assert all(wheel.read(name) == ours.read(name) for name in names)
        rest = {name.split("/")[1] for name in set(wheel.namelist()) - names if name.startswith("tulle/")}
    assert rest <= {"cli", "train", "_pyodide", "_models"}


def test_a_page_converts_prunes_inspects_and_runs(
    page: Page, site: Site, model: Path, litert: LiteRT, tmp_path: Path
) -> None:
    (info,) = tulle.load(model).inputs
    x = np.random.default_rng(3).random(info.shape, np.float32)
    site.put("/x.f32", x.tobytes())
    answer = in_page(page, """
      const file = new File([await bytes('/model.tflite')], 'selfie_segmentation.tflite');
      const stages = [];
      const options = { pyodide, inputMean: 0, inputStd: 255, onProgress: ({ stage }) => stages.push(stage) };
      const dense = await convert(file, options);
      const [sparse, report] = await Promise.all([
        convert(file, { pyodide, sparsity: 0.8 }), inspect(file, { pyodide })]);
      const shorter = { pyodide, name: 'part', outputs: ['activation_10'], weights: 'int8' };
      const part = await convert(await bytes('/model.tflite'), shorter);
      const model = await tulle.load(dense);
      const outputs = encode(await model.run(await floats('/x.f32')));
      return { files: encode({ dense, sparse, part }), outputs, report, stages };
    """)  # fmt: skip
    files = answer["files"]
    expected = tulle.convert(model, input_mean=0, input_std=255).data
    assert base64.b64decode(files["dense"]) == expected
    pruned = sparsify(read(model), Options(sparsity=0.8, method="magnitude"))
    assert (
        base64.b64decode(files["sparse"]) == tulle.convert(pruned.graph, weights="fp16" if pruned.half else "fp32").data
    )
    part = tulle.convert(model.read_bytes(), outputs=["activation_10"], weights="int8", name="part")
    assert base64.b64decode(files["part"]) == part.data
    assert answer["report"] == json.loads(json.dumps(describe(model).to_dict()))
    assert answer["stages"] == ["pyodide", "packages", "converting"]
    for name, value in litert(model, {info.name: x}).items():
        np.testing.assert_allclose(decode(answer["outputs"])[name], value.ravel(), atol=1e-3)
    assert not any("pythonhosted" in path or "jsdelivr" in path for _, path, _ in site.log)


def test_errors_are_the_converters_own(
    page: Page, site: Site, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsupported = patched(model.read_bytes(), rename_op(schema.BuiltinOperator.LOGISTIC, schema.BuiltinOperator.WHILE))
    broken = model.read_bytes()[:50_000]
    files = {"unsupported": unsupported, "broken": broken, "other": b"MZ" * 100, "empty": b""}
    for name, data in files.items():
        site.put(f"/{name}.tflite", data)
    answers = in_page(page, """
      const answers = {};
      for (const name of names) {
        const file = new File([await bytes(`/${name}.tflite`)], `${name}.tflite`);
        answers[name] = await settle(convert(file, { pyodide }));
      }
      return answers""", names=list(files))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name, data in files.items():
        Path(f"{name}.tflite").write_bytes(data)
        with pytest.raises(tulle.TulleError) as error:
            tulle.convert(f"{name}.tflite")
        assert answers[name]["name"] == "TulleError"
        assert answers[name]["message"] == str(error.value)
    assert "WHILE" in answers["unsupported"]["message"]


def test_wrong_options_and_a_pyodide_that_is_not_there(page: Page) -> None:
    answers = in_page(page, """
      const bytes = new Uint8Array(8);
      return Promise.all([
        settle(convert(bytes, { threads: 2 })), settle(convert('model.tflite')),
        settle(inspect(bytes, { sparsity: 1 })),
        settle(convert(bytes, { pyodide: '/nowhere/' }))])""")  # fmt: skip
    messages = [answer["message"] for answer in answers]
    assert all(answer["name"] == "TulleError" for answer in answers)
    assert 'convert() has no option "threads"; it has name, pyodide,' in messages[0]
    assert messages[1] == "a model is a Blob, an ArrayBuffer or a typed array here, not String"
    assert 'inspect() has no option "sparsity"' in messages[2]
    assert "Pyodide cannot be loaded from http" in messages[3] and "/nowhere/" in messages[3]


def test_abort_ends_the_work_and_the_next_goes_on(page: Page, model: Path) -> None:
    answers = in_page(page, """
      const file = await bytes('/model.tflite');
      const controllers = Array.from({ length: 3 }, () => new AbortController());
      const [atWork, waiting, before] = controllers.map(({ signal }) => signal);
      controllers[2].abort('changed my mind');
      const results = [
        settle(convert(file, { pyodide, signal: atWork, onProgress: () => controllers[0].abort() })),
        settle(convert(file, { pyodide, signal: waiting })),
        settle(convert(file, { pyodide, name: 'model' })),
        settle(convert(file, { pyodide, signal: before }))];
      controllers[1].abort();
      return Promise.all(results);
    """)  # fmt: skip
    assert [answer.get("name") for answer in answers] == ["TulleError", "TulleError", None, "TulleError"]
    assert "the conversion was aborted" in answers[0]["message"] and "AbortError" in answers[0]["cause"]
    assert answers[3]["message"] == "the conversion was aborted: changed my mind"
    assert base64.b64decode(answers[2]["bytes"]) == tulle.convert(model.read_bytes()).data
    assert len(page.workers) == 1
    in_page(page, "shutDown()")
    expect_workers(page, 0)


def test_prepare_starts_python_before_there_is_a_file(page: Page, site: Site, model: Path) -> None:
    before = len(site.log)
    answer = in_page(page, """
      const { prepare } = await import('/web/src/convert/index.js');
      const stages = { prepared: [], waiting: [], later: [] };
      const into = (list) => ({ pyodide, onProgress: ({ stage }) => list.push(stage) });
      const file = await bytes('/model.tflite');
      const failed = await settle(prepare({ pyodide: '/nowhere/' }));
      const wrong = await settle(prepare({ sparsity: 1 }));
      const prepared = prepare(into(stages.prepared));
      const waiting = settle(convert(file, into(stages.waiting)));
      const controller = new AbortController();
      const aborted = settle(convert(file, { pyodide, signal: controller.signal }));
      controller.abort();
      await prepared;
      await waiting;
      return { stages, failed, wrong, aborted: await aborted, later: await settle(convert(file, into(stages.later))) }
    """)  # fmt: skip
    assert answer["stages"]["prepared"] == ["pyodide", "packages"]
    assert answer["stages"]["waiting"] == ["pyodide", "packages", "converting"], "it shows what it waits for"
    assert answer["stages"]["later"] == ["converting"]
    assert base64.b64decode(answer["later"]["bytes"]) == tulle.convert(model.read_bytes(), name="model").data
    assert "Pyodide cannot be loaded from" in answer["failed"]["message"]
    assert 'prepare() has no option "sparsity"' in answer["wrong"]["message"]
    assert "aborted" in answer["aborted"]["message"]
    loaded = [path for _, path, _ in site.log[before:] if path.endswith("pyodide.asm.wasm")]
    assert len(loaded) == 1


def test_answers_are_kept_for_the_next_visit(page: Page, site: Site) -> None:
    code = """
      const file = new File([await bytes('/model.tflite')], 'kept.tflite');
      const options = { pyodide, cache: true };
      const report = await inspect(file, options);
      return { report, ...await settle(convert(file, { ...options, inputStd })) }"""
    first = in_page(page, code, inputStd=255)
    assert first["report"]["name"] == "kept"
    page.reload()
    page.wait_for_function("window.ready")
    before = len(site.log)
    assert in_page(page, code, inputStd=255) == first
    assert not any("pyodide" in path for _, path, _ in site.log[before:])
    assert in_page(page, code, inputStd=128)["bytes"] != first["bytes"], "other options, another answer"
    kept = """const cache = await caches.open('tulle-converted-1');
      for (let i = 0; i < 40; i++) await cache.put(`/filler-${i}`, new Response('x'));
      await convert(await bytes('/model.tflite'), { pyodide, cache: true, name: 'new' });
      return (await cache.keys()).length"""
    assert in_page(page, kept) == 32


@pytest.mark.parametrize("fault", ["stall", "web page"])
def test_a_converter_that_does_not_come(archive: Path, pyodide_folder: Path, open_page: OpenPage, fault: str) -> None:
    with package_site() as own:
        own.mount("/pyodide/", pyodide_folder)
        if fault == "stall":
            own.put_stalling("/web/dist/tulle-python.zip", archive.read_bytes())
            fetching = (ROOT / "web" / "src" / "fetching.js").read_text()
            assert "30_000" in fetching
            own.put("/web/src/fetching.js", fetching.replace("30_000", "1_000").encode())
        else:
            own.put("/web/dist/tulle-python.zip", b"<!doctype html>", "text/html")
        message = in_page(open_page(own), "return settle(convert(new Uint8Array(8), { pyodide }))")["message"]
    assert message.startswith("the converter cannot be loaded from http")
    assert ("nothing came for 1 s" if fault == "stall" else "the answer is a web page") in message


def test_load_takes_a_tflite_file_and_keeps_what_it_made(page: Page, site: Site) -> None:
    code = """
      const model = await tulle.load('/model.tflite', { cache, convert: { pyodide, inputMean: 0, inputStd: 255 } });
      const { notes, info: { name }, inputs: [{ std }] } = model;
      await model.close();
      return { notes, name, std }"""
    first = in_page(page, code, cache=True)
    assert first["name"] == "model" and first["std"] == 255
    assert ["a TFLite file, converted in the page" in note for note in first["notes"]] == [True]
    page.reload()
    page.wait_for_function("window.ready")
    before = len(site.log)
    assert in_page(page, code, cache=True) == first
    assert not any("pyodide" in path or path.endswith(".zip") for _, path, _ in site.log[before:])
    in_page(page, code, cache=False)
    assert any("pyodide" in path for _, path, _ in site.log[before:])


# ---- ONNX ----


def test_onnx(page: Page, site: Site, onnx_wheels: list[Path], tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx.helper")
    kernel = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["y"], ["z"])],
        "net",
        [helper.make_tensor_value_info("x", 1, [1, 3, 12, 16])],
        [helper.make_tensor_value_info("z", 1, None)],
        [helper.make_tensor("w", 1, kernel.shape, kernel.tobytes(), raw=True)],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    site.put("/net.onnx", data)
    urls = [site.url + site.put(f"/onnx/{path.name}", path.read_bytes()) for path in onnx_wheels]
    answer = in_page(page, """
      const file = new File([await bytes('/net.onnx')], 'net.onnx');
      const without = await settle(convert(file, { pyodide, onnx: ['/nowhere-1.0-py3-none-any.whl'] }));
      const stages = [];
      const onProgress = ({ stage }) => stages.push(stage);
      const converted = await settle(convert(file, { pyodide, onnx: urls, onProgress }));
      return { without, converted, stages }""", urls=urls)  # fmt: skip
    assert "reading ONNX needs the Python package onnx" in answer["without"]["message"]
    assert answer["stages"] == ["packages", "converting"]
    assert base64.b64decode(answer["converted"]["bytes"]) == tulle.convert(data, name="net").data

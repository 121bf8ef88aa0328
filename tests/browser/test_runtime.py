"""The package in a real page: what it gives, how it shares engines, and what it says when something is wrong."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from playwright.sync_api import Page

from browser.conftest import OpenPage, decode, evaluate, expect_workers, package_site, tiny_graph
from browser.server import Site
from tulle.graph import Graph, Node, Quantization, Tensor
from tulle.pack import pack

pytestmark = pytest.mark.browser

CONFIGURATIONS = list(product(("simd", "relaxed"), (1, 2)))
RAMP = np.arange(48, dtype=np.float32) / 7 - 3


def two_inputs() -> bytes:
    """sum = a + b, twice = a * 2: flat inputs that take no image."""
    graph = Graph("two inputs")
    graph.inputs = [graph.add_tensor(Tensor(name, (1, 5))) for name in "ab"]
    graph.outputs = [graph.add_tensor(Tensor(name, (1, 5))) for name in ("sum", "twice")]
    two = graph.add_constant("two", np.array([2], np.float32))
    graph.nodes = [
        Node("add", "add", ["a", "b"], ["sum"], {"activation": "none"}),
        Node("mul", "mul", ["a", two], ["twice"], {"activation": "none"}),
    ]
    return pack(graph)


# ---- running ----


@pytest.mark.parametrize(("variant", "threads"), CONFIGURATIONS)
def test_runs_in_every_configuration(page: Page, site: Site, variant: str, threads: int) -> None:
    x = site.put("/ramp.bin", RAMP.tobytes())
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { variant, threads });
        const input = await floats(x);
        const named = await model.run({ x: input });
        const bare = await model.run(input);
        const { variant: v, threads: t, notes, inputs, outputs, info } = model;
        return { named: encode(named), bare: encode(bare), kept: input.length, v, t, notes, inputs, outputs, info };
        """,
        variant=variant,
        threads=threads,
        x=x,
    )
    assert decode(result["named"])["y"].tobytes() == (RAMP * 2).tobytes()
    assert result["bare"] == result["named"]
    assert result["kept"] == 48, "the caller's array was taken away"
    assert (result["v"], result["t"], result["notes"]) == (variant, threads, [])
    image = {"dtype": "float32", "shape": [1, 4, 4, 3]}
    assert result["inputs"] == [{"name": "x", **image, "image": True, "mean": 10, "std": 20}]
    assert result["outputs"] == [{"name": "y", **image}]
    info = result["info"]
    assert info["name"] == "tiny"
    assert info["fileBytes"] == len(pack(tiny_graph()))
    assert info["memoryBytes"] >= max(info["arenaBytes"] + info["weightBytes"], 65536)


def paired_graph() -> Graph:
    """Sparse 1x1 convolutions: rows in pairs, near and far, rows by themselves, on maps of one tile and of several."""
    rng = np.random.default_rng(3)
    graph = Graph("paired")
    graph.inputs = [graph.add_tensor(Tensor("x", (1, 21, 21, 200)))]
    x = graph.add_tensor(Tensor("x chw", (1, 21, 21, 200), layout="chw"))
    graph.nodes.append(Node("to_chw", x, ["x"], [x], {}))
    used = np.repeat(rng.random((30, 200)) < 0.3, 2, axis=0)
    used = np.concatenate([used, used[:7], rng.random((13, 200)) < 0.3])
    weight = np.where(used, rng.standard_normal(used.shape), 0).astype(np.float32)[:, None, None, :]
    attrs = {
        "strides": (1, 1),
        "dilations": (1, 1),
        "padding": (0, 0, 0, 0),
        "activation": "relu",
        "sparsity": "sparse",
    }
    y = graph.add_tensor(Tensor("y chw", (1, 21, 21, 80), layout="chw"))
    graph.nodes.append(Node("conv2d", y, [x, graph.add_constant("weight", weight), None], [y], attrs))
    graph.outputs = [graph.add_tensor(Tensor("y", (1, 21, 21, 80)))]
    graph.nodes.append(Node("to_plain", "y", [y], ["y"], {}))
    return graph


@pytest.mark.parametrize("variant", ["simd", "relaxed"])
def test_pairs_of_rows_do_not_depend_on_threads(page: Page, site: Site, variant: str) -> None:
    graph = paired_graph()
    x = np.random.default_rng(4).standard_normal((1, 21, 21, 200)).astype(np.float32)
    result = evaluate(
        page,
        """
        const results = [], paths = [];
        for (const threads of [1, 2, 3]) {
          const model = await tulle.load(url, { variant, threads });
          results.push(encode(await model.run(await floats(x))));
          paths.push((await model.profile())[1].path);
          await model.close();
        }
        return { results, paths };
        """,
        url=site.put("/paired.tulle", pack(graph)),
        variant=variant,
        x=site.put("/paired.bin", x.tobytes()),
    )
    assert set(result["paths"]) == {"pairs"}
    assert result["results"] == [result["results"][0]] * 3
    weight = graph.tensors["weight"].data
    assert weight is not None
    expected = np.maximum(x.reshape(-1, 200).astype(np.float64) @ weight[:, 0, 0, :].T, 0)
    np.testing.assert_allclose(decode(result["results"][0])["y"].reshape(-1, 80), expected, atol=1e-4)


def test_support_and_defaults(page: Page) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle');
        const { variant, threads } = model;
        return { able: tulle.support(), variant, threads, cores: navigator.hardwareConcurrency,
                 variants: tulle.VARIANTS, most: tulle.MAX_THREADS };
        """,
    )
    assert result["able"] == {"simd": True, "relaxedSimd": True, "threads": True, "crossOriginIsolated": True}
    assert result["variant"] == "relaxed"
    assert result["threads"] == min(4, result["cores"])
    assert (result["variants"], result["most"]) == (["simd", "relaxed"], 16)


def test_takes_every_kind_of_source(page: Page) -> None:
    same = evaluate(
        page,
        """
        const file = await bytes('/tiny.tulle');
        const padded = new Uint8Array(file.byteLength + 3);
        padded.set(new Uint8Array(file), 3);
        const sources = ['tiny.tulle', new URL('/tiny.tulle', location), new Blob([file]), file, new Uint8Array(file),
                         padded.subarray(3), new DataView(file)];
        const input = new Float32Array(48).fill(1.5);
        const outputs = [];
        for (const source of sources) {
          const model = await tulle.load(source, { threads: 1 });
          outputs.push((await model.run(input)).y.every((value) => value === 3));
          await model.close();
        }
        return [...outputs, file.byteLength > 0];
        """,
    )
    assert same == [True] * 8


def test_image_is_normalised_as_the_file_says(page: Page, site: Site) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 4, 4), np.uint8)
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { threads: 1 });
        const image = new ImageData(new Uint8ClampedArray(await bytes(pixels)), 4, 4);
        return encode(await model.run(image));
        """,
        pixels=site.put("/pixels.bin", pixels.tobytes()),
    )
    expected = 2 * (pixels[..., :3].astype(np.float64) - 10) / 20
    np.testing.assert_allclose(decode(result)["y"].reshape(4, 4, 3), expected, rtol=1e-6, atol=1e-6)


def test_two_inputs_and_outputs_by_name(page: Page, site: Site) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load(url, { threads: 2 });
        const a = Float32Array.of(1, 2, 3, 4, 5), b = Float32Array.of(10, 20, 30, 40, 50);
        const { sum, twice } = await model.run({ b, a });
        return { sum: [...sum], twice: [...twice], bare: await outcome(model.run(a)),
                 image: await outcome(model.run({ a: new ImageData(5, 1), b })) };
        """,
        url=site.put("/two.tulle", two_inputs()),
    )
    assert result["sum"] == [11, 22, 33, 44, 55]
    assert result["twice"] == [2, 4, 6, 8, 10]
    assert result["bare"]["error"] == 'this model has 2 inputs: give an object with "a", "b"'
    assert 'input "a" of shape [1, 5] takes no pictures' in result["image"]["error"]


def test_any_name_will_do(page: Page, site: Site) -> None:
    name = 'a "b" \\ c\n\t\x01 é 手 __proto__'
    graph = tiny_graph()
    graph.name = name
    for old in ("x", "y"):
        tensor = graph.tensors.pop(old)
        tensor.name = "__proto__" if old == "x" else name
        graph.tensors[tensor.name] = tensor
    graph.inputs, graph.outputs = ["__proto__"], [name]
    graph.nodes[0].inputs[0], graph.nodes[0].outputs[0] = "__proto__", name
    result = evaluate(
        page,
        """
        const model = await tulle.load(url, { threads: 1 });
        const inputs = Object.fromEntries([['__proto__', new Float32Array(48).fill(1)]]);
        const outputs = await model.run(inputs);
        return [model.info.name, model.inputs[0].name, Object.keys(outputs)[0], outputs[model.outputs[0].name][0]];
        """,
        url=site.put("/names.tulle", pack(graph)),
    )
    assert result == [name, "__proto__", name, 2]


@pytest.mark.parametrize("how", [{"threads": 1}, {"threads": 2}, {"worker": False}])
def test_inputs_are_copied_when_run_is_called(page: Page, how: dict[str, object]) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', how);
        const input = new Float32Array(48).fill(1);
        const image = new ImageData(4, 4);
        image.data.fill(30);
        const runs = [model.run(input), model.run(image)];
        input.fill(7);
        image.data.fill(250);
        return (await Promise.all(runs)).map(({ y }) => [Math.min(...y), Math.max(...y)]);
        """,
        how=how,
    )
    assert result == [[2, 2], [2, 2]]


@pytest.mark.parametrize("how", [{"threads": 1}, {"threads": 2}, {"worker": False}])
def test_runs_in_turn_share_no_buffers_with_the_caller(page: Page, how: dict[str, object]) -> None:
    """Input buffers are used again, floats and images in the same ones, which no result may show."""
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', how);
        const runs = [];
        for (let i = 0; i < 12; i += 1) {
          const image = new ImageData(4, 4);
          image.data.fill(i);
          const run = model.run(i % 3 ? new Float32Array(48).fill(i) : image);
          runs.push(run);
          if (i % 4 > 1) await run;
          await outcome(model.run(new Float32Array(3)));
        }
        return (await Promise.all(runs)).map(({ y }) => [Math.min(...y), Math.max(...y), y.buffer.byteLength]);
        """,
        how=how,
    )
    expected = [2 * i if i % 3 else (i - 10) / 10 for i in range(12)]
    np.testing.assert_allclose(result, [[value, value, 192] for value in expected], rtol=1e-6)


@pytest.mark.parametrize("how", [{"threads": 1}, {"worker": False}])
def test_takes_values_of_another_realm(page: Page, how: dict[str, object]) -> None:
    result = evaluate(
        page,
        """
        const frame = document.body.appendChild(document.createElement('iframe')).contentWindow;
        const model = await tulle.load('/tiny.tulle', how);
        const image = new frame.ImageData(4, 4);
        image.data.fill(30);
        return [await model.run(new frame.Float32Array(48).fill(3)), await model.run(image)].map(({ y }) => [...y]);
        """,
        how=how,
    )
    assert result == [[6] * 48, [2] * 48]


@pytest.mark.parametrize("how", [{"threads": 1}, {"threads": 2}, {"worker": False}])
def test_integers_go_in_and_come_out(page: Page, site: Site, how: dict[str, object]) -> None:
    """y = (q - 10) - 3: as elements, as a picture of the same bytes, and after each other."""
    graph = tiny_graph()
    graph.quantization = {"x": Quantization("uint8", 0.5, 10), "y": Quantization("int8", 1.0, -3)}
    graph.tensors["x"].mean, graph.tensors["x"].std = 10, 2
    site.put("/integers.tulle", pack(graph))
    result = evaluate(
        page,
        """
        const model = await tulle.load('/integers.tulle', how);
        const bytes = Uint8Array.from({ length: 48 }, (_, i) => 5 * i);
        const pixels = new ImageData(4, 4);
        pixels.data.forEach((_, i) => { pixels.data[i] = i % 4 === 3 ? 255 : bytes[3 * (i >> 2) + i % 4]; });
        const answers = [];
        for (const input of [bytes, pixels, new Uint8ClampedArray(bytes), bytes.map((byte) => byte + 1), pixels.data]) {
          const { y } = await model.run(input);
          answers.push([y.constructor.name, [...y]]);
        }
        const refused = [];
        for (const input of [new Int8Array(48), new Float32Array(48), new Uint8Array(47)]) {
          refused.push((await outcome(model.run(input))).error);
        }
        return { answers, refused, inputs: model.inputs, outputs: model.outputs, kept: bytes.length };
        """,
        how=how,
    )
    q = 5 * np.arange(48)
    expected, higher = ((np.clip(values - 13, -128, 127)).tolist() for values in (q, q + 1))
    assert result["answers"] == [["Int8Array", values] for values in (expected, expected, expected, higher, expected)]
    assert result["refused"] == [
        'input "x" of shape [1, 4, 4, 3] takes a Uint8Array or a picture, not Int8Array',
        'input "x" of shape [1, 4, 4, 3] takes a Uint8Array or a picture, not Float32Array',
        'input "x" of shape [1, 4, 4, 3]: 4 x 4 pixels are 48 bytes (RGB) or 64 (RGBA), not 47',
    ]
    assert result["kept"] == 48
    (given,), (taken,) = result["inputs"], result["outputs"]
    assert (given["dtype"], given["scale"], given["zeroPoint"], given["image"]) == ("uint8", 0.5, 10, True)
    assert (taken["dtype"], taken["scale"], taken["zeroPoint"]) == ("int8", 1, -3)


@pytest.mark.parametrize("threads", [1, 2])
def test_nan_and_infinity_pass_through(page: Page, threads: int) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { threads });
        const odd = (await model.run(new Float32Array(48).fill(NaN).fill(Infinity, 0, 5))).y;
        const sound = (await model.run(new Float32Array(48).fill(4))).y;
        return { odd: [...odd].map(String), sound: [...sound] };
        """,
        threads=threads,
    )
    assert result["odd"] == ["Infinity"] * 5 + ["NaN"] * 43
    assert result["sound"] == [8] * 48


# ---- sharing ----


def test_models_share_an_engine_and_runs_queue(page: Page, site: Site) -> None:
    site.put("/triple.tulle", pack(tiny_graph(3.0)))
    correct = evaluate(
        page,
        """
        const options = { threads: 2, variant: 'simd' };
        const [twice, triple] = await Promise.all(
          ['/tiny.tulle', '/triple.tulle'].map((url) => tulle.load(url, options)));
        Object.assign(window, { twice, triple });
        const checks = [];
        for (let i = 0; i < 40; i += 1) {
          const input = new Float32Array(48).fill(i);
          checks.push(twice.run(input).then(({ y }) => y.every((value) => value === 2 * i)));
          checks.push(triple.run(input).then(({ y }) => y.every((value) => value === 3 * i)));
        }
        return Promise.all(checks);
        """,
    )
    assert correct == [True] * 80
    expect_workers(page, 2)  # one engine worker and one pool worker for both models
    evaluate(page, "await twice.close()")
    expect_workers(page, 2)  # the other model still needs the engine
    assert evaluate(page, "return (await triple.run(new Float32Array(48).fill(1))).y[0]") == 3
    evaluate(page, "await triple.close()")
    expect_workers(page, 0)


def test_configurations_have_engines_of_their_own(page: Page) -> None:
    evaluate(
        page,
        """
        for (const variant of tulle.VARIANTS) {
          for (const threads of [1, 3]) await tulle.load('/tiny.tulle', { variant, threads });
        }
        """,
    )
    expect_workers(page, 8)


def test_close_lets_runs_finish_and_refuses_later_ones(page: Page) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { threads: 2 });
        const early = Array.from({ length: 10 }, () => model.run(new Float32Array(48).fill(1)));
        const closing = model.close();
        const late = await outcome(model.run(new Float32Array(48)));
        await closing;
        await model.close();
        const again = await tulle.load('/tiny.tulle', { threads: 2 });
        const { y } = await again.run(new Float32Array(48).fill(5));
        return { early: (await Promise.all(early)).map(({ y }) => y[0]), late, again: y[47] };
        """,
    )
    assert result["early"] == [2] * 10
    assert result["late"] == {"error": 'model "tiny" is closed', "isTulleError": True, "name": "TulleError"}
    assert result["again"] == 10


def test_profile_names_steps_and_sums_to_the_run(page: Page) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { threads: 1 });
        const before = await model.run(new Float32Array(48).fill(3));
        const start = performance.now();
        const rows = await model.profile();
        const took = performance.now() - start;
        const after = await model.run(new Float32Array(48).fill(3));
        await model.close();
        const late = await outcome(model.profile());
        return { same: before.y.every((value, i) => value === after.y[i]), took, rows, late };
        """,
    )
    assert result["same"]
    assert result["late"]["error"] == 'model "tiny" is closed'
    assert [(row["name"], row["op"]) for row in result["rows"]] == [("times", "mul")]
    row = result["rows"][0]
    assert set(row) == {"name", "op", "kernel", "path", "ms", "macs", "weights", "nnz"}
    assert (row["kernel"], row["path"]) == ("f32_binary", "elementwise")
    assert 0 <= row["ms"] <= result["took"]


def test_without_isolation_one_thread_and_a_note(built: object, open_page: OpenPage) -> None:
    with package_site(isolated=False) as plain:
        page = open_page(plain)
        result = evaluate(
            page,
            """
            const asked = await tulle.load('/tiny.tulle', { threads: 2 });
            const single = await tulle.load('/tiny.tulle', { threads: 1 });
            const { y } = await asked.run(new Float32Array(48).fill(4));
            return { threads: asked.threads, notes: asked.notes, single: single.notes, y: y[0], able: tulle.support() };
            """,
        )
    assert result["threads"] == 1
    assert len(result["notes"]) == 1
    assert result["notes"][0].startswith("one thread instead of 2: the page is not cross-origin isolated")
    assert result["single"] == []
    assert result["y"] == 8
    assert result["able"] == {"simd": True, "relaxedSimd": True, "threads": False, "crossOriginIsolated": False}


# ---- errors ----

MODEL = "const model = await tulle.load('/tiny.tulle', { threads: 1 });"

LOAD_ERRORS = [
    ("tulle.load('/absent.tulle')", r"cannot fetch /absent\.tulle: HTTP 404"),
    ("tulle.load('http://127.0.0.1:9/x.tulle')", r"cannot fetch http://127\.0\.0\.1:9/x\.tulle: Failed to fetch"),
    ("tulle.load('http://')", r"cannot fetch http://: .*URL"),
    ("tulle.load('/page.html')", r"cannot load /page\.html: .+"),
    ("tulle.load(new ArrayBuffer(0))", r"cannot load the model in memory: .+"),
    ("tulle.load(new Uint8Array(1000))", r"cannot load the model in memory: .+"),
    ("bytes('/tiny.tulle').then((b) => tulle.load(b.slice(0, 100)))", r"cannot load the model in memory: .+"),
    ("bytes('/tiny.tulle').then((b) => tulle.load(b.slice(0, -8)))", r"cannot load the model in memory: .+"),
    ("tulle.load()", r"load\(\) takes a URL, a Blob, an ArrayBuffer or a typed array, not Undefined"),
    ("tulle.load({})", r"load\(\) takes .*, not Object"),
    ("tulle.load('/tiny.tulle', { threads: 0 })", r"threads must be an integer from 1 to 16, not 0"),
    ("tulle.load('/tiny.tulle', { threads: 17 })", r"threads must be an integer from 1 to 16, not 17"),
    ("tulle.load('/tiny.tulle', { threads: 1.5 })", r"threads must be .* not 1\.5"),
    ("tulle.load('/tiny.tulle', { threads: '2' })", r'threads must be an integer from 1 to 16, not "2"'),
    ("tulle.load('/tiny.tulle', { worker: 'no' })", r'worker must be "auto", true or false, not "no"'),
    ("tulle.load(new Uint8Array(1000), { worker: false })", r"cannot load the model in memory: .+"),
    ("tulle.load('/tiny.tulle', { variant: 'avx' })", r'variant must be "auto" or one of simd, relaxed, not "avx"'),
]


@pytest.mark.parametrize(("call", "message"), LOAD_ERRORS, ids=[call for call, _ in LOAD_ERRORS])
def test_load_errors(page: Page, call: str, message: str) -> None:
    result = evaluate(page, f"return outcome({call})")
    assert result.get("isTulleError"), result
    assert re.match(message, result["error"]), result["error"]
    expect_workers(page, 0)  # a failed load leaves no engine behind


INPUT = r'input "x" of shape \[1, 4, 4, 3\] takes '
RUN_ERRORS = [
    ("model.run()", INPUT + r"a Float32Array or a picture, not Undefined"),
    ("model.run(null)", INPUT + r"a Float32Array or a picture, not Null"),
    ("model.run(new Float32Array(47))", INPUT + r"48 numbers, not 47"),
    ("model.run({ x: new Float32Array(0) })", INPUT + r"48 numbers, not 0"),
    ("model.run(new Float64Array(48))", INPUT + r".* not Float64Array: make it a Float32Array"),
    ("model.run({ x: new Int8Array(48) })", INPUT + r".* not Int8Array"),
    ("model.run({ x: new Array(48).fill(0) })", INPUT + r".* not Array: make it a typed array"),
    ("model.run(Promise.resolve(new Float32Array(48)))", INPUT + r".* not Promise: await it first"),
    ("model.run(document.createElement('canvas').getContext('2d'))", INPUT + r".*2D: give its canvas"),
    ("tulle.load(fetch('/tiny.tulle'))", r"load\(\) takes a URL, .* not Promise: await it first"),
    ("tulle.load(new Response('x'))", r".* not Response: await its arrayBuffer\(\) or blob\(\) first"),
    ("model.run({})", r'input "x" is missing'),
    ("model.run({ X: new Float32Array(48) })", r'the model has no input "X"; it has "x"'),
    ("model.run({ x: new Float32Array(48), z: 1 })", r'the model has no input "z"; it has "x"'),
]


@pytest.mark.parametrize(("call", "message"), RUN_ERRORS, ids=[call for call, _ in RUN_ERRORS])
def test_run_errors(page: Page, call: str, message: str) -> None:
    result = evaluate(
        page,
        f"""{MODEL}
        const bad = await outcome({call});
        return {{ bad, next: (await model.run(new Float32Array(48).fill(1))).y[0] }};
        """,
    )
    assert result["bad"].get("isTulleError"), result
    assert re.match(message, result["bad"]["error"]), result["bad"]["error"]
    assert result["next"] == 2, "later runs are unaffected"

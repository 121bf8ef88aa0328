"""Models without an engine worker (`worker: false`): the calling thread, a page or a worker of the app, runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

import tulle
from browser.conftest import OpenPage, evaluate, expect_workers, package_site, tiny_graph
from browser.server import Site
from tulle.graph import Graph, Node, Tensor
from tulle.pack import pack

pytestmark = pytest.mark.browser

# compare() runs a model with and without the worker: whether every output is the same to the bit, and what was in use.
COMPARE = b"""
import { load } from '/web/src/index.js';

export async function compare({ url, floats, threads }) {
  const values = new Float32Array(await (await fetch(floats)).arrayBuffer());
  const result = {};
  for (const variant of ['simd', 'relaxed']) {
    const inline = await load(url, { variant, worker: false, threads: threads ?? undefined });
    const models = [await load(url, { variant, threads: 1 }), inline];
    const [, height, width] = models[0].inputs[0].shape;
    const image = new ImageData(width, height);
    image.data.forEach((_, index) => { image.data[index] = (index * 31 + (index >> 9)) % 256; });
    const same = [];
    for (const input of [values, image, values]) {
      const [theirs, ours] = [await models[0].run(input), await models[1].run(input)];
      for (const { name } of models[0].outputs) {
        const bits = new Uint32Array(theirs[name].buffer);
        same.push(new Uint32Array(ours[name].buffer).every((value, index) => value === bits[index]));
      }
    }
    result[variant] = { same, worker: inline.worker, threads: inline.threads, notes: inline.notes.length,
                        before: models[0].worker, steps: (await inline.profile()).length };
  }
  return result;
}
"""
COMPARE_WORKER = b"""
import { compare } from '/compare.js';
self.onmessage = async ({ data }) => postMessage(await compare(data));
postMessage('ready');
"""
IN_PAGE = "const { compare } = await import('/compare.js'); return compare({ url, floats, threads });"
IN_WORKER = """
    const worker = new Worker('/compare-worker.js', { type: 'module' });
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => {
        if (data === 'ready') worker.postMessage({ url, floats, threads });
        else resolve(data);
      };
      worker.onerror = ({ message }) => reject(new Error(message));
    });
"""


@pytest.mark.slow
@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("threads", [None, 2])
@pytest.mark.parametrize("place", [IN_PAGE, IN_WORKER], ids=["page", "worker"])
def test_outputs_are_those_of_the_worker(
    built: Path,
    open_page: OpenPage,
    model_path: Callable[[str], Path],
    place: str,
    threads: int | None,
    isolated: bool,
) -> None:
    """Threads that help are workers all the same, and waited for where the calling thread must not sleep too."""
    converted = tulle.convert(model_path("hand_landmark_lite"), input_mean=0, input_std=255)
    with package_site(isolated=isolated) as site:
        site.put("/compare.js", COMPARE)
        site.put("/compare-worker.js", COMPARE_WORKER)
        site.put("/model.tulle", converted.data)
        site.put("/floats.bin", np.random.default_rng(4).random((1, 224, 224, 3), np.float32).tobytes())
        page = open_page(site)
        result = evaluate(page, place, url="/model.tulle", floats="/floats.bin", threads=threads)
    assert set(result) == {"simd", "relaxed"}
    for answer in result.values():
        steps = answer.pop("steps")
        assert steps > 20
        used = 2 if threads and isolated else 1
        notes = 1 if threads and not isolated else 0
        assert answer == {"same": [True] * 12, "before": True, "worker": False, "threads": used, "notes": notes}


def test_by_default_tiny_models_run_in_the_page(page: Page) -> None:
    """On one thread unless they are asked for; the engine that began to start for them ends, unless others use it."""
    result = evaluate(
        page,
        """
        const ways = [undefined, {}, { threads: 2 }, { worker: undefined }, { worker: true }, { worker: false }];
        const models = [];
        for (const how of ways) {
          models.push(await loadByDefault('/tiny.tulle', how));
        }
        const answers = await Promise.all(models.map((model, i) => model.run(new Float32Array(48).fill(i))));
        const found = models.map(({ worker, threads }, i) => [worker, threads > 1, answers[i].y[47]]);
        for (const model of models) await model.close();
        return found;
        """,
    )
    workers = [False, False, False, False, True, False]
    assert [worker for worker, _, _ in result] == workers
    assert [threads for _, threads, _ in result] == [False, False, True, False, True, False]
    assert [y for _, _, y in result] == [0, 2, 4, 6, 8, 10]
    expect_workers(page, 0)


def test_by_default_others_run_in_a_worker(page: Page, site: Site, model_path: Callable[[str], Path]) -> None:
    site.put("/model.tulle", tulle.convert(model_path("hand_landmark_lite"), input_mean=0, input_std=255).data)
    assert evaluate(page, "return (await loadByDefault('/model.tulle')).worker")
    wide = Graph("wide")  # no multiply-adds to speak of, but 24 MB to move
    wide.inputs = [wide.add_tensor(Tensor("x", (1, 1000, 1000, 3)))]
    wide.outputs = [wide.add_tensor(Tensor("y", (1, 1000, 1000, 3)))]
    wide.nodes = [Node("activation", "root", ["x"], ["y"], {"activation": "sqrt"})]
    site.put("/wide.tulle", pack(wide))
    assert evaluate(page, "return (await loadByDefault('/wide.tulle')).worker")


def test_a_loop_of_runs_of_a_tiny_model_leaves_the_page_time(page: Page) -> None:
    turns = evaluate(
        page,
        """
        const model = await loadByDefault('/tiny.tulle');
        const input = new Float32Array(48);
        let turns = 0;
        const timer = setInterval(() => { turns += 1; }, 0);
        const end = performance.now() + 500;
        while (performance.now() < end) await model.run(input);
        clearInterval(timer);
        return turns;
        """,
    )
    assert turns > 5


def test_what_a_tiny_model_cannot_do_is_said_as_in_a_worker(page: Page) -> None:
    result = evaluate(
        page,
        """
        const model = await loadByDefault('/tiny.tulle');
        const wrong = await outcome(model.run(new Float32Array(47)));
        await model.close();
        const broken = new Uint8Array(await bytes('/tiny.tulle')).subarray(0, 200);
        return [wrong, await outcome(model.run(new Float32Array(48))), await outcome(loadByDefault(broken))];
        """,
    )
    assert all(answer["isTulleError"] for answer in result)
    wrong, closed, broken = (answer["error"] for answer in result)
    assert "takes 48 numbers, not 47" in wrong and "is closed" in closed and "cannot load the model in memory" in broken
    expect_workers(page, 0)


def test_a_run_takes_no_turn_of_the_event_loop(page: Page) -> None:
    """It is done when the promise is there: a message sent before comes after."""
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { worker: false });
        const order = [];
        const { port1, port2 } = new MessageChannel();
        const message = new Promise((resolve) => { port2.onmessage = () => resolve(order.push('message')); });
        port1.postMessage(0);
        order.push((await model.run(new Float32Array(48).fill(4))).y[7], (await model.run(new ImageData(4, 4))).y[7]);
        await message;
        return order;
        """,
    )
    assert result == [8, -1, "message"]
    expect_workers(page, 0)


def test_a_closed_model_and_wrong_inputs_say_so(page: Page) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load('/tiny.tulle', { worker: false });
        const wrong = await outcome(model.run(new Float32Array(47)));
        const early = [1, 2].map((value) => model.run(new Float32Array(48).fill(value)));
        const closing = model.close();
        const late = await outcome(model.run(new Float32Array(48)));
        await closing;
        await model.close();
        const again = await tulle.load('/tiny.tulle', { worker: false });
        return { wrong, early: (await Promise.all(early)).map(({ y }) => y[0]), late,
                 again: (await again.run(new Float32Array(48).fill(5))).y[47] };
        """,
    )
    assert result["wrong"]["error"] == 'input "x" of shape [1, 4, 4, 3] takes 48 numbers, not 47'
    assert result["early"] == [2, 4]
    assert result["late"] == {"error": 'model "tiny" is closed', "isTulleError": True, "name": "TulleError"}
    assert result["again"] == 10


def test_models_share_an_engine_whose_memory_goes_with_the_last(page: Page, site: Site) -> None:
    """`memories` are those of all engines started in the page. The closed models are still held."""
    site.put("/triple.tulle", pack(tiny_graph(3.0)))
    result = evaluate(
        page,
        """
        window.memories = [];
        const native = WebAssembly.instantiate;
        WebAssembly.instantiate = async (...args) => {
          const instance = await native(...args);
          memories.push(new WeakRef(instance.exports.memory));
          return instance;
        };
        window.models = await Promise.all(
          ['/tiny.tulle', '/triple.tulle'].map((url) => tulle.load(url, { worker: false, variant: 'simd' })));
        const input = new Float32Array(48).fill(2);
        const answers = await Promise.all([...models, ...models].map((model) => model.run(input)));
        await models[0].close();
        return answers.map(({ y }) => y[0]);
        """,
    )
    assert result == [4, 6, 4, 6]
    session = page.context.new_cdp_session(page)

    def alive() -> list[bool]:
        session.send("HeapProfiler.collectGarbage")
        return evaluate(page, "return memories.map((memory) => memory.deref() !== undefined)")

    assert alive() == [True], "one engine for both, which the other model still needs"
    assert evaluate(page, "return (await models[1].run(new Float32Array(48).fill(2))).y[0]") == 6
    evaluate(page, "await models[1].close()")
    assert alive() == [False]


@pytest.mark.slow
def test_closing_gives_a_models_memory_to_the_next(page: Page, site: Site, model_path: Callable[[str], Path]) -> None:
    result = evaluate(
        page,
        """
        const options = { worker: false, variant: 'simd' };
        const first = await tulle.load(url, options);
        const loads = [];
        for (let i = 0; i < 6; i += 1) {
          const other = await tulle.load(url, options);
          loads.push(other.info.memoryBytes);
          await other.close();
        }
        return loads;
        """,
        url=site.put("/lite.tulle", tulle.convert(model_path("hand_landmark_lite")).data),
    )
    assert len(result) == 6 and set(result[1:]) == {result[1]}

"""Quantised networks on bytes in the browser: the option, and the same answers on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from browser.conftest import evaluate
from browser.server import Site
from python.test_integers import ON_BYTES, expected, network, picture
from tulle.pack import pack

pytestmark = pytest.mark.browser


def test_integers_may_be_turned_off_and_threads_change_no_bit(page: Page, site: Site) -> None:
    graph = network(3, scale=3)
    site.put("/quantised.tulle", pack(graph))
    x = picture(graph, 3)
    result = evaluate(
        page,
        """
        const x = new Float32Array(values);
        const run = async (options) => {
          const model = await tulle.load('/quantised.tulle', { variant: 'relaxed', ...options });
          const outputs = await model.run(x);
          const steps = (await model.profile()).map(({ name, kernel }) => ({ name, kernel }));
          await model.close();
          return { steps, outputs: Object.fromEntries(Object.entries(outputs).map(([name, y]) => [name, [...y]])) };
        };
        const runs = [];
        for (const threads of [1, 2, 4]) runs.push(await run({ threads }));
        const { error } = await outcome(tulle.load('/quantised.tulle', { integers: 'no' }));
        return { runs, floats: await run({ threads: 1, integers: false }), error };
        """,
        values=x.ravel().tolist(),
    )
    assert result["error"] == "integers must be true or false, not String"
    assert not any(step["kernel"].startswith("u8_") for step in result["floats"]["steps"])
    first, *others = result["runs"]
    assert any(step["kernel"] in ON_BYTES for step in first["steps"])
    assert all(other == first for other in others)
    # The processor and the browser decide how many levels there are.
    errors = []
    for top in (127, 255):
        wanted, levels = expected(graph, first["steps"], x, top)
        errors.append(
            max(np.mean(np.abs(np.reshape(first["outputs"][n], y.shape) - y)) / levels[n] for n, y in wanted.items())
        )
    assert min(errors) < 0.1, errors

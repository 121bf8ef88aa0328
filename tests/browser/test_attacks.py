"""The files of tests/attacks in Chromium: each gives its own error, with a worker and without."""

from __future__ import annotations

import base64
import json
import re

import pytest
from playwright.sync_api import Page

from attacks.extremes import expected, extremes, outcome_of
from attacks.files import ATTACKS
from browser.conftest import evaluate, expect_workers
from browser.server import Site

pytestmark = pytest.mark.browser

# A model is kept loaded, so that all are loaded by one engine.
LOAD_ALL = """
const kept = await tulle.load('/tiny.tulle', options);
const outcomes = [];
for (const text of await (await fetch(url)).json()) {
  const file = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const { error, isTulleError } = await outcome((async () => {
    const model = await tulle.load(file, options);
    await model.run(Object.fromEntries(model.inputs.map(({ name, shape }) =>
      [name, new Float32Array(shape.reduce((count, size) => count * size, 1)).fill(1)])));
    await model.close();
  })());
  outcomes.push([error ?? null, isTulleError ?? true]);
}
const { y } = await kept.run(new Float32Array(48).fill(3));
await kept.close();
return { outcomes, y: y[0] };
"""


def outcomes_of(page: Page, site: Site, files: list[bytes], **options: object) -> list[str | None]:
    site.put("/attacks.json", json.dumps([base64.b64encode(data).decode() for data in files]).encode())
    result = evaluate(page, LOAD_ALL, url="/attacks.json", options=options)
    assert result["y"] == 6, "the engine has come to harm"
    assert all(of_tulle for _, of_tulle in result["outcomes"])
    expect_workers(page, 0)
    return [error for error, _ in result["outcomes"]]


@pytest.mark.parametrize("options", [{"threads": 2}, {"worker": False}], ids=["threads", "inline"])
def test_all_are_refused_with_their_own_errors(page: Page, site: Site, options: dict) -> None:
    errors = outcomes_of(page, site, [attack.data for attack in ATTACKS], **options)
    assert [
        (attack.name, error)
        for attack, error in zip(ATTACKS, errors, strict=True)
        if error is None or not re.search(attack.error, error)
    ] == []


def test_attributes_at_their_extremes(page: Page, site: Site) -> None:
    cases = list(extremes())
    errors = outcomes_of(page, site, [case.data for case in cases], threads=2)
    errors = [error and error.removeprefix("cannot load the model in memory: ") for error in errors]
    assert {c.name: outcome_of(e) for c, e in zip(cases, errors, strict=True)} == expected()

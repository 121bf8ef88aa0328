"""The files of tests/attacks in Pyodide, on Python's own heap: each gives its own error."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from attacks.extremes import expected, extremes, outcome_of
from attacks.files import ATTACKS
from browser.server import Site
from pyodide.hosts import VERSIONS, Run, wheel_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = """
import base64, json, math
import tulle

def attempt(data):
    try:
        with tulle.load(data) as model:
            model({i.name: memoryview(bytes(4 * math.prod(i.shape))).cast("f") for i in model.inputs})
    except tulle.TulleError as error:
        return str(error)

json.dumps([attempt(base64.b64decode(text)) for text in json.load(open("/attacks.json"))])
"""


@pytest.mark.parametrize("host", ["node", "chromium"])
def test_all_are_refused_with_their_own_errors(
    host: str, in_node: Run, in_chromium: Run, site: Site, wheels: dict[str, Path]
) -> None:
    version, cases = VERSIONS[0], list(extremes())
    files = [case.data for case in (*ATTACKS, *cases)]
    site.put("/attacks.json", json.dumps([base64.b64encode(data).decode() for data in files]).encode())
    run = in_node if host == "node" else in_chromium
    wheel = f"{site.url}/dist/{wheel_of(version).name}"
    options = {"packages": [wheel], "files": {"/attacks.json": site.url + "/attacks.json"}}
    errors = json.loads(run(version, CODE, **options))
    refused, rest = errors[: len(ATTACKS)], errors[len(ATTACKS) :]
    assert [
        (attack.name, error)
        for attack, error in zip(ATTACKS, refused, strict=True)
        if error is None or not re.search(attack.error, error)
    ] == []
    assert {c.name: outcome_of(error) for c, error in zip(cases, rest, strict=True)} == expected()

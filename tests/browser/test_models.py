"""Real models in a real page against LiteRT: every build, one thread and several, floats and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

import tulle
from browser.conftest import decode, evaluate
from browser.server import Site
from conftest import LiteRT
from paths import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# The outputs that are sigmoids, whose range is 1 however little of it the inputs reach.
MODELS: dict[str, tuple[str, ...]] = {
    "hand_landmark_full": ("Identity_1", "Identity_2"),
    "hand_landmark_lite": ("Identity_1", "Identity_2"),
    "hand_landmark_tulle": ("Identity_1", "Identity_2"),
    "palm_detection_full": (),
    "palm_detection_lite": (),
    "selfie_segmentation": ("activation_10",),
    "selfie_segmentation_landscape": ("segment_back",),
}
ONE_A_FAMILY = ("hand_landmark_tulle", "palm_detection_lite", "selfie_segmentation")
PICTURES = ("open-hand", "pointing", "two-fingers")
RANDOM_INPUTS = 5
TOLERANCE = 1e-3  # of an output's range over all inputs

RUN = """
    const loaded = await tulle.load(url, { variant, ...how });
    const shape = loaded.inputs[0].shape;
    const results = [];
    for (const url of floatUrls) results.push(encode(await loaded.run(await floats(url))));
    for (const url of pictureUrls) {
      const image = new ImageData(new Uint8ClampedArray(await bytes(url)), shape[2], shape[1]);
      results.push(encode(await loaded.run(image)));
    }
"""


@dataclass
class Case:
    """A converted model on the site with its inputs, and what LiteRT answers to them."""

    name: str
    url: str
    shape: tuple[int, ...]  # of the one input
    floats: list[str]  # addresses of float32 inputs
    pictures: list[str]  # addresses of RGBA pixels, fed to LiteRT as value / 255
    expected: list[dict[str, np.ndarray]]  # flat, for the floats and then the pictures

    def tolerance(self, output: str) -> float:
        values = np.concatenate([answer[output] for answer in self.expected])
        return TOLERANCE * (1.0 if output in MODELS[self.name] else float(np.ptp(values)))


@pytest.fixture(scope="module", params=MODELS)
def case(request: pytest.FixtureRequest, site: Site, model_path: Callable[[str], Path], litert: LiteRT) -> Case:
    name = request.param
    path = model_path(name)
    graph = tulle.read_tflite(path)
    (input_name,) = graph.inputs
    shape = graph.tensors[input_name].shape
    rng = np.random.default_rng(2)
    values = [rng.random(shape, np.float32) for _ in range(RANDOM_INPUTS)]
    pictures = [picture(ROOT / "demos" / "images" / f"{file}.jpg", shape) for file in PICTURES]
    inputs = values + [rgba[None, :, :, :3].astype(np.float32) / 255 for rgba in pictures]
    answers = [litert(path, {input_name: value}) for value in inputs]
    return Case(
        name,
        site.put(f"/{name}.tulle", tulle.convert(path, input_mean=0, input_std=255).data),
        shape,
        [site.put(f"/{name}-{i}.bin", value.tobytes()) for i, value in enumerate(values)],
        [site.put(f"/{name}-{i}.rgba", rgba.tobytes()) for i, rgba in enumerate(pictures)],
        [{output: value.ravel() for output, value in answer.items()} for answer in answers],
    )


def picture(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The file as (H, W, 4) RGBA bytes of the model's size."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA").resize((shape[2], shape[1])))


def run(page: Page, case: Case, variant: str, how: dict[str, object], then: str = "") -> dict[str, object]:
    """Runs all inputs, then the JavaScript `then`; `results` in it and in the answer are the encoded outputs."""
    return evaluate(
        page,
        RUN + then + " return { results, threads: loaded.threads, variant: loaded.variant, ...globalThis.extra };",
        url=case.url,
        variant=variant,
        how=how,
        floatUrls=case.floats,
        pictureUrls=case.pictures,
    )


def test_answers_equal_litert_and_do_not_depend_on_threads(page: Page, case: Case) -> None:
    for variant in ("simd", "relaxed"):
        one = run(page, case, variant, {"threads": 1})
        for how in ({"threads": 2}, {"threads": 3}, {"worker": False}):
            answer = run(page, case, variant, how)
            assert (answer["variant"], answer["threads"]) == (variant, how.get("threads", 1))
            assert answer["results"] == one["results"], f"{variant}, {how}: differs from one thread in bits"
        for number, (encoded, expected) in enumerate(zip(one["results"], case.expected, strict=True)):
            outputs = decode(encoded)
            assert set(outputs) == set(expected)
            for name, value in outputs.items():
                error = float(np.abs(value - expected[name]).max())
                assert error <= case.tolerance(name), f"{variant}, input {number}, output {name}: {error}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", ONE_A_FAMILY, indirect=True)
def test_odd_numbers_leave_later_runs_alone(page: Page, case: Case, threads: int) -> None:
    then = """
    const input = await floats(floatUrls[0]);
    for (const odd of [NaN, Infinity, -Infinity, 3e38]) {
      const everywhere = await loaded.run(input.map(() => odd));
      await loaded.run(input.map((value, index) => (index % 1000 === 7 ? odd : value)));
      globalThis.extra = { lengths: Object.values(everywhere).map(({ length }) => length) };
    }
    results.push(encode(await loaded.run(input)));
    """
    answer = run(page, case, "relaxed", {"threads": threads}, then)
    assert answer["results"][-1] == answer["results"][0]
    assert answer["lengths"] == [case.expected[0][name].size for name in decode(answer["results"][0])]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", ["hand_landmark_tulle", "selfie_segmentation"], indirect=True)
def test_memory_stays_the_same(page: Page, case: Case, threads: int) -> None:
    """Over 200 runs, and over loading and closing the model again and again beside one that stays."""
    result = evaluate(
        page,
        """
        const options = { threads, variant: 'simd' };
        const first = await tulle.load(url, options);
        const input = await floats(floatUrl);
        const image = new ImageData(first.inputs[0].shape[2], first.inputs[0].shape[1]);
        await first.run(image);
        await first.run(input);
        const before = first.info.memoryBytes;
        for (let i = 0; i < 100; i += 1) {
          await first.run(input);
          await first.run(image);
        }
        const after = first.info.memoryBytes;
        const loads = [];
        for (let i = 0; i < 8; i += 1) {
          const other = await tulle.load(url, options);
          loads.push(other.info.memoryBytes);
          await other.close();
        }
        return { before, after, loads };
        """,
        url=case.url,
        floatUrl=case.floats[0],
        threads=threads,
    )
    assert result["after"] == result["before"]
    assert set(result["loads"][1:]) == {result["loads"][1]}


@pytest.mark.parametrize("case", ONE_A_FAMILY, indirect=True)
def test_profile_accounts_for_the_run(page: Page, case: Case) -> None:
    result = evaluate(
        page,
        """
        const model = await tulle.load(url, { threads: 1 });
        const input = await floats(floatUrl);
        await model.run(input);
        const start = performance.now();
        const rows = await model.profile();
        return { took: performance.now() - start, rows };
        """,
        url=case.url,
        floatUrl=case.floats[0],
    )
    rows = result["rows"]
    assert all(row["ms"] >= 0 and row["op"] and row["kernel"] and row["path"] for row in rows)
    assert 0 < sum(row["ms"] for row in rows) <= result["took"]
    assert sum(row["macs"] for row in rows) > 1e6
    assert all(0 <= row["nnz"] <= row["weights"] for row in rows)

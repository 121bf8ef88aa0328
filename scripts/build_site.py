#!/usr/bin/env python3
"""Makes the web site: `build/site`, static files with relative links only, for any host and below any path.

    python scripts/build_site.py [FOLDER]

The pages of `demos/` move to the top, `web/` goes beside them, and `docs/` becomes HTML. Every relative link is
rewritten for its new place; a broken one is an error. Pages also get coi-serviceworker, which gives them threads on
hosts that cannot send the headers for it. Run with the Python of `.venv`, after scripts/build_demo.py and `npm ci` in
web/.
"""

from __future__ import annotations

import argparse
import json
import os
import posixpath
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import build_demo
import build_docs
from build_docs import Contents, Document
from common import ROOT, SetupError, main_guard, say

SITE = ROOT / "build" / "site"
DEMOS, WEB, DOCS = ROOT / "demos", ROOT / "web", ROOT / "docs"
ISOLATION = "coi-serviceworker.js"
ISOLATION_SOURCE = WEB / "node_modules" / "coi-serviceworker" / ISOLATION

# Parts of demos/ that no page needs.
LEFT_OUT = {"notebooks", "weights", "tsconfig.json"}

# Relative links: in JavaScript anything like a path in quotes, elsewhere attributes and url().
LINK = {
    ".js": re.compile(r"""(?P<quote>['"])(?P<link>\.\.?/[^'"\s]*)(?P=quote)"""),
    ".html": re.compile(r"""(?:href|src)=(?P<quote>")(?P<link>[^"]*)"(?!\S*>`)"""),
    ".css": re.compile(r"""url\((?P<quote>"?)(?P<link>[^)":]+)"?\)"""),
}


def build(target: Path = SITE) -> None:
    """Writes the whole site in one step: an interruption leaves the previous one unchanged.

    Raises SetupError if a part of the site has not been built, or a link is broken.
    """
    missing = missing_models()
    files = {**demo_files(), **web_files(), ISOLATION: need(ISOLATION_SOURCE, "run `npm ci` in web/")}
    places = {source.resolve(): place for place, source in files.items()}
    contents = build_docs.contents()
    documents = [document for documents in contents.values() for document in documents]
    places |= {document.source.resolve(): document.place for document in documents}
    for image in sorted((DOCS / "img").glob("*")):
        files[f"docs/img/{image.name}"] = image
        places[image.resolve()] = f"docs/img/{image.name}"

    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for place, source in files.items():
        copy = partial / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix in LINK and source.is_relative_to(DEMOS):
            text = relink(source.read_text(), source, place, places)
            copy.write_text(isolate(without(missing, text), place) if source.suffix == ".html" else text)
        else:
            shutil.copyfile(source, copy)
    for document in documents:
        page = partial / document.place
        page.parent.mkdir(parents=True, exist_ok=True)
        text = document_page(document, contents, places)
        page.write_text(isolate(text, document.place))
    build_docs.index(partial / "docs")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    say(f"{target}: {len(files) + len(documents)} files, {size / 1e6:.1f} MB")


# ---- what belongs to it -------------------------------------------------------------------------------------------


def demo_files() -> dict[str, Path]:
    """Place in the site -> file, for everything that the pages use."""
    need(DEMOS / "models" / "models.json", "run scripts/build_demo.py")
    found = (file for file in sorted(DEMOS.rglob("*")) if file.is_file() and file.suffix != ".md")
    relative = ((file.relative_to(DEMOS), file) for file in found)
    return {place.as_posix(): file for place, file in relative if place.parts[0] not in LEFT_OUT}


def missing_models() -> list[str]:
    """Networks that the pages have a place for, but that are not available."""
    there = json.loads((DEMOS / "models" / "models.json").read_text())
    return [model.name for model in build_demo.CATALOGUE if model.name not in there]


def without(models: Sequence[str], page: str) -> str:
    """A page without the elements whose data-model is one of these; removing them in the browser would shift the
    layout."""
    for name in models:
        page = re.sub(rf'[ \t]*<(\w+)\b[^>]* data-model="{name}".*?</\1>\n', "", page, flags=re.DOTALL)
    return page


def web_files() -> dict[str, Path]:
    """The package as the pages import it: its sources, the four builds and the converter."""
    builds = [need(WEB / "dist" / f"tulle-{build}.wasm", "run `make build`") for build in
              ("simd", "relaxed", "simd-threads", "relaxed-threads")]  # fmt: skip
    converter = need(WEB / "dist" / "tulle-python.zip", "run `make convert`")
    files = [*sorted((WEB / "src").rglob("*.js")), *builds, converter]
    return {f"web/{file.relative_to(WEB).as_posix()}": file for file in files}


def need(file: Path, remedy: str) -> Path:
    if not file.is_file():
        raise SetupError(f"{file} is missing: {remedy}")
    return file


# ---- links --------------------------------------------------------------------------------------------------------


def relink(text: str, source: Path, place: str, places: dict[Path, str]) -> str:
    """The text of a file with its relative links rewritten for its place in the site."""

    def replace(match: re.Match[str]) -> str:
        link = match["link"]
        new = new_link(link, source, place, places)
        if new is None:
            line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()].lstrip()
            if line.startswith(("//", "*", "/*")):
                return match[0]  # an example in a comment
            raise SetupError(f"{source}: {link} leads to nothing that is part of the site")
        begin, end = match.span("link")
        return text[match.start() : begin] + new + text[end : match.end()]

    return LINK[source.suffix].sub(replace, text)


def new_link(link: str, source: Path, place: str, places: dict[Path, str]) -> str | None:
    """A link in `source`, rewritten for `place`; None if its target is not part of the site.

    Links to other sites, within the page and to data stay unchanged; a folder stands for its index.html.
    """
    path, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", link, re.DOTALL).groups()  # type: ignore[union-attr]
    if not path or re.match(r"[a-z]+:|//", path):
        return link
    file = (source.parent / unquote(path)).resolve()
    if file == DEMOS or (file.is_dir() and file.is_relative_to(DEMOS)):
        known = (file / "index.html") in places or any(inside.is_relative_to(file) for inside in places)
        new: str | None = file.relative_to(DEMOS).as_posix() if known else None
        ending = "/"
    else:
        new, ending = places.get(file), ""
    if new is None:
        return None
    if new.endswith("index.html") and not path.endswith("index.html"):
        new, ending = posixpath.dirname(new) or ".", "/"
    relative = posixpath.relpath(new, posixpath.dirname(place) or ".")
    if not relative.startswith(".") and link.startswith("."):
        relative = f"./{relative}"
    return f"{relative}{ending}{mark}{rest}"


def isolate(page: str, place: str) -> str:
    """A page with coi-serviceworker as its first script."""
    script = posixpath.relpath(ISOLATION, posixpath.dirname(place) or ".")
    return page.replace("<head>", f'<head>\n    <script src="{script}"></script>', 1)


def document_page(document: Document, contents: Contents, places: dict[Path, str]) -> str:
    """A document as a page, with links for its place."""

    def relink(link: str) -> str | None:
        return new_link(link, document.source, document.place, places)

    titles = {relink(os.path.relpath(other.source, document.source.parent)): other.title
              for others in contents.values() for other in others}  # fmt: skip
    return build_docs.page(document, contents, relink, titles)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make the web site: static files for any host.",
        epilog="Example: python scripts/build_site.py /var/www/tulle",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=SITE, help=f"default: {os.path.relpath(SITE)}")
    build(parser.parse_args().folder.resolve())


if __name__ == "__main__":
    with main_guard():
        main()

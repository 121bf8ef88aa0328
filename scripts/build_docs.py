"""The documents of the web site: docs/ and the reference made from the sources, as HTML with sidebar and search.

docs/README.md is the table of contents: each of its lists becomes a section of the sidebar, and "previous" and "next"
follow it.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

import python_reference
from common import ROOT, SetupError

DOCS, DEMOS, WEB = ROOT / "docs", ROOT / "demos", ROOT / "web"
REFERENCE = ROOT / "build" / "reference"
TEMPLATES = Environment(
    loader=FileSystemLoader(ROOT / "scripts"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)

Relink = Callable[[str], "str | None"]


@dataclass(eq=False)
class Document:
    """A Markdown file, and where its page goes in the site."""

    source: Path
    place: str
    within: str = ""
    """The folder in the site whose pages alone show it in their sidebar."""

    @cached_property
    def tokens(self) -> list[Token]:
        return parse(self.source.read_text())

    @cached_property
    def title(self) -> str:
        """The heading of the first level, without marks."""
        for heading, inline in pairwise(self.tokens):
            if heading.type == "heading_open" and heading.tag == "h1":
                return plain(inline)
        raise SetupError(f"{self.source} has no heading of the first level")

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Anchor and text of the headings of the second level."""
        headings = (pair for pair in pairwise(self.tokens) if pair[0].type == "heading_open" and pair[0].tag == "h2")
        return [(str(heading.attrGet("id")), plain(inline)) for heading, inline in headings]


Contents = dict[str, list[Document]]
"""Sections of the sidebar, and the documents of each."""


# ---- what there is ------------------------------------------------------------------------------------------------


def contents() -> Contents:
    """Every document: those that docs/README.md lists, then the reference.

    Raises SetupError if a document is not listed.
    """
    index = DOCS / "README.md"
    found: Contents = {"": [document(index)]}
    section = ""
    tokens = parse(index.read_text())
    for token in tokens:
        if token.type == "inline" and token.content.endswith(":"):
            section = token.content.rstrip(":")
        for child in token.children or []:
            if child.type == "link_open":
                file = DOCS / str(child.attrGet("href"))
                found.setdefault(section, []).append(document(file))
                if file.name == "README.md":  # a folder's list of what else is in it
                    others = (path for path in sorted(file.parent.glob("*.md")) if path != file)
                    found[section] += [document(path, within=f"docs/{file.parent.name}/") for path in others]
    listed = {document.source for documents in found.values() for document in documents}
    if unlisted := set(DOCS.rglob("*.md")) - listed:
        raise SetupError(f"docs/README.md does not list {', '.join(sorted(path.name for path in unlisted))}")
    return {**found, **reference()}


def document(source: Path, within: str = "") -> Document:
    """README.md is its folder's index."""
    relative = source.relative_to(DOCS).with_suffix(".html")
    place = relative.parent / "index.html" if relative.stem == "README" else relative
    return Document(source, f"docs/{place.as_posix()}", within)


def reference() -> Contents:
    """The reference of both languages, made anew from the sources.

    Raises SetupError if a public name is not described there.
    """
    shutil.rmtree(REFERENCE, ignore_errors=True)
    run("typedoc", "--out", str(REFERENCE / "javascript"), "--logLevel", "Warn")
    (REFERENCE / "javascript" / "README.md").unlink()  # a list of the modules
    javascript = sorted((REFERENCE / "javascript").rglob("*.md"), key=lambda path: len(path.parts))
    for path in javascript:
        path.write_text(tidied(path.read_text()))
    (REFERENCE / "python").mkdir()
    python = []
    for name, text in python_reference.reference().items():
        python.append(REFERENCE / "python" / f"{name}.md")
        python[-1].write_text(text)
    return {
        "JavaScript reference": [Document(path, reference_place(path)) for path in javascript],
        "Python reference": [Document(path, reference_place(path)) for path in python],
    }


def tidied(text: str) -> str:
    """What typedoc wrote, without its empty tables for types without parameters, and its numbers of unique anchors."""
    text = re.sub(r"#+ Type Parameters\n\n\| Type Parameter \|\n\| -+ \|\n", "", text)
    anchors = {token.attrGet("id") for token in parse(text)}
    return re.sub(r"#([\w-]+)-\d+(?=\))", lambda link: link[0] if link[0][1:] in anchors else f"#{link[1]}", text)


def reference_place(path: Path) -> str:
    return f"docs/reference/{path.relative_to(REFERENCE).as_posix().removesuffix('.md')}.html"


def run(tool: str, *arguments: str) -> None:
    """A tool of web/package.json.

    Raises SetupError with what it printed if it fails.
    """
    program = WEB / "node_modules" / ".bin" / tool
    if not program.exists():
        raise SetupError(f"{program} is missing: run `make npm`")
    result = subprocess.run([program, *arguments], cwd=WEB, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SetupError(f"{tool} failed:\n{result.stdout}{result.stderr}")


def index(folder: Path) -> None:
    """Makes the search index of the pages in a folder, in its `pagefind`."""
    run("pagefind", "--site", str(folder), "--quiet")


# ---- pages --------------------------------------------------------------------------------------------------------


def page(shown: Document, contents: Contents, relink: Relink, titles: dict[str | None, str]) -> str:
    """A document as a page.

    Links to files that are not part of the site, such as sources, become plain text.

    Args:
        relink: a link of the document for its page, or None.
        titles: of the pages, by the link to them from this page.
    """
    top = posixpath.relpath(".", posixpath.dirname(shown.place)) + "/"
    order = [document for documents in contents.values() for document in documents]
    at = order.index(shown)
    return TEMPLATES.get_template("document.html.jinja").render(
        shown=shown,
        contents=contents,
        body=Markup(render(shown.tokens, relink, titles)),
        header=Markup(front_header(top)),
        top=top,
        previous=order[at - 1] if at else None,
        next=order[at + 1] if at + 1 < len(order) else None,
        link=lambda document: posixpath.relpath(document.place, posixpath.dirname(shown.place)),
    )


def front_header(top: str) -> str:
    """The front page's header, with links for a page whose path to the top is `top`."""
    text = (DEMOS / "index.html").read_text()
    header = re.search(r"( *<header class=\"masthead\">.*?</header>)", text, re.DOTALL)
    assert header is not None
    text = re.sub(r' aria-current="page"', "", header[1])
    docs = re.sub(r'href="\.\./docs/README\.md"', 'href="docs/" aria-current="page"', text)
    return re.sub(r'(href|src)="(?:\./)?([^"#:]*)"', lambda m: f'{m[1]}="{top}{m[2]}"', docs)


def parse(text: str) -> list[Token]:
    """Markdown, with anchors at headings."""
    tokens = markdown().parse(text)
    taken: dict[str, int] = {}
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            name = anchor(plain(inline))
            taken[name] = taken.get(name, -1) + 1
            heading.attrSet("id", f"{name}-{taken[name]}" if taken[name] else name)
    return tokens


def markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True, "highlight": coloured}).enable(["table", "strikethrough"])


def coloured(code: str, language: str, _: str) -> str:
    """A code block's HTML; empty for one of no known language, which stays as it is."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return highlight(code, lexer, HtmlFormatter(nowrap=True))


def render(tokens: Sequence[Token], relink: Relink, titles: dict[str | None, str]) -> str:
    """HTML; tables and code blocks scroll separately, with the keyboard too."""
    for block in tokens:
        relink_tokens(block.children or [], relink, titles)
    converter = markdown()
    body = converter.renderer.render(tokens, converter.options, {})
    parts = iter(range(1, body.count("<table>") + 1))
    scrolling = '<div class="wide" tabindex="0" role="region" aria-label="Table {}"><table>'
    body = re.sub("<table>", lambda _: scrolling.format(next(parts)), body)
    body = body.replace("</table>", "</table></div>")
    return body.replace("<pre>", '<div class="code"><pre tabindex="0">').replace("</pre>", "</pre></div>")


def relink_tokens(tokens: Sequence[Token], relink: Relink, titles: dict[str | None, str]) -> None:
    """Rewrites links and pictures in place; a link to something outside of the site becomes its text, one that
    names a document's file gets its title."""
    is_text = False
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):
        if token.type == "image":
            new = relink(str(token.attrGet("src")))
            if new is None:
                token.type, token.tag = "text", ""
            else:
                token.attrSet("src", new)
        elif token.type == "link_open":
            new = relink(str(token.attrGet("href")))
            is_text = new is None
            if new is not None:
                token.attrSet("href", new)
                title = titles.get(new.partition("#")[0])
                if title and following and following.content.endswith((".md", "/")):
                    following.content = title
        if is_text and token.type in ("link_open", "link_close"):
            token.tag, token.attrs = "span", {}


def plain(inline: Token) -> str:
    """The text of a heading, without marks."""
    text = ("text", "code_inline", "text_special")
    return "".join(token.content for token in inline.children or [] if token.type in text)


def anchor(heading: str) -> str:
    """A heading's anchor, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

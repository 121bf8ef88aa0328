"""The documents as a reader has them: sidebar, search, previous and next, copying code, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

import build_docs
from browser.server import Site
from browser.visit import Visit
from paths import ROOT

pytestmark = pytest.mark.browser

BELOW = "/some/place/"  # the site is not at the server's top


@pytest.fixture(scope="module")
def docs(site_folder: Path) -> Iterator[str]:
    """Where the documents are."""
    with Site() as site:
        site.mount(BELOW, site_folder)
        yield f"{site.url}{BELOW}docs/"


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        yield context


def sidebar(page: Page) -> list[str]:
    return page.locator(".sidebar > ul > li > a").all_inner_texts()


def test_the_sidebar_has_titles_and_the_sections_of_this_document(docs: str, context: BrowserContext) -> None:
    visit = Visit(context, docs + "web.html")
    titles = sidebar(visit.page)
    assert {"tulle in a web page", "Tracking hands", "tulle/hands", "tulle.hands"} <= set(titles)
    assert not [title for title in titles if title.endswith((".md", ".html"))]
    assert "hand_landmark_tulle" not in titles
    current = visit.page.locator(".sidebar a[aria-current]")
    assert current.inner_text() == "tulle in a web page"
    assert "Errors" in visit.page.locator(".sidebar ul ul a").all_inner_texts()
    visit.page.goto(docs + "model-cards/")
    assert "hand_landmark_tulle" in sidebar(visit.page)
    assert visit.complaints == []


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("convert", "reference/python/tulle.html#convert"),
        ("HandTracker", "reference/javascript/tulle/hands.html#handtracker"),
        ("HandTracker", "reference/python/tulle.hands.html#handtracker"),
        ("Cross-Origin-Embedder-Policy", "web.html#threads-need-headers"),
    ],
)
def test_search_finds(words: str, place: str, docs: str, context: BrowserContext) -> None:
    """Away from the documents' top, where a relative address could be wrong."""
    visit = Visit(context, docs + "reference/python/tulle.ops.html")
    visit.page.locator("pagefind-modal-trigger button").click()
    visit.page.locator("pagefind-modal input").fill(words)
    found = visit.page.locator(f'pagefind-modal a[href="{BELOW}docs/{place}"]').first
    found.click()
    expect(visit.page).to_have_url(docs + place)
    anchor = place.partition("#")[2]
    visit.page.wait_for_function("(id) => document.getElementById(id)?.getBoundingClientRect().top < 100", arg=anchor)
    assert visit.complaints == []


def test_next_and_previous_lead_through_every_document(docs: str, context: BrowserContext, site_folder: Path) -> None:
    visit = Visit(context, docs)
    seen = [visit.page.url]
    while (following := visit.page.locator("a[rel=next]")).count():
        following.click()
        assert visit.page.locator("a[rel=prev]").evaluate("({ href }) => href").removesuffix("index.html") == seen[-1]
        seen.append(visit.page.url.removesuffix("index.html"))
    assert len(set(seen)) == len(seen) == len(list((site_folder / "docs").rglob("*.html")))
    assert visit.complaints == []


def test_a_code_block_is_copied(docs: str, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit = Visit(context, docs + "web.html")
    block = visit.page.locator(".code").first
    block.hover()
    block.get_by_role("button").click()
    expect(block.get_by_role("button")).to_have_text("Copied")
    copied = visit.page.evaluate("navigator.clipboard.readText()")
    assert f"```js\n{copied}\n```" in (ROOT / "docs" / "web.md").read_text()
    assert visit.complaints == []


def test_on_a_phone_the_sidebar_opens_over_the_document(docs: str, chromium: Browser) -> None:
    with chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True) as context:
        visit = Visit(context, docs + "reference/javascript/tulle.html")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
        bar = visit.page.locator(".sidebar")
        expect(bar).to_be_hidden()
        visit.page.get_by_role("button", name="Contents").tap()
        expect(bar).to_be_visible()
        bar.get_by_role("link", name="load()").tap()
        expect(bar).to_be_hidden()
        assert visit.page.url.endswith("#load")
        assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_search_is_in_the_colours_of_the_page(scheme: str, docs: str, chromium: Browser) -> None:
    with chromium.new_context(color_scheme=scheme) as context:
        visit = Visit(context, docs)
        visit.page.keyboard.press("Control+k")
        dialog = visit.page.locator("pagefind-modal dialog")
        colour = dialog.evaluate("(node) => getComputedStyle(node).backgroundColor")
        assert colour == {"light": "rgb(255, 255, 255)", "dark": "rgb(28, 24, 37)"}[scheme]


def test_no_page_has_a_script_of_its_own(site_folder: Path) -> None:
    """So that a Content-Security-Policy can forbid inline scripts."""
    pages = list((site_folder / "docs").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text()
        assert text.count("<script") == text.count("<script src=") + text.count("<script defer src=") + text.count(
            '<script type="module" src='
        ), page


def test_a_document_that_is_not_listed_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("# Documents\n\nUse:\n\n- [a.md](a.md): one\n")
    (tmp_path / "a.md").write_text("# A\n")
    (tmp_path / "b.md").write_text("# B\n")
    monkeypatch.setattr(build_docs, "DOCS", tmp_path)
    with pytest.raises(build_docs.SetupError, match=r"does not list b\.md"):
        build_docs.contents()

"""The whole site, below a path of a plain static server: every page sound on a desk and on a phone, whatever the
browser lacks, and light enough to show something at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

import build_site
from browser.server import Site
from browser.visit import Visit
from common import SetupError
from conftest import missing
from paths import ROOT

pytestmark = pytest.mark.browser

BELOW = "/some/place/"  # the site is not at the server's top
REFERENCE = "docs/reference/javascript/tulle/hands.html"
DOCUMENTS = ("docs/", "docs/web.html", "docs/model-cards/", REFERENCE)
PAGES = ("", "hands/", "background/", "compare/", "ablation/", "model/", *DOCUMENTS)
LIVE = [page for page in PAGES if not page.startswith("docs/")]
QUICK = [
    page for page in LIVE if page != "ablation/"
]  # which measures for long, with the same engine and no choice of it
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"

# Relaxed SIMD's probe is the longest that support.js validates.
NO_RELAXED = "const all = WebAssembly.validate; WebAssembly.validate = (bytes) => bytes.length < 60 && all(bytes)"
NO_SIMD = "WebAssembly.validate = () => false"

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "color_scheme": "dark",
    "reduced_motion": "reduce",
    "has_touch": True,
    "is_mobile": True,
}


@pytest.fixture(scope="module")
def site(site_folder: Path) -> Iterator[Site]:
    """Cross-origin isolated by its server."""
    with Site() as site:
        site.mount(BELOW, site_folder)
        yield site


@pytest.fixture(scope="module")
def plain_site(site_folder: Path) -> Iterator[Site]:
    """A host that sends no headers for isolation."""
    with Site(isolated=False) as site:
        site.mount(BELOW, site_folder)
        yield site


OpenSite = Callable[..., Visit]


@pytest.fixture
def open_site(chromium: Browser, site: Site) -> Iterator[OpenSite]:
    """open_site(page, setup=None, site=site, **context options) visits a page of the site with an empty cache."""
    contexts: list[BrowserContext] = []

    def open_site(page: str, setup: Callable[[Page], None] | None = None, site: Site = site, **options: Any) -> Visit:
        contexts.append(chromium.new_context(**options))
        return Visit(contexts[-1], site.url + BELOW + page, setup)

    yield open_site
    for context in contexts:
        context.close()


def answer_instead(path: str, **answer: Any) -> Callable[[Page], None]:
    """Setup for open_site: requests for a path of the site get this answer."""
    return lambda page: page.route(f"**/{path}", lambda route: route.fulfill(**answer))


# ---- links ----


class References(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def test_every_link_of_every_page_leads_somewhere(site_folder: Path) -> None:
    pages = {file: References(file.read_text()) for file in site_folder.rglob("*.html")}
    assert {site_folder / page / "index.html" for page in LIVE} <= pages.keys()
    broken = []
    for file, references in pages.items():
        for link in references.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            assert not parts.path.startswith("/"), f"{file}: {link} fails below a path"
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            assert target.is_relative_to(site_folder), f"{file}: {link} leaves the site"
            known = pages.get(target)
            if not target.is_file() or (parts.fragment and known and parts.fragment not in known.anchors):
                broken.append(f"{file.relative_to(site_folder)}: {link}")
    assert broken == []
    assert len(pages) > 15


def test_the_pages_reach_each_other(site_folder: Path) -> None:
    for page in PAGES:
        file = site_folder / page
        links = References((file / "index.html" if file.is_dir() else file).read_text()).links
        reached = {urljoin(f"/{page}", link).lstrip("/") for link in links}
        assert {"", "hands/", "background/", "compare/", "ablation/", "model/", "docs/"} <= reached, page


def test_a_link_to_nothing_stops_the_build() -> None:
    source = ROOT / "demos" / "compare" / "main.js"
    with pytest.raises(SetupError, match=r"gone\.js leads to nothing"):
        build_site.relink("import '../lib/gone.js';", source, "compare/main.js", {})
    places = {ROOT / "web" / "src" / "index.js": "web/src/index.js"}
    text = "import { load } from '../../web/src/index.js';"
    assert build_site.relink(text, source, "compare/main.js", places) == text.replace("../../", "../")


# ---- every page, on a desk and on a phone ----


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("device", ["desk", "phone"])
def test_a_page_is_sound(page: str, device: str, open_site: OpenSite) -> None:
    if not AXE.is_file():
        missing("no axe-core: run `make npm`")
    # A font that comes late on a busy machine moves its lines once; what is built to move does so each time.
    for _ in range(3):
        visit = open_site(page, **(PHONE if device == "phone" else DESK))
        if page in LIVE:
            visit.started()
        visit.page.wait_for_timeout(500)
        if visit.page.evaluate("layoutShift") == 0:
            break
    assert visit.page.evaluate("document.documentElement.scrollWidth") == visit.page.viewport_size["width"]
    assert visit.page.evaluate("layoutShift") == 0

    visit.page.add_script_tag(path=AXE)
    assert visit.page.evaluate(AXE_RUN) == []
    background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert red < 60 if device == "phone" else red > 230
    if page in LIVE and device == "desk":
        check_keyboard(visit)
    assert visit.complaints == []


# Violations of WCAG 2.1 A and AA, each with what it found.
AXE_RUN = """
async () => {
  const { violations } = await axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] });
  return violations.map(({ id, nodes }) => [id, ...nodes.slice(0, 3).map(({ html }) => html.slice(0, 160))]);
}
"""


def check_keyboard(visit: Visit) -> None:
    """Asserts that the Tab key reaches everything, in the page's order and to be seen."""
    if visit.page.locator("#copy").count():
        expect(visit.page.locator("#copy")).to_be_enabled()  # there are figures to copy after the first frame
    expected = visit.page.evaluate(FOCUSABLE)
    assert len(expected) >= 8
    reached = []
    for _ in expected:
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate(FOCUSED))
    assert [name for name, _ in reached] == expected
    assert all(ring for _, ring in reached), [name for name, ring in reached if not ring]


# What the Tab key should reach, in the page's order: of a group of radio buttons the one that is checked.
FOCUSABLE = """
() => {
  globalThis.nameOf = ({ localName, id, href, value, ariaLabel }) => `${localName} ${id || href || value || ariaLabel}`;
  return [...document.querySelectorAll('a[href], button, input, select, textarea, [tabindex="0"], summary')]
    .filter((node) => !node.disabled && node.checkVisibility() && (node.type !== 'radio' || node.checked))
    .map(nameOf);
}
"""

# What has the focus, and whether that shows on it or on its label.
FOCUSED = """
() => {
  const node = document.activeElement;
  const around = [node, node.nextElementSibling, node.parentElement, node.closest('label')].filter(Boolean);
  return [nameOf(node), around.some((place) => getComputedStyle(place).outlineStyle !== 'none')];
}
"""


# ---- what a browser or host may lack ----


@pytest.mark.parametrize("page", QUICK)
def test_without_isolation_one_thread_does(page: str, open_site: OpenSite, plain_site: Site) -> None:
    """No headers and no service worker: pages work on one thread, and those with a choice of threads say why."""
    no_worker = answer_instead("coi-serviceworker.js", body="")
    visit = open_site(page, no_worker, site=plain_site, **DESK).started()
    assert visit.page.evaluate("crossOriginIsolated") is False
    if visit.page.locator("#threads").count():
        assert visit.page.locator("#threads option").all_inner_texts() == ["1"]
        expect(visit.page.locator(".settings-note")).to_contain_text("not cross-origin isolated")
    assert visit.complaints == []


def test_the_service_worker_brings_threads(open_site: OpenSite, plain_site: Site) -> None:
    visit = open_site("compare/", site=plain_site, **DESK)
    visit.page.wait_for_function("crossOriginIsolated")  # after one reload
    visit.started()
    assert visit.page.locator("#threads option").count() > 1
    assert visit.page.locator(".settings-note").inner_text() == ""


@pytest.mark.parametrize("page", QUICK)
def test_without_relaxed_simd_the_plain_build_does(page: str, open_site: OpenSite) -> None:
    visit = open_site(page, lambda tab: tab.add_init_script(NO_RELAXED), **DESK).started()
    if visit.page.locator("#variant").count():
        assert visit.page.locator("#variant").input_value() == "simd"
        expect(visit.page.locator(".settings-note")).to_contain_text("no relaxed SIMD")
    assert visit.complaints == []


@pytest.mark.parametrize("page", LIVE)
def test_without_simd_the_page_says_so(page: str, open_site: OpenSite) -> None:
    visit = open_site(page, lambda tab: tab.add_init_script(NO_SIMD), **DESK)
    expect(visit.page.get_by_role("alert")).to_contain_text("no WebAssembly SIMD")


# ---- light and quick ----


def test_the_first_result_is_light(
    open_site: OpenSite, site: Site, record_property: Callable[[str, object], None]
) -> None:
    """The front page shows a hand's landmarks for less than 2.2 MB; how soon is written down, not judged."""
    seconds, size = first_result(open_site, site, "")
    record_property("seconds", seconds)
    record_property("bytes", size)
    print(f"landmarks alone: {size / 1e6:.2f} MB, {seconds:.2f} s with an empty cache")
    assert size < 2.2e6


def test_the_hand_pipeline_is_light(
    open_site: OpenSite, site: Site, record_property: Callable[[str, object], None]
) -> None:
    """The hand page finds and follows its first hand for less than 4.4 MB, scripts of page and worker uncompressed."""
    seconds, size = first_result(open_site, site, "hands/")
    record_property("seconds", seconds)
    record_property("bytes", size)
    print(f"hand pipeline: {size / 1e6:.2f} MB, {seconds:.2f} s with an empty cache")
    assert size < 4.4e6


def first_result(open_site: OpenSite, site: Site, page: str) -> tuple[float, int]:
    """Seconds from the start of the visit to the page's mark `first-result`, and the bytes asked for by then."""
    before = len(site.log)
    tab = open_site(page, **DESK).page
    tab.wait_for_function("performance.getEntriesByName('first-result').length", timeout=60_000)
    origin, mark = tab.evaluate("[performance.timeOrigin, performance.getEntriesByName('first-result')[0].startTime]")
    asked = [entry for entry in site.log[before:] if entry[0] * 1000 <= origin + mark]
    assert any(path.endswith(".tulle") for _, path, _ in asked), "there is no result without a network"
    return mark / 1000, sum(size for _, _, size in asked)

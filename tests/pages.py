"""The built book in a real browser, with every outside host blocked: `make test` runs this after the build.

Not collected by a plain `pytest`, because it needs _build/html; by hand: make book && .venv/bin/python -m pytest tests/pages.py
"""

import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from jupyter_cache import get_cache
from playwright.sync_api import sync_playwright

BUILD = Path(__file__).parents[1] / "_build"
PAGES = sorted(path.relative_to(BUILD / "html").as_posix() for path in (BUILD / "html" / "book").glob("*.html"))
ENTRANCES = ["index.html", "search.html", "genindex.html"]
CHAPTERS = [page for page in PAGES if re.match(r"book/\d\d_", page)]
WIDTHS = (1280, 390)

each_page = pytest.mark.parametrize("page", PAGES)
each_chapter = pytest.mark.parametrize("page", CHAPTERS)


@functools.cache
def soup(page):
    return BeautifulSoup((BUILD / "html" / page).read_text(), "html.parser")


def test_all_pages_were_built():
    sources = {path.stem for path in (BUILD.parent / "book").iterdir() if path.suffix in (".md", ".ipynb")}
    assert {Path(page).stem for page in PAGES} == sources
    assert len(CHAPTERS) == 19


@each_page
def test_page_is_small_enough_for_a_phone(page):
    assert (BUILD / "html" / page).stat().st_size < 2_000_000


@each_page
def test_pictures_have_alternative_texts(page):
    for image in soup(page).select("main img"):
        alt = image.get("alt", "")
        assert len(alt.split()) >= 8 and re.search(r"\d", alt), f"says too little: {alt!r}"
        assert not re.search(r"\.(png|svg|jpe?g|webp)\b|/\w+/", alt), f"looks like a path: {alt!r}"


@each_page
def test_page_asks_no_outside_host(page):
    tags = soup(page).select("script[src], img[src], audio[src], iframe[src], link[rel=stylesheet], link[rel=preload]")
    assert [tag for tag in tags if (tag.get("src") or tag.get("href")).startswith(("http", "//"))] == []


@each_page
def test_numbers_and_links_in_the_text_are_filled_in(page):
    text = BeautifulSoup(str(soup(page).select_one("main")), "html.parser")
    for part in text.select("pre, code, script, .math"):
        part.decompose()
    assert not re.search(r"\{[a-z:]+\}|\$\$|\(eq-[\w-]+\)|\| *(—|---) *\|", text.get_text())  # the last: a table that is none


@each_chapter
def test_chapter_runs_in_under_a_minute(page):
    record = get_cache(BUILD / ".jupyter_cache").match_cache_file(BUILD.parent / page.replace(".html", ".ipynb"))
    assert record.data["execution_seconds"] < 60


@pytest.fixture(scope="module")
def address():
    """The built book, served as any web server would."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=BUILD / "html"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if path is None:
        if "chromium" in os.environ.get("FUZZNET_REQUIRE", ""):
            pytest.fail("chromium is required here and not installed")
        pytest.skip("neither chromium nor google-chrome is installed, so no page can be opened")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """A function that opens a page at a width, waits for its equations, and gathers complaints until the test ends."""
    opened = []

    def open_page(page, width=1280, height=900):
        context = browser.new_context(viewport={"width": width, "height": height})
        tab, complaints = context.new_page(), []

        def route(request):
            if request.request.url.startswith((address, "data:")):
                return request.continue_()
            complaints.append(f"asked for {request.request.url}")
            return request.abort()

        context.route("**/*", route)
        tab.on("console", lambda m: complaints.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.goto(address + page)
        if tab.locator(".math").count():
            tab.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
            tab.evaluate("MathJax.startup.promise.then(() => 0)")
        opened.append(context)
        return tab, complaints

    yield open_page
    for context in opened:
        context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ENTRANCES + PAGES)
def test_page_works_in_a_browser(page, width, visit):
    tab, complaints = visit(page, width)
    tab.wait_for_load_state("networkidle")
    assert complaints == []
    untypeset = "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length"
    assert tab.evaluate(untypeset) == 0
    assert tab.locator("[data-mjx-error], mjx-merror, [data-mml-node=merror]").count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    broken = "[...document.querySelectorAll('main img')].filter(i => i.complete && !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0


@pytest.mark.parametrize("width", WIDTHS)
@each_chapter
def test_every_slider_moves_its_picture(page, width, visit):
    tab, complaints = visit(page, width)
    boxes = tab.locator(".fuzznet-explore")
    assert boxes.count() >= 1
    for k in range(boxes.count()):
        box, slider = boxes.nth(k), boxes.nth(k).locator("input[type=range]")
        shown = "box => [...box.querySelectorAll('img')].filter(i => i.offsetParent).map(i => i.src)"
        seen = []
        slider.focus()
        for _ in range(int(slider.get_attribute("max")) + 1):
            pictures = box.evaluate(shown)
            assert len(pictures) == 1
            seen += pictures
            assert box.locator("output").inner_text() == slider.get_attribute("aria-valuetext") != ""
            tab.keyboard.press("ArrowRight")
        assert len(set(seen)) == len(seen), "two stops show the same picture"
    assert complaints == []


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for link in soup(page).select("a.internal[href]"):
            target, _, anchor = link["href"].partition("#")
            path = (BUILD / "html" / page).parent / target if target else BUILD / "html" / page
            assert path.exists(), f"{page} links to {link['href']}"
            if anchor:
                found = soup(path.resolve().relative_to(BUILD / "html").as_posix()).find(id=anchor)
                assert found is not None, f"{page} links to {link['href']}"


def test_search_finds_a_word(visit):
    tab, complaints = visit("search.html?q=sigmoid")
    tab.wait_for_selector("#search-results li a")
    assert tab.locator("#search-results li a").count() >= 1
    assert complaints == []


PAGE = "document.documentElement"
CONTENT = """[...document.querySelectorAll("article.bd-article section > :not(section)")]
    .filter(e => !e.parentElement.closest("article section > :not(section)"))"""  # not what lies within other content


@pytest.mark.parametrize("page", [CHAPTERS[0], CHAPTERS[8], CHAPTERS[15]])
def test_slides_show_every_block_of_a_chapter_once(page, visit):
    tab, complaints = visit(page, 1280, 720)
    article = tab.locator("article")
    look = "a => [a.innerHTML, a.offsetWidth, a.offsetHeight]"
    before, blocks = article.evaluate(look), tab.evaluate(f"{CONTENT}.map(e => e.textContent)")
    tab.get_by_role("button", name="Slides").click()
    number = tab.locator(".slides-bar [aria-live]")
    count, shown = int(number.inner_text().split(" / ")[1]), []
    for k in range(1, count + 1):
        now, width = tab.evaluate(f"[{CONTENT}.filter(e => e.checkVisibility()).map(e => e.textContent), {PAGE}.scrollWidth]")
        assert width <= 1280, f"slide {k} scrolls sideways"
        shown += now
        if k < count:
            tab.keyboard.press("ArrowRight")
    assert number.inner_text() == f"{count} / {count}" and count >= 20
    assert shown == blocks
    tab.keyboard.press("Escape")
    assert article.evaluate(look) == before
    assert number.count() == 0 and "slides" not in tab.url
    assert complaints == []


def test_slides_keep_their_place_and_what_lives_on_the_page(visit):
    tab, complaints = visit(CHAPTERS[3] + "?slides=7")
    number = tab.locator(".slides-bar [aria-live]")
    assert number.inner_text().startswith("7 / ")
    tab.keyboard.press("PageDown")
    tab.reload()
    tab.wait_for_selector(".slides-bar")
    assert number.inner_text().startswith("8 / ")

    tab.evaluate("location.hash = 'turn-the-knob'")
    slider = tab.locator(".fuzznet-explore input").last
    for _ in range(9):
        if not slider.is_visible():
            tab.keyboard.press("ArrowRight")
    here = number.inner_text()
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert (slider.input_value(), number.inner_text()) == ("1", here), "the slider has the arrow keys"
    tab.keyboard.press("PageDown")
    assert number.inner_text() != here

    tab.evaluate("location.hash = 'exercises'")
    solution = tab.locator("#exercises .solution").first
    assert not solution.locator("section").is_visible()
    solution.locator(".admonition-title").click()
    assert solution.locator("section").is_visible()
    tab.get_by_role("button", name="Leave the slides").click()
    assert "slides" not in tab.url and tab.locator("header.bd-header, .bd-header-article").first.is_visible()
    assert complaints == []


def test_only_chapters_have_slides(visit):
    tab, complaints = visit("book/glossary.html?slides")
    assert tab.get_by_role("button", name="Slides").count() == tab.locator(".slides-bar").count() == 0
    assert complaints == []

"""The page in a real browser: it draws, sorts, picks and explains, asks nobody for anything, and fits a telephone."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SMALLEST_TEXT_PX = 9.0
TEXT_SIZES = """() => [...document.querySelectorAll('figure svg text')].filter(text => text.getClientRects().length)
    .map(text => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


class Opened:
    """A page with what it said and asked for while it was opened."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(address)
        self.address = address


@pytest.fixture(scope="module")
def address(page: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(params=[1280, 400], ids=["desk", "telephone"])
def opened(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    yield Opened(page, address)
    page.close()


@pytest.fixture
def desk(browser: Any, address: str) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield Opened(page, address)
    page.close()


def test_it_opens_without_a_complaint_and_without_asking_anybody(opened: Opened) -> None:
    assert opened.said == []
    assert opened.asked == [opened.address]
    assert opened.page.evaluate("window.alerted === undefined")


def test_figures_are_drawn_and_text_in_them_can_be_read(opened: Opened) -> None:
    boxes = opened.page.evaluate(
        "() => [...document.querySelectorAll('figure:not(.chosen-away) svg')].map(svg => svg.getBoundingClientRect())"
        ".map(box => [box.width, box.height])"
    )
    assert len(boxes) >= 12
    assert all(width > 300 and height > 100 for width, height in boxes)
    assert min(opened.page.evaluate(TEXT_SIZES)) >= SMALLEST_TEXT_PX


def test_nothing_is_wider_than_the_page(opened: Opened) -> None:
    width, shown = opened.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert width <= shown
    tables = opened.page.evaluate(
        "() => [...document.querySelectorAll('.scroll')].map(box => box.getBoundingClientRect().right)"
    )
    assert max(tables) <= shown


def test_a_click_sorts_a_table_by_numbers(desk: Opened) -> None:
    table = desk.page.locator("#table-laws")
    heading = table.locator("th button", has_text="AICc above the best")

    def values() -> list[float]:
        return [float(cell) for cell in table.locator("tbody tr td:nth-child(5)").all_inner_texts()]

    before = values()
    heading.click()
    assert values() == sorted(before) != before
    heading.click()
    assert values() == sorted(before, reverse=True)
    assert table.locator("th").nth(4).get_attribute("aria-sort") == "descending"


def test_pointing_at_a_marker_says_its_numbers(desk: Opened) -> None:
    marker = desk.page.locator("figure svg[aria-label^='proteins: information'] g[id$='points-0'] use").nth(2)
    marker.scroll_into_view_if_needed()
    box = marker.bounding_box()
    desk.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = desk.page.locator("#tip")
    assert tip.is_visible()
    assert tip.inner_text().startswith("pca: ") and "bits at 97.9 UMIs per cell" in tip.inner_text()


def test_picking_a_model_leaves_the_others_out(desk: Opened) -> None:
    desk.page.locator("select[data-picks='model']").select_option("pca")
    models = desk.page.locator("#table-noise-law tbody tr:visible td:nth-child(2)").all_inner_texts()
    assert models == ["pca"]
    shown = desk.page.evaluate(
        "() => [...document.querySelectorAll('figure[data-model]')].filter(one => one.offsetParent)"
        ".filter(one => one.dataset.model).map(one => one.dataset.model)"
    )
    assert set(shown) == {"pca"}
    assert desk.page.locator("figure svg .dimmed").count() > 0
    desk.page.locator("select[data-picks='model']").select_option("")
    assert desk.page.locator("figure svg .dimmed").count() == 0
    assert desk.page.locator("#table-noise-law tbody tr:visible").count() == 2

"""The UI in a real browser: the graph of a study, and a materialised partition with its picture."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Server
from .test_backfills import finish, grid, one_run

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
LAW = ["deep", "simulated", "random_projection", "noise_law"]
PICTURE = (
    "() => [...document.querySelectorAll('img')].some(img => img.src.startsWith('data:image/png') && img.naturalWidth)"
)
BOX = """() => { const box = document.querySelector('img[src^="data:image/png"]').getBoundingClientRect();
    return [box.left, box.right, box.bottom]; }"""
VIEWPORT = {"width": 1600, "height": 1000}
TIMEOUT_MS = 90_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport=VIEWPORT)
        page.set_default_timeout(TIMEOUT_MS)
        yield page
        browser.close()


def test_the_graph_of_a_study_and_the_picture_of_a_law(server: Server, page: Any, tmp_path: Path):
    one_run(server, [["deep", "simulated", "source"]])
    levels = ["q0.100000", "q0.400000", "q1.000000"]
    finish(server, server.backfill([["deep", "simulated", "noised"], *grid("deep")], levels))
    one_run(server, [LAW], "n000000150")

    page.goto(f"{server.url}/locations/__repository__@nsl/asset-groups/deep")
    for asset in ("source", "noised", "trained", "embedding", "mutual_information", "noise_law", "report"):
        page.get_by_text(asset, exact=True).first.wait_for()
    page.screenshot(path=tmp_path / "graph.png")

    page.goto(f"{server.url}/assets/{'/'.join(LAW)}?view=partitions&partition=n000000150")
    page.get_by_text("ubar_umis_per_cell").first.wait_for()
    page.screenshot(path=tmp_path / "partition.png")
    page.locator("tr", has_text="curve").last.get_by_text("Show Markdown").click()
    page.wait_for_function(PICTURE)
    left, right, bottom = page.evaluate(BOX)
    assert left >= 0 and right <= VIEWPORT["width"] and bottom <= VIEWPORT["height"]
    page.screenshot(path=tmp_path / "picture.png")

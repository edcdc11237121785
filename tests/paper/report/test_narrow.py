"""The page on a telephone, in Debian's Chromium; with CI=true its absence is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

PUBLISHED = Path(__file__).parents[3] / "docs" / "results" / "paper" / "report" / "index.html"
"""That it is what is written today, test_page shows."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTH = 390

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="no Chromium on this machine: apt-get install chromium",
)

MEASURE = """
() => [...document.querySelectorAll('.scroll')].map(box => {
  box.scrollLeft = box.scrollWidth
  const row = box.querySelector('tbody tr'), cells = [...row.children]
  const place = element => element.getBoundingClientRect()
  const own = place(box), first = place(cells[0]), last = place(cells[cells.length - 1])
  const behind = getComputedStyle(cells[0]).backgroundColor
  return {
    name: box.getAttribute('aria-label'), scrolled: box.scrollLeft, width: own.width,
    sticks: Math.abs(first.left - own.left), first: first.width, clear: last.left - first.right,
    inside: own.right - last.right, last: last.width, seen: behind,
    head: Math.abs(place(box.querySelector('thead tr').children[0]).left - own.left),
    caption: (box.querySelector('caption span') || box).getBoundingClientRect().width,
  }
})
"""


@pytest.fixture(scope="module", params=["light", "dark"])
def page(request) -> Iterator[Page]:
    assert CHROMIUM is not None, "no Chromium on this machine: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": WIDTH, "height": 844}, color_scheme=request.param)
        opened = context.new_page()
        opened.goto(PUBLISHED.as_uri())
        yield opened
        browser.close()


def test_only_tables_scroll_sideways_each_in_its_box_under_its_first_column(page):
    assert page.evaluate("document.scrollingElement.scrollWidth") == WIDTH
    boxes = page.evaluate(MEASURE)
    assert len(boxes) > 12
    assert sum(box["scrolled"] > 50 for box in boxes) > 10
    for box in boxes:
        assert box["width"] <= WIDTH
        assert max(box["sticks"], box["head"]) < 1, box["name"]
        assert 0.3 * box["width"] < box["first"] < 0.5 * box["width"], box["name"]  # no letter a line
        assert box["caption"] <= box["width"], box["name"]
        assert box["seen"] not in ("rgba(0, 0, 0, 0)", "transparent"), box["name"]  # nothing shines through


def test_a_verdict_can_be_read_beside_its_arm(page):
    boxes = [box for box in page.evaluate(MEASURE) if box["name"].startswith("Contrasts")]
    assert len(boxes) > 4
    for box in boxes:
        assert box["sticks"] < 1, box["name"]
        assert box["clear"] >= -1, box["name"]
        assert box["inside"] >= -1, box["name"]
    heights = page.evaluate(
        "[...document.querySelectorAll('td.verdict')].map(cell => {"
        " const range = document.createRange(); range.selectNodeContents(cell);"
        " return range.getClientRects().length })"
    )
    assert set(heights) == {1}  # on one line

"""The page as people use it, in Debian's Chromium; with CI=true its absence is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dermlens.predict.answers import percent

from .conftest import EXAMPLES, LESION, STRANGE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = {"width": 360, "height": 740}
SERIOUS = ("serious", "critical")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="no Chromium on this machine: apt-get install chromium",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "no Chromium on this machine: apt-get install chromium"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, loaded; at its end nothing was asked of another host and no script has failed."""
    context = browser.new_context(**getattr(request, "param", {}))
    opened = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda one: asked.append(one.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
    opened.goto(address)
    expect(opened.locator("#measured table")).to_be_visible()
    yield opened
    context.close()
    elsewhere = [url for url in asked if not url.startswith((address, "blob:", "data:"))]
    assert elsewhere == []
    assert [text for text in wrong if "422" not in text] == []


def ask(page: Page, *paths: object) -> None:
    page.set_input_files("#pictures", [str(path) for path in paths])
    page.get_by_role("button", name="Ask the model").click()


def test_a_picture_with_its_patient(page, shipped):
    page.get_by_label("Age in years").fill("60")
    page.get_by_label("Sex").select_option("male")
    page.get_by_label("Place on the body").select_option("back")
    ask(page, LESION)
    article = page.get_by_role("article")
    (expected,) = shipped.predict(LESION, 60, "male", "back")
    for sentence in expected.sentences:
        expect(article).to_contain_text(sentence)
    (without_metadata,) = shipped.predict(LESION)
    rows = article.locator("tbody tr")
    assert rows.count() == 7
    expect(rows.first).to_contain_text("melanocytic nevus")
    assert min(expected.p.values()) < 0.0005, "one that must not be shown as 0.0 %"
    for row, (code, share) in zip(
        rows.all(), sorted(expected.p.items(), key=lambda one: -one[1]), strict=True
    ):
        assert row.locator("td").first.text_content().replace("\xa0", " ") == percent(share)
        assert row.locator("td").last.text_content().replace("\xa0", " ") == percent(without_metadata.p[code])
    assert " %" not in page.locator("#answers").evaluate("part => part.textContent")  # one line
    expect(page.locator("#answers-heading")).to_be_focused()


def test_the_overlay_follows_its_slider_and_its_class(page):
    ask(page, LESION)
    expect(page.get_by_role("article")).to_contain_text("Bluer: adds more to the score of melanocytic nevus")
    drawn = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    heat = page.locator("canvas.heat")

    def alpha() -> float:
        return sum(heat.evaluate(drawn)[3::4])

    half = alpha()
    assert half > 0
    page.get_by_label("Strength of the overlay").fill("100")
    assert alpha() > 1.4 * half
    page.get_by_label("Strength of the overlay").fill("0")
    assert alpha() == 0
    page.get_by_label("Strength of the overlay").fill("60")
    before = heat.evaluate(drawn)
    page.get_by_label("Show what speaks for").select_option("mel")
    expect(page.get_by_role("article")).to_contain_text("score of melanoma")
    assert heat.evaluate(drawn) != before


def test_what_is_no_dermoscopy_gets_no_numbers(page):
    ask(page, STRANGE)
    article = page.get_by_role("article")
    expect(article).to_contain_text("Withheld: it does not look like dermoscopy")
    expect(article.locator("table")).to_be_hidden()
    assert "%" not in article.inner_text()


def test_a_text_file_and_a_wrong_age_are_said(page, tmp_path):
    text = tmp_path / "notes.jpg"
    text.write_text("no picture")
    ask(page, text)
    expect(page.get_by_role("alert")).to_contain_text(
        "notes.jpg: the image: not a JPEG, PNG, TIFF or BMP image"
    )
    expect(page.locator("#answers")).to_be_hidden()
    page.get_by_label("Age in years").fill("old")
    ask(page, LESION)
    expect(page.get_by_role("alert")).to_contain_text("age is 'old'")
    page.get_by_label("Age in years").fill("")
    ask(page, LESION)
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.locator("#error")).to_have_text("")


def test_nothing_chosen_is_said(page):
    page.get_by_role("button", name="Ask the model").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose a picture first")


def test_several_pictures_and_one_that_is_none(page, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    ask(page, LESION, tmp_path / "bad.jpg", EXAMPLES / "b.jpg")
    expect(page.get_by_role("status")).to_have_text("2 of 3 answered.")
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("alert")).to_contain_text("bad.jpg")


def test_a_name_is_shown_as_text(page, tmp_path):
    evil = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    evil.write_bytes(LESION.read_bytes())
    ask(page, evil)
    expect(page.get_by_role("heading", name="<img src=x")).to_be_visible()
    assert page.locator("article img").count() == 0


def test_with_the_keyboard_alone(page):
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.example") == "a":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("article")).to_contain_text("melanocytic nevus")


@pytest.mark.parametrize(
    "page",
    [{"viewport": PHONE}, {"viewport": PHONE, "color_scheme": "dark"}, {"color_scheme": "dark"}, {}],
    indirect=True,
    ids=["phone", "dark phone", "dark", "desk"],
)
def test_it_fits_and_axe_finds_nothing_serious(page):
    page.get_by_label("Sex").select_option("male")  # for the third column
    page.locator("[data-example=b]").click()
    expect(page.get_by_role("article")).to_contain_text("Most likely: ")
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0, "nothing sticks out sideways"
    cut = "boxes => boxes.map(box => box.scrollWidth - box.clientWidth)"
    assert page.locator(".numbers, #measured div").evaluate_all(cut) == [0, 0], "no column is cut off"
    found = Axe().run(page)
    serious = [f"{one['id']}: {one['help']}" for one in found["violations"] if one["impact"] in SERIOUS]
    assert serious == []


def test_measured_limits_are_on_the_page(page):
    rows = page.locator("#measured tbody tr")
    assert rows.count() == 7
    expect(page.locator("#measured")).to_contain_text("carries no label of skin tone")
    expect(page.get_by_role("note")).to_contain_text("not a medical device")

"""The figure of an explained image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from dermlens.explain.explained import DISCLAIMER, draw, explain_image, overlay, sentences
from dermlens.explain.neighbours import Case
from dermlens.predict.patients import Patient
from dermlens.report.plots import render

from .conftest import SIDE


@pytest.fixture
def explained(tiny, folders, photo):
    return explain_image(tiny("attention"), folders("attention"), photo, Patient(60.0), methods=["attention"])


def words_of(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


def test_no_heat_leaves_the_picture_grey(lesion):
    grey_SSC = np.asarray(Image.fromarray(lesion).convert("L").convert("RGB"))
    for signed in (True, False):
        np.testing.assert_array_equal(overlay(lesion, np.zeros((SIDE, SIDE)), signed=signed), grey_SSC)


def test_for_is_orange_and_against_is_purple(lesion):
    heat_SS = np.zeros((SIDE, SIDE))
    heat_SS[0, 0], heat_SS[0, 1] = 1, -1
    red, _, blue = np.moveaxis(overlay(np.full_like(lesion, 128), heat_SS, signed=True).astype(int), 2, 0)
    assert red[0, 0] > blue[0, 0] + 40
    assert blue[0, 1] > red[0, 1] + 20


def test_it_shows_heads_cases_and_what_it_is_not(explained, photo):
    cases = [Case("i1", "mel", 0.1), Case("i2", "nv", 0.25), Case("lesion", "nv", 0.5)]
    figure = draw(replace(explained, cases=cases, paths={"lesion": photo}, notes=["Something is missing."]))
    output = words_of(figure)
    for words in ("head 16", "mel  0.10", "i2", "Something is missing.", DISCLAIMER, "explained:"):
        assert words in output
    assert render(figure, "png")[:4] == b"\x89PNG"


def withheld(answer, reason):
    nothing = dict.fromkeys(("p", "diagnosis", "set", "suspicion", "melanoma", "flagged"))
    return replace(answer, state="withheld", reason=reason, sentences=(f"Withheld: {reason}.",), **nothing)


def test_probabilities_that_mean_nothing_are_not_shown(explained):
    strange = replace(explained, answer=withheld(explained.answer, "it does not look like dermoscopy"))
    assert "Probabilities are withheld" in words_of(draw(strange))
    assert "Withheld: " in words_of(draw(strange))
    assert "Most likely" not in words_of(draw(strange))
    assert not any("probability" in sentence or "likely" in sentence for sentence in sentences(strange))
    assert any("Most likely" in sentence for sentence in sentences(explained))
    assert any("probability" in sentence for sentence in sentences(explained))


def test_the_longest_title_stays_inside(explained):
    reason = "no diagnosis stands out: " + ", ".join(["image quality: out of focus, too dark, too small"] * 4)
    answer = withheld(explained.answer, reason)
    figure = draw(replace(explained, image_id="a" * 90, answer=answer))
    figure.draw_without_rendering()
    (title,) = (text for text in figure.findobj(Text) if text.get_text().startswith("a" * 90))
    box = title.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert reason in words_of(figure).replace("\n", " ")

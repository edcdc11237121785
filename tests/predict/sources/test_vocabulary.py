"""Two vocabularies of sites meet in one list of groups."""

from __future__ import annotations

import pytest

from dermlens.predict.sources.vocabulary import SITE_GROUPS, age_of, group_of, sexes_of

HAM10000_SITES = (
    "abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck",
    "scalp", "trunk", "unknown", "upper extremity",
)  # fmt: skip
ISIC_SITES = (
    "head/neck", "anterior torso", "posterior torso", "lateral torso", "torso", "upper extremity",
    "lower extremity", "palms/soles", "oral/genital",
)  # fmt: skip


@pytest.mark.parametrize(
    ("ham10000", "isic"),
    [
        ("scalp", "head/neck"),  # ISIC_0024981
        ("ear", "head/neck"),  # ISIC_0024963
        ("neck", "head/neck"),  # ISIC_0024940
        ("face", "head/neck"),  # ISIC_0024943
        ("abdomen", "anterior torso"),  # ISIC_0024936
        ("chest", "anterior torso"),  # ISIC_0024959
        ("back", "posterior torso"),  # ISIC_0024937
        ("foot", "lower extremity"),  # ISIC_0024968
        ("hand", "upper extremity"),  # ISIC_0025117
        ("lower extremity", "lower extremity"),  # ISIC_0024941
        ("upper extremity", "upper extremity"),  # ISIC_0024949
    ],
)
def test_one_image_has_one_group_in_either_vocabulary(ham10000: str, isic: str) -> None:
    """ISIC 2019 re-released HAM10000's images with sites in its own words, as the image next to shows."""
    assert group_of(ham10000) == group_of(isic) == isic


@pytest.mark.parametrize("site", [*HAM10000_SITES, *ISIC_SITES])
def test_every_published_site_has_a_group(site: str) -> None:
    assert group_of(site) in SITE_GROUPS
    assert (group_of(site) == "unknown") == (site == "unknown")


def test_every_group_is_reached_and_stands_for_itself() -> None:
    assert {group_of(site) for site in (*HAM10000_SITES, *ISIC_SITES)} == set(SITE_GROUPS)
    assert [group_of(group) for group in SITE_GROUPS] == list(SITE_GROUPS)


@pytest.mark.parametrize("site", ["Head/Neck", "  HEAD/NECK\t", "SCALP", "Face "])
def test_case_and_space_do_not_matter(site: str) -> None:
    assert group_of(site) == "head/neck"


def test_inner_spaces_do_not_matter() -> None:
    assert group_of("Anterior   torso") == "anterior torso"


@pytest.mark.parametrize("site", ["", "   ", "elsewhere", None, float("nan")])
def test_unseen_and_missing_are_unknown(site: str | None) -> None:
    assert group_of(site) == "unknown"


@pytest.mark.parametrize(
    ("word", "years"),
    [
        ("55", 55), ("55,5", 55.5), ("55 years", 55), ("55 Jahre", 55), ("055Y", 55), ("6 months", 0.5),

        ("40-45", 42.5), ("[40, 50)", 45), ("85+", 85),
        (">85", 85), ("old", None), ("1_0", None), ("45-40", None),
    ],
)  # fmt: skip
def test_ages_in_words(word: str, years: float | None) -> None:
    assert age_of(word) == years


@pytest.mark.parametrize(
    ("column", "sexes"),
    [
        (["m", "f"], ["male", "female"]),
        (["M", "W"], ["male", "female"]),
        (["H", "F"], ["male", "female"]),
        (["H", "M"], [None, None]),  # hombre, mujer: not two men
        (["männlich", "weiblich", "divers"], ["male", "female", "unknown"]),
        (["hombre", "mujer", ""], ["male", "female", "unknown"]),
    ],
)
def test_sexes_of_a_column(column: list[str], sexes: list[str | None]) -> None:
    assert list(sexes_of(column).values()) == sexes

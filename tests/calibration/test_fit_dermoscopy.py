from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression

from dermlens.calibration.boundary import (
    GREYSCALE,
    PENALTY,
    Features,
    Sets,
    _boundary,
    _out_of_fold,
    fit_dermoscopy,
    fit_typical,
)
from dermlens.errors import UserError
from dermlens.predict.document import Dermoscopy, Typical, of_last_layer

ASIDE = np.array([1.0, 0.0, 0.0, 0.0])
ELSEWHERE = np.array([0.0, 0.0, 4.0, 0.0])


def draw(pictures: int, seed: int, middle: np.ndarray, each: int = 2) -> Features:
    rng = np.random.default_rng(seed)
    x_ND = (rng.normal(size=(pictures, 4)) + middle).astype(np.float32)
    return Features(x_ND, np.array([f"{seed}-{number // each}" for number in range(pictures)]))


def test_the_boundary_is_scikit_learns_moved_to_where_it_keeps_enough():
    own, other = draw(400, 0, ASIDE * 0), draw(400, 1, 3 * ASIDE)
    found, table = fit_dermoscopy({"own": own}, {"telephone": other}, kept=0.95)
    x_ND = np.concatenate([own.features_ND, other.features_ND])
    mean_D, scale_D = x_ND.mean(axis=0), x_ND.std(axis=0)
    theirs = LogisticRegression(C=1 / (800 * PENALTY)).fit((x_ND - mean_D) / scale_D, np.arange(800) < 400)
    np.testing.assert_allclose(found.weights, theirs.coef_[0] / scale_D, rtol=1e-3, atol=1e-5)
    boundary = found.model_copy(update={"typical": None})
    assert (boundary.scores(own.features_ND) >= 0).mean() == pytest.approx(0.95, abs=0.01)
    rows = table.set_index("set")
    assert 0.95 - 0.025 - 1 / 400 <= rows.loc["own", "taken"] <= 0.95  # what is far takes half as many
    assert rows.loc["telephone", "taken"] < 0.15
    assert table["dermoscopy"].tolist() == ["yes", "no"]
    assert table["taken_unseen"].isna().all()
    assert found.dermoscopic == {"own": 400}
    assert found.other == {"telephone": 400}


def test_a_set_that_nobody_was_shown_is_judged_by_the_others():
    """Another clinic lies where the telephone's photographs do not: shown or not, it is taken for dermoscopy.

    Another kind of photograph lies where its own set tells most of it.
    """
    dermoscopic = {"own": draw(300, 0, ASIDE * 0), "clinic": draw(200, 1, -ASIDE)}
    other = {"telephone": draw(300, 2, 4 * ASIDE), "street": draw(100, 3, ELSEWHERE)}
    table = fit_dermoscopy(dermoscopic, other)[1].set_index("set")
    assert table.loc["clinic", "taken_unseen"] > 0.95
    assert 2 * table.loc["street", "taken"] < table.loc["street", "taken_unseen"]
    assert (table.loc[["own", "clinic"], "taken"] >= 0.97).all()


def test_the_boundary_stands_where_every_clinic_is_kept():
    """The third clinic lies nearer to the photographs; a mean over clinics would give it up."""
    dermoscopic = {"a": draw(300, 0, ASIDE * 0), "b": draw(300, 1, -ASIDE), "near": draw(300, 2, ASIDE)}
    other = {"telephone": draw(300, 3, 6 * ASIDE)}
    found, table = fit_dermoscopy(dermoscopic, other)
    without = fit_dermoscopy({name: dermoscopic[name] for name in "ab"}, other)[0]
    assert (found.scores(dermoscopic["near"].features_ND) >= 0).mean() >= 0.97
    unseen = table.set_index("set")["taken_unseen"]
    assert unseen["near"] == (without.scores(dermoscopic["near"].features_ND) >= 0).mean()
    assert unseen[["a", "b"]].min() >= 0.97


def test_a_kind_that_nobody_was_shown_is_told_by_its_distance():
    """Drawings lie where dermoscopy never is and the boundary does not look; both sources stay."""
    middles = {"a": ASIDE * 0, "b": -ASIDE, "c": ELSEWHERE / 8}
    dermoscopic = {name: draw(400, seed, middle) for seed, (name, middle) in enumerate(middles.items())}
    found, table = fit_dermoscopy(dermoscopic, {"telephone": draw(400, 4, 5 * ASIDE)})
    drawings = draw(300, 5, np.array([-1.0, 9.0, 0.0, 0.0])).features_ND
    assert (found.model_copy(update={"typical": None}).scores(drawings) >= 0).mean() > 0.9
    assert (found.scores(drawings) >= 0).mean() < 0.1
    assert (table.set_index("set").loc[list(middles), "taken_unseen"] >= 0.95).all()


def test_a_distance_is_scipys():
    rng = np.random.default_rng(0)
    mixed_DD = rng.normal(size=(6, 6))
    x_ND = rng.normal(size=(500, 6)) @ mixed_DD + 3
    sets = Sets.of({"own": Features(x_ND, np.arange(500).astype(str))}, {})
    typical = fit_typical(sets, 0.9)
    z_ND = (x_ND - x_ND.mean(axis=0)) / x_ND.std(axis=0)
    variance_D, direction_DD = np.linalg.eigh(np.cov(z_ND.T, bias=True))
    variance_D[0] = variance_D[:1].mean()
    covariance_DD = direction_DD @ np.diag(variance_D + 0.5) @ direction_DD.T
    theirs_N = cdist(z_ND, np.zeros((1, 6)), "mahalanobis", VI=np.linalg.inv(covariance_DD))[:, 0] ** 2
    np.testing.assert_allclose(typical.distances(x_ND), theirs_N, rtol=5e-3)  # its numbers have four digits
    assert (typical.distances(x_ND) > typical.farthest).mean() == pytest.approx(0.05, abs=0.01)
    with pytest.raises(ValidationError, match="a number a feature"):
        Typical.model_validate(typical.model_dump() | {"mean": (0.0,)})


def test_greyscale_copies_are_judged_without_their_source():
    """Each lesion has a place of its own, where its copy lies too: the copy must not vouch for it."""
    rng = np.random.default_rng(1)

    def source(name: str) -> dict[str, Features]:
        place_LD, names = rng.normal(size=(60, 100)), np.array([f"{name}{number}" for number in range(60)])
        return {name + ending: Features(place_LD, names) for ending in ("", GREYSCALE)}

    table = fit_dermoscopy(source("a") | source("b"), source("street") | source("telephone"), penalty=1e-3)[1]
    rows = table.set_index("set")
    assert (rows["taken_unseen"].reindex(["a", "b"]) >= 0.5).all(), "placed for what nobody has seen"
    copies = [name for name in rows.index if name.endswith(GREYSCALE)]
    colours = [name.removesuffix(GREYSCALE) for name in copies]
    assert rows.loc[copies, "taken_unseen"].tolist() == rows.loc[colours, "taken_unseen"].tolist()
    assert rows.loc[["street", "telephone"], "taken"].min() > 0.2, "remembered by their copies"


def test_a_copy_is_judged_by_what_has_not_seen_its_picture():
    """Places are drawn alike on both sides, so that nothing but remembering could tell them apart."""
    rng = np.random.default_rng(2)

    def source(name: str) -> dict[str, Features]:
        place_LD, names = rng.normal(size=(60, 100)), np.array([f"{name}{number}" for number in range(60)])
        return {name + ending: Features(place_LD, names) for ending in ("", GREYSCALE)}

    joined = Sets.of(source("a"), source("street"))
    right = ((_out_of_fold(joined, 1e-3) >= 0) == joined.is_dermoscopy_N).mean()
    assert 0.3 < right < 0.7


def test_the_boundary_makes_room_for_a_clinic_that_nobody_has_seen():
    """Each clinic lies on an axis of its own: fitted without it, a boundary takes it for a photograph."""
    clinics = {name: draw(300, axis, 5 * np.eye(4)[axis]) for axis, name in enumerate("abc")}
    street = draw(300, 9, 0 * ASIDE)
    found, table = fit_dermoscopy(clinics, {"street": street}, penalty=0.02)
    assert (found.scores(street.features_ND) >= 0).mean() > 0.3
    assert (table.set_index("set").loc[["a", "b", "c"], "taken"] == 1).all()


def test_every_clinic_had_kept_its_share_unseen():
    """The place, on the scores of boundaries that were fitted without the clinic, the odd one's too."""
    clinics = {"a": draw(300, 0, ASIDE * 0), "b": draw(300, 1, ASIDE * 0), "odd": draw(300, 2, 2 * ASIDE)}
    street = {"street": draw(300, 9, 6 * ASIDE)}
    found, _ = fit_dermoscopy(clinics, street)
    place = _boundary(Sets.of(clinics, street), PENALTY)[1] - found.bias
    for name, clinic in clinics.items():
        others = {other: features for other, features in clinics.items() if other != name}
        weight_D, bias = _boundary(Sets.of(others, street), PENALTY)
        assert (clinic.features_ND @ weight_D + bias >= place - 1e-4).mean() >= 0.98, name


def test_a_handful_of_pictures_has_no_say_in_where_an_unseen_clinic_is_kept():
    """The one of them that is least like the others would decide for all."""
    clinics = {"a": draw(300, 0, ASIDE * 0), "b": draw(300, 1, ASIDE * 0)}
    street = {"street": draw(300, 9, 6 * ASIDE)}
    alone = fit_dermoscopy(clinics, street)[1].set_index("set")
    few = fit_dermoscopy(clinics | {"few": draw(40, 2, 2 * ASIDE)}, street)[1].set_index("set")
    many = fit_dermoscopy(clinics | {"few": draw(400, 2, 2 * ASIDE)}, street)[1].set_index("set")
    assert alone.loc["street", "taken"] <= few.loc["street", "taken"] < many.loc["street", "taken"]


def test_a_boundary_on_an_early_layer_looks_at_the_features_that_come_last():
    own, street = draw(300, 0, ASIDE * 0), draw(300, 1, 4 * ASIDE)
    found, _ = fit_dermoscopy({"own": own}, {"street": street}, layer="features.7")
    before_NF = np.concatenate([np.full((300, 5), 1e6), own.features_ND], axis=1)
    assert found.layer == "features.7"
    assert found.scores(before_NF).tolist() == found.scores(own.features_ND).tolist()
    assert of_last_layer(before_NF, found).shape == (300, 5)
    assert of_last_layer(before_NF, None).shape == (300, 5 + 4)
    with pytest.raises(UserError, match="weights"):
        found.check(len(found.weights) - 1)
    plain = found.model_copy(update={"layer": ""})
    with pytest.raises(UserError, match="weights"):
        plain.check(len(found.weights) + 1)


def test_greyscale_copies_are_no_sets_of_their_own_in_the_document():
    own, grey = draw(300, 0, ASIDE * 0), draw(300, 0, ELSEWHERE)
    street = draw(300, 1, 4 * ASIDE)
    found, table = fit_dermoscopy({"own": own, "own" + GREYSCALE: grey}, {"street": street})
    assert found.dermoscopic == {"own": 300}
    rows = table.set_index("set")
    assert (rows.loc[["own", "own" + GREYSCALE], "taken"] >= 0.97).all()
    assert rows["taken_unseen"].isna().all()


def test_pictures_of_a_lesion_are_judged_by_what_has_not_seen_it():
    """Where each lesion has a place of its own and many pictures, remembering must not look like knowing."""
    rng = np.random.default_rng(0)

    def lesions(name: str) -> Features:
        place_LD = np.repeat(rng.normal(size=(30, 60)), 10, axis=0)
        x_ND = place_LD + 0.01 * rng.normal(size=(300, 60))
        return Features(x_ND, np.repeat([f"{name}{number}" for number in range(30)], 10))

    table = fit_dermoscopy({"a": lesions("a")}, {"b": lesions("b")}, kept=0.5, penalty=1e-3)[1]
    assert 0.2 < table.set_index("set").loc["b", "taken"] < 0.8


def test_large_sets_count_no_more_than_small_ones():
    """Ten times as many pictures of the same kind move the boundary by no more than chance does."""
    other = {"telephone": draw(2000, 2, 2 * ASIDE)}
    small, large = draw(400, 0, ASIDE * 0), draw(4000, 1, ASIDE * 0)
    clinic = draw(400, 3, ELSEWHERE)
    with_small, _ = fit_dermoscopy({"own": small, "clinic": clinic}, other, penalty=0.02)
    with_large, _ = fit_dermoscopy({"own": large, "clinic": clinic}, other, penalty=0.02)
    np.testing.assert_allclose(with_small.weights, with_large.weights, atol=0.04)


def test_the_sides_count_alike_however_many_sets_they_have():
    """Three sets against one give the boundary that one against one gives."""
    dermoscopic = {name: draw(600, seed, ASIDE * 0) for seed, name in enumerate("abc")}
    found, table = fit_dermoscopy(dermoscopic, {"telephone": draw(600, 7, 2 * ASIDE)}, kept=0.5)
    alone, _ = fit_dermoscopy({"a": dermoscopic["a"]}, {"telephone": draw(600, 7, 2 * ASIDE)}, kept=0.5)
    np.testing.assert_allclose(found.weights, alone.weights, atol=0.12)
    assert table.set_index("set").loc["telephone", "taken"] < 0.1


def test_what_is_kept_is_of_every_set_however_small():
    """A small set that lies nearer to the other side has its share too."""
    dermoscopic = {"large": draw(3000, 0, -ASIDE), "small": draw(200, 1, ASIDE)}
    table = fit_dermoscopy(dermoscopic, {"telephone": draw(600, 2, 3 * ASIDE)}, kept=0.9)[1]
    taken = table.set_index("set")["taken"]
    assert (taken[["large", "small"]] >= 0.88).all()


def test_an_interval_is_over_lesions():
    """Ten pictures of one lesion say as much as one of them, nearly."""
    rng = np.random.default_rng(3)
    place_LD = rng.normal(size=(20, 4)) + 1.5 * ASIDE
    few = Features(
        np.repeat(place_LD, 10, axis=0) + 0.01 * rng.normal(size=(200, 4)),
        np.repeat(np.arange(20), 10).astype(str),
    )
    many = draw(200, 5, 1.5 * ASIDE, each=1)
    table = fit_dermoscopy({"own": draw(400, 0, ASIDE * 0)}, {"few": few, "many": many}, kept=0.8)[1]
    rows = table.set_index("set")
    assert rows.loc["few", "lesions"] == 20
    width = rows["high"] - rows["low"]
    assert width["few"] > 2 * width["many"]
    assert ((rows["low"] <= rows["taken"]) & (rows["taken"] <= rows["high"])).all()


def test_a_boundary_has_two_sides():
    with pytest.raises(ValueError, match="two sides"):
        fit_dermoscopy({"own": draw(20, 0, ASIDE)}, {})


def test_scores_are_of_the_features_that_they_were_fitted_on():
    settings = {"kept": 0.98, "dermoscopic": {"own": 5}, "other": {"street": 5}}
    found = Dermoscopy(weights=(1.0, -2.0), bias=0.5, **settings)
    np.testing.assert_allclose(found.scores(np.array([[1, 1], [4, 0]], np.float32)), [-0.5, 4.5])
    typical = {"mean": (1, 1), "scale": (1, 2), "directions": (), "variances": (), "rest": 1, "farthest": 4}
    far = Dermoscopy(weights=(1.0, -2.0), bias=0.5, typical=typical, **settings)
    np.testing.assert_allclose(far.scores(np.array([[1, 1], [4, 0]], np.float32)), [-0.5, 1 - 9.25 / 4])
    with pytest.raises(UserError, match=r"2 weights.*3 features"):
        found.scores(np.zeros((1, 3)))
    with pytest.raises(ValidationError):
        Dermoscopy(weights=(), bias=0.5, **settings)

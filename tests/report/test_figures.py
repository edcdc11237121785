"""Figures show the numbers they were given: read back from the artists, checked with scikit-learn."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from dermlens.errors import UserError
from dermlens.labels import CLASSES, Vocabulary
from dermlens.report.curves import (
    decision_curve,
    kept_epoch,
    precision_recall_curves,
    reliability_diagram,
    roc_curves,
    training_curves,
)
from dermlens.report.figures import (
    _draw_bars,
    common_role,
    legend_below,
    panels,
    recall_bars,
    save_comparison,
)
from dermlens.report.gallery import attention_map, error_gallery, overlay, thumbnail, worst_errors
from dermlens.report.plots import (
    class_distribution,
    class_mark,
    confusion_matrix,
    metadata_distribution,
    render,
    role_mark,
    save_figure,
)
from dermlens.runs import Run


@pytest.fixture(scope="module")
def predictions(drawn):
    return drawn(500, ("test",))


@pytest.fixture(scope="module", name="p_NC")
def probabilities(predictions):
    return predictions[[f"p_{code}" for code in CLASSES]].to_numpy(float)


@pytest.fixture(scope="module")
def metrics(fake_run: Run):
    return fake_run.metrics


def line(axis: Axes, gid: str) -> Line2D:
    [found] = [artist for artist in axis.lines if artist.get_gid() == gid]
    return found


def legend_of(figure: Figure) -> str:
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes if axis.get_legend())]
    return "\n".join(text.get_text() for legend in legends for text in legend.get_texts())


def test_roc_is_scikit_learns(predictions, p_NC):
    figure = roc_curves(predictions["target"], p_NC, CLASSES)
    for index, code in enumerate(CLASSES):
        truth = predictions["target"] == code
        false_positive, true_positive, _ = roc_curve(truth, p_NC[:, index])
        drawn_line = line(figure.axes[0], code)
        np.testing.assert_allclose(drawn_line.get_xdata(), false_positive)
        np.testing.assert_allclose(drawn_line.get_ydata(), true_positive)
        assert f"{code}  {roc_auc_score(truth, p_NC[:, index]):.3f}" in legend_of(figure)


def test_precision_recall_is_scikit_learns(predictions, p_NC):
    figure = precision_recall_curves(predictions["target"], p_NC, CLASSES)
    mel = CLASSES.index("mel")
    truth = predictions["target"] == "mel"
    precision, recall, _ = precision_recall_curve(truth, p_NC[:, mel], drop_intermediate=True)
    np.testing.assert_allclose(line(figure.axes[0], "mel").get_xdata(), recall)
    np.testing.assert_allclose(line(figure.axes[0], "mel").get_ydata(), precision)
    assert f"{average_precision_score(truth, p_NC[:, mel]):.3f}  ({truth.mean():.3f})" in legend_of(figure)


@pytest.mark.parametrize("draw", [roc_curves, precision_recall_curves])
def test_a_class_without_images_has_no_curve_and_says_so(predictions, p_NC, draw):
    keep = (predictions["target"] != "df").to_numpy()
    figure = draw(predictions["target"][keep], p_NC[keep], CLASSES)
    assert not [artist for artist in figure.axes[0].lines if artist.get_gid() == "df"]
    assert "df: not defined" in legend_of(figure)


def test_confusion_matrix_reads_as_its_counts():
    counts = np.arange(49).reshape(7, 7)
    counts[3] = 0
    [axis] = confusion_matrix(counts, CLASSES).axes
    output = [text.get_text() for text in axis.texts if text.get_gid() == "count"]
    assert [int(word) for word in output] == counts.ravel().tolist()
    percents = [text.get_text() for text in axis.texts if text.get_gid() != "count"]
    assert len(percents) == 42  # the empty row has none, rather than 0 of nothing
    first_row = [float(word.split()[0]) for word in percents[:7]]
    np.testing.assert_allclose(first_row, 100 * counts[0] / counts[0].sum(), atol=0.5)
    assert [label.get_text() for label in axis.get_xticklabels()] == list(CLASSES)
    assert axis.get_yticklabels()[6].get_text() == f"vasc\nn = {counts[6].sum()}"


def test_recall_bars_have_values_and_intervals(metrics):
    per_class = metrics.roles["calibration"]["per_class"]
    [axis] = recall_bars(per_class).axes
    widths = {patch.get_gid(): patch.get_width() for patch in axis.patches}
    assert widths == pytest.approx({code: row["recall"]["value"] for code, row in per_class.items()})
    spans = [tuple(artist.get_xdata()) for artist in axis.lines if artist.get_gid() == "interval"]
    assert spans == [(row["recall"]["low"], row["recall"]["high"]) for row in per_class.values()]


def test_recall_of_an_absent_class_is_a_dash():
    nothing = {"value": None, "low": None, "high": None}
    half = {"value": 0.5, "low": 0.25, "high": 0.75}
    [axis] = recall_bars(
        {"df": {"recall": nothing, "support": 0}, "mel": {"recall": half, "support": 4}}
    ).axes
    assert [patch.get_gid() for patch in axis.patches] == ["mel"]
    assert axis.texts[0].get_text().startswith("–")


@pytest.mark.parametrize("measure", ["recall", "f1"])
def test_compared_runs_stand_beside_each_other(metrics, measure):
    figure, [axis] = panels()
    _draw_bars(axis, [metrics, metrics], ["a", "b"], measure, "calibration")
    legend_below(figure, axis)
    heights = {patch.get_gid(): patch.get_height() for patch in axis.patches}
    for name in "ab":
        for code in CLASSES:
            expected = metrics.roles["calibration"]["per_class"][code][measure]["value"]
            assert heights[f"{name}:{code}"] == pytest.approx(expected)
    left = [next(p for p in axis.patches if p.get_gid() == f"{name}:mel").get_x() for name in "ab"]
    assert left[0] < left[1]
    assert legend_of(figure).split() == ["a", "b"]


def test_runs_are_compared_on_a_role_that_both_have(metrics):
    selection = metrics.model_copy(update={"roles": {"selection": metrics.roles["selection"]}})
    calibration = metrics.model_copy(update={"roles": {"calibration": metrics.roles["calibration"]}})
    other = metrics.model_copy(update={"classes": ["a", "b"]})
    assert common_role([metrics, metrics]) == "calibration"
    assert common_role([metrics, selection]) == "selection"
    with pytest.raises(UserError, match="no scored role"):
        common_role([selection, calibration])
    with pytest.raises(UserError, match="same classes"):
        common_role([metrics, other])


def test_a_comparison_draws_no_role_that_it_may_not_look_at(fake_run: Run, tmp_path):
    with pytest.raises(UserError, match="no scored role"):
        save_comparison([fake_run, fake_run], tmp_path / "both.svg", ("test",))


def test_a_comparison_is_saved_in_the_form_its_name_asks_for(fake_run: Run, tmp_path):
    roles = ("calibration", "selection")
    assert save_comparison([fake_run, fake_run], tmp_path / "both.svg", roles).read_text().startswith("<?xml")
    with Image.open(save_comparison([fake_run, fake_run], tmp_path / "both.png", roles)) as picture:
        assert picture.format == "PNG"
    with pytest.raises(UserError, match=r"both\.gif.*\.svg or \.png"):
        save_comparison([fake_run, fake_run], tmp_path / "both.gif", roles)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both.png", "both.svg"]


def test_reliability_diagram_skips_empty_bins():
    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 0.75, "count": 3, "confidence": 0.6, "accuracy": 1 / 3},
        {"low": 0.75, "high": 1.0, "count": 7, "confidence": 0.9, "accuracy": 6 / 7},
    ]
    above, below = reliability_diagram(bins).axes
    np.testing.assert_allclose(line(above, "reliability").get_xydata(), [(0.6, 1 / 3), (0.9, 6 / 7)])
    assert [patch.get_height() for patch in below.patches] == [3, 7]


def test_decision_curve_keeps_the_models_line_in_sight(metrics):
    points = metrics.roles["calibration"]["detection"]["melanoma"]["net_benefit"]
    [axis] = decision_curve(points, "melanoma").axes
    for name in ("model", "all", "none"):
        drawn_line = line(axis, name)
        np.testing.assert_allclose(drawn_line.get_xdata(), [point["threshold"] for point in points])
        np.testing.assert_allclose(drawn_line.get_ydata(), [point[name] for point in points])
    low, high = axis.get_ylim()
    assert all(low <= point["model"] <= high for point in points)
    assert all(low <= point["low"] <= point["high"] <= high for point in points)
    (band,) = [artist for artist in axis.collections if artist.get_gid() == "interval"]
    corners = {(round(x, 9), round(y, 9)) for x, y in band.get_paths()[0].vertices}
    for point in points:
        for end in ("low", "high"):
            assert (round(point["threshold"], 9), round(point[end], 9)) in corners


@pytest.mark.parametrize("ends", [{}, {"low": None, "high": None}])
def test_a_decision_curve_without_intervals_has_no_band(ends):
    points = [{"threshold": at, "model": 0.1, "all": 0.1 - at, "none": 0.0, **ends} for at in (0.02, 0.1)]
    [axis] = decision_curve(points, "melanoma").axes
    np.testing.assert_allclose(line(axis, "model").get_ydata(), [0.1, 0.1])
    assert not axis.collections


def test_the_kept_epoch_is_the_first_best():
    history = pd.DataFrame(
        {"epoch": [0, 1, 2, 3], "val_loss": [3.0, 1.0, 1.0, 2.0], "val_mean_recall": [0.1, 0.2, 0.5, 0.5]}
    )
    assert kept_epoch(history, "val_loss") == 1
    assert kept_epoch(history, "val_mean_recall") == 2
    assert kept_epoch(history, "last") == 3
    assert kept_epoch(history, "val_accuracy") is None
    assert kept_epoch(history.iloc[:0], "last") is None


def test_training_curves_draw_what_there_is(fake_run: Run):
    history = pd.read_csv(fake_run.history_file)
    loss, share, rate = training_curves(history, kept=8).axes
    np.testing.assert_allclose(line(loss, "val_loss").get_ydata(), history["val_loss"])
    np.testing.assert_allclose(line(share, "val_mean_recall").get_ydata(), history["val_mean_recall"])
    np.testing.assert_allclose(line(rate, "lr").get_ydata(), history["lr"])
    assert line(loss, "kept").get_xdata()[0] == 8
    unwatched = history.assign(val_loss=np.nan).drop(columns="val_mean_recall")
    figure = training_curves(unwatched)
    drawn_lines = {artist.get_gid() for axis in figure.axes for artist in axis.lines}
    assert drawn_lines == {"train_loss", "train_accuracy", "val_accuracy", "lr"}
    render(figure, "png")


def test_class_distribution_counts():
    counts = {"train": {"mel": 100, "nv": 3000}, "test": {"mel": 10, "df": 1}}
    [axis] = class_distribution(counts, CLASSES).axes
    shown = {artist.get_label(): sorted(artist.get_xdata()) for artist in axis.lines}
    assert shown == {"train": [100, 3000], "test": [1, 10]}
    rows = [round(row) for row in axis.lines[0].get_ydata()]
    assert [CLASSES[row] for row in rows] == ["mel", "nv"]


def test_metadata_shares_are_of_the_role(predictions):
    people = predictions.assign(role=np.where(np.arange(len(predictions)) < 100, "train", "test"))
    age, sex, site = metadata_distribution(people).axes
    missing = int(people["age"].isna().sum())
    assert f"{missing} of {len(people)}" in age.get_title(loc="left")
    for patch in age.patches:
        assert patch.get_data().values.sum() == pytest.approx(1)
    for axis, column in ((sex, "sex"), (site, "site")):
        for artist in axis.lines:
            assert artist.get_xdata().sum() == pytest.approx(1)
        values = [label.get_text() for label in axis.get_yticklabels()]
        of_train = people.loc[people["role"] == "train", column]
        train = next(artist for artist in axis.lines if artist.get_label() == "train")
        np.testing.assert_allclose(train.get_xdata(), [(of_train == value).mean() for value in values])


def test_metadata_without_any_age_is_drawn():
    people = pd.DataFrame(
        {"role": ["test"] * 3, "age": [np.nan] * 3, "sex": ["unknown"] * 3, "site": ["a"] * 3}
    )
    render(metadata_distribution(people), "png")


def test_every_class_and_role_has_a_look_of_its_own():
    marks = [class_mark(index) for index in range(20)]
    looks = [(mark.color, str(mark.line)) for mark in marks]
    assert len(set(looks)) == len(looks)
    assert len({mark.color for mark in marks[:7]}) == len({mark.marker for mark in marks[:7]}) == 7
    roles = [role_mark(role) for role in ("train", "selection", "calibration", "test")]
    assert len({mark.color for mark in roles}) == len({mark.marker for mark in roles}) == 4


def test_neighbouring_colours_differ_for_dichromats():
    """Simulated after Viénot, Brettel, Mollon 1999: without red or green cones the seven stay apart."""
    lms_from_rgb = np.array(
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
    )
    without = {
        "protan": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
        "deutan": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
    }
    rgb = np.array([[int(class_mark(i).color[k : k + 2], 16) / 255 for k in (1, 3, 5)] for i in range(7)])
    for matrix in without.values():
        seen = ((rgb**2.2) @ (np.linalg.inv(lms_from_rgb) @ matrix @ lms_from_rgb).T).clip(0, 1) ** (1 / 2.2)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(7) * 9
        assert distance.min() > 0.12


def test_a_dollar_in_a_name_is_a_dollar():
    figure = class_distribution({"$\\notacommand{$": {"$a$": 3}}, ["$a$", "b"])
    assert render(figure, "svg").startswith(b"<?xml")


def test_the_same_figure_gives_the_same_bytes(metrics):
    counts = metrics.roles["calibration"]["confusion"]
    first, second = (render(confusion_matrix(counts, CLASSES), "svg") for _ in range(2))
    assert first == second
    assert not re.search(rb'(href|src)="http', first)


def test_figures_are_whole_or_absent(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dermlens.report.plots.render", full)
    with pytest.raises(OSError, match="No space"):
        save_figure(Figure(), tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_attention_lies_where_it_was():
    alpha_Khw = np.zeros((2, 4, 4))
    alpha_Khw[0, 0, 3] = alpha_Khw[1, 0, 3] = 1.0
    heat_HW = attention_map(alpha_Khw, 80, 120)
    assert heat_HW.shape == (80, 120)
    assert ((heat_HW >= 0) & (heat_HW <= 1)).all()
    row, column = np.unravel_index(heat_HW.argmax(), heat_HW.shape)
    assert row < 20
    assert column >= 90


def test_even_attention_shows_nothing():
    even_Khw = np.full((3, 4, 4), 1 / 16) + np.random.default_rng(0).normal(0, 1e-9, (3, 4, 4))
    assert not attention_map(even_Khw, 8, 8).any()
    picture = overlay(np.full((8, 8, 3), 200, np.uint8), even_Khw)
    assert picture.shape == (8, 8, 3)
    assert picture.dtype == np.uint8
    assert (picture == picture[0, 0]).all()


def test_attention_is_summed_over_heads():
    rng = np.random.default_rng(0)
    alpha_Khw = rng.random((5, 6, 6))
    np.testing.assert_allclose(
        attention_map(alpha_Khw, 24, 24), attention_map(alpha_Khw.sum(0, keepdims=True), 24, 24), atol=1e-5
    )


def test_worst_errors_come_in_their_order(predictions, p_NC):
    groups = worst_errors(predictions, Vocabulary(CLASSES), most=(4, 3, 5, 2))
    named = np.array(CLASSES)[p_NC.argmax(1)]
    titles = [group.title for group in groups]
    assert titles[:3] == ["Melanoma named nevus", "Nevus named melanoma", "Other errors"]
    first = groups[0]
    assert first.total == int(((predictions["target"] == "mel") & (named == "nv")).sum())
    assert len(first.cases) == min(4, first.total)
    assert {(case.target, case.named) for case in first.cases} == {("mel", "nv")}
    for group in groups:
        sure = [case.p_named for case in group.cases]
        assert sure == sorted(sure, reverse=True)
    errors = sum(group.total for group in groups[:3])
    assert errors == int((named != predictions["target"]).sum())
    shown = [case.image_id for group in groups for case in group.cases]
    assert len(shown) == len(set(shown))


def test_no_error_no_group():
    sure = pd.DataFrame(
        {
            "image_id": ["a", "b"],
            "lesion_id": ["l", "m"],
            "target": ["x", "y"],
            "p_x": [1.0, 0.0],
            "p_y": [0.0, 1.0],
        }
    )
    assert worst_errors(sure, Vocabulary(["x", "y"])) == []


def test_gallery_holds_the_pictures():
    pictures = [np.full((20, 20, 3), shade, np.uint8) for shade in (10, 120, 240)]
    figure = error_gallery(pictures, ["a $ b", "c", "d"], columns=2)
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert [int(picture[0, 0, 0]) for picture in shown] == [10, 120, 240]
    assert [axis.get_title() for axis in figure.axes][:3] == ["a $ b", "c", "d"]


def test_thumbnails_are_small_jpegs():
    picture = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    content = thumbnail(picture, 100)
    assert content.startswith(b"\xff\xd8")
    assert len(content) < 20_000

"""The page says the right things in the right order, holds everything itself, survives what it is given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dermlens.data.manifest import Split
from dermlens.data.predictions import write_predictions
from dermlens.errors import UserError
from dermlens.evaluation.score import score
from dermlens.files import write_json
from dermlens.labels import CLASSES, Vocabulary
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.models.saved import SavedModel, save_model
from dermlens.predict.metadata import make_encoder
from dermlens.recipe import Recipe, parse_recipe
from dermlens.records import Metrics, RunRecord
from dermlens.report.gallery import worst_errors
from dermlens.report.interpretation import data_limits, protocol_words, provenance, role_marks, sought_words
from dermlens.report.page import write_report
from dermlens.report.run_data import RunData
from dermlens.report.tables import count, duration, estimate, in_role_order, number, percent
from dermlens.runs import Run

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags close in order, and keeps what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> where {self.open[-1]} is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, words = self.headings[-1]
            self.headings[-1] = (level, words + data)
        if "style" not in self.open:
            self.words.append(data)

    def attributes(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attrs for name, attrs in self.tags if name == tag)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are left empty, in tests that read the words alone."""
    monkeypatch.setattr("dermlens.report.figures.render", lambda *_: b"<svg/>")
    monkeypatch.setattr("dermlens.report.gallery.save_figure", lambda *_: None)


@pytest.fixture(scope="module")
def source(fake_run: Run) -> str:
    return write_report(fake_run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_recall_and_confusion_come_before_any_accuracy(page: Page):
    body = page.text[page.text.index("scored on") :]
    first_accuracy = body.lower().index("accuracy")
    assert body.index("Recall per class, role") < first_accuracy
    assert body.index("The matrix as a table") < first_accuracy
    order = [words for level, words in page.headings if level == 2]
    assert order[:4] == ["Recall per class", "Confusion matrix", "Overall scores", "What the numbers mean"]
    assert order[-1] == "Limits"


def test_every_recall_is_on_the_page(page: Page, fake_run: Run):
    scores = fake_run.metrics.roles["calibration"]
    for row in scores["per_class"].values():
        recall = row["recall"]
        output = f"{recall['value']:.2f} [{recall['low']:.2f}–{recall['high']:.2f}]"
        assert output in page.text
        assert f"{row['tp']} of {row['support']}" in page.text


def test_the_page_is_well_formed(source: str, page: Page):
    assert source.startswith("<!DOCTYPE html>")
    assert next(page.attributes("html"))["lang"] == "en"
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] for attrs in page.attributes("a")}
    assert targets == {f"#{name}" for name in ids}
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.attributes("th"))
    assert all(attrs.get("alt") for attrs in page.attributes("img"))
    scrolled = [attrs for attrs in page.attributes("div") if attrs.get("class") == "scroll"]
    assert scrolled
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in scrolled)


def test_the_page_loads_nothing(source: str, page: Page):
    assert len(source) < 3_000_000
    assert not list(page.attributes("script"))
    assert not list(page.attributes("link"))
    assert all(str(attrs["src"]).startswith("data:image/") for attrs in page.attributes("img"))
    assert not re.search(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?(?:https?:)?//""", source)
    policy = next(attrs for attrs in page.attributes("meta") if "http-equiv" in attrs)
    assert "default-src 'none'" in str(policy["content"])


def test_no_number_is_nan_and_nothing_is_called_safe(page: Page):
    assert not re.search(r"\b(?:nan|NaN|inf|None)\b", page.text)
    without_the_name = page.text.replace("benign keratosis-like lesion", "")
    assert not re.search(r"benign|\bsafe|refer\b|\brefers\b|healthy lesion", without_the_name, re.IGNORECASE)
    assert "not a medical device" in page.text


def test_few_positives_are_kept_back_with_their_n(page: Page, fake_run: Run):
    groups = fake_run.metrics.roles["calibration"]["subgroups"]["sex"]
    assert groups["unknown"]["per_class_recall"]["mel"]["value"] is None
    few = groups["female"]["per_class_recall"]["df"]
    assert few["n"] < 20
    assert f"– n = {few['n']}" in page.text
    assert "fewer than 20 images" in page.text


def test_figures_are_saved_beside_the_page(source: str, fake_run: Run):
    names = {path.name for path in fake_run.figures.iterdir()}
    wanted = {
        "recall",
        "confusion",
        "roc",
        "precision_recall",
        "reliability",
        "classes",
        "metadata",
        "training",
    }
    assert {f"{name}.svg" for name in wanted} <= names
    assert "decision_melanoma.svg" in names
    assert not list(fake_run.path.rglob("*.part"))


def test_the_way_back_is_on_the_page(page: Page, fake_run: Run):
    assert "dermlens train recipe.yaml --data DIR --out RUN" in page.text
    for output in ("Git commit", "torch 2.", "1,234,567", "ab" * 32, "backbone: mobilenet_v3_small", "6 min"):
        assert output in page.text, output
    assert "predictions.csv" in page.text
    assert (fake_run.path / "model_card.md").is_file()


def test_without_images_the_errors_are_listed(page: Page, fake_run: Run):
    assert "No pictures: " in page.text
    rows = fake_run.predictions()
    named = rows[[f"p_{code}" for code in CLASSES]].to_numpy().argmax(1)
    missed = rows[
        (rows["target"] == "mel") & (named == CLASSES.index("nv")) & (rows["role"] == "calibration")
    ]
    surest = missed.sort_values("p_nv").iloc[-1]
    table = page.text[page.text.index("Melanoma named nevus (") :]
    first = table[table.index("that of the true class") :].split()[5]
    assert first == surest["image_id"]


@pytest.mark.usefixtures("undrawn")
def test_the_headline_role_is_the_most_trustworthy(new_run, drawn, tmp_path):
    run = new_run(tmp_path / "r", predictions=drawn(150, ("selection", "calibration", "test")), bootstrap=0)
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "Recall per class, role test" in page.text
    assert "has not been opened" not in page.text
    assert "No intervals" in page.text
    assert "--open-test" in page.text
    assert page.text.index("used for nothing else nothing yet chose the epoch") > 0
    assert in_role_order(["external", "selection", "test", "calibration"]) == [
        "test", "calibration", "selection", "external",
    ]  # fmt: skip


def test_hostile_names_are_text(new_run, drawn, tmp_path):
    rows = drawn(120, ("calibration",))
    rows["image_id"] = [f"<script>alert({number})</script>" for number in range(len(rows))]
    rows["lesion_id"] = '"><img src=x onerror=alert(1)>' + rows["lesion_id"]
    rows["site"] = "</table><b>$x$"
    run = new_run(
        tmp_path / "r",
        predictions=rows,
        bootstrap=0,
        warnings=["<i>"],
        git_commit="<u>",
        data="/nowhere/<s>",
    )
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert not list(page.attributes("script"))
    assert not {"i", "u", "s", "b"} & {tag for tag, _ in page.tags}
    assert all(str(attrs["src"]).startswith("data:") for attrs in page.attributes("img"))
    assert "<script>alert(" in page.text


@pytest.mark.usefixtures("undrawn")
def test_absent_files_are_left_out(new_run, tmp_path):
    run = new_run(tmp_path / "r", images=120, bootstrap=0)
    run.history_file.unlink()
    write_json(run.record_file, {"status": "completed"})
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "no history" in page.text
    assert "Images per class and role" in page.text


def test_an_absent_class_is_a_dash(new_run, drawn, tmp_path):
    rows = drawn(150, ("calibration",))
    run = new_run(tmp_path / "r", predictions=rows[~rows["target"].isin(["df", "mel"])], bootstrap=10)
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "No melanoma " in page.text
    assert "df – 0 of 0" in page.text
    assert "not defined" in page.text
    assert not re.search(r"\bnan\b", page.text)


@pytest.mark.usefixtures("undrawn")
def test_unscored_runs_are_refused(new_run, tmp_path):
    run = new_run(tmp_path / "r", images=60, bootstrap=0)
    write_json(run.metrics_file, {"schema": 1, "roles": {}})
    with pytest.raises(UserError, match="no scored role"):
        write_report(run)
    run.metrics_file.unlink()
    with pytest.raises(UserError, match="no metrics yet"):
        write_report(run)
    assert not run.report_file.exists()


@pytest.fixture(scope="module")
def pictured(new_run, drawn, tmp_path_factory) -> tuple[Run, Path]:
    """A run with a model and images: small squares, one of which is not an image."""
    folder = tmp_path_factory.mktemp("pictured")
    rows = drawn(100, ("calibration",), prefix="SYN")
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for image_id in rows["image_id"]:
        pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{image_id}.jpg")
    table = rows.assign(dx=rows["target"], localization=rows["site"])
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    table[columns].to_csv(data / "HAM10000_metadata.csv", index=False)
    run = new_run(folder / "run", predictions=rows, bootstrap=0, data=str(data))
    Split(rows[["image_id", "lesion_id", "role"]], {"protocol": "grouped"}).save(run.split_file)
    encoder = make_encoder("paper").fit(rows["age"].tolist(), rows["sex"].tolist(), rows["site"].tolist())
    torch.manual_seed(0)
    config = ModelConfig()
    model = build_classifier(config, num_classes=7, meta_width=encoder.width, size=64)
    save_model(run.path, SavedModel(model, config, CLASSES, 64, "center", encoder))
    return run, data


def test_errors_are_shown_with_their_attention(pictured):
    run, _ = pictured
    page = Page(write_report(run).read_text(encoding="utf-8"))
    alts = [str(attrs["alt"]) for attrs in page.attributes("img") if attrs.get("height") == "224"]
    assert any(alt.startswith("Attention over image SYN_") for alt in alts)
    assert (
        sum(alt.startswith("Image ") for alt in alts) == sum(alt.startswith("Attention") for alt in alts) > 5
    )
    assert {"worst_errors.png", "attention.png"} <= {path.name for path in run.figures.iterdir()}
    assert "synthetic drawings" in page.text
    assert "Of the scored roles alone" not in page.text


@pytest.mark.usefixtures("undrawn")
def test_an_unreadable_image_is_named_and_the_rest_shown(pictured):
    run, data = pictured
    rows = run.predictions()
    first = worst_errors(rows, Vocabulary(CLASSES))[0].cases[0]
    image = data / "images" / f"{first.image_id}.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    try:
        page = Page(write_report(run).read_text(encoding="utf-8"))
    finally:
        image.write_bytes(whole)
    assert "Without picture:" in page.text
    assert image.stem in page.text
    assert any(attrs.get("height") == "224" for attrs in page.attributes("img"))


@pytest.mark.usefixtures("undrawn")
def test_a_model_without_attention_is_said_to_have_none(pictured, new_run, tmp_path):
    _, data = pictured
    rows = pictured[0].predictions()
    run = new_run(tmp_path / "plain", predictions=rows, bootstrap=0)
    page = Page(write_report(run, data=data).read_text(encoding="utf-8"))
    assert "the model is not in" in page.text
    encoder = make_encoder("none")
    config = ModelConfig(attention="none", metadata="none")
    model = build_classifier(config, num_classes=7, meta_width=0, size=64)
    save_model(run.path, SavedModel(model, config, CLASSES, 64, "center", encoder))
    page = Page(write_report(run, data=data).read_text(encoding="utf-8"))
    assert "no attention module" in page.text
    assert not any(str(attrs["alt"]).startswith("Attention") for attrs in page.attributes("img"))


@pytest.mark.usefixtures("undrawn")
def test_the_wrong_folder_is_refused(pictured, fake_run: Run, tmp_path):
    with pytest.raises(UserError, match=r"scored images.*dermlens evaluate"):
        write_report(fake_run, data=pictured[1])
    with pytest.raises(UserError):
        write_report(fake_run, data=tmp_path / "absent")


def test_the_table_is_read_as_the_recipe_maps_it(new_run, drawn, tmp_path):
    rows = drawn(60, ("calibration",))
    run = new_run(tmp_path / "run", predictions=rows, bootstrap=0)
    run.recipe_file.write_text("data: {columns: {image_id: img, dx: diag}, labels: {NEV: nv}}\n")
    own = rows.rename(columns={"image_id": "img"}).assign(diag=rows["target"].replace("nv", "NEV"))
    (tmp_path / "set").mkdir()
    own[["img", "diag"]].to_csv(tmp_path / "set" / "table.csv", index=False)
    found = RunData(run, tmp_path / "set")
    assert found.images is not None
    assert found.images["dx"].tolist() == rows["target"].tolist()


@pytest.mark.usefixtures("undrawn")
def test_another_set_has_its_own_report(new_run, drawn, tmp_path):
    run = new_run(tmp_path / "run", images=100, bootstrap=0, protocol="paper")
    rows = drawn(120, ("external",), prefix="OTHER")
    Split(rows.assign(role="train")[["image_id", "lesion_id", "role"]], {"protocol": "paper"}).save(
        run.split_file
    )
    folder = run.path / "evaluations" / "clinic-0123abcd"
    folder.mkdir(parents=True)
    write_predictions(folder / "predictions.csv", rows)
    metrics = score(rows, CLASSES, run.recipe.evaluation)
    write_json(
        folder / "metrics.json", metrics | {"data": {"name": "clinic-0123abcd"}, "warnings": ["external: hm"]}
    )
    written = write_report(run, data=tmp_path / "clinic")
    assert written == folder / "report.html"
    page = Page(written.read_text(encoding="utf-8"))
    assert "role external" in page.text
    assert "clinic-0123abcd" in page.text
    assert "external: hm" in page.text
    assert "It leaks" not in page.text  # that is about the run's own split
    assert not run.report_file.exists()


def words_of(protocol: str, *roles: str, recipe: str = "", leak: object = None, **record: object) -> str:
    made = parse_recipe(recipe or "{}", "here", [f"split.protocol={protocol}"])
    metrics = {"bootstrap": {"replicates": 100, "level": 0.95, "unit": "lesion"}, "decision": "argmax"}
    return "\n".join(protocol_words(RunRecord(**record), [made], Metrics(**metrics), roles, leak))


def test_a_fitted_decision_is_said_of_the_roles_it_was_fitted_on():
    made = parse_recipe("train: {keep: last}", "here")
    metrics = Metrics(decision="calibrated", bootstrap={"replicates": 0})
    output = "\n".join(protocol_words(RunRecord(), [made], metrics, ["calibration", "selection"], None))
    assert "were fitted on it" in output
    assert "Nothing has been calibrated" not in output
    marks = role_marks(["calibration", "selection"], [made], decided=True)
    assert marks == {"calibration": "fitted scaling, marks and sets", "selection": "nothing else"}


def test_the_leak_of_the_papers_protocol_is_in_plain_words():
    output = words_of("paper", "selection", leak={"overall": 0.421, "by_class": {"mel": 0.719}, "by_list": 6})
    assert "42 % of the scored images (of the melanomas 72 %)" in output
    assert "chose the epoch" in output
    assert "optimistic" in output
    assert "cannot be known" in words_of("paper", "selection")


@pytest.mark.usefixtures("undrawn")
def test_the_leak_is_measured_from_the_split(new_run, drawn, tmp_path):
    rows = drawn(200, ("selection",))
    run = new_run(tmp_path / "r", predictions=rows, protocol="paper", bootstrap=0)
    siblings = rows.iloc[::3].assign(image_id=lambda frame: "T" + frame["image_id"], role="train")
    both = pd.concat([rows, siblings])[["image_id", "lesion_id", "role"]]
    Split(both, {"protocol": "paper"}).save(run.split_file)
    expected = rows["lesion_id"].isin(siblings["lesion_id"])
    of_melanomas = expected[rows["target"] == "mel"].mean()
    page = Page(write_report(run).read_text(encoding="utf-8"))
    shares = (
        f"{100 * expected.mean():.0f} % of the scored images (of the melanomas {100 * of_melanomas:.0f} %)"
    )
    output = f"It leaks: {shares}"
    assert output in page.text
    assert output in (run.path / "model_card.md").read_text(encoding="utf-8")
    assert "Role selection: the same images" in page.text
    assert "optimistic" in page.text[page.text.index("Operating points") :]


def test_the_grouped_protocol_says_what_each_role_did():
    counts = {"train": {"mel": 5}, "test": {"mel": 3, "nv": 4}}
    output = words_of("grouped", "calibration", "selection", counts=counts)
    assert "no lesion is both" in output
    assert "leak" not in output
    assert "Nothing has been calibrated" in output
    assert "test role (7 images)" in output
    assert "100 resamples" in output


@pytest.mark.parametrize(
    ("recipe", "role", "chosen"),
    [
        ("{}", "selection", True),
        ("train: {keep: last, monitor_role: none}", "selection", False),
        ("train: {keep: last}", "selection", False),
        ("train: {keep: last, early_stopping: {monitor: val_loss}}", "selection", True),
        ("train: {monitor_role: test}", "test", True),
        ("train: {monitor_role: test}", "selection", False),
    ],
)
def test_a_role_is_optimistic_where_it_chose(recipe, role, chosen):
    output = words_of("singletons", role, recipe=recipe)
    assert ("optimistic" in output) == chosen
    made: Recipe = parse_recipe(recipe, "here")
    assert (role_marks([role], [made])[role] == "chose the epoch") == chosen


def test_a_soup_says_what_any_of_its_members_did():
    settled = parse_recipe("train: {keep: last}", "here")
    peeking = parse_recipe("train: {keep: val_mean_recall}", "here")
    pupil = parse_recipe("train: {keep: last, distillation: {soft_labels: soft.csv}}", "here")
    metrics = {"bootstrap": {"replicates": 0}, "decision": "argmax"}
    roles = ["calibration", "selection"]

    def output(*recipes: Recipe) -> str:
        return "\n".join(protocol_words(RunRecord(), recipes, Metrics(**metrics), roles, None))

    for members in ((settled, peeking), (peeking, settled)):
        assert "the highest mean recall" in output(*members)
        assert role_marks(roles, members)["selection"] == "chose the epoch"
    assert "as good as a test's" in output(settled)
    assert "soft labels" not in output(settled)
    assert "as good as a test's" not in output(settled, pupil)
    assert "1 of the 2 trainings had soft labels" in output(settled, pupil)
    assert "only as far as the test role" in output(settled, pupil)


def test_melanoma_words_add_up():
    classes = ["bkl", "mel", "nv"]
    scores = {"confusion": [[1, 0, 0], [2, 10, 5], [0, 0, 9]]}
    output = sought_words(scores, Vocabulary(classes))
    for words in ("17 images of melanoma", "10 melanoma", "5 melanocytic nevus", "2 benign keratosis-like"):
        assert words in output
    assert sought_words({"confusion": [[1]]}, Vocabulary(["x"])) is None


def test_limits_follow_the_data(drawn):
    rows = drawn(10, ("test",))
    assert provenance(rows) == "ham10000"
    assert provenance(drawn(10, ("test",), prefix="SYN")) == "synthetic"
    assert provenance(rows.assign(lesion_id="x")) == "other"
    assert "no label of skin tone" in " ".join(data_limits("ham10000", CLASSES))
    assert "milk10k" in " ".join(data_limits("ham10000", CLASSES, further=["isic2017", "milk10k"]))
    assert "nothing about skin" in " ".join(data_limits("synthetic", CLASSES))
    assert "knows 7 classes" in " ".join(data_limits("other", CLASSES))


def test_numbers_are_written_for_people():
    assert estimate({"value": 0.734, "low": 0.65, "high": 0.801}) == "0.73 [0.65–0.80]"
    assert estimate({"value": 0.734, "low": None, "high": None}, 3) == "0.734"
    assert estimate({"value": None, "low": None, "high": None}) == estimate(None) == number(None) == "–"
    assert number(float("nan")) == number(float("inf")) == percent(float("nan")) == "–"
    assert number(-0.05) == "−0.05"
    assert (percent(0.0), percent(0.001), percent(0.42)) == ("0 %", "< 1 %", "42 %")
    assert (duration(59.6), duration(600), duration(9000), duration(None)) == ("60 s", "10 min", "2.5 h", "–")
    assert (count(12345), count({"trainable": 12345}), count(None)) == ("12,345", "12,345", None)


def test_the_same_run_gives_the_same_page_but_for_its_date(fake_run: Run, source: str):
    again = write_report(fake_run).read_text(encoding="utf-8")
    dated = re.compile(r"on \d{4}-\d\d-\d\d \d\d:\d\d UTC")
    assert dated.sub("", again) == dated.sub("", source)
    json.loads(fake_run.metrics_file.read_text(encoding="utf-8"))

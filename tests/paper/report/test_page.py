"""The page: the same results give the same bytes; what is not there is said; nothing comes from elsewhere."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.data.predictions import write_csv, write_predictions
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.studies.folds import write_arm, write_images
from paper.questions import load_questions, name_of
from paper.repeats import load_repeats
from paper.report.page import write_report
from paper.study import WithoutGpu, load_systems, recipe_of

PUBLISHED = Path(__file__).parents[3] / "docs" / "results" / "paper"


def table(images: list[str], *, seed: int, skill: float) -> pd.DataFrame:
    """Out-of-fold predictions of so many images, two a lesion."""
    rng = np.random.default_rng(seed)
    target_N = np.arange(len(images)) // 2 % len(CLASSES)
    score_NC = rng.normal(size=(len(images), len(CLASSES)))
    score_NC[np.arange(len(images)), target_N] += skill
    p_NC = np.exp(score_NC) / np.exp(score_NC).sum(axis=1, keepdims=True)
    frame = pd.DataFrame({
        "image_id": images,
        "lesion_id": [f"lesion_{index // 2}" for index in range(len(images))],
        "role": "selection",
        "target": np.array(CLASSES)[target_N],
        "fold": np.arange(len(images)) // 2 % 3,
        "age": 50.0, "sex": "female", "site": "back", "dx_type": "histo",
    })  # fmt: skip
    return frame.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(CLASSES)})


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("images") / "data", lesions=40, seed=1, size=(48, 64))


@pytest.fixture(scope="module")
def results(images, tmp_path_factory) -> Path:
    """Three arms, a reading, two seeds of a system, a probe."""
    ids = sorted(pd.read_csv(images / "HAM10000_metadata.csv")["image_id"])
    ids += [f"more_{index}" for index in range(420 - len(ids))]
    folder = tmp_path_factory.mktemp("results") / "paper"
    arms = {"base": 2.0, "no_metadata": 1.0, "no_attention": 2.0}
    for seed, (arm, skill) in enumerate(arms.items()):
        write_arm(folder / "questions", arm, table(ids, seed=seed, skill=skill))
    write_images(folder / "questions", table(ids, seed=0, skill=1))
    readings = folder / "questions" / "readings"
    write_csv(readings / "given" / "given_nothing.csv.gz", table(ids, seed=9, skill=0.5), digits=5)
    shares = {"mask_share": 0.3, "attention_mass": 0.4, "gaussian_mass": 0.5}
    seen = table(ids, seed=0, skill=1)[["image_id", "lesion_id", "fold", "target"]]
    masses = seen.rename(columns={"target": "dx"}).assign(**shares)
    write_csv(readings / "attention_base" / "attention.csv.gz", masses, digits=5)
    system = load_systems()["mobilenet_v3_small-md"]
    short = system.model_copy(update={"without_gpu": WithoutGpu(seeds=2, epochs=6)})
    for seed in (0, 1):
        run = folder / "systems" / "mobilenet_v3_small-md" / f"seed-{seed}"
        run.mkdir(parents=True)
        write_predictions(
            run / "predictions.csv.gz", table(ids, seed=20 + seed, skill=2).drop(columns="fold")
        )
        recipe_of(short, short=True, seed=seed).save(run / "recipe.yaml")
        history = {"epoch": range(6), "train_loss": 1.0, "train_accuracy": 0.5}
        pd.DataFrame(history).to_csv(run / "history.csv", index=False)
        (run / "run.json").write_text(json.dumps({"status": "completed", "form": "short"}))
    return folder


@pytest.fixture(scope="module")
def page(results, tmp_path_factory) -> Path:
    return write_report(results, tmp_path_factory.mktemp("report"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_results_give_the_same_bytes_with_images_and_without(results, page, images, tmp_path):
    again = contents(write_report(results, tmp_path / "again", data=images).parent)
    annex = again.pop("annex.html").decode()
    assert again == contents(page.parent)
    assert annex.count("<img") >= len(CLASSES)
    assert "named melanoma" in annex


def test_a_report_that_is_interrupted_leaves_the_old_one_whole(results, page, tmp_path, monkeypatch):
    """At the first table, at a figure, at the page itself: wherever it stops."""
    folder = shutil.copytree(page.parent, tmp_path / "report")
    old = contents(folder)
    for place in ("write_table", "_paper_figures", "environment"):
        with monkeypatch.context() as patch:

            def stop(*_):
                raise KeyboardInterrupt

            patch.setattr(f"paper.report.page.{place}", stop)
            with pytest.raises(KeyboardInterrupt):
                write_report(results, folder)
        assert contents(tmp_path) == {f"report/{name}": content for name, content in old.items()}


def test_a_new_report_keeps_the_annex_and_what_is_not_its_own(results, page, tmp_path):
    kept = ("annex.html", "notes/mine.txt", "tables/read me.txt")
    for name in (*kept, "figures/forest_of_before.svg", "tables/table_1.csv", "index.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    write_report(results, tmp_path)
    found = contents(tmp_path)
    assert {name: found.pop(name) for name in kept} == dict.fromkeys(kept, b"before")
    assert found == contents(page.parent)


def test_a_trained_system_is_in_its_tables_with_its_seeds(page):
    cells = pd.read_csv(page.parent / "tables" / "table_5.csv").set_index(["row", "column"])
    own = cells.loc["MobileNetV3Small", "metadata + weighted loss"]
    assert own["seeds"] == 2
    assert np.isnan(own["ours_sd"]), "of two seeds both values stand there"
    each = [float(value) for value in own["ours_each"].split("; ")]
    assert len(each) == 2
    assert np.mean(each) == pytest.approx(own["ours"], abs=1e-4)
    # one seed's interval does not belong to the mean of two
    assert np.isnan(own["ours_low"])
    assert np.isnan(own["ours_high"])
    assert (own["trained"], own["ours_agrees"]) == ("6 of 63 epochs", "short")
    other = cells.loc["DenseNet201", "metadata + weighted loss"]
    assert np.isnan(other["ours"])
    assert other["needs"] == f"not run: needs a GPU for {load_systems()['densenet201-md'].epochs} epochs"


def test_contrasts_are_corrected_together_and_those_not_run_are_named(page):
    contrasts = pd.read_csv(page.parent / "tables" / "contrasts.csv")
    assert set(zip(contrasts["arm"], contrasts["reference"], strict=True)) == {
        ("base", "no_attention"), ("base", "no_metadata"), ("given_nothing", "base"),
    }  # fmt: skip
    assert (contrasts["p_holm"] >= contrasts["p"]).all()
    words = page.read_text(encoding="utf-8")
    assert f"Planned and not run: {name_of('leaky')} less {name_of('clean')}" in words
    assert "attention" in words
    assert "0.400" in words  # the mass of attention


class Page(HTMLParser):
    """Addresses, table headers without a scope, pictures without words, tables without a caption."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.alts: dict[str, str] = {}
        self.bad: list[str] = []
        self.tables, self.captions = 0, 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if tag == "th" and "scope" not in found:
            self.bad.append(f"th in line {self.getpos()}")
        if tag == "img" and not found.get("alt"):
            self.bad.append(f"img in line {self.getpos()}")
        if tag == "img":
            self.alts[found["src"]] = found.get("alt", "")
        self.tables += tag == "table"
        self.captions += tag == "caption"


def test_the_page_stands_alone_and_can_be_read_aloud(page):
    parsed = Page()
    parsed.feed(page.read_text(encoding="utf-8"))
    assert not parsed.bad
    assert parsed.tables == parsed.captions > 10
    for address in parsed.addresses:
        assert re.fullmatch(r"#[\w-]+|(figures|tables)/[\w.-]*", address), address
        if address.startswith(("figures/", "tables/")):
            assert (page.parent / address).exists(), address


def test_who_does_not_see_a_forest_hears_its_numbers(page):
    parsed = Page()
    parsed.feed(page.read_text(encoding="utf-8"))
    contrasts = pd.read_csv(page.parent / "tables" / "contrasts.csv")
    assert len(contrasts) == 3
    for row in contrasts.to_dict("records"):
        alt = parsed.alts[f"figures/forest_{row['question']}.svg"]
        numbers = [f"{100 * row[name]:+.1f}".replace("-", "−") for name in ("difference", "low", "high")]
        of = f"{name_of(row['arm'])} less {name_of(row['reference'])}"
        assert f"{of}: {numbers[0]} [{numbers[1]}, {numbers[2]}], {row['verdict']}" in alt
        assert row["measure"].replace("_", " ") in alt


def test_the_recipe_of_every_cell_is_there_to_be_found(page):
    """From a cell's system, in the CSVs, to a row of the page, to a file; no system is left out."""
    root = PUBLISHED.parents[2]
    words = page.read_text(encoding="utf-8")
    rows = {
        found["id"]: found
        for found in (
            one.groupdict()
            for one in re.finditer(
                r'<tr id="system-(?P<id>[\w-]+)">.*?<code>(?P<path>[^<]+)</code>(?P<places>.*?)</tr>', words
            )
        )
    }
    systems = load_systems()
    assert list(rows) == list(systems)
    for name, found in rows.items():
        assert (root / found["path"]).is_file(), found
        assert found["path"].endswith(f"/{systems[name].recipe}.yaml")
    for path in sorted((page.parent / "tables").glob("table_*.csv")):
        title = f"Table {path.stem.removeprefix('table_').upper()}: "
        cells = pd.read_csv(path, keep_default_na=False)
        if "system" not in cells:
            continue  # words: Tables 1, 3, A1 and A2
        ours = (cells["system"] != "") & ~cells["system"].str.startswith(("uncut/", "related/"))
        for cell in cells[ours].itertuples():
            [place] = re.findall(f"<div>{title}(.*?)</div>", rows[cell.system]["places"])
            places = html.unescape(place).split("; ")
            assert cell.row in places or f"{cell.row}, {cell.column}" in places, (path.name, cell)
    for path in re.findall(r"<code>(src/dermlens/studies/matrices/[^<]+)</code>", words):
        assert (root / path).is_file()


def test_of_nothing_there_is_a_page_that_says_so(tmp_path):
    (tmp_path / "results" / "leak").mkdir(parents=True)
    page = write_report(tmp_path / "results", tmp_path / "report").read_text(encoding="utf-8")
    assert "needs a GPU" in page
    assert page.count("Planned and not run") == len(load_questions()) + len(
        {one.claim for one in load_repeats()}
    )
    with pytest.raises(UserError, match="nowhere"):
        write_report(tmp_path / "nowhere", tmp_path / "report")


@pytest.mark.skipif(not (PUBLISHED / "report").is_dir(), reason="the study's report is not published yet")
def test_the_published_report_is_that_of_the_published_results(tmp_path):
    fresh = contents(write_report(PUBLISHED, tmp_path / "report").parent)
    stated = contents(PUBLISHED / "report")
    stated.pop("annex.html", None)  # of this machine alone, and ignored by git
    assert set(fresh) == set(stated)
    assert [name for name in stated if fresh[name] != stated[name]] == []

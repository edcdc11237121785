"""The plan says the state of every run; what stopped or failed goes on; the report is of what is there."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from dermlens.data.config import DataConfig
from dermlens.data.predictions import read_predictions
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig
from dermlens.training.predict import predict_table
from paper.plan import Folders
from related import singletons, work
from related.away import fold_of, publish_away, read_away
from related.plan import hours_left, plan, render, render_systems
from related.publication import publish, read_published
from related.rates import best_rate, published_rates, rate_of, rates_of, split_of, units_of
from related.report import write_report
from related.study import System, load_study
from related.work import Worker

QUICK = EvaluationConfig(bootstrap=20)
PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "related"


@pytest.fixture(scope="module")
def done(study, site_in, tmp_path_factory):
    """All of the tiny comparison, never interrupted; tests read it and write nothing."""
    out = tmp_path_factory.mktemp("related") / "out"
    assert Worker(study, site_in(out), say=lambda _: None).work(study.jobs) == []
    return out


@pytest.fixture(scope="module")
def published(study, done, tmp_path_factory):
    results = tmp_path_factory.mktemp("published") / "results"
    assert len(list(publish(study, done, results))) == 6
    write_report(study, results, QUICK)
    return results


def states(study, out, results):
    return {row.job.id: row.state for row in plan(study, study.jobs, Folders(out, results))}


def test_the_plan_before_and_after(study, done, published, tmp_path):
    before = states(study, tmp_path, tmp_path)
    assert len(before) == 2 + 4 + (2 + 2) + 2 + (2 + 2)
    assert set(before.values()) == {"to do"}
    assert set(states(study, done, tmp_path).values()) == {"done"}
    elsewhere = states(study, None, published)
    assert {name for name, state in elsewhere.items() if state != "done"} == set()
    rows = plan(study, study.jobs, Folders(tmp_path, tmp_path))
    assert {row.job.id: row.note for row in rows}["prior/seed-0/fold-0"] == "after training/seed-0/fold-0"
    assert {row.hours for row in rows} == {None}  # nobody measured


def test_the_plan_is_a_line_a_run_and_a_line_a_system_at_120_columns():
    shipped = load_study()
    rows = plan(shipped, shipped.jobs, Folders(None, PUBLISHED))
    runs, systems = (lines_of(table) for table in (render(rows), render_systems(rows, shipped)))
    assert [line.split()[0] for line in runs[1:]] == [job.id for job in shipped.jobs]
    assert [line.split()[0] for line in systems[1:]] == list({job.system: 0 for job in shipped.jobs})
    assert "…" not in "".join([*runs, *systems])


def lines_of(table):
    console = Console(width=120, file=io.StringIO())
    console.print(table)
    return console.file.getvalue().splitlines()


def test_what_was_never_run_takes_as_long_as_others_of_its_kind(study, published, tmp_path):
    results = shutil.copytree(published, tmp_path / "results")
    runs = json.loads((results / "runs.json").read_text())
    taken = {name: facts for name, facts in runs.items() if not name.startswith("forest/")}
    taken["nevus/seed-0"]["seconds"] = 7200
    (results / "runs.json").write_text(json.dumps(taken))
    rows = [row for row in plan(study, study.jobs, Folders(None, results)) if row.job.system == "forest"]
    assert {(row.state, row.hours, row.guessed) for row in rows} == {("to do", 1.0, True)}  # of two folds
    assert hours_left(rows).startswith("left: 4.0 hours (≈")


def test_every_fold_holds_out_other_lesions_and_the_last_one_chooses_the_rate(study, done):
    folds = [Run(done / f"training/seed-0/fold-{fold}") for fold in range(2)]
    rate = Run(done / "training/rates/rate-0.001")
    held = [set(split_of(run).ids("selection")) for run in [*folds, rate]]
    assert sum(map(len, held)) == len(set.union(*held))
    found = rates_of(study, study.systems["training"], done)
    assert set(found) == {1e-3, 3e-3}
    assert folds[0].recipe.train.optimizer.lr == best_rate(found)
    assert best_rate({1e-3: 0.5, 3e-4: 0.5, 3e-3: 0.4}) == 3e-4
    forest = read_predictions(done / "forest/seed-1/fold-0/predictions.csv")
    assert set(forest["image_id"]) == held[0]


def test_a_heads_rate_is_chosen_on_the_same_fold_and_its_draws_are_its_answer(study, done, published):
    system = study.systems["head"]
    found = rates_of(study, system, done)
    assert set(found) == {1e-3, 3e-3}
    tried = read_predictions(done / "head/rates/rate-0.001/predictions.csv")
    rate = Run(done / "training/rates/rate-0.001")
    assert set(tried["image_id"]) == set(split_of(rate).ids("selection"))
    record = json.loads((done / "head/seed-0/fold-0/record.json").read_text())
    assert record["recipe"]["lr"] == best_rate(found)
    runs = json.loads((published / "runs.json").read_text())
    assert runs["head/seed-0"]["parameters"] == record["parameters"] > 0
    assert set(runs["head/seed-0"]["rates"]) == {"0.001", "0.003"}


def test_singletons_are_scored_apart_at_the_rate_that_the_folds_chose(study, done, site_in, tmp_path):
    """The tiny data have too few lesions for the draw, so half of them are taken: the way is the same."""
    twin = System(
        id="twin", title="a twin", kind="head", recipe=study.systems["head"].recipe,
        ground="singletons", rates_of="head", seeds=1,
    )  # fmt: skip
    nevus = study.systems["nevus"].model_copy(update={"id": "alone", "ground": "singletons"})
    both = replace(study, systems={**study.systems, "alone": nevus, "twin": twin})
    assert [job.id for job in both.jobs_of(twin)] == ["twin/seed-0/fold-0"]
    assert set(both.jobs_of(twin)[0].needs) == {f"head/rates/rate-{rate:g}" for rate in study.rates}
    out = tmp_path / "out"
    shutil.copytree(done / "head", out / "head")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(singletons, "HOLDOUT", 0.5)
        assert Worker(both, site_in(out), say=lambda _: None).work(both.chosen(("alone", "twin"))) == []
    results = tmp_path / "results"
    assert list(publish(both, out, results)) == ["head, seed 0", "alone, seed 0", "twin, seed 0"]
    write_report(both, results, QUICK)
    apart = pd.read_csv(results / "singletons/table.csv")
    assert set(apart["system"]) == {"alone", "twin"}
    assert set(pd.read_csv(results / "table.csv")["system"]) == {"head"}
    assert "## Lesions with a single image" in (results / "index.md").read_text(encoding="utf-8")


def test_what_lacks_its_data_has_nothing_to_run_and_says_what_it_waits_for(study, tmp_path):
    waiting = study.systems["training"].model_copy(update={"id": "far", "waits": "images of another clinic"})
    both = replace(study, systems={**study.systems, "far": waiting})
    assert both.jobs_of(waiting) == []
    assert list(publish(both, tmp_path / "out", tmp_path / "results")) == []
    page = write_report(both, tmp_path / "results", QUICK).read_text(encoding="utf-8")
    assert "images of another clinic" in page.partition("## Not yet run")[2].partition("## ")[0]


def test_the_rate_is_chosen_where_it_was_tried_or_published(study, done, published, tmp_path):
    system, job = study.systems["training"], study.chosen(("training/seed-0",))[0]
    units = [
        units_of(study, system, job, folders)
        for folders in (Folders(done, tmp_path), Folders(tmp_path, published))
    ]
    assert units[0] == units[1]
    assert set(units[0]) == {"fold-0", "fold-1"}
    with pytest.raises(UserError, match="training/rates first"):
        units_of(study, system, job, Folders(tmp_path, tmp_path))


def test_of_rates_that_were_not_all_tried_none_is_chosen(study, done, published, tmp_path):
    """One that is there is not the best of three; what is published has all of them."""
    head, out = study.systems["head"], tmp_path / "out"
    shutil.copytree(done / "head/rates", out / "head/rates")
    best = best_rate(rates_of(study, head, out))
    shutil.rmtree(out / f"head/rates/rate-{best:g}")
    with pytest.raises(UserError, match="head/rates first"):
        rate_of(study, head, Folders(out, tmp_path))
    assert rate_of(study, head, Folders(out, published)) == best


def test_a_system_asked_for_by_name_takes_the_rate_that_was_published(study, published, site_in, tmp_path):
    twin = study.systems["head"].model_copy(update={"id": "twin", "rates_of": "head"})
    both = replace(study, systems={**study.systems, "twin": twin})
    site = replace(site_in(tmp_path / "out"), folders=Folders(tmp_path / "out", published, again=True))
    assert Worker(both, site, say=lambda _: None).work(both.chosen(("twin",))) == []
    record = json.loads((site.out / "twin/seed-0/fold-1/record.json").read_text())
    assert record["recipe"]["lr"] == best_rate(published_rates(study.systems["head"], published))
    assert not (site.out / "head").exists()


def test_a_rate_that_is_asked_for_is_tried_again(study, published, site_in, tmp_path):
    site = replace(site_in(tmp_path / "out"), folders=Folders(tmp_path / "out", published, again=True))
    Worker(study, site, say=lambda _: None).work(study.chosen(("head/rates/rate-0.001",)))
    assert (site.out / "head/rates/rate-0.001/record.json").is_file()


def test_a_prior_correction_gives_each_class_the_same_say(study, done):
    """Odds of two classes change by the ratio of their shares in training, and by nothing else."""
    trained = read_predictions(done / "training/seed-0/fold-0/predictions.csv")
    trained = trained[trained["role"] == "selection"].reset_index(drop=True)
    shifted = read_predictions(done / "prior/seed-0/fold-0/predictions.csv")
    ratio = (shifted["p_nv"] / shifted["p_mel"]) / (trained["p_nv"] / trained["p_mel"])
    assert ratio.std() / ratio.mean() < 1e-5


def test_a_run_that_fails_says_why_and_the_others_go_on(study, site_in, tmp_path, monkeypatch):
    def broken(recipe, seed):
        if recipe.name == "forest" and seed == 0:
            raise UserError("no trees today")
        return real(recipe, seed)

    real = work.pipeline
    monkeypatch.setattr(work, "pipeline", broken)
    site, jobs = site_in(tmp_path / "out"), study.chosen(("nevus", "forest"))
    lines: list[str] = []
    failed = Worker(study, site, say=lines.append).work(jobs)
    assert [job.id for job in failed] == ["forest/seed-0/fold-0", "forest/seed-0/fold-1"]
    rows = {row.job.id: row for row in plan(study, jobs, site.folders)}
    assert rows["forest/seed-0/fold-0"].state == "to do"
    assert sum("no trees" in line for line in lines) == 2
    assert rows["forest/seed-0/fold-0"].hours is not None  # the other seed was measured
    monkeypatch.undo()
    lines.clear()
    assert Worker(study, site, say=lines.append).work(jobs) == []
    assert [line.split(":")[0] for line in lines if line.endswith("begun")] == [job.id for job in failed]


def test_a_fold_without_its_record_is_done_again_and_comes_out_the_same(study, done, site_in, tmp_path):
    """What a kill leaves: predictions, perhaps, and no record."""
    out = tmp_path / "out"
    shutil.copytree(done / "forest", out / "forest")
    folder = out / "forest/seed-1/fold-1"
    before = (folder / "predictions.csv").read_bytes()
    (folder / "record.json").unlink()
    (folder / "predictions.csv").write_text("image_id\n")
    jobs = study.chosen(("forest",))
    assert [r.job.id for r in plan(study, jobs, Folders(out, out / "none")) if r.state == "to do"] == [
        "forest/seed-1/fold-1"
    ]
    assert Worker(study, site_in(out), say=lambda _: None).work(jobs) == []
    assert (folder / "predictions.csv").read_bytes() == before


def test_an_adjusted_system_needs_what_it_adjusts_in_the_same_folder(study, published, site_in, tmp_path):
    site = site_in(tmp_path / "out", published)
    site = type(site)(site.data, Folders(site.out, published, again=True), site.split, "cpu", site.cache)
    lines: list[str] = []
    left = Worker(study, site, say=lines.append).work(study.chosen(("prior",)))
    assert [job.id for job in left] == ["prior/seed-0/fold-0", "prior/seed-0/fold-1"]
    assert not (site.out / "prior").exists()
    assert [line.split(":")[0] for line in lines] == ["prior/seed-0/fold-0", "prior/seed-0/fold-1"]
    assert "training/seed-0/fold-1" in lines[1]  # what it waits for


def test_a_record_without_its_time_is_not_done(study, done, tmp_path):
    """The plan and the publication are of one mind."""
    out = tmp_path / "out"
    shutil.copytree(done / "nevus", out / "nevus")
    (out / "nevus/seed-0/fold-1/record.json").write_text("{}")
    rows = plan(study, study.chosen(("nevus",)), Folders(out, tmp_path))
    assert [row.state for row in rows] == ["done", "to do"]
    assert list(publish(study, out, tmp_path / "results")) == []


@pytest.mark.parametrize("name", ["nevus", "training"])
def test_a_fold_that_lacks_images_is_not_published(study, done, tmp_path, name):
    """Before anything else is, so that no list of images says that these are all."""
    out, results = tmp_path / "out", tmp_path / "results"
    shutil.copytree(done / name, out / name)
    path = out / name / "seed-0/fold-0/predictions.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"fold-0/predictions.csv"):
        list(publish(study, out, results))
    assert not (results / "images.csv.gz").exists()


@pytest.mark.parametrize("key", ["recipe", "table_sha256"])
def test_folds_of_unlike_recipes_or_data_are_not_published_as_one(study, done, tmp_path, key):
    out, results = tmp_path / "out", tmp_path / "results"
    shutil.copytree(done / "nevus", out / "nevus")
    path = out / "nevus/seed-0/fold-1/record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {key: "another"}))
    with pytest.raises(UserError, match=rf"fold-1/record.json.*{key}"):
        list(publish(study, out, results))
    assert not (results / "predictions").exists()


def test_rates_that_were_published_stay_when_the_folds_are_run_elsewhere(study, done, published, tmp_path):
    results, out = shutil.copytree(published, tmp_path / "results"), tmp_path / "out"
    shutil.copytree(done / "head/seed-0", out / "head/seed-0")
    assert list(publish(study, out, results)) == ["head, seed 0"]
    before, after = (
        json.loads((folder / "runs.json").read_text())["head/seed-0"] for folder in (published, results)
    )
    assert after["rates"] == before["rates"]


def test_what_is_published_gives_the_table_again(study, published, tmp_path):
    results = shutil.copytree(published, tmp_path / "results")
    before = (results / "table.csv").read_bytes()
    sure = (results / "uncertainty.csv").read_bytes()
    for name in ("table.csv", "uncertainty.csv", "index.md", "mean_recall.png"):
        (results / name).unlink()
    write_report(study, results, QUICK)
    assert (results / "table.csv").read_bytes() == before
    assert (results / "uncertainty.csv").read_bytes() == sure
    table = pd.read_csv(results / "table.csv").set_index(["system", "metric"])
    assert set(table.index.get_level_values("system")) == set(study.systems)
    assert table.loc[("nevus", "mean_recall"), "value"] == pytest.approx(1 / 7)
    assert table.loc[("forest", "mean_recall"), "seeds"] == 2
    difference = table.loc[("forest", "accuracy"), "value"] - table.loc[("nevus", "accuracy"), "value"]
    assert table.loc[("forest", "accuracy"), "difference"] == pytest.approx(difference, abs=1e-5)


def test_what_is_not_run_is_said_to_be_not_run(study, published, tmp_path):
    results = shutil.copytree(published, tmp_path / "results")
    for file in (results / "predictions").glob("training*"):
        file.unlink()
    page = write_report(study, results, QUICK).read_text(encoding="utf-8")
    waiting = page.partition("## Not yet run")[2].partition("## ")[0]
    assert re.findall(r"`(\w+)`", waiting) == ["training"]
    empty = write_report(study, tmp_path / "nothing", QUICK).read_text(encoding="utf-8")
    assert "## All systems" not in empty
    assert read_published(study, tmp_path / "nothing") == {}


def test_a_row_of_the_page_has_what_was_published_ours_and_what_differs(study, published, tmp_path):
    results = shutil.copytree(published, tmp_path / "results")
    rows = {
        name: system.model_copy(update={"published": f"printed {name}", "differs": f"differs {name}"})
        for name, system in study.systems.items()
    }
    page = write_report(replace(study, systems=rows), results, QUICK).read_text(encoding="utf-8")
    for name, system in rows.items():
        line = line_of(page, "## All systems", name)
        assert f"printed {name} |" in line
        assert system.title in line
        assert ("from random weights" in line) == (system.kind == "training")  # none has a start
        assert f"differs {name} |" in line_of(page, "## What differs", name)
    forest = line_of(page, "## Folds and seeds", "forest")
    assert re.search(r"\| folds 0\.\d+ to 0\.\d+; seeds 0\.\d+ to 0\.\d+ \|", forest)


def line_of(page: str, section: str, system: str) -> str:
    """The row of a system in a section's table."""
    lines = page.partition(section)[2].partition("\n## ")[0].splitlines()
    (line,) = [line for line in lines if line.startswith(f"| `{system}`")]
    return line


def test_other_clinics_images_are_asked_of_the_network_that_their_lesion_gives(
    study, done, published, data, site_in, tmp_path
):
    results = shutil.copytree(published, tmp_path / "results")
    table = read_configured(data, DataConfig()).sort_values("image_id", ignore_index=True).head(60)
    table = table.assign(fold=[fold_of(lesion, study.folds) for lesion in table["lesion_id"]])
    assert set(table["fold"]) == {0, 1}
    worker = Worker(study, site_in(done, published), say=lambda _: None)
    found = {system.id: rows for system, seed, rows in worker.away(table, study.jobs) if seed == 0}
    assert set(found) == {"nevus", "forest", "training", "head"}  # `prior` is derived of another
    for rows in found.values():
        assert rows["image_id"].tolist() == table["image_id"].tolist()
        assert rows["fold"].tolist() == table["fold"].tolist()
    asked = table[table["fold"] == 1]
    saved = Run(done / "training/seed-0/fold-1").model()
    own = predict_table(saved, asked, cache_root=site_in(done).cache, device="cpu")
    columns = [name for name in own if name.startswith("p_")]
    theirs = found["training"][found["training"]["fold"] == 1]
    np.testing.assert_allclose(theirs[columns], own[columns], atol=1e-6)
    for name in ("training", "head"):
        publish_away(results, "milk10k", study.systems[name], 0, found[name])
    page = write_report(study, results, QUICK).read_text(encoding="utf-8")
    assert "mean recall, milk10k" in page
    away = pd.read_csv(results / "away" / "milk10k" / "table.csv").set_index(["system", "metric"])
    cells = line_of(page, "## Away from home", "training").split("|")[2:-1]
    assert len(cells) == 4
    assert cells[1].split()[0] == f"{away.loc[('training', 'mean_recall'), 'value']:.3f}"
    named = found["training"]
    hit = named[columns].to_numpy().argmax(1) == named["target"].map(list(CLASSES).index).to_numpy()
    assert away.loc[("training", "accuracy"), "value"] == pytest.approx(hit.mean(), abs=1e-5)
    assert (results / "away" / "milk10k" / "uncertainty.csv").is_file()


def test_a_source_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(UserError, match="known: milk10k, isic2017"):
        read_away(tmp_path, "ph2", 5)


def test_nothing_published_shows_a_machine_or_a_patient(published, data):
    for file in published.rglob("*"):
        if file.suffix in (".json", ".csv", ".md"):
            text = file.read_text(encoding="utf-8")
            assert str(data.parent) not in text, file
            assert "age" not in text.splitlines()[0].split(","), file


def test_other_images_are_not_mixed_in(study, done, published, tmp_path):
    results = shutil.copytree(published, tmp_path / "results")
    images = pd.read_csv(results / "images.csv.gz").iloc[:-1]
    images.to_csv(results / "images.csv.gz", index=False)
    with pytest.raises(UserError, match="other images"):
        list(publish(study, done, results))


def test_the_shipped_comparison_is_whole():
    """Every recipe reads, every name is there once, every head comment says what was assumed or published."""
    shipped = load_study()
    names = [job.id for job in shipped.jobs]
    assert len(names) == len(set(names))
    assert {name for job in shipped.jobs for name in job.needs} <= set(names)
    for system in shipped.systems.values():
        head = system.recipe.read_text(encoding="utf-8")
        assert re.search(r"^# .*(Published|Nothing is published|compare theirs)", head, re.M), system.id
        alone = rf"^# .*dermlens train related/recipes/{system.recipe.name}"  # what nothing here can run
        command = alone if system.waits else rf"^# python -m related run .*{system.id}"
        assert re.search(command, head, re.M), system.id
        reads = {
            "training": shipped.recipe_of,
            "classical": shipped.classical_of,
            "head": shipped.head_of,
            "adjusted": shipped.adjusted_of,
            "views": shipped.views_of,
            "subset": shipped.subset_of,
        }
        reads[system.kind](system)
    with pytest.raises(UserError, match="nearest: garg-forest"):
        shipped.chosen(("garg-forst",))


def test_a_recipe_says_whether_it_has_been_run():
    """Its comment, against what is published."""
    shipped = load_study()
    published = set(read_published(shipped, PUBLISHED))
    for system in shipped.systems.values():
        if system.ground == "folds":
            head = system.recipe.read_text(encoding="utf-8").partition("\nname:")[0]
            waits = "not yet run" in " ".join(head.replace("\n#", " ").split()).lower()
            assert waits == (system.id not in published), system.id


def test_trainings_see_as_many_images(study):
    """The budget is the images that are seen: epochs, sampler and folds are the same for all."""
    shipped = load_study()
    ground = [s for s in shipped.systems.values() if s.kind == "training" and not s.waits]
    trainings = [shipped.recipe_of(s) for s in ground]
    assert len({(r.train.epochs, r.train.batch_size) for r in trainings}) == 1
    started = [shipped.recipe_of(s) for s in ground if s.start == "ImageNet"]
    crops = [r.train.task.settings.get("side") if r.train.task else None for r in started]
    seen = {(crop or r.data.size, r.model.backbone) for crop, r in zip(crops, started, strict=True)}
    assert seen == {(128, "mobilenet_v3_small")}
    assert {r.model.weights for r in trainings if r not in started} == {"none"}
    assert len({r.imbalance.sampler for r in trainings}) == 1
    assert {r.split.manifest for r in trainings} == {"grouped-v1"}

"""A run's model learns what dermoscopy is: drawn lesions against ordinary photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dermlens.calibration.decision import calibrate_run
from dermlens.calibration.dermoscopy import COPIES, learn_dermoscopy
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.explain.network import look
from dermlens.predict.document import read_document
from dermlens.recipe import parse_recipe
from dermlens.report.decision_tables import dermoscopy_table
from dermlens.report.provenance import commands
from dermlens.report.run_data import read_dermoscopy
from dermlens.runs import Run
from dermlens.studies.out_of_distribution import write_photographs
from dermlens.training.fit import fit

RECIPE = """
name: gate
data: {size: 48}
split: {protocol: grouped, selection: 0.25, calibration: 0.25, test: 0.1}
model: {backbone: mobilenet_v3_small, pool: gap, heads: 2, metadata: gessert}
train: {epochs: 1, batch_size: 16}
evaluation: {bootstrap: 10, views: {symmetries: 4}}
"""


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory) -> Run:
    data = write_synthetic(tmp_path_factory.mktemp("gate") / "data", lesions=80, seed=0, size=(48, 64))
    recipe = parse_recipe(RECIPE, "gate")
    return fit(recipe, data, out=tmp_path_factory.mktemp("run") / "gate", device="cpu", cache=cache)


@pytest.fixture
def run(trained, tmp_path) -> Run:
    return Run(shutil.copytree(trained.path, tmp_path / "gate"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> pd.DataFrame:
    return write_photographs(tmp_path_factory.mktemp("photographs"), pieces=2)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> pd.DataFrame:
    return read_table(
        write_synthetic(tmp_path_factory.mktemp("clinic") / "set", lesions=30, seed=5, size=(48, 64))
    )


def test_a_model_learns_it_and_the_run_tells_of_it(run, photographs, clinic, cache):
    (run.path / "model_card.md").write_text("of the boundary before")
    rows = learn_dermoscopy(
        run, {"clinic": clinic}, {"photographs": photographs}, kept=0.9, device="cpu", cache=cache
    )
    assert not (run.path / "model_card.md").exists()
    found = read_document(run.path / "model.json").dermoscopy
    assert found.kept == 0.9
    assert found.other == {"photographs": len(photographs)}
    assert list(found.dermoscopic) == ["own", "clinic"]
    own = pd.read_csv(run.split_file, comment="#")["role"].isin(["selection", "calibration"]).sum()
    assert found.dermoscopic == {"own": own, "clinic": len(clinic)}
    taken = rows.set_index("set")["taken"]
    assert (taken[["own", "clinic"]] > 0.85).all()
    saved = run.model()
    image_SSC = saved_square(saved, clinic["path"][0])
    meta_M = saved.encoder.encode([float("nan")], ["unknown"], ["unknown"])[0]
    features_1D = look(saved, image_SSC, meta_M)[1]["features_BD"].numpy()
    assert saved.dermoscopy.scores(features_1D).shape == (1,)
    pd.testing.assert_frame_equal(read_dermoscopy(run), rows, check_exact=False, rtol=1e-5)
    shown = dermoscopy_table(read_dermoscopy(run))
    sets = [name + ending for name in ("own", "clinic", "photographs") for ending in COPIES]
    assert [row[0] for row in shown.rows] == sets
    assert shown.rows[-1][5] == "–", "no other source is on its side"
    output = commands(run, [], ood=None, decided=False, int8=False)
    (command,) = [line for line in output if "--dermoscopy" in line]
    assert command.startswith("dermlens calibrate RUN ")
    assert command.endswith("--dermoscopy clinic=FOLDER --photographs FOLDER --dermoscopy-kept 0.9")


def saved_square(saved, path):
    from dermlens.predict.pictures.preprocessing import read_square

    return read_square(Path(path), saved.size, saved.crop, saved.colour_constancy)


def test_what_was_learnt_outlasts_another_decision(run, photographs, cache):
    """It is of the network alone."""
    learn_dermoscopy(run, {}, {"photographs": photographs}, kept=0.9, device="cpu", cache=cache)
    before = read_document(run.path / "model.json").dermoscopy
    calibrate_run(run, device="cpu", cache=cache)
    assert read_document(run.path / "model.json").dermoscopy == before
    assert run.dermoscopy_file.is_file()


def test_boundary_and_decision_are_fitted_in_any_order(run, photographs, cache):
    """The boundary looks at an early layer, an out-of-distribution score at the last, whichever is first."""

    def boundary():
        learn_dermoscopy(run, {}, {"photographs": photographs}, kept=0.9, device="cpu", cache=cache)
        return read_document(run.path / "model.json").dermoscopy

    first = boundary()
    assert first.layer
    calibrate_run(run, ood="mahalanobis", device="cpu", cache=cache)
    assert len(run.model().arrays["center_D"]) == run.model().model.head.features
    assert len(boundary().weights) == len(first.weights)


def test_a_table_beside_a_model_that_cannot_tell_is_not_shown(run):
    run.dermoscopy_file.write_text(
        "set,dermoscopy,images,lesions,taken,low,high,taken_unseen\nown,yes,5,5,1,1,1,\n"
    )
    assert read_dermoscopy(run) is None
    assert dermoscopy_table(None) is None


def test_a_boundary_of_no_use_is_not_written(run, clinic, cache):
    """The same drawings on both sides: nothing can tell them apart."""
    (run.path / "model_card.md").write_text("of the boundary before")
    before = (run.path / "model.json").read_bytes()
    with pytest.raises(UserError, match="set same"):
        learn_dermoscopy(run, {}, {"same": clinic}, kept=0.98, device="cpu", cache=cache)
    assert (run.path / "model.json").read_bytes() == before
    assert not run.dermoscopy_file.exists()
    assert (run.path / "model_card.md").exists()


def test_images_of_the_run_are_not_someone_elses(run, cache):
    own = read_table(Path(run.read_record().data))
    with pytest.raises(UserError, match=rf"set elsewhere.*{len(own)} images.*SYN"):
        learn_dermoscopy(run, {}, {"elsewhere": own}, kept=0.9, device="cpu", cache=cache)


@pytest.mark.parametrize(
    ("dermoscopic", "other", "sentence"),
    [
        (0, {}, "--not-dermoscopy DIR"),
        (0, {"own": 9}, "two.*own"),
        (9, {"clinic": 9}, "two.*clinic"),
        (3, {"street": 9}, "clinic has 3 lesions"),
    ],
)
def test_mistakes_get_a_sentence_and_change_nothing(run, clinic, dermoscopic, other, sentence, cache):
    before = (run.path / "model.json").read_bytes()
    first = clinic.drop_duplicates("lesion_id")
    sides = (
        {"clinic": first[:dermoscopic]} if dermoscopic else {},
        {name: first[:count] for name, count in other.items()},
    )
    with pytest.raises(UserError, match=sentence):
        learn_dermoscopy(run, *sides, kept=0.9, device="cpu", cache=cache)
    assert (run.path / "model.json").read_bytes() == before

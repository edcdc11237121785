"""An exported folder explains itself: a card with its files, a licence, and nothing of another model."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from calibrated import make_calibrated_run
from cards import sections, tables
from saved_models import DECISION, save_tiny

from dermlens.errors import UserError
from dermlens.export.notices import write_notices
from dermlens.predict.decision import arrays_sha256, write_arrays
from dermlens.predict.model_files import read_measured
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.recipe import parse_recipe
from dermlens.runs import Run


@pytest.fixture
def run(tmp_path):
    """Evaluated, with a model."""
    return make_calibrated_run(tmp_path / "run", bootstrap=0).path


@pytest.fixture
def folder(run, tmp_path, exported):
    """As an export leaves it, with a network that belongs to the run as little as it needs to here."""
    made = shutil.copytree(exported, tmp_path / "model")
    (made / "decision.npz").write_bytes(b"x" * 123_456)
    return made


def test_card_and_licence_are_written(run, folder):
    written = write_notices(run, folder)
    assert [path.name for path in written] == ["MODEL_CARD.md", "measured.json", "LICENSE"]
    card = written[0].read_text(encoding="utf-8")
    (table,) = tables(sections(card)["Files"])
    for row in table.to_dict("records"):
        file = folder / row["file"].strip("`")
        assert row["size"] == f"{file.stat().st_size / 1e6:.1f} MB"
        if file.name != "decision.npz":
            assert row["SHA-256"].strip("`") == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(table["file"]) == {"`model.onnx`", "`model.safetensors`", "`decision.npz`"}
    assert "differ by at most" in sections(card)["Files"]
    assert "dermlens export RUN --out FOLDER\n" in sections(card)["How it was made"]
    assert "CC BY-NC 4.0" in written[2].read_text(encoding="utf-8")


@pytest.mark.parametrize(("accepted", "words"), [(True, "int8 took the place"), (False, "refused")])
def test_what_int8_loses_is_said(run, folder, accepted, words):
    document = json.loads((folder / "model.json").read_text())
    document["onnx"]["quantisation"] = {
        "accepted": accepted,
        "why": "as measured",
        "images": 2004,
        "changed": 0.031,
        "mean_recall": {"before": 0.801, "after": 0.796, "lost": 0.005, "lost_at_most": 0.009},
    }
    (folder / "model.json").write_text(json.dumps(document | {"manifest": None}))
    output = sections(write_notices(run, folder)[0].read_text(encoding="utf-8"))
    assert words in output["Files"]
    assert "2,004 images" in output["Files"]
    assert "mean recall from 0.801 to 0.796" in output["Files"]
    assert "dermlens export RUN --out FOLDER --format onnx-int8" in output["How it was made"]


def test_without_scores_there_is_no_card_and_no_older_one_stays(folder, tmp_path):
    save_tiny(tmp_path / "unscored")
    for name in ("MODEL_CARD.md", "measured.json"):
        (folder / name).write_text("of another model")
    assert write_notices(tmp_path / "unscored", folder) == []
    assert not (folder / "MODEL_CARD.md").exists()
    assert read_measured(folder) is None


def test_the_terms_of_other_data_are_not_ours_to_state(run, folder):
    table = (run / "predictions.csv").read_text(encoding="utf-8")
    (run / "predictions.csv").write_text(table.replace("HAM_", "CLINIC_"), encoding="utf-8")
    (folder / "LICENSE").write_text("of the model that was here before")
    assert "LICENSE" not in [path.name for path in write_notices(run, folder)]
    assert not (folder / "LICENSE").exists()


@pytest.mark.parametrize(
    ("lesion", "also", "written"),
    [("HAM_0000001", "[]", True), ("CLINIC_1", "[]", False), ("CLINIC_1", "[/data/ham10000]", True)],
    ids=["ham10000", "other", "further"],
)
def test_terms_do_not_wait_for_scores(tmp_path, folder, lesion, also, written):
    """A run without metrics and predictions, by its split and what else it was trained on."""
    made = Run.create(tmp_path / "new", parse_recipe(f"name: a\ndata: {{also_train: {also}}}", "here"))
    made.split_file.write_text(f"image_id,lesion_id,role\nISIC_1,{lesion},train\n")
    (folder / "LICENSE").write_text("of the model that was here before")
    assert [path.name for path in write_notices(made.path, folder)] == (["LICENSE"] if written else [])
    if written:
        assert "CC BY-NC 4.0" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert (folder / "LICENSE").exists() == written


def test_terms_that_lie_in_the_source_go_along(folder, tmp_path):
    """An exported folder may be exported again, and onto itself; it has no run's records."""
    source = tmp_path / "exported"
    save_tiny(source)
    for name in ("LICENSE", "measured.json"):
        (source / name).write_text("{}")
    for target in (folder, source):
        write_notices(source, target)
        assert (target / "LICENSE").read_text() == "{}"
        assert read_measured(target) == {}


def test_what_was_measured_is_that_of_the_card(run, folder):
    write_notices(run, folder)
    measured, scores = read_measured(folder), Run(run).metrics.roles
    assert measured["role"] == "test"
    assert measured["images"] == scores["test"]["images"]
    assert measured["scores"]["accuracy"]["value"] == scores["test"]["overall"]["accuracy"]["value"]
    assert {code: one["images"] for code, one in measured["recall"].items()} == {
        code: one["support"] for code, one in scores["test"]["per_class"].items()
    }
    output = sections((folder / "MODEL_CARD.md").read_text(encoding="utf-8"))["Limits"]
    assert measured["lacks"]
    assert all(sentence in output for sentence in measured["lacks"])


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_damaged_measurements_are_refused(folder, damage):
    (folder / "measured.json").write_text(damage)
    with pytest.raises(UserError, match=r"measured\.json"):
        read_measured(folder)


@pytest.mark.usefixtures("no_export")
def test_an_export_brings_them_along(run, tmp_path):
    from dermlens.export.onnx_export import export_folder

    decision = json.loads((run / "model.json").read_text())["decision"]
    assert DECISION.prior is not None
    # those of the file in the exporter's place
    scaled = {"scaling": DECISION.scaling.model_dump(), "prior": DECISION.prior.model_dump()}
    arrays = {"center_D": np.zeros(3), "project_DK": np.eye(3), "points_MK": np.ones((2, 3))}
    ood = {"kind": "mahalanobis", "threshold": 9.0, "kept": 0.95, "sha256": arrays_sha256(arrays)}
    save_tiny(run, views=ViewsConfig(symmetries=4, sizes=(32, 64)), decided=False)
    document = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(
        json.dumps(document | {"decision": decision | {"ood": ood, **scaled}, "manifest": None})
    )
    write_arrays(run, arrays)
    export_folder(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.onnx", "model.safetensors", "model.json", "decision.npz", "MODEL_CARD.md",
        "measured.json", "LICENSE",
    }  # fmt: skip

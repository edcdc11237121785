"""PH2's layout, drawn: its reader, the recipe of eight classes, and what the camera alone gives away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermlens.data.config import DataConfig
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.plugins import trusted_code
from dermlens.training.fit import fit
from related.ph2 import by_source, read_ph2, source_only, with_ph2
from related.study import load_study

HEAD = (
    "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry || Pigment Network || Colors ||\n"
)
LEGEND = "\nLegends:\n\nClinical Diagnosis:\n   0 - Common Nevus;\n   1 - Atypical Nevus;\n   2 - Melanoma.\n"
ROWS = {"IMD002": "1", "IMD003": "0", "IMD004": "2", "IMD009": "1"}


@pytest.fixture(scope="module")
def ph2(tmp_path_factory):
    """Four images in the layout of the data set, each with its mask beside it."""
    folder = tmp_path_factory.mktemp("two") / "ph2"
    rng = np.random.default_rng(0)
    for name in ROWS:
        for part, pixels in {
            f"{name}_Dermoscopic_Image/{name}.bmp": rng.integers(0, 255, (56, 77, 3), dtype=np.uint8),
            f"{name}_lesion/{name}_lesion.bmp": 255 * (rng.random((56, 77)) > 0.5).astype(np.uint8),
        }.items():
            path = folder / "PH2 Dataset images" / name / part
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
    rows = [
        f"||  {name} ||                          ||          {code}         ||  0  ||  AT  ||  3  4 ||\n"
        for name, code in ROWS.items()
    ]
    (folder / "PH2_dataset.txt").write_text(HEAD + "".join(rows) + LEGEND)
    return folder


@pytest.fixture(scope="module")
def both(ph2):
    """HAM10000 as published beside it, an image a class."""
    ham = ph2.parent / "ham10000"
    (ham / "images").mkdir(parents=True)
    rows = []
    for number, code in enumerate(CLASSES):
        image = f"ISIC_{number:07}"
        pixels = np.full((45, 60, 3), 40 + 20 * number, np.uint8)
        Image.fromarray(pixels).save(ham / "images" / f"{image}.jpg")
        rows.append((f"HAM_{number:07}", image, code, "histo", "45.0", "male", "back"))
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    pd.DataFrame(rows, columns=columns).to_csv(ham / "HAM10000_metadata.csv", index=False)
    return ph2.parent


def test_the_article_takes_atypical_nevi_and_melanomas(ph2):
    table = read_ph2(ph2 / "PH2_dataset.txt")
    assert dict(zip(table["image_id"], table["dx"], strict=True)) == {
        "IMD002": "atypical", "IMD004": "mel", "IMD009": "atypical",
    }  # fmt: skip
    assert set(table["source"]) == {"ph2"}
    whole = read_ph2(ph2 / "PH2_dataset.txt", common_nevi=True)
    assert dict(zip(whole["image_id"], whole["dx"], strict=True))["IMD003"] == "nv"


def test_the_recipe_reads_both_folders_as_one_table(both):
    study = load_study()
    recipe = study.recipe_of(study.systems["rezvantalab"])
    assert recipe.data.classes == (*CLASSES, "atypical")
    with trusted_code():
        table = read_configured(both, recipe.data)
    assert table["dx"].value_counts().to_dict() == {**dict.fromkeys(CLASSES, 1), "atypical": 2, "mel": 2}
    assert table.set_index("image_id").loc["IMD004", "path"].endswith("IMD004_Dermoscopic_Image/IMD004.bmp")
    assert set(table["source"]) == {"ham10000", "ph2"}
    ours = read_configured(both / "ham10000", DataConfig(classes=recipe.data.classes))
    theirs = table[table["source"] == "ham10000"]
    for column in ("image_id", "lesion_id", "dx", "dx_type", "age", "sex", "site"):
        assert theirs[column].tolist() == ours[column].tolist(), column


def test_inception_learns_from_both_folders(both, tmp_path):
    """One epoch of eleven images, at a size that leaves more than one position."""
    study = load_study()
    small = ("data.size=96", "train.epochs=1", "train.schedule.warmup_epochs=0", "train.monitor_role=none")
    drawn = ("split.selection=0", "split.calibration=0", "split.test=0", "augment=null")
    recipe = study.recipe_of(study.systems["rezvantalab"], *small, *drawn)
    with trusted_code():
        run = fit(recipe, both, out=tmp_path / "run", device="cpu", cache=tmp_path)
    assert run.is_completed
    assert len(run.history()) == 1
    assert run.read_record().counts["train"]["atypical"] == 2


def test_mistakes_name_the_line(ph2, tmp_path):
    bad = tmp_path / "PH2_dataset.txt"
    bad.write_text(HEAD + "||  IMD002 ||  ||  7  ||  0  ||\n")
    with pytest.raises(UserError, match="line 2: the clinical diagnosis of IMD002 is '7'"):
        read_ph2(bad)
    bad.write_text(HEAD + LEGEND)
    with pytest.raises(UserError, match="no row"):
        read_ph2(bad)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither"):
        with_ph2(tmp_path / "empty", common_nevi=False)


def test_the_source_alone_names_the_eighth_class():
    """Of PH2 two of three that train are of the class, of the other source none: by hand."""
    p_MC = source_only(["a", "a", "ph2", "ph2", "ph2"], np.array([0, 1, 2, 2, 1]), ["ph2", "a", "new"], 3)
    np.testing.assert_allclose(p_MC, [[0, 1 / 3, 2 / 3], [1 / 2, 1 / 2, 0], [1 / 5, 2 / 5, 2 / 5]])
    target_M = np.array([2, 2, 1, 0, 0, 1])
    source_M = ["ph2", "ph2", "ph2", "a", "a", "a"]
    seen = source_only(source_M, target_M, source_M, 3)
    found = by_source(target_M, seen, source_M, 2, "ph2")
    assert found["auc"] == pytest.approx((3 + 0.5) / 4)  # of four others three are of the other source
    assert found["auc_within"] == 0.5  # within a source it knows nothing


def test_within_its_source_a_class_is_judged_by_the_images():
    target_M, source_M = np.array([1, 0, 0, 0]), ["ph2", "ph2", "a", "a"]
    p_MC = np.array([[0.4, 0.6], [0.3, 0.7], [0.9, 0.1], [0.8, 0.2]])
    found = by_source(target_M, p_MC, source_M, 1, "ph2")
    assert found["auc"] == pytest.approx(2 / 3)
    assert found["auc_within"] == 0.0
    assert np.isnan(by_source(target_M, p_MC, ["b"] * 4, 1, "ph2")["auc_within"])

"""Images of the run's own split stay out of another set, whatever their names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermlens.data.manifest import Split, load_manifest
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.evaluation.ledger import read_entries, run_openings
from dermlens.evaluation.overlap import find_copies, shipped_fingerprints, without_own
from dermlens.recipe import Recipe
from dermlens.runs import Run


def write_set(folder, prefix, contents):
    """HAM10000's layout; the files hold the given words, which is all that counts here."""
    (folder / "images").mkdir(parents=True)
    names = [f"{prefix}_{number}" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / "images" / f"{name}.jpg").write_text(content, encoding="utf-8")
    lines = [f"{name}L,{name},nv,histo,50.0,female,back\n" for name in names]
    head = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
    (folder / "HAM10000_metadata.csv").write_text(head + "".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "own", "OWN", [f"lesion {number}" for number in range(8)])


@pytest.fixture
def run(tmp_path, data):
    made = Run.create(tmp_path / "run", Recipe(name="small"))
    table = read_table(data)
    roles = ["train"] * 5 + ["selection", "test"]  # the last image is in no role
    ids = table.loc[:6, ["image_id", "lesion_id"]]
    Split(pd.DataFrame(ids).assign(role=roles), {"protocol": "grouped"}).save(made.split_file)
    made.end("completed", data=str(data))
    return made


def kept_of(run, folder):
    kept, warnings = without_own(run, folder, read_table(folder))
    return kept["image_id"].tolist(), warnings


def test_copies_under_other_names_are_left_out(run, tmp_path):
    other = write_set(tmp_path / "other", "NEW", ["lesion 0", "lesion 9", "lesion 6", "lesion 7"])
    kept, (warning, looked) = kept_of(run, other)
    assert kept == ["NEW_1", "NEW_3"]
    assert warning.startswith("external: 2 of 4 images are, under other names")
    assert looked.startswith("external: 1 of them")
    assert "test role" in looked
    (entry,) = read_entries(run.ledger_file)
    assert (entry["how"], entry["images"], entry["mean_recall"]) == ("copies in other", "1", "")


def draw(folder, name, seed, **options):
    """A picture with a structure of its own, saved with the given options."""
    places = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    size = options.pop("size", (320, 240))
    Image.fromarray(places).resize(size, Image.Resampling.BICUBIC).save(folder / "images" / name, **options)


def test_pictures_of_the_test_role_that_were_saved_anew_are_a_look(run, data, tmp_path):
    """Another quality, another size, one byte more: left out, and entered, in a project's ledger too."""
    for number in range(8):
        draw(data, f"OWN_{number}.jpg", number, quality=92)
    other = write_set(tmp_path / "other", "NEW", ["x"] * 4)
    draw(other, "NEW_0.jpg", 6, quality=60)
    draw(other, "NEW_1.jpg", 6, size=(200, 150), quality=85)
    copied = (data / "images" / "OWN_6.jpg").read_bytes() + b"\0"
    (other / "images" / "NEW_2.jpg").write_bytes(copied)
    draw(other, "NEW_3.jpg", 20)
    project = tmp_path / "project.csv"
    kept, _ = without_own(run, other, read_table(other), ledger=project)
    assert kept["image_id"].tolist() == ["NEW_3"]
    for ledger in (project, run.ledger_file):
        (entry,) = read_entries(ledger)
        assert (entry["how"], entry["images"]) == ("copies in other", "3")
    assert run_openings(run).times == 1


def test_a_look_is_entered_where_nothing_is_left_to_score(run, data, tmp_path):
    draw(data, "OWN_6.jpg", 6, quality=92)
    other = write_set(tmp_path / "other", "NEW", ["x"])
    draw(other, "NEW_0.jpg", 6, quality=70)
    with pytest.raises(UserError, match="only images"):
        without_own(run, other, read_table(other))
    assert run_openings(run).times == 1


def test_the_shipped_fingerprints_are_of_the_test_role():
    assert sorted(shipped_fingerprints()) == sorted(load_manifest("grouped-v1").ids("test"))


def test_the_test_images_are_known_without_the_runs_own_files(tmp_path):
    """A fingerprint that comes with dermlens stands for an image that is not there."""
    image_id, known = next(iter(shipped_fingerprints().items()))
    (tmp_path / "images").mkdir()
    draw(tmp_path, "copy.png", 3)
    path = str(tmp_path / "images" / "copy.png")
    assert find_copies([image_id], {}, [path]) == set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dermlens.evaluation.overlap.fingerprint", lambda _pixels: known)
        assert find_copies([image_id], {}, [path]) == {path}


def test_names_and_copies_are_counted_apart(run, tmp_path):
    other = write_set(
        tmp_path / "other", "OWN", ["lesion 0", "another", *["lesion 2"] * 6, "lesion 3", "new"]
    )
    kept, (named, copied) = kept_of(run, other)
    assert kept == ["OWN_9"]
    assert named.startswith("external: 7 of 10 images")
    assert copied.startswith("external: 2 of 10 images")


def test_copies_alone_are_nothing_to_score(run, tmp_path):
    other = write_set(tmp_path / "other", "NEW", ["lesion 0", "lesion 1"])
    with pytest.raises(UserError, match="own split"):
        kept_of(run, other)


def test_what_could_not_be_compared_is_said(run, data, tmp_path):
    other = write_set(tmp_path / "other", "NEW", ["lesion 0", "lesion 1", "lesion 9"])
    (data / "images" / "OWN_0.jpg").unlink()
    kept, (copied, unchecked) = kept_of(run, other)
    assert kept == ["NEW_0", "NEW_2"]
    assert copied.startswith("external: 1 of 3")
    assert unchecked.startswith("external: 1 of the 7 images")


@pytest.mark.parametrize("recorded", ["moved", "published", "nothing"])
def test_a_run_whose_images_have_gone_says_so(run, data, tmp_path, recorded):
    other = write_set(tmp_path / "other", "NEW", ["lesion 0"])
    if recorded == "moved":
        data.rename(tmp_path / "elsewhere")
    else:
        run.record(data="own" if recorded == "published" else None)
    kept, (warning,) = kept_of(run, other)
    assert kept == ["NEW_0"]
    assert warning.startswith("external: 7 of the 7 images")
    assert "could not be checked" in warning


def trained_also_on(run, folder):
    """The run, as it is after a training with `data.also_train`."""
    recipe = run.recipe
    further = recipe.data.model_copy(update={"also_train": (folder,)})
    recipe.model_copy(update={"data": further}).save(run.recipe_file)
    return run


def test_images_that_were_also_trained_on_are_left_out(run, tmp_path):
    write_set(tmp_path / "further", "MORE", ["lesion 20", "lesion 21"])
    other = write_set(tmp_path / "other", "MORE", ["lesion 30"])  # the same name
    write_set(tmp_path / "copied", "NEW", ["lesion 21", "lesion 31"])  # the same bytes
    run = trained_also_on(run, "further")
    with pytest.raises(UserError, match=r"data\.also_train"):
        kept_of(run, other)
    kept, (warning,) = kept_of(run, tmp_path / "copied")
    assert kept == ["NEW_1"]
    assert "further training images" in warning


def test_further_images_that_have_gone_are_said(run, tmp_path):
    other = write_set(tmp_path / "other", "NEW", ["lesion 40"])
    kept, (warning,) = kept_of(trained_also_on(run, "further"), other)
    assert kept == ["NEW_0"]
    assert "further" in warning


def with_patients(folder, first):
    """The same set, each image of a patient of its own, numbered from `first`."""
    table = folder / "HAM10000_metadata.csv"
    head, *lines = table.read_text().splitlines()
    rows = [f"{line},P{first + number}" for number, line in enumerate(lines)]
    table.write_text("\n".join([f"{head},patient_id", *rows]) + "\n")
    return folder


def test_patients_of_the_run_are_said(run, data, tmp_path):
    with_patients(data, 0)  # the last, P7, is in no role
    other = with_patients(write_set(tmp_path / "other", "NEW", ["x", "y", "z"]), 5)
    kept, (warning,) = kept_of(run, other)
    assert len(kept) == 3
    assert warning.startswith("external: 2 images are, by patient id")


def test_patients_that_cannot_be_compared_are_said(run, tmp_path):
    other = with_patients(write_set(tmp_path / "other", "NEW", ["x", "y", "z"]), 5)
    _, (warning,) = kept_of(run, other)
    assert warning.startswith("external: 3 images")

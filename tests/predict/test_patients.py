from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dermlens.errors import UserError
from dermlens.predict.patients import Patient, find_images, one_patient
from dermlens.predict.patients import read_patients as read_table_of_patients
from dermlens.predict.sources.folders import file_ids


def test_folders_files_and_their_ids(lesions, tmp_path):
    found = find_images([lesions, tmp_path / "e.jpeg", tmp_path / "no suffix"])
    assert list(found.images) == ["a", "b", "c", "d", "e", "no suffix"]
    assert found.images["d"] == lesions / "more" / "d.jpeg"
    assert (found.unreadable, found.doubts) == ({}, [])


def test_a_folder_is_searched_to_its_end_and_a_loop_of_links_once(lesions, tmp_path):
    deep = tmp_path.joinpath(*"123456789")
    deep.mkdir(parents=True)
    shutil.copy(lesions / "a.jpg", deep / "deep.jpg")
    (deep / "back").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "1" / "2", target_is_directory=True)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    assert list(find_images([tmp_path]).images) == ["deep"]


def test_links_that_lead_out_of_a_folder_are_named_and_not_followed(lesions, tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    shutil.copy(lesions / "a.jpg", inside / "own.jpg")
    (inside / "same.jpg").symlink_to("own.jpg")
    shutil.copy(lesions / "a.jpg", outside / "secret.jpg")
    (inside / "file.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to(outside)
    (inside / "nowhere.jpg").symlink_to(tmp_path / "absent")
    found = find_images([inside])
    assert sorted(found.images) == ["own", "same"]
    (doubt,) = found.doubts
    assert "3 links" in doubt
    assert str(inside / "file.jpg") in doubt
    (tmp_path / "link").symlink_to(inside)  # the folder that is named may be a link itself
    assert sorted(find_images([tmp_path / "link"]).images) == ["own", "same"]
    assert list(find_images([inside / "file.jpg"]).images) == ["file"]


def test_masks_are_left_out_and_that_is_said(lesions, tmp_path):
    (tmp_path / "masks").mkdir()
    for name in ("a.jpg", "a_segmentation.png", "masks/b.png"):
        shutil.copy(lesions / "a.jpg", tmp_path / name)
    found = find_images([tmp_path])
    assert list(found.images) == ["a"]
    (doubt,) = found.doubts
    assert doubt.startswith("left out: 2 lesion masks")
    assert str(tmp_path / "a_segmentation.png") in doubt
    assert list(find_images([tmp_path / "a_segmentation.png"]).images) == ["a_segmentation"]
    with pytest.raises(UserError, match=r"no images.*lesion masks"):
        find_images([tmp_path / "masks"])


def test_names_that_collide_are_told_apart_by_their_paths(lesions, tmp_path):
    for visit in ("patient_a", "patient_b"):
        (tmp_path / "visits" / visit).mkdir(parents=True)
        shutil.copy(lesions / "a.jpg", tmp_path / "visits" / visit / "IMG_0001.jpg")
    assert list(find_images([tmp_path / "visits"]).images) == ["patient_a/IMG_0001", "patient_b/IMG_0001"]
    assert list(find_images([lesions, lesions / "a.jpg"]).images) == ["a", "b", "c", "d"]


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="no images"):
        find_images([tmp_path])


@pytest.mark.parametrize("name", [b"a\nb.jpg", b"\xff.jpg", b"a\x1b[31m.jpg"])
def test_names_that_no_table_can_hold(tmp_path, name):
    """They stop no other, as a damaged image does not."""
    for file in (tmp_path / os.fsdecode(name), tmp_path / "good.jpg"):
        file.touch()
    for named in ([tmp_path], [tmp_path / os.fsdecode(name), tmp_path / "good.jpg"]):
        found = find_images(named)
        assert list(found.images) == ["good"]
        ((key, sentence),) = found.unreadable.items()
        assert "cannot be printed" in sentence
        assert key.isprintable()
        assert sentence.isprintable()


def read_patients(path, names="abcde"):
    read = read_table_of_patients(path, {name: Path(f"{name}.jpg") for name in names})
    return read.of_image, [doubt for doubt in read.doubts if "no row" not in doubt]


def written(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def test_holes_are_missing_values(tmp_path):
    table = written(
        tmp_path / "t.csv",
        "image_id,age,sex,site\na,40,female,back\nb,,,\nc,NaN,unknown,unknown\n"
        "d,0,M,head/neck\ne.jpg,85.5,F,Lower Extremity\n",
    )
    patients, doubts = read_patients(table)
    assert patients == {
        "a": Patient(40.0, "female", "back"),
        "b": Patient(),
        "c": Patient(),
        "d": Patient(0.0, "male", "head/neck"),
        "e": Patient(85.5, "female", "lower extremity"),
    }
    assert doubts == []


@pytest.mark.parametrize(
    "text", ["image_id;sex\na;male\n", "\ufeffimage_id,sex\na,male\n", "sex\timage_id\nmale\ta\n"]
)
def test_other_spreadsheets(tmp_path, text):
    assert read_patients(written(tmp_path / "t.csv", text))[0] == {"a": Patient(None, "male", "unknown")}


def test_an_unknown_site_is_said(tmp_path):
    patients, doubts = read_patients(
        written(tmp_path / "t.csv", "image_id,site\na,elsewhere\nb,elsewhere\nc,back\n")
    )
    assert len(patients) == 3
    (doubt,) = doubts
    assert "site 'elsewhere' " in doubt


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("image_id,age\n", "a header and no rows"),
        ("age\n40\n", "no column 'image_id'"),
        ("image_id,dx\na,nv\n", "lesion_id, age, sex and site"),
        ("image_id,age\na,40\na,41\n", r"row 3: image a"),
        ("image_id,age\na,40\na.jpg,41\n", r"row 3: image a"),
        ("image_id,age\n,40\n", "row 2: no image id"),
        ("image_id,age\na,400\n", r"row 2: age is 400"),
        ("image_id,age\na,-1\n", "row 2: age is -1"),
        ("image_id,age\na,inf\n", "row 2: age is inf"),
        ("image_id,age\na,old\n", "row 2: age is 'old'"),
        ("image_id,sex\na,x1\n", "row 2: sex is 'x1'"),
        ("image_id,age\na,40,50\n", "row 2: 3 cells under 2 columns"),
    ],
)
def test_rubbish_in_a_table(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        read_patients(written(tmp_path / "t.csv", text))


def test_no_table_and_no_text(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        read_patients(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="neither UTF-8"):
        read_patients(written(tmp_path / "t.csv", "image_id,site\na,Rücken\n", "mac_roman"))


def test_a_table_in_a_code_page_is_read_and_said(tmp_path):
    path = written(tmp_path / "t.csv", "image_id,site\na,Rücken\n", "latin-1")
    read = read_table_of_patients(path, {"a": Path("a.jpg")})
    assert read.of_image["a"].site == "back"
    assert any("cp1252" in doubt for doubt in read.doubts)


def test_the_archives_further_sites_are_read(tmp_path):
    path = written(
        tmp_path / "t.csv", "isic_id,anatom_site_general,anatom_site_1,anatom_site_2\na,,Trunk,Back\n"
    )
    read = read_table_of_patients(path, {"a": Path("a.jpg")})
    assert read.of_image["a"].site == "back"
    assert read.doubts == []


HAM10000 = "lesion_id,image_id,dx,dx_type,age,sex,localization\nL,a,nv,histo,45.0,male,back\n"
SIIM = (
    "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
    "a,IP_1,male,45.0,torso,nevus,benign,0\n"
)
ISIC_2019 = "image,age_approx,anatom_site_general,lesion_id,sex\na,45.0,anterior torso,,male\n"


@pytest.mark.parametrize("table", [HAM10000, SIIM, ISIC_2019], ids=["ham10000", "siim", "isic2019"])
def test_published_tables_tell_of_patients(tmp_path, table):
    read = read_table_of_patients(written(tmp_path / "t.csv", table), {"a": Path("a.jpg")})
    assert (read.of_image["a"].age, read.of_image["a"].sex) == (45.0, "male")
    assert read.of_image["a"].site != "unknown"


def test_options():
    assert one_patient(None, None, None) == Patient()
    assert one_patient("40", "F", "palms/soles") == Patient(40.0, "female", "palms/soles")
    for words, sentence in (
        (("400", None, None), "--age is 400"),
        (("young", None, None), "--age is 'young'"),
        ((None, "x1", None), "--sex is 'x1'"),
        ((None, None, "bak"), "--site 'bak' is not known; nearest: back"),
    ):
        with pytest.raises(UserError, match=sentence):
            one_patient(*words)


def test_images_without_a_row(tmp_path):
    table = written(tmp_path / "t.csv", "image_id,age\na,40\n")
    (doubt,) = read_table_of_patients(table, {"a": Path("a.jpg"), "b": Path("b.jpg")}).doubts
    assert "1 of 2 images, b first" in doubt
    with pytest.raises(UserError, match="no row"):
        read_table_of_patients(table, {"b": Path("b.jpg")})


def test_rows_that_differ_in_their_suffix_are_of_two_images_and_case_decides_only_between_two(tmp_path):
    """As training reads a table; Windows takes `A.PNG` for `a.png`."""
    table = tmp_path / "patients.csv"
    table.write_text(
        "image_id,age\na.jpg,30\nA.PNG,40\nisic_1,50\nv/C.jpg,60\nv/c.jpg,70\nw/d.PNG,80\nV/b,90\n"
    )
    names = (
        "/a.jpg",
        "/a.png",
        "/ISIC_1.jpg",
        "/v/C.jpg",
        "/v/c.jpg",
        "/w/d.png",
        "/v/b.jpg",
        "/w/b.jpg",
        "/w/d.jpg",
    )
    images = dict(zip(file_ids(names, "/"), map(Path, names), strict=True))
    found = read_table_of_patients(table, images).of_image
    assert [found[one].age for one in images if one in found] == [30, 40, 50, 60, 70, 80, 90]


def test_an_image_without_suffix_where_two_have_its_name_is_refused_with_what_tells_them_apart(tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age\na,30\n")
    with pytest.raises(UserError, match=r"row 2.*suffix"):
        read_table_of_patients(table, {"a.jpg": Path("/a.jpg"), "a.png": Path("/a.png")})

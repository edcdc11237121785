"""Further relatives of the reported situations: what tables, lists, names and headers say of an image.

A case is a data set, what is read of it, and a word of the account that says what was made of it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pydicom
import pytest
from layouts import images
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLPhotographicImageStorage

from dermlens.data.config import DataConfig
from dermlens.data.table import read_configured, read_set
from dermlens.errors import UserError
from dermlens.predict.patients import find_images, read_patients

NAN = float("nan")


def laid(folder: Path, tables: dict[str, list[str]], pictures: list[str]) -> Path:
    for name, lines in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for number, name in enumerate(pictures):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture %d" % number)
    return folder


JOINS = {
    "a name of two images is of neither": (
        {"meta.csv": ["image,age", "1,50"]},
        ["benign/1.jpg", "malignant/1.jpg"],
        "age",
        [NAN, NAN],
        "each of which names several images",
    ),
    "nor under a one-hot truth": (
        {"gt.csv": ["image,MEL,NV", "v1/0,1,0", "v2/0,0,1"], "m.csv": ["image,age", "0,50"]},
        ["v1/0.jpg", "v2/0.jpg"],
        "age",
        [NAN, NAN],
        "each of which names several images",
    ),
    "a path tells": (
        {"meta.csv": ["image,age", "benign/1.jpg,50", "malignant\\1.jpg,60"]},
        ["benign/1.jpg", "malignant/1.jpg"],
        "age",
        [50, 60],
        "joined: ",
    ),
    "rows that contradict each other": (
        {"meta.csv": ["image,sex", "1,male", "1,female", "2,male"]},
        ["mel/1.jpg", "nv/2.jpg"],
        "sex",
        ["unknown", "male"],
        "contradict each other, for 1 image",
    ),
    "an empty cell takes nothing away": (
        {"a.csv": ["image,age", "1,50", "2,40"], "b.csv": ["image,age", "1,50.0", "2,"]},
        ["mel/1.jpg", "nv/2.jpg"],
        "age",
        [50, 40],
        "joined: ",
    ),
    "two tables that disagree": (
        {"a.csv": ["image,age", "1,50"], "b.csv": ["image,age", "1,51"]},
        ["mel/1.jpg", "nv/2.jpg"],
        "age",
        [51, NAN],
        "age is another than in a table read before for 1 image",
    ),
    "names in other case": (
        {"meta.csv": ["image,age", "IMG_1.JPG,50"]},
        ["mel/img_1.jpg", "nv/2.jpg"],
        "age",
        [50, NAN],
        "has rows for 1 of 2 images",
    ),
    "names of none": (
        {"meta.csv": ["image,age", "x,50"]},
        ["mel/1.jpg", "nv/2.jpg"],
        "age",
        [NAN, NAN],
        "it says nothing of these images",
    ),
    "patients in a table of their own": (
        {"labels.csv": ["image_id,dx", "a,mel", "b,nv"], "who.csv": ["image_id,patient_id", "a,P1", "b,P1"]},
        ["a.jpg", "b.jpg"],
        "patient_id",
        ["P1", "P1"],
        "patients: 1, of 2 images",
    ),
    "another diagnosis there": (
        {"gt.csv": ["image,MEL,NV", "a,1,0", "b,0,1"], "m.csv": ["image,dx,age", "a,nevus,50", "b,nv,40"]},
        ["a.jpg", "b.jpg"],
        "dx",
        ["mel", "nv"],
        "dx contradicts the diagnoses that are read, for 1 image, a first",
    ),
    "another diagnosis in the next column": (
        {"t.csv": ["image_id,dx,diagnosis", "a,mel,nevus", "b,nv,nevus"]},
        ["a.jpg", "b.jpg"],
        "dx",
        ["mel", "nv"],
        "diagnosis has another diagnosis of 1 images",
    ),
    "one patient in several spellings": (
        {"t.csv": ["image_id,dx,patient", "a,mel,Anna B", "b,nv,anna  b"]},
        ["a.jpg", "b.jpg"],
        "patient_id",
        ["Anna B", "Anna B"],
        "1 spellings differ",
    ),
    "one lesion in several spellings": (
        {"t.csv": ["image_id,dx,lesion_id", "a,mel,L1", "b,mel,l1"]},
        ["a.jpg", "b.jpg"],
        "lesion_id",
        ["L1", "L1"],
        "1 spellings differ",
    ),
    "lesions in German": (
        {"t.csv": ["image_id,dx,Läsions-ID", "a,mel,L1", "b,mel,L1"]},
        ["a.jpg", "b.jpg"],
        "lesion_id",
        ["L1", "L1"],
        "lesion_id=Läsions-ID",
    ),
    "a column that may number lesions": (
        {"t.csv": ["image_id,dx,lesion", "a,mel,1", "b,mel,1", "c,mel,2"]},
        ["a.jpg", "b.jpg", "c.jpg"],
        "lesion_id",
        ["a", "b", "c"],
        "--column lesion_id=lesion",
    ),
    "patients in file names": (
        {},
        ["mel/PAT_1_7_1.png", "mel/PAT_1_8_2.png", "nv/PAT_2_9_3.png"],
        "patient_id",
        ["PAT_1", "PAT_1", "PAT_2"],
        "by the beginnings of file names",
    ),
    "two files of one name in one folder": (
        {"t.csv": ["image_id,dx", "a.png,nv", "a.jpg,mel"]},
        ["a.png", "a.jpg"],
        "image_id",
        ["a.png", "a.jpg"],
        "read: ",
    ),
}


@pytest.mark.parametrize("name", JOINS)
def test_what_is_said_of_an_image_is_of_that_image(name, tmp_path):
    tables, pictures, column, expected, word = JOINS[name]
    read = read_set(laid(tmp_path, tables, pictures))
    found = read.table[column].tolist()
    assert found == pytest.approx(expected, nan_ok=True) if column == "age" else found == expected
    assert word in "\n".join(read.account.sentences())


SIX = ["a.jpg", "b.jpg", "c.jpg"]
TABLE = ["image_id,dx", "a,nv", "b,mel", "c,nv"]
ROLES = {
    "Derm7pt's rows": (
        {"meta/meta.csv": TABLE, "meta/train_indexes.csv": ["indexes", "0", "2"],
         "meta/test_indexes.csv": ["indexes", "1"]},
        ["train", "test", "train"],
    ),
    "texts of names": (
        {"t.csv": TABLE, "train.txt": ["a", "b.jpg"], "val.txt": ["images/c.jpg 0"]},
        ["train", "train", "selection"],
    ),
    "tables of ids": (
        {"t.csv": TABLE, "train_ids.csv": ["image_id", "a"], "test_ids.csv": ["image_id", "b", "c"]},
        ["train", "test", "test"],
    ),
    "a column called dataset": (
        {"t.csv": ["image_id,dx,dataset", "a,nv,train", "b,mel,val", "c,nv,test"]},
        ["train", "selection", "test"],
    ),
    "a column of any name": (
        {"t.csv": ["image_id,dx,purpose", "a,nv,train", "b,mel,test", "c,nv,"]},
        ["train", "test", None],
    ),
    "a test set without truth": ({"t.csv": TABLE, "test.csv": ["image_id", "x", "y"]}, [None] * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", ROLES)
def test_roles_that_stand_in_a_list_or_a_column(name, tmp_path):
    tables, expected = ROLES[name]
    read = read_set(laid(tmp_path, tables, SIX))
    assert [read.roles.get(image) for image in "abc"] == expected
    assert set(read.table["source"]) == {tmp_path.name}
    assert any(output.startswith("roles: ") for output in read.account.notes) == any(expected)


def test_lists_that_disagree_give_no_roles(tmp_path):
    read = read_set(laid(tmp_path, {"t.csv": TABLE, "train.txt": ["a", "b"], "test.txt": ["b", "c"]}, SIX))
    assert not read.roles
    assert any("give several roles to 1 images" in output for output in read.account.notes)


def test_folders_and_a_column_that_give_other_roles_are_said(tmp_path):
    tables = {"t.csv": ["image_id,dx,split", "train/a.jpg,nv,test", "test/b.jpg,mel,train"]}
    read = read_set(laid(tmp_path, tables, ["train/a.jpg", "test/b.jpg"]))
    assert read.roles == {"a": "test", "b": "train"}
    assert any("2 images lie in folders of another role" in output for output in read.account.notes)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image_id,diagnosis,state,reason", "a,mel,answered,"),
        ("image_id,diagnosis,flagged", "a,mel,yes"),
        ("image_id,diagnosis,suspicion,prior", "a,mel,0.9,specialist"),
        ("image_id,diagnosis,probability_mel", "a,mel,0.9"),
        ("image_id;diagnosis;softmax_mel;softmax_nv", "a;mel;0,9;0,1"),
    ],
)
def test_parts_of_answers_are_no_truth(header, row, tmp_path):
    with pytest.raises(UserError, match="holds what a model says"):
        read_set(laid(tmp_path, {"t.csv": [header, row]}, ["a.jpg"]))


@pytest.mark.parametrize(
    ("tables", "pictures", "options"),
    [
        ({"t.csv": ["image_id,target", "a,1", "b,0"]}, ["a.jpg", "b.jpg"],
         ["--column dx=target", "--label malignant=1", "--label benign=0"]),
        ({"t.csv": ["image_id,is_malignant", "a,True", "b,False"]}, ["a.jpg", "b.jpg"],
         ["--column dx=is_malignant", "--label malignant=True", "--label benign=False"]),
        ({"t.csv": ["folder,filename,dx", "v1,0.jpg,nv", "v2,0.jpg,mel"]}, ["v1/0.jpg", "v2/0.jpg"],
         ["this goes through with --column image_id=folder+filename"]),
    ],
)  # fmt: skip
def test_the_options_that_mend_a_table_are_named(tables, pictures, options, tmp_path):
    with pytest.raises(UserError) as caught:
        read_set(laid(tmp_path, tables, pictures))
    for one in options:
        assert one in str(caught.value)


def test_the_named_options_go_through(tmp_path):
    laid(
        tmp_path, {"t.csv": ["folder,filename,target", "v1,0.jpg,1", "v2,0.jpg,0"]}, ["v1/0.jpg", "v2/0.jpg"]
    )
    read = read_set(
        tmp_path,
        columns={"image_id": "folder+filename", "dx": "target"},
        labels={"1": "malignant", "0": "benign"},
    )
    assert read.table[["image_id", "dx"]].to_numpy().tolist() == [["v1/0", "malignant"], ["v2/0", "benign"]]


@pytest.mark.parametrize("encoding", ["cp1251", "gbk", "cp1253", "shift_jis", "koi8-r", "big5"])
def test_words_in_another_script_are_not_read_as_western_letters(encoding, tmp_path):
    word = {"cp1251": "спина", "koi8-r": "спина", "cp1253": "πλάτη"}.get(encoding, "背部面部")
    (tmp_path / "t.csv").write_bytes(f"image_id;dx;site\na;nv;{word}\n".encode(encoding))
    images(tmp_path, ["a"])
    with pytest.raises(UserError, match="save it as CSV in UTF-8"):
        read_set(tmp_path)


def header(path: Path, patient: str) -> None:
    found = pydicom.Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = VLPhotographicImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = "1.2.3"
    found.PatientID = patient
    found.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("output", "groups"),
    [(["A", "A", "B", "B"], 2), (["A", "", "B", "B"], 2), (["X", "X", "X", "X"], 0), (["", "", "", ""], 0)],
)
def test_patients_by_dicom_headers(output, groups, tmp_path):
    for number, patient in enumerate(output):
        header(tmp_path / f"d{number}.dcm", patient)
    laid(tmp_path, {"t.csv": ["image_id,dx", *(f"d{number},nv" for number in range(4))]}, [])
    read = read_set(tmp_path)
    known = read.table["patient_id"].dropna()
    assert known.nunique() == groups
    assert not {*known} & {*output}, "whoever the header names is not named"
    assert any(note.startswith("patients: ") for note in read.account.notes) == any(output)


def test_prediction_reads_the_words_that_training_reads(tmp_path):
    """One reader: the same cells give the same age, sex and site, and the same words are missing."""
    words = [
        ("055Y", "weibl.", "linker Unterarm"),
        ("40-50", "homme", "head_neck_face"),
        ("6 Mon.", "", "Mars"),
    ]
    lines = [f"i{n},nv,{age},{sex},{site}" for n, (age, sex, site) in enumerate(words)]
    laid(tmp_path, {"t.csv": ["image_id,dx,age,sex,site", *lines]}, [f"i{n}.jpg" for n in range(3)])
    table = read_set(tmp_path).table
    found = read_patients(tmp_path / "t.csv", {f"i{n}": tmp_path / f"i{n}.jpg" for n in range(3)})
    for row in table.itertuples():
        one = found.of_image[row.image_id]
        assert (one.age, one.sex, one.site) == (row.age, row.sex, row.site)
    assert any("'Mars'" in doubt for doubt in found.doubts)


def test_maps_beside_images_are_no_images(tmp_path):
    """ISIC 2017 has its superpixels in the folder of the images."""
    laid(tmp_path, {}, ["nv/a.jpg", "nv/a_superpixels.png", "mel/b.jpg"])
    assert (
        sorted(find_images([tmp_path]).images) == sorted(read_set(tmp_path).table["image_id"]) == ["a", "b"]
    )
    assert any("left out: 1 lesion masks" in doubt for doubt in find_images([tmp_path]).doubts)


def test_whoever_wants_the_table_alone_is_told_all_the_same(tmp_path, caplog):
    laid(tmp_path, {"t.csv": ["image_id,dx,site", "a,nv,Mars"]}, ["a.jpg"])
    with caplog.at_level(logging.INFO, "dermlens.data"):
        caplog.handler.setLevel(logging.INFO)
        logging.getLogger("dermlens.data").addHandler(caplog.handler)
        try:
            read_configured(tmp_path, DataConfig())
        finally:
            logging.getLogger("dermlens.data").removeHandler(caplog.handler)
    assert "'Mars' 1" in caplog.text

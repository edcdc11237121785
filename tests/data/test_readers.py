"""The forms of a source: one-hot columns, the ISIC archive's, a folder per class, somebody's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermlens.data.config import DataConfig
from dermlens.data.readers.account import Account
from dermlens.data.readers.names import Diagnoses, classes_of
from dermlens.data.table import read_configured, read_set, read_table, table_sha256
from dermlens.errors import UserError
from dermlens.labels import CLASSES, ISIC_COLUMNS
from dermlens.predict.sources.folders import image_id_of
from dermlens.predict.sources.sheets import read_sheet
from dermlens.predict.sources.tables import Problems

ONE_HOT = "image," + ",".join(ISIC_COLUMNS)


def put(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"not read here")
    return folder


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """ISIC 2018 task 3 as its archives unpack; one image a class, in the columns' order."""
    rows = [f"ISIC_{i}," + ",".join("1.0" if i == j else "0.0" for j in range(7)) for i in range(7)]
    put(
        tmp_path / "ISIC2018_Task3_Training_GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv",
        ONE_HOT,
        *rows,
    )
    images(
        tmp_path / "ISIC2018_Task3_Training_Input", *(f"ISIC_{i}.jpg" for i in range(7)), "ATTRIBUTION.txt"
    )
    return tmp_path


def test_one_hot_columns_are_read_by_name_and_not_by_place(challenge):
    table = read_table(challenge)
    assert table["dx"].tolist() == ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]
    assert table["lesion_id"].tolist() == table["image_id"].tolist()
    assert table["age"].isna().all()


def test_one_hot_finds_its_images_from_the_table_itself(challenge):
    truth = challenge / "ISIC2018_Task3_Training_GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    assert read_table(truth)["path"].tolist() == read_table(challenge)["path"].tolist()


def test_lesion_groupings_join_by_image(challenge):
    put(
        challenge / "ISIC2018_Task3_Training_LesionGroupings.csv",
        "image,lesion_id,diagnosis_confirm_type",
        "ISIC_3,HAM_1,histopathology",
        "ISIC_0,HAM_1,histopathology",
        "ISIC_99,HAM_2,confocal",
    )
    table = read_table(challenge)
    assert table["lesion_id"].tolist() == ["HAM_1", "ISIC_1", "ISIC_2", "HAM_1", "ISIC_4", "ISIC_5", "ISIC_6"]
    assert table["dx_type"].tolist() == ["histopathology" if i in (0, 3) else "unknown" for i in range(7)]


def test_a_table_of_the_other_form_is_a_companion_to_one_hot_truth(challenge):
    put(
        challenge / "metadata" / "ISIC2018_Task3_Training_GroundTruth.csv",
        "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset",
        "HAM_9,ISIC_5,df,histo,35,female,back,rosendahl",
    )
    row = read_table(challenge).loc[5]
    assert (row["lesion_id"], row["dx"], row["age"], row["sex"], row["site"]) == (
        "HAM_9",
        "df",
        35,
        "female",
        "back",
    )


def test_isic_2019_needs_words_for_its_eighth_class(tmp_path):
    put(
        tmp_path / "ISIC_2019_Training_GroundTruth.csv",
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK",
        "ISIC_0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_1_downsampled,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0",
    )
    put(
        tmp_path / "ISIC_2019_Training_Metadata.csv",
        "image,age_approx,anatom_site_general,lesion_id,sex",
        "ISIC_0,55.0,anterior torso,,female",
        "ISIC_1_downsampled,30.0,head/neck,MSK4_0011169,male",
    )
    images(tmp_path / "ISIC_2019_Training_Input", "ISIC_0.jpg", "ISIC_1_downsampled.jpg")
    assert read_table(tmp_path)["dx"].tolist() == ["akiec"]
    table = read_table(tmp_path, labels={"SCC": "scc"}, classes=[*CLASSES, "scc"])
    assert table["dx"].tolist() == ["akiec", "scc"]
    assert table["site"].tolist() == ["anterior torso", "head/neck"]
    assert table["lesion_id"].tolist() == ["ISIC_0", "MSK4_0011169"]


@pytest.mark.parametrize("cells", ["1.0,1.0,0,0,0,0,0", "0,0,0,0,0,0,0", "0.5,0,0,0,0,0,0"])
def test_a_row_that_is_not_one_hot_is_refused(tmp_path, cells):
    put(tmp_path / "truth.csv", ONE_HOT, "ISIC_0,1,0,0,0,0,0,0", f"ISIC_1,{cells}")
    images(tmp_path, "ISIC_0.jpg", "ISIC_1.jpg")
    with pytest.raises(UserError, match=r"truth.csv, row 3.*MEL, NV"):
        read_table(tmp_path)


def test_the_archives_columns_and_names(tmp_path):
    put(
        tmp_path / "metadata.csv",
        "isic_id,attribution,age_approx,sex,anatom_site_general,diagnosis,diagnosis_confirm_type,lesion_id",
        'ISIC_1,"Vienna, Austria",60,female,head/neck,melanoma,histopathology,IL_1',
        "ISIC_2,,,,,seborrheic keratosis,,",
        "ISIC_3,,,,,Nevus,,",
    )
    images(tmp_path / "images", "ISIC_1.jpg", "ISIC_2.png", "ISIC_3.JPEG")
    table = read_table(tmp_path)
    assert table["dx"].tolist() == ["mel", "bkl", "nv"]
    assert table.loc[0, ["age", "sex", "site", "dx_type", "lesion_id"]].tolist() == [
        60.0,
        "female",
        "head/neck",
        "histopathology",
        "IL_1",
    ]
    assert table.loc[1, ["sex", "site", "dx_type", "lesion_id"]].tolist() == [
        "unknown",
        "unknown",
        "unknown",
        "ISIC_2",
    ]


def test_a_folder_per_class(tmp_path):
    images(tmp_path / "mel", "b.jpg", "a.jpg")
    images(tmp_path / "nv", "c.png")
    table = read_table(tmp_path)
    assert table[["image_id", "dx"]].to_numpy().tolist() == [["a", "mel"], ["b", "mel"], ["c", "nv"]]


def test_empty_maps_are_no_maps(challenge, tmp_path):
    """The command line and recipes hand on empty ones where nobody named any."""
    images(tmp_path / "classes" / "mel", "a.jpg")
    for folder in (challenge, tmp_path / "classes"):
        assert read_table(folder, columns={}, labels={}).equals(read_table(folder))


def test_a_folder_per_class_with_own_names_and_a_level_between(tmp_path):
    images(tmp_path / "train" / "benign", "a.jpg")
    images(tmp_path / "test" / "malignant", "b.jpg")
    table = read_table(tmp_path, labels={"benign": "benign", "malignant": "malignant"})
    assert sorted(zip(table["image_id"], table["dx"], strict=True)) == [("a", "benign"), ("b", "malignant")]


def test_a_folder_per_class_is_not_taken_for_the_images_of_a_table_above(tmp_path):
    images(tmp_path / "mine" / "mel", "a.jpg")
    put(tmp_path / "another.csv", "image_id,dx", "a,nv")
    assert read_table(tmp_path / "mine")["dx"].tolist() == ["mel"]


def test_a_folder_per_class_with_an_unknown_one_among_them(tmp_path):
    images(tmp_path / "mel", "a.jpg")
    images(tmp_path / "nevos2", "b.jpg")
    with pytest.raises(UserError, match=r"nevos2.b\.jpg.*'nevos2'"):
        read_table(tmp_path)


def test_one_name_in_two_class_folders_is_two_images(tmp_path):
    images(tmp_path / "mel", "a.jpg")
    images(tmp_path / "nv", "a.jpg", "b.jpg")
    table = read_table(tmp_path)
    assert dict(zip(table["image_id"], table["dx"], strict=True)) == {"mel/a": "mel", "nv/a": "nv", "b": "nv"}


OWN_COLUMNS = {
    "image_id": "file",
    "lesion_id": "patient+spot",
    "sex": "gender",
    "site": "region",
    "dx": "finding",
}
OWN_LABELS = {"NEV": "nv", "MEL": "mel"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    put(
        tmp_path / "list.csv",
        "file,patient,spot,gender,age,region,finding,dx",
        "photos/a.png,P1,1,FEMALE,50,NOSE,NEV,0",
        "photos\\b.png,P2,1,,,,MEL,1",
        "c,P2,,,,,NEV,0",
    )
    images(tmp_path / "photos", "a.png", "b.png", "c.jpg")
    return tmp_path


def test_somebodys_own_folder_with_a_column_map_and_a_label_map(own):
    table = read_table(own, columns=OWN_COLUMNS, labels=OWN_LABELS)
    assert table["image_id"].tolist() == ["a", "b", "c"]
    assert table["lesion_id"].tolist() == ["P1_1", "P2_1", "c"]
    assert table["dx"].tolist() == ["nv", "mel", "nv"]
    assert table["sex"].tolist() == ["female", "unknown", "unknown"]
    assert table["site"].tolist() == ["nose", "unknown", "unknown"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (OWN_COLUMNS | {"sex": "gendre"}, "'gendre'.* nearest: gender"),
        (OWN_COLUMNS | {"lesion_id": "patient+spott"}, "'spott'.* nearest: spot"),
        (OWN_COLUMNS | {"localisation": "region"}, "column map: 'localisation'"),
    ],
)
def test_a_column_map_that_does_not_fit(own, columns, sentence):
    with pytest.raises(UserError, match=sentence.replace("+", r"\+")):
        read_table(own, columns=columns, labels=OWN_LABELS)


def test_a_label_map_to_no_class(own):
    with pytest.raises(UserError, match=r"'NEV'.*'nevus'"):
        read_table(own, columns=OWN_COLUMNS, labels={"NEV": "nevus", "MEL": "mel"}, classes=CLASSES)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (None, CLASSES),
        ({"NEV": "nv"}, CLASSES),
        ({"NEV": "nev", "MEL": "mel", "MM": "mel"}, ("mel", "nev")),
    ],
)
def test_the_classes_are_the_seven_unless_a_map_leads_outside_them(labels, classes):
    assert classes_of(None, labels) == classes


def test_a_label_map_wins_over_the_archives_names():
    def code_of(labels):
        return Diagnoses(CLASSES, labels, Account(Path()), Problems()).code_of("nevus", (), "row")

    assert code_of({"nevus": "mel"}) == "mel"
    assert code_of({}) == "nv"
    assert code_of({"nevus": ""}) is None


def test_row_numbers_are_those_of_a_spreadsheet(tmp_path):
    path = put(tmp_path / "t.csv", "image_id,dx,remark", 'a,nv,"two', 'lines"', "", "b,nv", "c,nv,fine")
    sheet = read_sheet(path)
    assert sheet.rows == (("a", "nv", "two\nlines"), ("b", "nv", ""), ("c", "nv", "fine"))
    assert sheet.numbers == (2, 4, 5)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"image_id,dx\nR\x9fcken,nv\n", "UTF-8 nor UTF-16"),
        (b"image_id,dx,dx\na,nv,nv\n", "column 'dx'"),
        (b'image_id,dx\na,"' + b"x" * 200_000 + b'"\n', "CSV file: field larger"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, content, sentence):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_sheet(tmp_path / "t.csv")


def test_a_table_that_is_a_folder_is_no_table(tmp_path):
    (tmp_path / "metadata.csv").mkdir()
    with pytest.raises(UserError, match=r"metadata\.csv.*directory"):
        read_sheet(tmp_path / "metadata.csv")


@pytest.mark.parametrize(
    ("output", "image_id"),
    [
        ("a.jpg", "a"),
        ("x/y/a.PNG", "a"),
        ("x\\a.jpeg", "a"),
        ("a.b", "a.b"),
        ("a", "a"),
        ("../../etc/a.png", "a"),
    ],
)
def test_an_image_id_is_a_name_alone(output, image_id):
    assert image_id_of(output) == image_id


def tones(folder: Path, *cells: str) -> Path:
    """A table in MILK10k's form, one image a cell."""
    rows = [f"ISIC_{i},IL_{i},nv,{cell}" for i, cell in enumerate(cells)]
    put(folder / "metadata.csv", "image_id,lesion_id,dx,skin_tone_class", *rows)
    images(folder / "images", *(f"ISIC_{i}.jpg" for i in range(len(cells))))
    return folder


def test_skin_tone_is_a_whole_number_or_missing_and_what_is_neither_is_said(tmp_path):
    read = read_set(tones(tmp_path, "0", "5", "3.0", "", "unknown", "6", "-1", "2.5", "pale", "6"))
    found = read.table["skin_tone"]
    assert found[:3].tolist() == [0.0, 5.0, 3.0]
    assert found[3:].isna().all()
    assert read.account.dropped["skin_tone"] == {"6": 2, "-1": 1, "2.5": 1, "pale": 1}
    assert "skin_tone_class" not in read.account.unread
    (output,) = [sentence for sentence in read.account.sentences() if sentence.startswith("skin_tone: words")]
    assert "'6' 2" in output
    assert "--value" not in output  # no option mends it


def test_a_source_that_grades_no_skin_has_no_such_column(tmp_path, challenge):
    assert "skin_tone" not in read_table(challenge)
    assert "skin_tone" not in read_table(tones(tmp_path / "empty", "", "unknown"))


def test_skin_tone_joins_from_a_companion_and_by_a_map(challenge):
    put(
        challenge / "ISIC2018_Task3_Training_Metadata.csv",
        "image_id,lesion_id,skin_tone_class",
        "ISIC_3,HAM_1,4",
        "ISIC_0,HAM_2,2.0",
    )
    found = read_table(challenge)["skin_tone"]
    assert found[[0, 3]].tolist() == [2.0, 4.0]
    assert found.notna().sum() == 2
    mapped = put(challenge / "own" / "own.csv", "image_id,dx,tone", "ISIC_0,mel,1")
    images(challenge / "own", "ISIC_0.jpg")
    assert "skin_tone" not in read_table(mapped)
    assert read_table(mapped, columns={"skin_tone": "tone"})["skin_tone"].tolist() == [1.0]


@pytest.mark.parametrize("ours", ["age", "sex", "site"])
def test_skin_tone_cannot_be_led_into_the_network(tmp_path, ours):
    with pytest.raises(UserError, match=f"{ours}=skin_tone_class"):
        read_table(tones(tmp_path, "1"), columns={ours: "skin_tone_class"})


def test_the_hash_of_a_table_does_not_depend_on_skin_tone(tmp_path):
    table = read_table(tones(tmp_path, "1", "5"))
    assert table_sha256(table) == table_sha256(table.drop(columns="skin_tone"))


def test_folders_with_and_without_skin_tone_make_one_table(tmp_path):
    tones(tmp_path / "graded", "1", "5")
    put(tmp_path / "plain" / "metadata.csv", "image_id,dx", "ISIC_9,mel")
    images(tmp_path / "plain", "ISIC_9.jpg")
    table = read_configured(tmp_path, DataConfig(folders=["plain", "graded"]))
    assert table.set_index("image_id")["skin_tone"].dropna().to_dict() == {"ISIC_0": 1.0, "ISIC_1": 5.0}
    assert len(table) == 3

"""Relatives of the reported situations: a hospital's table or folder, read right or refused aloud."""

from __future__ import annotations

import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from layouts import images

from dermlens.data.readers.diagnoses import class_of
from dermlens.data.table import Reading, read_set, read_table
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.predict.sources.sheets import read_sheet
from dermlens.predict.sources.tables import is_answers, is_telling
from dermlens.predict.sources.vocabulary import age_of, sexes_of, site_of


def put(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


def read_rows(folder: Path, *lines: str, ids: str = "abc", encoding: str = "utf-8", **maps) -> Reading:
    """A table of these lines, next to an image of each of the ids."""
    put(folder / "t.csv", *lines, encoding=encoding)
    images(folder, list(ids))
    return read_set(folder, **maps)


def account_text(read: Reading) -> str:
    return "\n".join(read.account.sentences())


# What a model says.


@pytest.mark.parametrize(
    "header",
    [
        "image_id,diagnosis,set,abstain,reason",
        "image_id,diagnosis,p_mel",
        "Image_ID,Diagnosis,P_mel,P_nv",
        "image_id,diagnosis,abstain",
    ],
)
def test_part_of_an_answer_is_no_truth(header):
    assert is_answers(header.split(","))


@pytest.mark.parametrize("name", ["answers.csv", "model_predictions.csv", "submission_2.csv"])
def test_a_table_that_is_named_as_answers_is_not_taken_unasked(tmp_path, name):
    images(tmp_path, ["a"])
    table = put(tmp_path / name, "image_id,dx", "a,nv")
    with pytest.raises(UserError, match="model says"):
        read_table(tmp_path)
    assert read_table(table)["dx"].tolist() == ["nv"]


def test_a_models_column_is_not_proposed_as_the_diagnosis(tmp_path):
    with pytest.raises(UserError) as caught:
        read_rows(tmp_path, "image_id,prediction", "a,mel")
    assert "dx=prediction" not in str(caught.value)


# Text in every coding.


@pytest.mark.parametrize(
    ("encoding", "site", "read_as"),
    [
        ("cp1252", "Rücken", "back"),
        ("latin-1", "Gesäß", "posterior torso"),
        ("cp1254", "sırt", "back"),
        ("utf-32", "Rücken", "back"),
    ],
)
def test_encodings_of_spreadsheets(tmp_path, encoding, site, read_as):
    read = read_rows(tmp_path, "image_id;dx;site", f"a;nv;{site}", encoding=encoding)
    assert read.table["site"].tolist() == [read_as]
    assert ("not UTF-8" in account_text(read)) == (encoding != "utf-32")


@pytest.mark.parametrize("encoding", ["mac_roman", "cp1250"])
def test_an_encoding_that_would_give_other_letters_is_refused(tmp_path, encoding):
    with pytest.raises(UserError, match=r"CSV.*UTF-8"):
        read_rows(
            tmp_path,
            "image_id;dx;site",
            "a;nv;głowa" if encoding == "cp1250" else "a;nv;Rücken",
            encoding=encoding,
        )


@pytest.mark.parametrize("head", ["sep=;\n", '"sep=;"\n', "\ufeffsep=;\n", "\n\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_stands_above_the_header(tmp_path, head, end):
    text = (head + "image_id;dx;age\na;nv;55,5\n").replace("\n", end)
    (tmp_path / "t.csv").write_bytes(text.encode())
    images(tmp_path, ["a"])
    assert read_table(tmp_path)["age"].tolist() == [55.5]


def test_spaces_of_any_width(tmp_path):
    read = read_rows(tmp_path, "image_id\u00a0, dx ,sex\u200b", "a\u00a0,\u00a0nv\ufeff,male\u200b")
    assert read.table[["dx", "sex"]].to_numpy().tolist() == [["nv", "male"]]


def test_a_title_above_the_columns_is_named(tmp_path):
    with pytest.raises(UserError, match="row 2"):
        read_rows(tmp_path, "Export;;", "image_id;dx;age", "a;nv;5")


def workbook(path: Path, rows: list[list[str]]) -> Path:
    """The least that Excel opens, without a library."""
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml"'
        ' ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1"'
        f' Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="S" sheetId="1"'
        ' r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1"'
        f' Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, text in parts.items():
            file.writestr(name, text)
    return path


def test_a_workbook_is_a_table(tmp_path):
    pytest.importorskip("python_calamine", reason="the extra excel is not installed")
    workbook(
        tmp_path / "Daten.xlsx", [["image_id", "dx", "site"], ["a", "Nävus", "Rücken"], ["b", "mel", ""]]
    )
    images(tmp_path, ["a", "b"])
    assert read_table(tmp_path)[["dx", "site"]].to_numpy().tolist() == [["nv", "back"], ["mel", "unknown"]]


def test_without_the_extra_a_workbook_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    workbook(tmp_path / "Daten.xlsx", [["image_id", "dx"], ["a", "nv"]])
    images(tmp_path, ["a"])
    with pytest.raises(UserError, match=r"dermlens\[excel\]"):
        read_table(tmp_path)


# Words.


@pytest.mark.parametrize(
    ("said_age", "years"),
    [
        ("P045Y", 45), ("P6M", 0.5), ("ca. 45", 45), ("~45", 45), ("5 yrs 3 months", 5.25), ("40s", 45),
        ("[40,50)", 45), ("45 yaş", 45), ("6 Mon.", 0.5), ("1.234,5", None),
        ("12.03.1970", None), ("44 or 45", None),
    ],
)  # fmt: skip
def test_ages(said_age, years):
    assert age_of(said_age) == years


def test_dates_of_birth_are_one_problem_and_refused(tmp_path):
    rows = [f"i{n},nv,19{n % 80 + 10}-01-02" for n in range(300)]
    put(tmp_path / "t.csv", "image_id,dx,age", *rows)
    with pytest.raises(UserError, match=r"row 2.*299.*1910-01-02.*--column age=$"):
        read_table(tmp_path, check_files=False)
    assert read_table(tmp_path, columns={"age": ""}, check_files=False)["age"].isna().all()


def test_many_bad_words_do_not_make_an_endless_command(tmp_path):
    put(tmp_path / "t.csv", "image_id,dx,age", *(f"i{n},nv,old{n}" for n in range(3000)))
    with pytest.raises(UserError) as caught:
        read_table(tmp_path, check_files=False)
    assert "3,000 problems" in str(caught.value)
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("word", ["weibl.", "F.", "kadın", "Mädchen", "niña", "Mme", "femmina", "mulher"])
def test_women(word):
    assert sexes_of([word])[word] == "female"


@pytest.mark.parametrize("word", ["männl.", "m.", "erkek", "Herr", "niño", "Monsieur", "uomo", "homem"])
def test_men(word):
    assert sexes_of([word])[word] == "male"


def test_turkish_letters_for_sexes_are_read_together():
    assert sexes_of(["E", "K"]) == {"E": "male", "K": "female"}
    assert sexes_of(["E"]) == {"E": None}


@pytest.mark.parametrize(
    ("word", "site"),
    [
        ("sırt", "back"), ("forearm (R)", "forearm"), ("re. Bein", "lower extremity"),
        ("dos (gauche)", "back"),
        ("trunk anterior", "anterior torso"), ("sole of foot", "palms/soles"), ("Dekolleté", "chest"),
        ("LWS", "back"), ("Leiste", "anterior torso"), ("kol", "upper extremity"),
    ],
)  # fmt: skip
def test_sites(word, site):
    assert site_of(word) == site


@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("Leberfleck", "nv"), ("grains de beauté", "nv"), ("lunares", "nv"), ("nei", "nv"), ("nevüs", "nv"),
        ("mélanome malin", "mel"), ("melanomi", "mel"), ("bazal hücreli karsinom", "bcc"), ("CBC", "bcc"),
        ("kératoses actiniques", "akiec"), ("aktinik keratoz", "akiec"), ("Alterswarze", "bkl"),
        ("lesões vasculares", "vasc"), ("histiocytofibrome", "df"), ("00_nevus", "nv"), ("mel_images", "mel"),
        ("Melanoma (MEL)", "mel"), ("BCC (basal cell carcinoma)", "bcc"), ("01 Melanoma", "mel"),
        ("mel_train", "mel"),
        ("Nevus, Atypical, Dysplastic, or Clark", "nv"), ("Squamous cell carcinoma", None), ("SCC", None),
        ("Plattenepithelkarzinom", None), ("Squamous cell carcinoma in situ", "akiec"),
    ],
)  # fmt: skip
def test_names_of_diagnoses(folder, code):
    assert class_of(folder, CLASSES) == code
    assert class_of(unicodedata.normalize("NFD", folder), CLASSES) == code


def test_folders_of_two_kinds_in_another_language(tmp_path):
    images(tmp_path / "gutartig", ["a"])
    images(tmp_path / "bösartig", ["b"])
    assert sorted(read_table(tmp_path)["dx"]) == ["benign", "malignant"]


def test_a_bare_carcinoma_is_bowens_in_ham10000_alone(tmp_path):
    """ISIC 2019 files 197 of HAM10000's `akiec` under SCC, next to 431 invasive ones of BCN20000."""
    ids = ["ISIC_0024306", "ISIC_0034320", "ISIC_0034321", "ISIC_0053456"]
    put(tmp_path / "t.csv", "image,AK,SCC", *(f"{one},0,1" for one in ids))
    images(tmp_path, ids)
    read = read_set(tmp_path)
    assert read.table["image_id"].tolist() == ids[:2]
    assert set(read.table["dx"]) == {"akiec"}
    assert read.account.left_out == {"SCC": 2}
    own = read_table(tmp_path, labels={"SCC": "scc"}, classes=[*CLASSES, "scc"])
    assert own["dx"].tolist() == ["scc"] * 4


def test_several_diagnoses_in_a_cell_are_not_proposed_as_one(tmp_path):
    with pytest.raises(UserError) as caught:
        read_rows(tmp_path, "image_id,dx", "a,mel/nv", "b,nv?")
    assert "--skip mel/nv " in str(caught.value)
    assert "nv=nv?" not in str(caught.value)


# The ISIC archive, and one-hot columns.


def test_a_coarse_level_alone_is_left_out_and_counted(tmp_path):
    read = read_rows(
        tmp_path,
        "isic_id,anatom_site_general,anatom_site_1,anatom_site_2,diagnosis_1,diagnosis_2,diagnosis_3,diagnosis_4",
        'a,,Trunk,Back,Benign,Benign melanocytic proliferations,Nevus,"Nevus, Spitz"',
        "b,torso,,,Benign,,,",
        "c,torso,,,Indeterminate,,,",
    )
    assert read.table["dx"].tolist() == ["nv"]
    assert read.table["site"].tolist() == ["back"]
    assert read.account.left_out == {"Benign": 1, "Indeterminate": 1}


@pytest.mark.parametrize("column", ["diagnosis_1", "benign_malignant"])
def test_the_archive_may_say_no_more_than_two_classes(tmp_path, column):
    read = read_rows(tmp_path, f"isic_id,{column}", "a,Benign", "b,Malignant", "c,Indeterminate")
    assert read.table["dx"].tolist() == ["benign", "malignant"]


def test_levels_in_one_cell(tmp_path):
    read = read_rows(
        tmp_path, "isic_id,iddx_full", "a,Benign::Benign melanocytic proliferations::Nevus", "b,Benign"
    )
    assert read.table["dx"].tolist() == ["nv"]


@pytest.mark.parametrize("ones", ["1,0", "1.0,0.0", "True,False", "yes,no", "x,"])
def test_ones_in_words(tmp_path, ones):
    assert read_rows(tmp_path, "image,MEL,NV", f"a,{ones}").table["dx"].tolist() == ["mel"]


def test_columns_of_unknown_classes_are_proposed(tmp_path):
    with pytest.raises(UserError, match="--classes cyst9,wen"):
        read_rows(tmp_path, "image,cyst9,wen", "a,1,0", "b,0,1")
    with pytest.raises(UserError, match=r"'FOO'.*--skip FOO$"):
        read_rows(tmp_path, "image,MEL,NV,FOO", "a,1,0,0", "b,0,1,0", "c,0,0,1")


# Who belongs together.


@pytest.mark.parametrize(
    "name",
    [
        "PatientID",
        "Patienten-ID",
        "patient number",
        "PatNr",
        "id_paciente",
        "MRN",
        "subject",
        "hasta_no",
        "Person ID",
    ],
)
def test_patients_under_other_names(tmp_path, name):
    read = read_rows(tmp_path, f"image_id,dx,{name}", "a,nv,1", "b,nv,1.0", "c,mel,2")
    assert read.table["patient_id"].tolist() == ["1", "1", "2"]


def test_attributes_of_patients_are_no_patients(tmp_path):
    read = read_rows(tmp_path, "image_id,dx,patient_age,patient_sex", "a,nv,5,F")
    assert read.table["patient_id"].tolist() == [None]
    assert read.table["age"].tolist() == [5]


def test_patients_by_their_folders(tmp_path):
    for patient in ("P01", "P02"):
        images(tmp_path / patient / "nv", [f"{patient}a", f"{patient}b"])
    read = read_set(tmp_path)
    assert read.table["patient_id"].tolist() == ["P01", "P01", "P02", "P02"]
    assert "by the folders" in account_text(read)


def test_columns_that_may_group_images_are_named(tmp_path):
    read = read_rows(tmp_path, "image_id,dx,Fallnummer", "a,nv,1", "b,nv,1", "c,nv,2")
    assert "--column patient_id=Fallnummer" in account_text(read)


@pytest.mark.parametrize(
    "name",
    [
        "Histologie",
        "ICD10",
        "Exzision",
        "pathology_report",
        "ai_score",
        "melanoma_suspected",
        "Befund",
        "risk",
    ],
)
def test_columns_that_tell_the_answer_in_other_words(tmp_path, name):
    read = read_rows(tmp_path, f"image_id,dx,{name}", "a,nv,1")
    assert read.account.telling == [name]
    with pytest.raises(UserError, match="network"):
        read_table(tmp_path, columns={"site": name})


@pytest.mark.parametrize("name", ["skin_cancer_history", "family_hx_mm", "itch", "background_father"])
def test_what_a_patient_had_before_does_not_tell(name):
    assert not is_telling(name)


# Roles, files.


@pytest.mark.parametrize(
    "names",
    [
        ("Training", "Validierung", "Test"), ("entrainement", "validation", "essai"),
        ("entrenamiento", "validación", "prueba"), ("addestramento", "validazione", "test"),
        ("treino", "validacao", "teste"), ("egitim", "dogrulama", "test"),
    ],
)  # fmt: skip
def test_roles_in_other_languages(tmp_path, names):
    for name in names:
        images(tmp_path / name / "nv", [f"{name}{n}" for n in range(2)])
    roles = read_set(tmp_path).roles
    assert {image[:-1]: role for image, role in roles.items()} == dict(
        zip(names, ("train", "selection", "test"), strict=True)
    )


def test_tables_of_roles_are_one(tmp_path):
    for name, image in (("train", "a"), ("val", "b"), ("test", "c")):
        put(tmp_path / f"{name}.csv", "image_id,dx", f"{image},nv")
    images(tmp_path, ["a", "b", "c"])
    read = read_set(tmp_path)
    assert read.roles == {"a": "train", "b": "selection", "c": "test"}
    assert all(name in account_text(read) for name in ("train.csv", "val.csv", "test.csv"))


def test_a_published_test_table_without_diagnoses_is_no_second_truth(tmp_path):
    put(tmp_path / "bcn_20k_train.csv", "bcn_filename,diagnosis,split", "a.jpg,MEL,train")
    put(tmp_path / "bcn_20k_test.csv", "bcn_filename,diagnosis,split", "b.jpg,,test")
    images(tmp_path, ["a", "b"])
    assert read_table(tmp_path)["dx"].tolist() == ["mel"]


def test_roles_that_are_not_understood_are_said(tmp_path):
    assert "column split" in account_text(
        read_rows(tmp_path, "image_id,dx,split", "a,nv,train", "b,nv,unused", "c,nv,test")
    )
    for fold in range(2):
        images(tmp_path / "folds" / f"fold{fold}" / "nv", [f"f{fold}"])
    assert "fold0, fold1" in account_text(read_set(tmp_path / "folds"))


def test_folders_that_machines_make_hold_no_images(tmp_path):
    for name in ("@eaDir/a.jpg", "#recycle", "__MACOSX/nv", ".thumbs"):
        images(tmp_path / "nv" / name, ["x"])
    images(tmp_path / "nv", ["a", "._a"])
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / "nv" / name).write_bytes(b"x")
    assert read_table(tmp_path)["image_id"].tolist() == ["a"]


def test_the_column_that_holds_the_files_is_proposed(tmp_path):
    put(tmp_path / "t.csv", "image_id,path,dx", "X1,v2/0.jpg,nv", "X2,v1/0.jpg,mel")
    for number, visit in enumerate(("v1", "v2")):
        images(tmp_path / visit, ["0"])
        (tmp_path / visit / "0.jpg").write_bytes(bytes([number]))
    with pytest.raises(UserError, match="--column image_id=path"):
        read_table(tmp_path)
    assert read_table(tmp_path, columns={"image_id": "path"})["image_id"].tolist() == ["v2/0", "v1/0"]


def test_a_folder_and_a_name_in_two_columns_make_a_path(tmp_path):
    put(tmp_path / "t.csv", "folder,name,dx", "v2,0.jpg,nv")
    for number, visit in enumerate(("v1", "v2")):
        images(tmp_path / visit, ["0"])
        (tmp_path / visit / "0.jpg").write_bytes(bytes([number]))
    assert read_table(tmp_path, columns={"image_id": "folder+name"})["image_id"].tolist() == ["v2/0"]


def test_encodings_keep_their_row_numbers(tmp_path):
    sheet = read_sheet(put(tmp_path / "t.csv", "", "image_id,dx", "a,nv", "", "b,nv"))
    assert sheet.numbers == (3, 5)

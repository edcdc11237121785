"""Situations from public bug reports, each read right or refused aloud; the pictures are drawn here."""

# rows of tables are as long as they are
from __future__ import annotations

import io
import struct
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageCms
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, VLPhotographicImageStorage

from dermlens.data.table import read_set, read_table
from dermlens.data.verify import verify
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.predict.patients import find_images
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.pictures.preprocessing import read_image


def drawn(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Noise on skin colour: each picture another."""
    noise = np.random.default_rng(seed).normal(0, 9, (size[1], size[0], 3))
    return Image.fromarray((np.array([214, 170, 148]) + noise).clip(0, 255).astype(np.uint8))


def pictures(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        drawn(seed).save(folder / name)
    return folder


def put(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def photograph(path: Path, image: Image.Image, *, profile: bytes = b"", jpeg: bytes = b"", **header) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = VLPhotographicImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    found = pydicom.Dataset()
    found.file_meta = meta
    found.SOPClassUID, found.SOPInstanceUID = VLPhotographicImageStorage, "1.2.3"
    found.Columns, found.Rows = image.size
    found.SamplesPerPixel, found.BitsAllocated, found.BitsStored, found.HighBit = 3, 8, 8, 7
    found.PixelRepresentation, found.PlanarConfiguration = 0, 0
    found.PhotometricInterpretation = "RGB"
    if profile:
        found.ICCProfile = profile
    for name, value in header.items():
        setattr(found, name, value)
    found.PixelData = encapsulate([jpeg]) if jpeg else np.asarray(image).tobytes()
    found["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def rgb_jpeg(image: Image.Image) -> bytes:
    """A JPEG of red, green and blue without any mark, its components called 1, 2 and 3."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, keep_rgb=True, subsampling=0)
    data = stream.getvalue()
    at = data.find(b"\xff\xee")
    bare = bytearray(data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :])
    frame, scan = bare.find(b"\xff\xc0"), bare.find(b"\xff\xda")
    for number in range(3):
        bare[frame + 10 + 3 * number] = bare[scan + 5 + 2 * number] = number + 1
    return bytes(bare)


def lab_profile() -> bytes:
    """A profile that is not sRGB: its red and blue are exchanged, as a test of whether it is used at all."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {
        bytes(data[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n
        for n in range(struct.unpack(">I", data[128:132])[0])
    }
    red, blue = data[at[b"rXYZ"] + 4 : at[b"rXYZ"] + 12], data[at[b"bXYZ"] + 4 : at[b"bXYZ"] + 12]
    data[at[b"rXYZ"] + 4 : at[b"rXYZ"] + 12], data[at[b"bXYZ"] + 4 : at[b"bXYZ"] + 12] = blue, red
    return bytes(data).replace(b"s\0R\0G\0B", b"t\0e\0s\0t").replace(b"sRGB", b"test")


ANSWERS = "image_id,diagnosis,p_mel,p_nv,set,state,reason"


def test_answers_are_no_labels(tmp_path):
    pictures(tmp_path / "set", "a.jpg", "b.jpg")
    table = put(
        tmp_path / "set" / "answers.csv", ANSWERS, "a,mel,0.9,0.1,mel,answered,", "b,nv,0.1,0.9,nv,answered,"
    )
    for named in (tmp_path / "set", table):
        with pytest.raises(UserError, match=r"answers\.csv"):
            read_table(named)
    table.rename(tmp_path / "answers.csv")
    with pytest.raises(UserError, match="no table"):
        read_table(tmp_path / "set")


def test_answers_beside_labels_are_left_and_named(tmp_path):
    pictures(tmp_path, "a.jpg")
    put(tmp_path / "answers.csv", ANSWERS, "a,mel,0.9,0.1,mel,answered,")
    put(tmp_path / "labels.csv", "image_id,dx", "a,nv")
    read = read_set(tmp_path)
    assert read.table["dx"].tolist() == ["nv"]
    assert read.account.source.name == "labels.csv"
    assert any("answers.csv" in output for output in read.account.not_read)


def test_a_dicom_profile_is_converted_as_that_of_a_png(tmp_path):
    image, profile = drawn(3), lab_profile()
    image.save(tmp_path / "same.png", icc_profile=profile)
    photograph(tmp_path / "same.dcm", image, profile=profile)
    png = read_image(tmp_path / "same.png")
    assert np.abs(png.astype(int) - np.asarray(image)).max() > 20, "the profile must matter"
    np.testing.assert_array_equal(read_image(tmp_path / "same.dcm"), png)


def test_an_rgb_jpeg_frame_is_read_as_pydicom_reads_it(tmp_path):
    path = photograph(tmp_path / "d.dcm", drawn(0), jpeg=rgb_jpeg(drawn(0)))
    expected = pixel_array(pydicom.dcmread(path)).astype(int)
    assert np.abs(read_image(path).astype(int) - expected).mean() < 0.5


@pytest.mark.parametrize("space", ["HSV", "ARGB", "CMYK", "YBR_ICT", "YBR_PARTIAL_422", ""])
def test_colours_in_another_space_are_refused(space, tmp_path):
    path = photograph(tmp_path / "d.dcm", drawn(0), PhotometricInterpretation=space)
    with pytest.raises(ImageError, match="RGB, YBR_FULL, YBR_FULL_422"):
        read_image(path)


def test_a_header_that_contradicts_its_jpeg_is_said(tmp_path):
    stream = io.BytesIO()
    drawn(0).save(stream, "JPEG", quality=92)  # with JFIF's mark: YCbCr
    path = photograph(tmp_path / "d.dcm", drawn(0), jpeg=stream.getvalue())
    put(tmp_path / "table.csv", "image_id,dx", "d,nv")
    np.testing.assert_array_equal(read_image(path), read_image(stream.getvalue()))
    assert any("YCbCr" in output and "(d)" in output for output in verify(tmp_path).account)
    assert any("YCbCr" in output for output in read_set(tmp_path, check_files=False).account.notes)
    assert any("YCbCr" in output for output in find_images([tmp_path]).doubts)


def test_verify_takes_dicom_and_the_headers_patient(tmp_path):
    for number in range(3):
        photograph(tmp_path / f"d{number}", drawn(number), PatientAge="045Y", PatientSex="F")
    put(tmp_path / "table.csv", "image_id,dx", "d0,nv", "d1,mel", "d2,bcc")
    seen = verify(tmp_path)
    assert seen.ok
    assert seen.sizes == {(64, 48): 3}
    assert (seen.counts["age"], seen.counts["sex"]) == ({"40–49": 3}, {"female": 3})


ARCHIVE = "isic_id,age_approx,sex,anatom_site_general,diagnosis_1,diagnosis_2,diagnosis_3,lesion_id"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    rows = [
        "I0,50,male,torso,Benign,Benign melanocytic proliferations,Nevus,L0",
        'I1,50,male,torso,Malignant,,"Melanoma, NOS",L1',
        "I2,50,male,torso,Malignant,,Melanoma in situ,L2",
        "I3,50,male,torso,Indeterminate,,Solar or actinic keratosis,L3",
        'I4,50,male,torso,Malignant,,"Squamous cell carcinoma, NOS",L4',
        "I5,50,male,torso,Benign,Benign soft tissue proliferations - Vascular,,L5",
        "I6,50,male,torso,Benign,Benign - Other,Scar,L6",
    ]
    put(tmp_path / "metadata.csv", ARCHIVE, *rows)
    return pictures(tmp_path, *(f"I{number}.jpg" for number in range(7)))


def test_the_archives_words_of_today(archive):
    read = read_set(archive)
    assert read.table["dx"].tolist() == ["nv", "mel", "mel", "akiec", "vasc"]
    assert read.account.left_out == Counter({"Squamous cell carcinoma, NOS": 1, "Scar": 1})
    labels = {"Scar": "", "Squamous cell carcinoma, NOS": "akiec"}
    assert read_table(archive, labels=labels)["dx"].tolist() == ["nv", "mel", "mel", "akiec", "akiec", "vasc"]
    assert Counter(
        read_table(archive, labels={"Indeterminate": ""}, classes=["benign", "malignant"])["dx"]
    ) == {
        "benign": 3,
        "malignant": 3,
    }


def test_a_path_in_a_table_counts(tmp_path):
    for visit, first in (("visit1", 0), ("visit2", 50)):
        for number in range(2):
            (tmp_path / visit).mkdir(exist_ok=True)
            drawn(first + number).save(tmp_path / visit / f"{number:03d}.bmp")  # all of one size
    put(tmp_path / "table.csv", "image_id,dx", "visit2/000.bmp,nv", "visit2\\001.bmp,mel")
    table = read_table(tmp_path)
    assert [Path(path).parent.name for path in table["path"]] == ["visit2", "visit2"]
    assert table["image_id"].tolist() == ["visit2/000", "visit2/001"]
    put(tmp_path / "table.csv", "image_id,dx", "000,nv")
    with pytest.raises(UserError, match="image 000"):
        read_table(tmp_path)
    put(tmp_path / "table.csv", "image_id,dx", "visit3/000.bmp,nv")
    with pytest.raises(UserError, match="is not in"):
        read_table(tmp_path)


def test_names_agree_in_composed_and_decomposed_form(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Nävus_1")
    pictures(tmp_path, f"{decomposed}.jpg")
    put(tmp_path / "table.csv", "image_id,dx", "Nävus_1,nv")
    assert Path(read_table(tmp_path)["path"][0]).is_file()


def test_one_name_in_every_class_folder(tmp_path):
    pictures(tmp_path, *(f"{dx}/{number}.jpg" for dx in ("benign", "malignant") for number in (1, 2)))
    table = read_table(tmp_path, classes=["benign", "malignant"])
    assert table["image_id"].tolist() == ["benign/1", "benign/2", "malignant/1", "malignant/2"]
    assert verify(tmp_path).ok


def test_folders_by_usual_names_of_diagnoses(tmp_path):
    names = (
        "Melanoma",
        "Melanocytic nevus",
        "basal_cell_carcinoma",
        "Seborrhoische Keratose",
        "AK",
        "haemangioma",
    )
    pictures(tmp_path, *(f"{name}/p{number}.jpg" for number, name in enumerate(names)))
    assert sorted(read_table(tmp_path)["dx"]) == ["akiec", "bcc", "bkl", "mel", "nv", "vasc"]


def test_every_site_is_understood_or_counted(tmp_path):
    words = ["head_neck_face", "upper_extremity", "lower-extremity", "Rücken", "linker Unterarm", "Planet"]
    rows = [f"i{number},nv,{word}" for number, word in enumerate(words)]
    put(tmp_path / "table.csv", "image_id,dx,site", *rows)
    pictures(tmp_path, *(f"i{number}.jpg" for number in range(len(words))))
    read = read_set(tmp_path)
    expected = ["head/neck", "upper extremity", "lower extremity", "back", "forearm", "unknown"]
    assert read.table["site"].tolist() == expected
    assert read.account.dropped == {"site": Counter({"Planet": 1})}
    assert any("'Planet' 1" in output for output in verify(tmp_path).account)
    assert read_table(tmp_path, values={"site.back": ["Planet"]})["site"].iloc[-1] == "back"


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    parts = (("train", 4), ("val", 2), ("test", 2))
    names = [
        f"{part}/{dx}/{part}_{dx}{n}.jpg"
        for part, count in parts
        for dx in ("mel", "nv")
        for n in range(count)
    ]
    return pictures(tmp_path / "set", *names)


def test_folders_of_roles_are_roles(roles, tmp_path, dermlens):
    outcome = dermlens("data", "split", "--data", roles, "-o", tmp_path / "s.csv")
    assert outcome.code == 0
    rows = [
        line.split(",") for line in (tmp_path / "s.csv").read_text().splitlines() if line.startswith("test_")
    ]
    assert len(rows) == 4
    assert {role for _, _, role in rows} == {"test"}
    assert any("train 8, selection 4, test 4" in line for line in verify(roles).account)


def test_a_patient_is_in_one_role(tmp_path, dermlens):
    rows = [f"I{n:02d},P{n // 6},{('nevus', 'melanoma')[n % 2]}" for n in range(60)]
    put(tmp_path / "set" / "metadata.csv", "isic_id,patient_id,diagnosis", *rows)
    pictures(tmp_path / "set", *(f"I{n:02d}.jpg" for n in range(60)))
    outcome = dermlens("data", "split", "--data", tmp_path / "set", "-o", tmp_path / "s.csv")
    assert "patient who is trained on" in outcome.out
    roles: dict[int, set[str]] = {}
    for line in (tmp_path / "s.csv").read_text().splitlines():
        if line.startswith("I"):
            image, _, role = line.split(",")
            roles.setdefault(int(image[1:]) // 6, set()).add(role)
    assert [len(of_patient) for of_patient in roles.values()] == [1] * 10


def test_a_column_that_tells_the_answer_feeds_no_network(tmp_path):
    put(tmp_path / "table.csv", "image_id,dx,biopsed", "a,nv,False")
    pictures(tmp_path, "a.jpg")
    assert read_set(tmp_path).account.telling == ["biopsed"]
    with pytest.raises(UserError, match="site=biopsed"):
        read_table(tmp_path, columns={"site": "biopsed"})


def test_a_site_that_gives_the_class_away_is_warned_of(tmp_path):
    rows = [f"a{n},{dx},{site}" for n in range(20) for dx, site in [(("mel", "back"), ("nv", "face"))[n % 2]]]
    put(tmp_path / "table.csv", "image_id,dx,site", *rows)
    pictures(tmp_path, *(f"a{n}.jpg" for n in range(20)))
    assert any(
        output.startswith("site ") and "class" in output for output in read_set(tmp_path).account.notes
    )


def test_all_problems_in_one_list_with_the_options_that_mend_them(tmp_path):
    put(tmp_path / "table.csv", "image_id,dx,age,sex", "a,mell,400,x1", "b,nv,40,male", "c,scurvy,old,")
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    with pytest.raises(UserError) as caught:
        read_table(tmp_path)
    for word in (
        "5 problems",
        "'mell'",
        "'scurvy'",
        "400",
        "'old'",
        "'x1'",
        "--label mel=mell",
        "--skip scurvy",
    ):
        assert word in str(caught.value)
    labels, values = {"mell": "mel", "scurvy": ""}, {"age.unknown": ["400", "old"], "sex.unknown": "x1"}
    assert read_table(tmp_path, labels=labels, values=values)["dx"].tolist() == ["mel", "nv"]


def test_columns_of_another_language_are_suggested(tmp_path):
    put(
        tmp_path / "t.csv",
        "Datei;Befund;Alter;Geschlecht;Ort",
        "a.jpg;Melanom;55,5;w;Rücken",
        "b.jpg;NZN;40;m;Bein",
    )
    pictures(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(UserError, match="--column image_id=Datei --column dx=Befund"):
        read_table(tmp_path)
    columns = {"image_id": "Datei", "dx": "Befund", "age": "Alter", "sex": "Geschlecht", "site": "Ort"}
    table = read_table(tmp_path, columns=columns)
    assert table["age"].tolist() == [55.5, 40]
    assert table[["dx", "sex", "site"]].to_numpy().tolist() == [
        ["mel", "female", "back"],
        ["nv", "male", "lower extremity"],
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("begin", ["", "sep=;"])
def test_dialects_of_csv(tmp_path, encoding, begin):
    lines = [line for line in (begin, "image_id;dx;age", "a;nv;55,5", "b;mel;40,5") if line]
    put(tmp_path / "t.csv", *lines, encoding=encoding)
    pictures(tmp_path, "a.jpg", "b.jpg")
    assert read_table(tmp_path)["age"].tolist() == [55.5, 40.5]


CODES = ",".join(["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"])
LAYOUTS = {
    "isic2016": ({"truth.csv": ["a,benign", "b,malignant"]}, ["benign", "malignant"]),
    "isic2017": (
        {
            "truth.csv": ["image_id,melanoma,seborrheic_keratosis", "a,0.0,0.0", "b,1.0,0.0"],
            "metadata.csv": ["image_id,age_approximate,sex", "a,unknown,male", "b,40,female"],
        },
        ["nv", "mel"],
    ),
    "isic2018": (
        {"truth.csv": [f"image,{CODES}", "a,1.0,0.0,0.0,0.0,0.0,0.0,0.0", "b,0,0,0,1,0,0,0"]},
        ["mel", "akiec"],
    ),
    "isic2019": (
        {
            "truth.csv": [
                "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK",
                "a,0,0,0,1,0,0,0,0,0",
                "b,0,0,0,0,0,0,0,0,1",
            ]
        },
        ["akiec"],
    ),
    "isic2020": (
        {
            "train.csv": [
                "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target",
                "a,IP_1,male,45,head/neck,melanoma,malignant,1",
                "b,IP_2,female,45,torso,unknown,benign,0",
            ]
        },
        ["mel"],
    ),
    "milk10k": (
        {
            "MILK10k_Training_GroundTruth.csv": [
                "lesion_id,AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC",
                "IL_1,0,1,0,0,0,0,0,0,0,0,0",
                "IL_2,0,0,0,0,0,0,0,0,0,1,0",
            ],
            "MILK10k_Training_Metadata.csv": [
                "lesion_id,image_type,isic_id,age_approx,sex,skin_tone_class,site",
                "IL_1,dermoscopic,a,50,male,3,head_neck_face",
                "IL_2,dermoscopic,b,50,male,3,trunk",
            ],
        },
        ["bcc"],
    ),
    "pad_ufes_20": (
        {
            "metadata.csv": [
                "patient_id,lesion_id,age,gender,region,diagnostic,img_id,biopsed",
                "PAT_1,7,55,FEMALE,FOREARM,ACK,a.jpg,True",
                "PAT_2,7,60,MALE,NOSE,NEV,b.jpg,False",
            ]
        },
        ["akiec", "nv"],
    ),
    "derm7pt": (
        {
            "meta.csv": [
                "case_num,diagnosis,seven_point_score,location,sex,clinic,derm,management",
                "1,clark nevus,2,lower limbs,female,x.jpg,a.jpg,excision",
                "2,melanoma (less than 0.76 mm),4,back,male,y.jpg,b.jpg,excision",
            ]
        },
        ["nv", "mel"],
    ),
    "bcn20000": (
        {
            "bcn_20k_train.csv": [
                "bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split",
                "a.jpg,50,head/neck,MEL,B1,2012-01-01,male,train",
                "b.jpg,50,anterior torso,SK,B2,2012-01-01,male,train",
            ]
        },
        ["mel", "bkl"],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_tables_are_read_without_a_map(tmp_path, name):
    tables, expected = LAYOUTS[name]
    for file, lines in tables.items():
        put(tmp_path / file, *lines)
    pictures(tmp_path, "images/a.jpg", "images/b.jpg")
    read = read_set(tmp_path)
    assert read.table["dx"].tolist() == expected
    assert len(read.table) + sum(read.account.left_out.values()) == 2
    if name == "pad_ufes_20":
        assert read.table["lesion_id"].tolist() == ["PAT_1_7", "PAT_2_7"]


def test_one_hot_of_somebodys_own_classes(tmp_path):
    put(tmp_path / "truth.csv", "image,cyst9,wen", "a,1,0", "b,0,1")
    pictures(tmp_path, "a.jpg", "b.jpg")
    assert read_table(tmp_path, classes=["cyst9", "wen"])["dx"].tolist() == ["cyst9", "wen"]


@pytest.mark.parametrize("code", CLASSES)
def test_every_class_is_its_own_name(code):
    from dermlens.data.readers.names import class_of

    assert class_of(code.upper(), CLASSES) == code

"""`dermlens segment` as a person uses it: masks known beforehand, going on, and what it never touches."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import DermoscopicPhotographyImageStorage, ExplicitVRLittleEndian
from segmenters import dark_segmenter
from sklearn.metrics import jaccard_score

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.errors import UserError
from dermlens.files import claimed
from dermlens.predict.masks import COLUMNS, MaskFolder, described
from dermlens.predict.segmenter import Segmenter

COMMITTED = Path(__file__).parents[2] / "models" / "segmenter"


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    return dark_segmenter(tmp_path_factory.mktemp("dark") / "segmenter")


@pytest.fixture
def segment(dermlens, dark):
    """Run the verb; its exit code, what it says, and what it complains of."""

    def run(*words, model=dark):
        code, out, err = dermlens("segment", *words, "--model", model)
        return code, out, err.splitlines()

    return run


def save(path, box=None, size=(64, 48), colour=(90, 40, 30)):
    """An image of light skin with a dark box (left, top, right, bottom)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (220, 190, 180))
    if box is not None:
        image.paste(colour, box)
    image.save(path)
    return path


@pytest.fixture
def visit(tmp_path):
    """Four images: a lesion amid skin, one that leaves the image, none, and nothing else than lesion."""
    folder = tmp_path / "visit"
    save(folder / "amid.png", (16, 12, 32, 36))
    save(folder / "cut.png", (0, 12, 32, 24))
    save(folder / "bare.png")
    save(folder / "all.png", (0, 0, 64, 48))
    return folder


def rows_of(folder):
    with (folder / "masks.csv").open(newline="", encoding="utf-8") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def mask_of(folder, image_id):
    with Image.open(folder / f"{image_id}_segmentation.png") as mask:
        assert (mask.format, mask.mode) == ("PNG", "L")
        return np.asarray(mask)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_masks_and_what_they_show(segment, visit, tmp_path):
    code, out, err = segment(visit, "--out", tmp_path / "masks")
    assert (code, err) == (0, [])
    assert "not a medical device" in out
    ids = ["all", "amid", "bare", "cut"]
    assert files_in(tmp_path / "masks") == [*(f"{one}_segmentation.png" for one in ids), "masks.csv"]
    rows = rows_of(tmp_path / "masks")
    assert list(rows) == ids
    assert tuple(rows["all"]) == COLUMNS
    for image_id, row in rows.items():
        mask = mask_of(tmp_path / "masks", image_id)
        assert mask.shape == (48, 64)
        assert set(np.unique(mask)) <= {0, 255}
        assert row["mask"] == f"{image_id}_segmentation.png"
        assert (row["width"], row["height"]) == ("64", "48")
        assert float(row["lesion_share"]) == pytest.approx((mask > 0).mean(), abs=1e-6)
    answers = {one: (row["empty"], row["touches_border"]) for one, row in rows.items()}
    assert answers == {
        "all": ("no", "yes"), "amid": ("no", "no"), "bare": ("yes", "no"), "cut": ("no", "yes"),
    }  # fmt: skip
    box = {one: [row[side] for side in ("left", "top", "right", "bottom")] for one, row in rows.items()}
    assert box["amid"] == ["16", "12", "32", "36"]
    assert box["cut"] == ["0", "12", "32", "24"]
    assert box["bare"] == [""] * 4
    assert float(rows["amid"]["lesion_share"]) == pytest.approx(16 * 24 / (64 * 48), abs=0.003)


def test_json_says_what_the_table_says(segment, visit, tmp_path):
    code, out, err = segment(visit, "--out", tmp_path / "masks", "--json")
    assert (code, err) == (0, [])
    found, rows = json.loads(out), rows_of(tmp_path / "masks")
    assert found["unreadable"] == {}
    assert found["licence"] == "CC0"
    assert "not a medical device" in found["limits"][0]
    assert [one["image_id"] for one in found["masks"]] == list(rows)
    for one in found["masks"]:
        row = rows[one["image_id"]]
        assert one["empty"] == (row["empty"] == "yes") == (one["box"] is None)
        assert one["touches_border"] == (row["touches_border"] == "yes")
        assert float(row["lesion_share"]) == pytest.approx(one["lesion_share"], abs=1e-6)
        assert [str(side) for side in one["box"] or [""] * 4] == [row[side] for side in COLUMNS[-4:]]


@pytest.mark.parametrize(
    ("pixels", "touches", "box"),
    [((0, 3), True, (3, 0, 4, 1)), ((4, 3), False, (3, 4, 4, 5)), ((9, 3), True, (3, 9, 4, 10)),
     ((4, 0), True, (0, 4, 1, 5)), ((4, 6), True, (6, 4, 7, 5)), ((8, 5), False, (5, 8, 6, 9))],
)  # fmt: skip
def test_one_pixel_at_each_edge(pixels, touches, box):
    mask = np.zeros((10, 7), np.uint8)
    mask[pixels] = 255
    found = described("one", mask)
    assert (found.touches_border, found.box, found.empty) == (touches, box, False)
    assert found.lesion_share == 1 / 70


def test_lesions_that_were_drawn_are_found_by_the_segmenter_of_the_repository(segment, tmp_path):
    """The truth is where they were drawn; scikit-learn counts. It was trained on photographs alone."""
    write_synthetic(tmp_path / "data", lesions=12, seed=0, size=(150, 200))
    code, _, err = segment(tmp_path / "data" / "images", "--out", tmp_path / "masks", model=COMMITTED)
    assert (code, err) == (0, [])
    scores = []
    for image_id, row in rows_of(tmp_path / "masks").items():
        with Image.open(tmp_path / "data" / "masks" / row["mask"]) as drawn:
            truth = np.asarray(drawn) > 0
        scores.append(jaccard_score(truth.ravel(), mask_of(tmp_path / "masks", image_id).ravel() > 0))
    assert len(scores) >= 12
    assert np.mean(scores) > 0.6


def test_masks_are_the_masks_of_a_data_set(segment, tmp_path):
    """Written to its folder `masks`, they are found by the reader of data sets, the table left aside."""
    from dermlens.data.table import read_table

    data = tmp_path / "data"
    save(data / "images" / "a.png", (16, 12, 32, 36))
    save(data / "images" / "b.png", (8, 12, 32, 36))
    (data / "metadata.csv").write_text("image_id,lesion_id,dx\na,x,nv\nb,y,mel\n")
    assert segment(data / "images", "--out", data / "masks")[0] == 0
    table = read_table(data)
    assert [os.path.basename(one) for one in table["mask"]] == [  # noqa: PTH119
        "a_segmentation.png", "b_segmentation.png",
    ]  # fmt: skip
    assert list(table["dx"]) == ["nv", "mel"]


def test_orientation_is_applied(segment, tmp_path):
    lying = Image.new("RGB", (64, 48), (220, 190, 180))
    lying.paste((90, 40, 30), (0, 0, 16, 48))  # at the left: on top, once it is turned clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "turned.png", exif=exif)
    assert segment(tmp_path / "turned.png", "--out", tmp_path / "masks")[0] == 0
    mask = mask_of(tmp_path / "masks", "turned")
    assert mask.shape == (64, 48)
    np.testing.assert_array_equal(mask, np.where(np.arange(64)[:, None] < 16, 255, 0) * np.ones((1, 48)))


def test_two_images_of_one_stem_stay_apart(segment, tmp_path):
    save(tmp_path / "in" / "a" / "IMG_1.png", (16, 12, 32, 36))
    save(tmp_path / "in" / "b" / "IMG_1.png")
    save(tmp_path / "in" / "b" / "IMG_1.jpg", (0, 0, 64, 48))
    code, _, err = segment(tmp_path / "in", "--out", tmp_path / "masks")
    assert (code, err) == (0, [])
    assert files_in(tmp_path / "masks") == [
        "a/IMG_1_segmentation.png", "b/IMG_1.jpg_segmentation.png", "b/IMG_1.png_segmentation.png",
        "masks.csv",
    ]  # fmt: skip
    rows = rows_of(tmp_path / "masks")
    assert {one: row["lesion_share"] for one, row in rows.items() if one != "a/IMG_1"} == {
        "b/IMG_1.jpg": "1.000000", "b/IMG_1.png": "0.000000",
    }  # fmt: skip
    assert 0 < float(rows["a/IMG_1"]["lesion_share"]) < 1


def test_dicom_photographs_too(segment, tmp_path):
    pixels = np.full((48, 64, 3), 220, np.uint8)
    pixels[12:24] = 30
    photograph = pydicom.Dataset()
    photograph.file_meta = pydicom.dataset.FileMetaDataset()
    photograph.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    photograph.SOPClassUID, photograph.SOPInstanceUID = DermoscopicPhotographyImageStorage, "1.2.3"
    photograph.Rows, photograph.Columns = pixels.shape[:2]
    photograph.SamplesPerPixel, photograph.BitsAllocated = 3, 8
    photograph.BitsStored, photograph.HighBit = 8, 7
    photograph.PixelRepresentation, photograph.PlanarConfiguration = 0, 0
    photograph.PhotometricInterpretation = "RGB"
    photograph.PixelData = pixels.tobytes()
    photograph["PixelData"].VR = "OB"
    photograph.save_as(tmp_path / "scan", enforce_file_format=True)
    assert segment(tmp_path / "scan", "--out", tmp_path / "masks")[0] == 0
    np.testing.assert_array_equal(mask_of(tmp_path / "masks", "scan"), np.where(pixels[..., 0] < 128, 255, 0))


def test_what_cannot_be_read_stops_nothing_else(segment, visit, tmp_path):
    (visit / "empty.jpg").write_bytes(b"")
    (visit / "text.png").write_text("no picture")
    code, out, err = segment(visit, visit / "absent.jpg", "--out", tmp_path / "masks", "--json")
    assert code == 2
    assert list(rows_of(tmp_path / "masks")) == ["all", "amid", "bare", "cut"]
    assert sorted(json.loads(out)["unreadable"]) == ["absent", "empty", "text"]
    assert len(err) == 3
    for name in ("empty.jpg", "text.png", "absent.jpg"):
        assert any(name in line and line.startswith("dermlens: ") for line in err)


@pytest.mark.parametrize("letters", [236, 250])
def test_a_mask_that_can_have_no_name_stops_nothing_else(segment, visit, tmp_path, letters):
    """A file name is 255 bytes at most; and a file may be where a folder of masks shall be."""
    for name in (f"{'x' * letters}.png", "p/same.png", "q/same.png"):
        save(visit / name, (16, 12, 32, 36))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "p").write_text("mine")
    code, _, err = segment(visit, "--out", tmp_path / "masks")
    assert code == 2
    assert [any(name in line for line in err) for name in ("xxx.png", "p/same.png", "q/same.png")] == [
        True, True, False,
    ]  # fmt: skip
    assert list(rows_of(tmp_path / "masks")) == ["all", "amid", "bare", "cut", "q/same"]
    assert (tmp_path / "masks" / "p").read_text() == "mine"
    assert "masks.csv.partial" not in files_in(tmp_path / "masks")


def test_a_name_that_is_no_text_stops_nothing_else(segment, visit, tmp_path):
    shutil.copy(visit / "amid.png", visit / os.fsdecode(b"\xfe.png"))
    code, _, err = segment(visit, "--out", tmp_path / "masks")
    assert code == 2
    assert len(err) == 1
    assert len(rows_of(tmp_path / "masks")) == 4


def test_no_readable_image_leaves_nothing(segment, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no")
    code, out, (line,) = segment(tmp_path / "x.jpg", "--out", tmp_path / "masks")
    assert (code, out) == (2, "")
    assert "x.jpg" in line
    assert files_in(tmp_path) == ["x.jpg"]
    assert not (tmp_path / "masks").exists()


def test_masks_beside_the_images_are_not_taken_for_images(segment, visit):
    assert segment(visit, "--out", visit / "masks")[0] == 0
    code, _, err = segment(visit, "--out", visit / "again")
    assert code == 0
    assert any("4 lesion masks" in line for line in err)
    assert list(rows_of(visit / "again")) == ["all", "amid", "bare", "cut"]


def stopped(dark, visit, out, after):
    """A job that is interrupted after so many masks."""
    from dermlens.predict.patients import find_images

    images = find_images([visit]).images
    segmenter = Segmenter.load(dark)
    with MaskFolder(out, segmenter, images) as folder:
        for image_id in list(images)[:after]:
            folder.add(image_id, segmenter(images[image_id]))
    return list(images)


def test_an_interrupted_job_goes_on(segment, dark, visit, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "masks"
    assert segment(visit, "--out", whole)[0] == 0
    stopped(dark, visit, out, 2)
    assert not (out / "masks.csv").exists()
    before = (out / "all_segmentation.png").stat().st_mtime_ns
    looked = []
    mask = Segmenter.mask
    monkeypatch.setattr(Segmenter, "mask", lambda self, one: looked.append(one) or mask(self, one))
    code, _, (line,) = segment(visit, "--out", out)
    assert code == 0
    assert "2 images are done" in line
    assert len(looked) == 2
    assert (out / "all_segmentation.png").stat().st_mtime_ns == before
    assert files_in(out) == files_in(whole)
    for name in files_in(whole):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_what_has_changed_since_is_looked_at_again(segment, dark, visit, tmp_path):
    out = tmp_path / "masks"
    stopped(dark, visit, out, 3)
    save(visit / "all.png")  # other bytes under the same name
    (out / "amid_segmentation.png").unlink()
    save(visit / "new.png", (0, 0, 64, 48))
    code, _, (line,) = segment(visit, "--out", out)
    assert code == 0
    assert "1 images are done" in line
    rows = rows_of(out)
    assert list(rows) == ["all", "amid", "bare", "cut", "new"]
    assert rows["all"]["empty"] == "yes"
    assert rows["amid"]["empty"] == "no"
    assert mask_of(out, "new").all()


def test_json_of_a_job_that_went_on_has_the_order_of_the_table(segment, dark, visit, tmp_path):
    stopped(dark, visit, tmp_path / "masks", 2)
    save(visit / "a.png")
    code, out, _ = segment(visit, "--out", tmp_path / "masks", "--json")
    assert code == 0
    assert [one["image_id"] for one in json.loads(out)["masks"]] == list(rows_of(tmp_path / "masks"))


def test_a_network_that_is_not_of_its_document_leaves_nothing(segment, dark, visit, tmp_path):
    """And the same command works once the document is mended."""
    model = Path(shutil.copytree(dark, tmp_path / "model"))
    text = (model / "segmenter.json").read_text()
    size = json.loads(text)["size"]
    (model / "segmenter.json").write_text(text.replace(f'"size": {size}', f'"size": {size + 8}'))
    code, _, err = segment(visit, "--out", tmp_path / "masks", model=model)
    assert code == 2
    assert "segmenter.onnx" in err[-1]
    assert not (tmp_path / "masks").exists()
    (model / "segmenter.json").write_text(text)
    assert segment(visit, "--out", tmp_path / "masks", model=model)[0] == 0


def test_a_line_that_was_cut_short_is_written_again(segment, dark, visit, tmp_path):
    out = tmp_path / "masks"
    stopped(dark, visit, out, 2)
    journal = out / "masks.csv.partial"
    journal.write_bytes(journal.read_bytes()[:-5])
    (out / "amid_segmentation.png").unlink()  # a line comes before its mask
    assert segment(visit, "--out", out)[0] == 0
    assert list(rows_of(out)) == ["all", "amid", "bare", "cut"]
    assert not journal.exists()


def test_a_journal_of_another_job_is_left_as_it_is(segment, dark, visit, tmp_path):
    out = tmp_path / "masks"
    stopped(dark, visit, out, 2)
    journal = out / "masks.csv.partial"
    content = journal.read_bytes()
    other = dark_segmenter(tmp_path / "other", shape="pad")
    code, _, (line,) = segment(visit, "--out", out, model=other)
    assert code == 2
    assert str(journal) in line
    code, _, (line,) = segment(visit / "bare.png", "--out", out)
    assert code == 2
    assert "image all" in line
    assert journal.read_bytes() == content
    journal.write_bytes(content.replace(b'"lesion_share": 1.0', b'"lesion_share": 0.5'))
    code, _, (line,) = segment(visit, "--out", out)
    assert code == 2
    assert f"{journal}, line 2" in line
    journal.write_bytes(b"notes of mine\n")
    assert segment(visit, "--out", out)[0] == 2
    assert journal.read_bytes() == b"notes of mine\n"


def test_a_mask_of_somebody_else_is_never_written_over(segment, visit, tmp_path):
    out = tmp_path / "masks"
    out.mkdir()
    (out / "bare_segmentation.png").write_bytes(b"drawn by hand")
    code, out_text, (line,) = segment(visit, "--out", out)
    assert (code, out_text) == (2, "")
    assert "bare_segmentation.png" in line
    assert files_in(out) == ["bare_segmentation.png"]
    assert (out / "bare_segmentation.png").read_bytes() == b"drawn by hand"


def test_a_link_in_the_place_of_a_mask_is_not_followed(segment, visit, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "bare_segmentation.png").symlink_to(tmp_path / "elsewhere.png")
    assert segment(visit, "--out", tmp_path / "masks")[0] == 2
    assert not (tmp_path / "elsewhere.png").exists()


def test_a_folder_that_is_done_is_left_as_it_is(segment, visit, tmp_path):
    assert segment(visit, "--out", tmp_path / "masks")[0] == 0
    table = (tmp_path / "masks" / "masks.csv").read_bytes()
    save(visit / "all.png")
    code, _, (line,) = segment(visit, "--out", tmp_path / "masks")
    assert code == 2
    assert "masks.csv" in line
    assert (tmp_path / "masks" / "masks.csv").read_bytes() == table
    assert files_in(tmp_path / "masks").count("masks.csv.partial") == 0


def test_an_input_is_never_written_over(segment, dark, visit, tmp_path):
    """A mask of this job that has become a link to an input since, and the image of that name itself."""
    out = tmp_path / "masks"
    stopped(dark, visit, out, 1)
    (out / "all_segmentation.png").unlink()
    (out / "all_segmentation.png").symlink_to(visit / "all.png")
    save(visit / "all.png", (16, 12, 32, 36))
    content = (visit / "all.png").read_bytes()
    code, _, (line,) = segment(visit, "--out", out)
    assert code == 2
    assert "all_segmentation.png" in line
    assert (visit / "all.png").read_bytes() == content
    named = save(tmp_path / "own" / "x_segmentation.png", (16, 12, 32, 36))
    content = named.read_bytes()
    assert segment(named, "--out", named.parent)[0] == 0
    assert named.read_bytes() == content
    assert "x_segmentation_segmentation.png" in files_in(named.parent)


def test_one_process_at_a_time(dark, visit, tmp_path):
    out = tmp_path / "masks"
    out.mkdir()
    with claimed(out / ".masks.csv.partial.lock") as ours:
        assert ours
        with pytest.raises(UserError, match="another process"):
            MaskFolder(out, Segmenter.load(dark), {"bare": visit / "bare.png"})
    assert files_in(out) == []


def test_an_id_that_a_spreadsheet_would_run_is_refused(segment, tmp_path):
    save(tmp_path / "in" / "=1+1.png")
    code, _, (line,) = segment(tmp_path / "in", "--out", tmp_path / "masks")
    assert code == 2
    assert "=1+1.png" in line
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("out", ["file", "/dev/null", "/proc/masks"])
def test_out_is_a_folder(segment, visit, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    code, _, err = segment(visit, "--out", out)
    assert code == 2
    assert out in " ".join(err)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_classifier_is_no_segmenter(segment, visit, exported, tmp_path):
    code, _, (line,) = segment(visit, "--out", tmp_path / "masks", model=exported)
    assert code == 2
    assert "segmenter.json" in line
    assert not (tmp_path / "masks").exists()


def test_a_folder_without_images_is_refused(segment, dark, tmp_path):
    code, _, (line,) = segment(dark, "--out", tmp_path / "masks")
    assert code == 2
    assert "no images" in line
    assert not (tmp_path / "masks").exists()


def test_the_truth_is_met_as_scikit_learn_counts(segment, visit, tmp_path):
    """Jaccard of the one mask with a corner in it, by scikit-learn: all but the rounded corners."""
    assert segment(visit / "amid.png", "--out", tmp_path / "masks")[0] == 0
    truth = np.zeros((48, 64), bool)
    truth[12:36, 16:32] = True
    found = mask_of(tmp_path / "masks", "amid") > 0
    assert jaccard_score(truth.ravel(), found.ravel()) > 0.97

"""Verification finds what was planted, and nothing else."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from rich.console import Console

from dermlens.data.table import read_table
from dermlens.data.verify import verify
from dermlens.errors import UserError

SIZE = (180, 135)


def spot(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A blurred random picture: like a lesion in that neighbouring pixels agree."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six sound images of five lesions."""
    rows = ["image_id,lesion_id,dx,age,sex,localization"]
    (tmp_path / "images").mkdir()
    for i, dx in enumerate(["mel", "nv", "nv", "bkl", "bkl", "df"]):
        spot(i).save(tmp_path / "images" / f"I{i}.jpg", quality=90)
        rows.append(f"I{i},L{max(i - 1, 0)},{dx if i > 1 else 'mel'},{'' if i == 5 else 10 * i},male,back")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    return tmp_path


def image(folder: Path, number: int) -> Path:
    return folder / "images" / f"I{number}.jpg"


def report_of(folder: Path) -> str:
    written = io.StringIO()
    Console(file=written, width=400).print(verify(folder).render())
    return written.getvalue()


def test_links_that_lead_out_are_named_and_not_followed(folder, tmp_path_factory, monkeypatch):
    far = tmp_path_factory.mktemp("far") / "I2.jpg"
    image(folder, 2).rename(far)
    image(folder, 2).symlink_to(far)
    left_out = f"left out: 1 links that lead out of {folder}, {image(folder, 2)} first"
    seen = verify(folder)
    assert "missing images: 1 of 6 (I2)" in seen.problems
    assert any(left_out in sentence for sentence in seen.account)
    with pytest.raises(UserError, match="1 links"):
        read_table(folder)
    monkeypatch.setenv("DERMLENS_FOLLOW_LINKS", "1")
    assert verify(folder).ok
    assert len(read_table(folder)) == 6


def test_a_table_or_a_folder_that_a_link_brings_is_not_read(folder, tmp_path):
    far = tmp_path / "set"
    far.mkdir()
    (far / "images").symlink_to(folder / "images")
    (far / "metadata.csv").symlink_to(folder / "metadata.csv")
    with pytest.raises(UserError, match=r"no table.*2 links"):
        read_table(far)
    (tmp_path / "link").symlink_to(folder)  # the folder that is named may be a link itself
    assert len(read_table(tmp_path / "link")) == 6


def test_a_sound_folder_has_no_problems(folder):
    seen = verify(folder)
    assert seen.ok
    assert (seen.images, seen.lesions, seen.masks) == (6, 5, 0)
    assert seen.counts["dx"] == {"mel": 2, "bkl": 2, "nv": 1, "df": 1}
    assert seen.counts["age"] == {"0–9": 1, "10–19": 1, "20–29": 1, "30–39": 1, "40–49": 1, "unknown": 1}
    assert seen.sizes == {SIZE: 6}
    several, ageless = seen.notes
    assert several.startswith("lesions with several images: 1, of 2 images")
    assert ageless == "images without an age: 1"


def test_missing_images_are_counted(folder):
    image(folder, 2).unlink()
    image(folder, 4).unlink()
    assert verify(folder).problems == ["missing images: 2 of 6 (I2, I4)"]


def test_damaged_and_foreign_files_are_named_each(folder):
    whole = image(folder, 1).read_bytes()
    image(folder, 1).write_bytes(whole[: len(whole) // 2])
    image(folder, 3).write_text("no image")
    image(folder, 5).write_bytes(b"")
    problems = verify(folder).problems
    assert [str(image(folder, i)) in problem for i, problem in zip((1, 3, 5), problems, strict=True)] == [
        True
    ] * 3


def test_the_counts_cover_the_damaged_and_duplicates_keep_their_names(folder):
    """Rows after an unreadable one must not shift."""
    image(folder, 0).write_text("no image")
    shutil.copy(image(folder, 4), image(folder, 3))
    seen = verify(folder)
    assert seen.exact == [["I3", "I4"]]
    assert seen.images == 6


def test_equal_images_of_different_lesions_are_wrong(folder):
    shutil.copy(image(folder, 3), image(folder, 4))
    assert verify(folder).problems == ["equal images of different lesions: I3 = I4 (L2, L3)"]


def test_equal_images_with_different_diagnoses_are_wrong(folder):
    shutil.copy(image(folder, 2), image(folder, 5))
    assert verify(folder).problems == ["equal images with different diagnoses: I2 = I5 (nv, df)"]


def test_equal_images_of_one_lesion_are_good_to_know(folder):
    shutil.copy(image(folder, 0), image(folder, 1))
    seen = verify(folder)
    assert seen.ok
    assert "equal images of one lesion, groups: 1 (I0 = I1)" in seen.notes
    assert seen.near == [], "what is equal is reported once"


def test_equal_pixels_in_another_file_are_equal(folder):
    """The bytes differ by a comment; the pixels do not."""
    data = image(folder, 3).read_bytes()
    image(folder, 4).write_bytes(data[:2] + b"\xff\xfe\x00\x04hi" + data[2:])
    assert verify(folder).exact == [["I3", "I4"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture.resize((240, 180), Image.Resampling.LANCZOS),
        lambda picture: picture.resize((128, 128), Image.Resampling.LANCZOS),
        lambda picture: picture.point(lambda value: min(255, int(value * 1.1))),
        lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
        lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda picture: picture,
    ],
    ids=["larger", "squashed", "brighter", "turned", "mirrored", "recompressed"],
)
def test_a_copy_made_otherwise_is_nearly_equal(folder, change):
    change(spot(3)).save(image(folder, 4), quality=60)
    seen = verify(folder)
    assert seen.ok
    assert seen.near == [("I3", "I4")]
    assert any("perhaps one lesion, pairs: 1 (I3 ~ I4 with L2 bkl, L3 bkl)" in note for note in seen.notes)
    assert verify(folder, near_duplicates=False).near == []


def test_even_images_are_not_near_duplicates_of_others(folder):
    """No gradients, nothing to go by; and equal ones are equal, not near."""
    for number, shade in ((2, 100), (3, 101), (4, 180)):
        Image.new("RGB", SIZE, (shade, shade, shade)).save(image(folder, number))
    assert verify(folder).near == []


def test_odd_sizes_are_noted(folder):
    spot(5, (300, 100)).save(image(folder, 5))
    seen = verify(folder)
    assert seen.ok
    assert "images not of the commonest size, 180 × 135 pixels: 1" in seen.notes


def test_a_lesion_with_two_diagnoses_is_noted(folder):
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace("I1,L0,mel", "I1,L0,nv"))
    assert "lesions with images of different diagnoses: 1 (L0)" in verify(folder).notes


def test_what_is_printed(folder):
    image(folder, 2).unlink()
    text = report_of(folder)
    for part in (
        "images 6, lesions 5",
        "mel",
        "wrong: missing images: 1 of 6 (I2)",
        "note: images without an age: 1",
    ):
        assert part in text
    assert text.rstrip().endswith("problems: 1")


def test_names_with_brackets_are_printed_as_they_are(tmp_path, folder):
    odd = tmp_path / "a [red] folder"
    shutil.copytree(folder / "images", odd / "images")
    shutil.copy(folder / "metadata.csv", odd)
    (odd / "images" / "I0.jpg").write_text("no image")
    assert str(odd / "images") in report_of(odd)


def test_a_table_that_cannot_be_read_is_said_in_one_sentence(folder):
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace("I1,L0,mel", "I1,L0,mle"))
    with pytest.raises(UserError, match=r"row 3.*'mle'"):
        verify(folder)


def test_a_file_that_takes_too_much_to_decode_is_named_and_the_others_are_read(folder, monkeypatch):
    monkeypatch.setattr("dermlens.data.duplicates.PICTURE_MEMORY", 48 * 2**20)
    Image.new("RGB", (5000, 5000)).save(folder / "images" / "I2.jpg", "PNG", compress_level=1)
    seen = verify(folder)
    assert [str(image(folder, 2)) in problem for problem in seen.problems] == [True]
    assert "more memory" in seen.problems[0]
    assert sum(seen.sizes.values()) == 5

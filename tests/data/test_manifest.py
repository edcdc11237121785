"""A manifest reads back as it was written, and one that is wrong is refused in a sentence that says where."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dermlens.data.config import SplitConfig
from dermlens.data.manifest import Split, load_manifest
from dermlens.data.split import make_split
from dermlens.errors import UserError


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [(f"I{number:03d}", f"L{number // 2:02d}", ("mel", "nv")[number % 6 > 1]) for number in range(120)]
    image, lesion, dx = (list(column) for column in zip(*rows, strict=True))
    return pd.DataFrame({"image_id": image, "lesion_id": lesion, "dx": dx, "age": 50.0}).assign(
        sex="male", site="back", path=[f"absent/{name}.jpg" for name in image]
    )


@pytest.fixture
def manifest(table: pd.DataFrame, tmp_path: Path) -> Path:
    make_split(table, SplitConfig()).save(tmp_path / "mine.csv")
    return tmp_path / "mine.csv"


@pytest.mark.parametrize(
    "config",
    [
        SplitConfig(),
        SplitConfig(folds=4, seed=2),
        SplitConfig(folds=4, test=0),
        SplitConfig(protocol="paper"),
    ],
)
def test_what_is_saved_is_read_back(config: SplitConfig, table: pd.DataFrame, tmp_path: Path) -> None:
    split = make_split(table, config)
    split.save(tmp_path / "split.csv")
    again = load_manifest(str(tmp_path / "split.csv"), table)
    assert again.header == split.header
    assert again.text() == split.text() == (tmp_path / "split.csv").read_text()
    pd.testing.assert_frame_equal(again.roles, split.roles)
    assert (again.folds, again.protocol) == (config.folds or 0, config.protocol)


def test_the_header_says_how_it_was_made(manifest: Path) -> None:
    lines = manifest.read_text().splitlines()
    assert lines[:4] == [
        "# manifest: 1",
        "# protocol: grouped",
        "# seed: 0",
        "# fractions: train=0.65 selection=0.1 calibration=0.1 test=0.15",
    ]
    assert re.fullmatch("# table-sha256: [0-9a-f]{64}", lines[4])
    assert lines[5] == "image_id,lesion_id,role"


@given(ids=st.sets(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1), min_size=1))
@example(ids={"a\u2028b", "c\x85d", "e\x0bf", "#g", "h\ni"})
def test_any_id_survives(ids: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ids of a clinic's own may hold commas and quotes."""
    path = tmp_path_factory.mktemp("ids") / "split.csv"
    images = sorted({unicodedata.normalize("NFC", one) for one in ids})
    split = Split(pd.DataFrame({"image_id": images, "lesion_id": images[::-1], "role": "train"}), {})
    split.save(path)
    pd.testing.assert_frame_equal(load_manifest(str(path)).roles, split.roles)


def test_a_manifest_made_by_hand_needs_no_header(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "hand.csv"
    path.write_text("\ufeffimage_id,lesion_id,role\r\nI004,L02,test\r\nI000,L00,train\r\n", encoding="utf-8")
    split = load_manifest(str(path), table)
    assert split.protocol == "grouped"
    assert (split.ids("train"), split.ids("test"), split.ids("selection")) == (["I000"], ["I004"], [])


def test_another_tables_manifest_is_refused(manifest: Path, table: pd.DataFrame) -> None:
    other = table.assign(age=table["age"] + 5)
    with pytest.raises(UserError) as caught:
        load_manifest(str(manifest), other)
    assert re.fullmatch(
        rf"split {re.escape(str(manifest))} was made for another table \(its SHA-256 begins [0-9a-f]{{12}}, "
        r"this table's [0-9a-f]{12}\): make one with `dermlens data split` and name it in "
        r"--set split\.manifest=FILE, or let --set split\.manifest=null have one drawn for these data",
        str(caught.value),
    )
    load_manifest(str(manifest), table.sample(frac=1, random_state=0).assign(path="elsewhere"))


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "output"),
    [
        ("\nI003,L01,", "\nI003,L01,x", r"line 10: role 'x\w+' .*nearest: "),
        (
            "\nI003,L01,",
            "\nI003,L01,trian,",
            r"line 10: 'I003,L01,trian,\w+' .*image_id,lesion_id,role",
        ),
        ("\nI003,L01,", "\nI003,,", r"line 10: 'I003,,\w+' .*image_id,lesion_id,role"),
        ("\nI003,L01,", "\nI002,L01,", r"line 10: image I002 .*line 9"),
        ("image_id,", "image,", r"line 6: .*image_id,lesion_id,role"),
        ("protocol: grouped", "protocol: groups", r"protocol 'groups' .*nearest: grouped"),
        ("manifest: 1", "manifest: 2", r"form 2.* form 1"),
        ("# seed: 0", "# seed 0", r"line 3: '# seed 0'"),
    ],
)
def test_malformed_manifests_are_refused(manifest: Path, old: str, new: str, output: str) -> None:
    rewrite(manifest, old, new)
    with pytest.raises(UserError, match=rf"split manifest {re.escape(str(manifest))}.*{output}"):
        load_manifest(str(manifest))


def test_ids_must_be_the_tables(manifest: Path, table: pd.DataFrame) -> None:
    text = "".join(line for line in manifest.read_text().splitlines(keepends=True) if "sha256" not in line)
    manifest.write_text(text.replace("I003,L01", "J003,L01"))
    with pytest.raises(UserError, match=r"1 images.*J003"):
        load_manifest(str(manifest), table)
    manifest.write_text(text.replace("I003,L01", "I003,L77"))
    with pytest.raises(UserError, match=r"I003.*L77.*L01"):
        load_manifest(str(manifest), table)


def test_gaps_between_folds_are_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(make_split(table, SplitConfig(folds=3)).text().replace(",fold-1\n", ",fold-7\n"))
    with pytest.raises(UserError, match="fold-0, fold-2, fold-7, test"):
        load_manifest(str(path))


@pytest.mark.parametrize("data", [b"", b"# manifest: 1\n", b"image_id,lesion_id,role\n"])
def test_an_empty_manifest_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"empty\.csv"):
        load_manifest(str(tmp_path / "empty.csv"))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match=r"image\.csv.*UTF-8"):
        load_manifest(str(tmp_path / "image.csv"))


def test_unknown_names_and_absent_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'grouped-v2'.*nearest: grouped-v1"):
        load_manifest("grouped-v2")
    with pytest.raises(UserError, match=r"absent\.csv.*grouped-v1"):
        load_manifest(str(tmp_path / "absent.csv"))


def test_the_shipped_manifest_is_whole() -> None:
    """65/10/10/15 of HAM10000's 7,470 lesions; the ids of the paper's counts."""
    split = load_manifest("grouped-v1")
    assert len(split.roles) == 10_015
    lesions = split.roles.groupby("lesion_id")["role"].agg(set)
    assert len(lesions) == 7_470
    assert (lesions.map(len) == 1).all()
    share = lesions.map(lambda roles: next(iter(roles))).value_counts(normalize=True)
    for role, wanted in {"train": 0.65, "selection": 0.1, "calibration": 0.1, "test": 0.15}.items():
        assert share[role] == pytest.approx(wanted, abs=0.002)
        assert len(split.ids(role)) == pytest.approx(wanted * 10_015, abs=20)


def test_summary_counts_images_and_lesions(table: pd.DataFrame) -> None:
    split = make_split(table, SplitConfig())
    summary = split.summary(table)
    assert list(summary.columns) == ["mel", "nv", "all"]
    assert [role for role, unit in summary.index if unit == "images"] == [
        "train",
        "selection",
        "calibration",
        "test",
    ]
    images = summary.xs("images", level="unit")
    assert images.sum().to_dict() == {"mel": 40, "nv": 80, "all": 120}
    assert summary.xs("lesions", level="unit").sum().to_dict() == {"mel": 20, "nv": 40, "all": 60}
    assert images.loc["test", "all"] == len(split.ids("test"))

"""Synthetic lesions: layout, patients, pictures, and that they can be learnt, but not too easily."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import recall_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from benchmarks.synthetic_sheet import contact_sheet
from dermlens.data.synthetic.folder import (
    COLUMNS,
    GROUPS,
    METADATA,
    SITES,
    draw_patient,
    lesion_counts,
    render,
    write_synthetic,
)
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.labels import CLASSES

SIZE = (90, 120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("synthetic") / "set", lesions=200, seed=5, size=SIZE)


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    return read_table(folder)


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_layout_is_that_of_ham10000(folder, table):
    rows = pd.read_csv(folder / METADATA)
    assert tuple(rows.columns) == COLUMNS
    assert len(table) == len(rows) == len(list((folder / "images").iterdir()))
    assert rows.image_id.str.fullmatch(r"SYN\d+_\d{7}").all()
    assert rows.lesion_id.str.fullmatch(r"SYL\d+_\d{7}").all()
    assert set(table.source) == {"synthetic"}
    assert set(rows.localization) <= set(SITES)
    assert {p.name for p in folder.iterdir()} == {METADATA, "images", "masks"}, "nothing half-written is left"
    with Image.open(table.path[0]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", SIZE[::-1])
    with Image.open(table["mask"][0]) as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "1", SIZE[::-1])


@given(st.integers(7, 12_000))
def test_every_class_has_its_lesions(lesions):
    counts = lesion_counts(lesions)
    assert tuple(counts) == CLASSES
    assert sum(counts.values()) == lesions
    assert min(counts.values()) >= min(8, lesions // 7)


def test_shares_are_those_of_ham10000():
    """Lesions of each class in the published metadata: 7,470 in all."""
    published = {"akiec": 228, "bcc": 327, "bkl": 727, "df": 73, "mel": 614, "nv": 5403, "vasc": 98}
    counts = lesion_counts(7470)
    for dx, count in published.items():
        assert counts[dx] == pytest.approx(count, rel=0.06), dx


def test_pictures_of_a_lesion_share_everything_but_the_picture(table):
    lesions = table.groupby("lesion_id")
    for column in ("dx", "age", "sex", "site", "dx_type"):
        kinds = table[["lesion_id", column]].drop_duplicates()
        assert len(kinds) == len(lesions), column
    pictures = lesions.size()
    assert set(pictures) == {1, 2, 3}
    assert 0.2 < (pictures > 1).mean() < 0.5
    contents = {Path(path).read_bytes() for path in table.path}
    assert len(contents) == len(table), "no two pictures are the same"


def test_metadata_carry_signal_and_gaps():
    rng = np.random.default_rng(0)
    patients = {dx: [draw_patient(dx, rng) for _ in range(2000)] for dx in CLASSES}
    age = {dx: np.mean([float(p.age) for p in group if p.age]) for dx, group in patients.items()}
    # Means of the published ages are within two years; clipping to 0 … 85 moves the oldest groups a little.
    for dx, published in {"akiec": 66.5, "bcc": 66.8, "df": 53.0, "mel": 60.7, "nv": 46.5}.items():
        assert age[dx] == pytest.approx(published, abs=2), dx
    sites = {dx: Counter(p.site for p in group) for dx, group in patients.items()}
    assert sites["akiec"].most_common(1)[0][0] == "face"
    assert sites["df"].most_common(1)[0][0] == "lower extremity"
    assert {p.dx_type for p in patients["mel"]} == {"histo"}
    assert Counter(p.dx_type for p in patients["nv"]).most_common(1)[0][0] == "follow_up"
    everyone = [p for group in patients.values() for p in group]
    assert 0 < sum(not p.age for p in everyone) < 0.03 * len(everyone)
    assert 0 < sum(p.sex == "unknown" for p in everyone) < 0.03 * len(everyone)
    assert sum(p.site == "unknown" for p in everyone)
    assert {p.site for p in everyone} == set(SITES)


def test_shares_of_each_group_are_shares():
    assert sum(group.share for group in GROUPS.values()) == pytest.approx(1)
    for group in GROUPS.values():
        assert tuple(group.sites) == SITES
        assert sum(group.dx_type.values()) == pytest.approx(1)


def test_mask_covers_the_lesion(table):
    """The skin around a lesion is paler or less coloured than the lesion, in all but the faintest."""
    seen, area = [], []
    for path, mask_path in zip(table.path, table["mask"], strict=True):
        image_HW3, mask_HW = pixels(path), np.asarray(Image.open(mask_path))
        area.append(mask_HW.mean())
        # A ring of skin close by: far away may be the dark edge of the lens.
        grown = Image.fromarray(mask_HW).convert("L").resize((30, 22)).resize(SIZE[::-1])
        ring_HW = (np.asarray(grown) > 8) & ~mask_HW
        seen.append(np.abs(image_HW3[mask_HW].mean(0) - image_HW3[ring_HW].mean(0)).max())
    assert min(area) > 0.005
    assert max(area) < 0.75
    assert np.mean(np.array(seen) > 0.03) > 0.9


def test_same_arguments_same_bytes(tmp_path):
    one = write_synthetic(tmp_path / "one", lesions=14, seed=3, size=(60, 80))
    two = write_synthetic(tmp_path / "two", lesions=14, seed=3, size=(60, 80))
    other = write_synthetic(tmp_path / "other", lesions=14, seed=4, size=(60, 80))
    assert files(one) == files(two)
    assert files(one)[METADATA] != files(other)[METADATA]
    assert not set(files(one).values()) & set(files(other).values())


@pytest.mark.parametrize("dx", CLASSES)
def test_a_lesion_is_the_same_lesion_at_any_size(dx):
    """What is drawn does not hang on the pixels: a large rendering, reduced, resembles the small one."""
    alike = []
    for k in range(4):
        small, large = (
            render(dx, 1, [0, k], size)[0][0].astype(np.float32) for size in ((90, 120), (270, 360))
        )
        large = large.reshape(90, 3, 120, 3, 3).mean((1, 3))
        blur = [x.reshape(15, 6, 20, 6, 3).mean((1, 3)).ravel() for x in (small, large)]
        alike.append(np.corrcoef(*blur)[0, 1])
    assert np.median(alike) > 0.8


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [({"lesions": 6}, "at least 7"), ({"size": (40, 600)}, "at least 48")],
)
def test_too_small_is_refused(tmp_path, keywords, sentence):
    with pytest.raises(UserError, match=sentence):
        write_synthetic(tmp_path / "none", **keywords)
    assert not (tmp_path / "none").exists()


def test_a_data_set_is_never_written_over(folder):
    before = files(folder)
    with pytest.raises(UserError, match="new folder"):
        write_synthetic(folder, lesions=14, size=SIZE)
    assert files(folder) == before


def test_contact_sheet_has_a_row_for_each_class(tmp_path):
    with Image.open(contact_sheet(tmp_path / "sheet.png", columns=2, size=(48, 64))) as sheet:
        assert sheet.height == 7 * (48 + 3)
        assert sheet.width > 2 * 64


def features(path: str) -> np.ndarray:
    """Colours in the middle against those of the whole: what someone tries first."""
    image_HW3 = pixels(path)
    middle_HW3 = image_HW3[15:75, 30:90]
    usual = np.median(image_HW3, axis=(0, 1))
    quantiles = np.quantile(middle_HW3, [0.05, 0.25, 0.5, 0.75, 0.95], axis=(0, 1)) - usual
    bins = ((middle_HW3 - usual + 0.7).clip(0, 0.999) * 4).astype(int) @ [16, 4, 1]
    grey = middle_HW3.mean(-1)
    edges = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)]
    histogram = np.sqrt(np.bincount(bins.ravel(), minlength=64) / bins.size)
    return np.concatenate([quantiles.ravel(), middle_HW3.std((0, 1)), edges, histogram])


def test_learnable_but_not_trivial(table):
    """A forest on colours, tested on lesions it has not seen: far above chance (1/7), far from perfect."""
    x_NF = np.array([features(path) for path in table.path])
    forest = RandomForestClassifier(120, class_weight="balanced", min_samples_leaf=3, random_state=0)
    folds = StratifiedGroupKFold(4, shuffle=True, random_state=0)
    output = cross_val_predict(forest, x_NF, table.dx, groups=table.lesion_id, cv=folds)
    recall = recall_score(table.dx, output, average="macro")
    assert 0.35 < recall < 0.98


LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from dermlens.data.synthetic.folder import write_synthetic
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
write_synthetic(Path(sys.argv[1]), lesions=7, size=(48, 64))
"""


def test_a_full_disk_is_an_error_and_leaves_nothing_in_the_way(tmp_path):
    """Pillow, writing to a file itself, takes one that was cut short for a whole one."""
    pytest.importorskip("resource")
    words = [sys.executable, "-c", LITTLE_ROOM, str(tmp_path / "set")]
    assert b"File too large" in subprocess.run(words, capture_output=True, check=False).stderr
    assert list((tmp_path / "set").iterdir()) == []
    (tmp_path / "set" / ".synthetic.part" / "images").mkdir(parents=True)  # as a kill leaves it
    write_synthetic(tmp_path / "set", lesions=7, size=(48, 64))
    assert {path.name for path in (tmp_path / "set").iterdir()} == {METADATA, "images", "masks"}

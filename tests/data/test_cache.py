"""The cache: the right pixels in the right rows, built once, whole or absent."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermlens.data import cache as module
from dermlens.data.cache import cache_root, open_cache
from dermlens.errors import UserError
from dermlens.predict.pictures.preprocessing import constant_colours, crop_resize, read_image, read_square

SPAWN = multiprocessing.get_context("spawn")


def write_picture(file: Path, seed: int, size=(90, 60)) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file)


def write_mask(file: Path, size=(90, 60), level: int = 255) -> None:
    mask_HW = np.zeros(size[::-1], np.uint8)
    mask_HW[size[1] // 2 :] = level
    Image.fromarray(mask_HW).save(file)


@pytest.fixture
def table(tmp_path):
    """Twelve pictures of several sizes; every other one has a mask."""
    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for i in range(12):
        size = [(90, 60), (60, 90), (200, 150), (32, 32)][i % 4]
        file = folder / f"ISIC_{i}.{'png' if i % 3 == 2 else 'jpg'}"
        write_picture(file, i, size)
        mask = folder / f"mask_{i}.png"
        if i % 2:
            write_mask(mask, size)
        rows.append({"image_id": f"ISIC_{i}", "path": str(file), "mask": str(mask) if i % 2 else None})
    return pd.DataFrame(rows)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def files_of(root: Path) -> list[str]:
    return sorted(file.name for file in root.iterdir() if file.suffix != ".lock")


@pytest.mark.parametrize("crop", ["center", "squash"])
@pytest.mark.parametrize("size", [32, 48])
def test_rows_are_what_the_predictor_sees(table, root, size, crop):
    """Training's resize is torch's, the predictor's is Pillow's: few values differ, and hardly."""
    cache = open_cache(table, size=size, crop=crop, root=root)
    assert cache.pixels.shape == (12, size, size, 3)
    assert cache.pixels.dtype == np.uint8
    assert cache.present.all()
    for image_id, path in zip(table["image_id"], table["path"], strict=True):
        theirs = read_square(Path(path), size, crop).astype(int)
        difference = np.abs(cache.pixels[cache.index[image_id]] - theirs)
        assert difference.max() <= 2
        assert difference.mean() < 0.2
    assert list(cache.index.values()) == list(range(12))


def test_colour_constancy_has_a_cache_of_its_own(table, root):
    """Its pixels are the plain cache's, balanced; without it a cache keeps the name it always had."""
    plain = open_cache(table, size=32, crop="center", root=root)
    balanced = open_cache(table, size=32, crop="center", colour_constancy="shades_of_gray", root=root)
    assert plain.path == open_cache(table, size=32, crop="center", colour_constancy="none", root=root).path
    assert plain.path != balanced.path
    for plain_SSC, balanced_SSC in zip(plain.pixels, balanced.pixels, strict=True):
        np.testing.assert_array_equal(balanced_SSC, constant_colours(plain_SSC, "shades_of_gray"))
    assert (plain.pixels != balanced.pixels).mean() > 0.3


def test_masks_have_no_colours_to_balance(table, root):
    masks = {"size": 32, "crop": "center", "root": root, "what": "mask"}
    assert (
        open_cache(table, **masks).path == open_cache(table, colour_constancy="shades_of_gray", **masks).path
    )


def test_taken_rows_are_copies_in_the_order_asked_for(table, root):
    cache = open_cache(table, size=32, crop="center", root=root)
    rows = np.array([5, 0, 5, 11])
    taken = cache.take(rows)
    np.testing.assert_array_equal(taken, np.asarray(cache.pixels)[rows])
    taken[:] = 0
    assert cache.pixels[5].any()
    with pytest.raises(ValueError, match="read-only"):
        cache.pixels[0] = 0


def test_a_second_call_builds_nothing(table, root, monkeypatch):
    first = open_cache(table, size=32, crop="center", root=root)
    monkeypatch.setattr(module, "read_image", None)
    second = open_cache(table, size=32, crop="center", root=root)
    assert first.path == second.path
    np.testing.assert_array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: write_picture(Path(t["path"][3]), 99) or t,
        lambda t: os.utime(t["path"][3], (1, 1)) or t,
        lambda t: t.drop(index=3),
        lambda t: t.sort_values("image_id", ascending=False),
    ],
    ids=["other content", "other time", "one image less", "other order"],
)
def test_whatever_changes_the_pixels_makes_another_cache(table, root, change):
    before = open_cache(table, size=32, crop="center", root=root)
    table = change(table)
    after = open_cache(table, size=32, crop="center", root=root)
    assert before.path != after.path
    last = table.iloc[-1]
    expected = read_square(Path(last["path"]), 32, "center")
    np.testing.assert_allclose(after.pixels[len(table) - 1].astype(int), expected, atol=2)


def test_a_folder_that_moves_keeps_its_cache(table, root, tmp_path):
    before = open_cache(table, size=32, crop="center", root=root)
    shutil.copytree(tmp_path / "images", tmp_path / "elsewhere")  # copies the times as well
    moved = table.assign(path=table["path"].str.replace("/images/", "/elsewhere/"))
    assert open_cache(moved, size=32, crop="center", root=root).path == before.path


def test_sizes_and_crops_and_masks_live_side_by_side(table, root):
    made = [
        open_cache(table, size=32, crop="center", root=root),
        open_cache(table, size=48, crop="center", root=root),
        open_cache(table, size=32, crop="squash", root=root),
        open_cache(table, size=32, crop="center", root=root, what="mask"),
    ]
    assert len({cache.path for cache in made}) == 4
    about = json.loads(made[1].path.with_suffix(".json").read_text())
    assert (about["size"], about["crop"], about["images"], about["what"]) == (48, "center", 12, "image")


def test_the_environment_names_the_folder(table, tmp_path, monkeypatch):
    monkeypatch.setenv("DERMLENS_CACHE", str(tmp_path / "named"))
    assert open_cache(table, size=32, crop="center").path.parent == tmp_path / "named"
    monkeypatch.delenv("DERMLENS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_cache(table, size=32, crop="center").path.parent == tmp_path / "home/.cache/dermlens"


# --- masks -------------------------------------------------------------------------------------------------


def test_masks_lie_where_their_images_do(table, root):
    masks = open_cache(table, size=48, crop="center", root=root, what="mask")
    assert masks.pixels.shape == (12, 48, 48, 1)
    assert masks.present.tolist() == [False, True] * 6
    assert not masks.pixels[~masks.present].any()
    for row in np.flatnonzero(masks.present):
        whole_HW = np.asarray(Image.open(table["mask"][row]))
        expected = crop_resize(whole_HW, 48, "center").astype(int)
        np.testing.assert_allclose(masks.pixels[row, ..., 0], expected, atol=2)


@pytest.mark.parametrize("level", [1, 255])
def test_masks_of_any_notation_come_as_0_and_255(tmp_path, root, level):
    write_picture(tmp_path / "a.png", 0)
    write_mask(tmp_path / "m.png", level=level)
    table = pd.DataFrame(
        {"image_id": ["a"], "path": [str(tmp_path / "a.png")], "mask": [str(tmp_path / "m.png")]}
    )
    pixels = open_cache(table, size=32, crop="center", root=root, what="mask").pixels[0, ..., 0]
    assert (pixels[:15] == 0).all()
    assert (pixels[17:] == 255).all()


# --- what can go wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"text", "cut"], ids=["empty", "text", "cut"])
def test_a_bad_image_is_named_and_nothing_is_left(table, root, content):
    file = Path(table["path"][7])
    file.write_bytes(file.read_bytes()[:200] if content == "cut" else content)
    with pytest.raises(UserError, match=file.name):
        open_cache(table, size=32, crop="center", root=root)
    assert files_of(root) == []


def test_a_missing_image_is_named(table, root):
    Path(table["path"][7]).unlink()
    with pytest.raises(UserError, match=r"ISIC_7\.jpg"):
        open_cache(table, size=32, crop="center", root=root)


def test_too_little_room_is_said_before_any_work(table, root, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=10_000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(module, "read_image", None)
    with pytest.raises(UserError, match=rf"{root}.*1 MB.*0"):
        open_cache(table, size=32, crop="center", root=root)
    assert files_of(root) == []


def test_a_disk_that_fills_up_while_building_is_said(table, root, monkeypatch):
    def full(file, shape):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_write_header", full)
    with pytest.raises(UserError, match=r"No space left.*1 MB"):
        open_cache(table, size=32, crop="center", root=root)
    assert files_of(root) == []


def test_a_folder_that_cannot_be_is_said(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.*pixel cache"):
        open_cache(table, size=32, crop="center", root=tmp_path / "file")


def test_a_file_cut_short_is_built_anew(table, root):
    whole = open_cache(table, size=32, crop="center", root=root)
    expected = np.array(whole.pixels)
    path = whole.path
    del whole
    path.write_bytes(path.read_bytes()[:-1000])
    np.testing.assert_array_equal(open_cache(table, size=32, crop="center", root=root).pixels, expected)


def test_an_interrupted_build_leaves_nothing(table, root):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(table, size=32, crop="center", root=root, progress=interrupt)
    assert files_of(root) == []
    assert open_cache(table, size=32, crop="center", root=root).pixels.any()


def test_a_table_without_rows_is_refused(table, root):
    with pytest.raises(ValueError, match="without rows"):
        open_cache(table.iloc[:0], size=32, crop="center", root=root)


def test_progress_counts_to_the_end(table, root, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 5 * 32 * 32 * 3)
    seen: list[tuple[int, int]] = []
    chunked = open_cache(
        table, size=32, crop="center", root=root, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(5, 12), (10, 12), (12, 12)]
    monkeypatch.undo()
    at_once = open_cache(table, size=32, crop="center", root=root.with_name("other"))
    np.testing.assert_array_equal(chunked.pixels, at_once.pixels)


# --- bits that change on the disk ---------------------------------------------------------------------------


def flipped(path: Path, row: int) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - (12 - row) * 32 * 32 * 3 + 77)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def zeroed(path: Path, row: int) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - (12 - row) * 32 * 32 * 3)
        file.write(bytes(512))


@pytest.mark.parametrize("damage", [flipped, zeroed])
@pytest.mark.parametrize("row", [0, 5, 11])
def test_pixels_that_changed_on_the_disk_are_refused_and_built_anew(table, root, damage, row):
    cache = open_cache(table, size=32, crop="center", root=root)
    right = cache.take(np.arange(12))
    damage(cache.path, row)
    cache = open_cache(table, size=32, crop="center", root=root)
    others = np.delete(np.arange(12), row)
    np.testing.assert_array_equal(cache.take(others), right[others])
    with pytest.raises(UserError, match=rf"image-32.*\.npy.*ISIC_{row}"):
        cache.take(np.arange(12))
    again = open_cache(table, size=32, crop="center", root=root)
    np.testing.assert_array_equal(again.take(np.arange(12)), right)


def test_what_changes_while_it_is_open_is_seen_too(table, root):
    cache = open_cache(table, size=32, crop="center", root=root)
    cache.take(np.arange(12))
    flipped(cache.path, 3)
    with pytest.raises(UserError, match="ISIC_3"):
        cache.take(np.array([3]))


@pytest.mark.parametrize("text", ["", "{", "{}", '{"crc32": []}', "[1]"])
def test_a_cache_without_its_check_sums_is_built_anew(table, root, text):
    """As an earlier version of dermlens left it, too."""
    cache = open_cache(table, size=32, crop="center", root=root)
    right = cache.take(np.arange(12))
    flipped(cache.path, 3)
    cache.path.with_suffix(".json").write_text(text)
    np.testing.assert_array_equal(
        open_cache(table, size=32, crop="center", root=root).take(np.arange(12)), right
    )


# --- several processes -------------------------------------------------------------------------------------


def test_a_cache_goes_to_another_process_by_its_name(table, root):
    cache = open_cache(table, size=48, crop="center", root=root)
    pickled = pickle.dumps(cache)
    assert len(pickled) < 2000 < cache.pixels.nbytes
    np.testing.assert_array_equal(pickle.loads(pickled).pixels, cache.pixels)


def _open_and_sum(table: pd.DataFrame, root: Path, start, results) -> None:
    start.wait()
    began = []
    cache = open_cache(
        table, size=64, crop="center", root=root, progress=lambda done, total: began.append(done)
    )
    results.put((int(np.sum(cache.pixels, dtype=np.int64)), bool(began)))


def test_two_processes_at_once_get_one_whole_cache(table, root):
    start, results = SPAWN.Event(), SPAWN.Queue()
    both = [SPAWN.Process(target=_open_and_sum, args=(table, root, start, results)) for _ in range(2)]
    for process in both:
        process.start()
    start.set()
    sums = [results.get(timeout=300) for _ in both]
    for process in both:
        process.join(timeout=300)
        assert process.exitcode == 0
    expected = int(np.sum(open_cache(table, size=64, crop="center", root=root).pixels, dtype=np.int64))
    assert [total for total, _ in sums] == [expected] * 2
    assert [built for _, built in sums].count(True) == 1
    assert len(files_of(root)) == 2  # the pixels and what is said of them


def test_without_locks_nothing_is_built_unless_marker_files_are_chosen(table, root, monkeypatch):
    """Two processes that both took the lock for theirs would build into each other's file."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(UserError, match="DERMLENS_LOCKS=soft"):
        open_cache(table, size=32, crop="center", root=root)
    monkeypatch.setenv("DERMLENS_LOCKS", "soft")
    assert open_cache(table, size=32, crop="center", root=root).pixels.any()
    assert len(files_of(root)) == 2


KILLED = """
import sys, time
import pandas as pd
from pathlib import Path
from dermlens.data import cache
cache.CHUNK = 2 * 32 * 32 * 3
def tell(done, total):
    print(done, flush=True)
    time.sleep(60)
cache.open_cache(pd.read_json(sys.argv[1]), size=32, crop="center", root=Path(sys.argv[2]), progress=tell)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_build_is_never_taken_for_whole(table, root, tmp_path):
    table.to_json(tmp_path / "table.json")
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "table.json"), str(root)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
        process.kill()
    left = files_of(root)
    assert len(left) == 1
    assert left[0].endswith(".part")
    cache = open_cache(table, size=32, crop="center", root=root)  # the lock died with its holder
    assert len(cache.pixels) == 12
    assert not any(name.endswith(".part") for name in files_of(root))


def test_reading_an_epoch_does_not_grow_the_process(tmp_path, root):
    """100 MB of pixels pass through a process whose resident memory stays where it was."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("resident memory is read from /proc")
    file = tmp_path / "a.png"
    write_picture(file, 0)
    table = pd.DataFrame({"image_id": [f"i{n}" for n in range(512)], "path": str(file), "mask": None})
    cache = open_cache(table, size=256, crop="center", root=root)

    def resident() -> int:
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    cache.take(np.arange(32))
    before = resident()
    for first in range(0, 512, 32):
        cache.take(np.arange(first, first + 32))
    assert cache.pixels.nbytes > 100e6
    assert resident() - before < 30e6


def test_squashed_files_are_set_right_and_have_a_cache_of_their_own(table, root):
    """Of a 90 × 60 file of a scene of 3 : 1 the middle third of the columns is the square."""
    plain = open_cache(table, size=32, crop="center", root=root)
    named = open_cache(table.assign(aspect=np.nan), size=32, crop="center", root=root)
    assert named.path == plain.path
    some = table.assign(aspect=[3.0 if i == 0 else np.nan for i in range(12)])
    right = open_cache(some, size=32, crop="center", root=root)
    assert right.path != plain.path
    np.testing.assert_array_equal(right.pixels[1:], plain.pixels[1:])
    pixels = read_image(Path(table["path"][0]))[:, 30:60]
    theirs = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(right.pixels[0] - theirs).max() <= 2


def test_another_way_to_read_dicom_makes_another_cache_of_dicom_alone(tmp_path, monkeypatch):
    dicom, other = tmp_path / "a.dcm", tmp_path / "b.jpg"
    dicom.write_bytes(bytes(128) + b"DICM")
    other.write_bytes(b"no picture")

    def key(file: Path) -> str:
        return module._key({}, ["a"], [module.File(file, None)])

    before = key(dicom), key(other)
    monkeypatch.setattr(module, "DICOM_VERSION", module.DICOM_VERSION + 1)
    assert key(dicom) != before[0]
    assert key(other) == before[1]


def test_without_a_home_a_folder_is_asked_for(monkeypatch):
    """A container's user may have neither HOME nor an entry in /etc/passwd."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DERMLENS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(UserError, match="DERMLENS_CACHE"):
        cache_root()

"""Rubbish in, one sentence out: every verb that meets bad input names it and ends with 2."""

from __future__ import annotations

import csv
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from command import exit_code

from dermlens.data.synthetic.folder import write_synthetic

CSV = "HAM10000_metadata.csv"


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("synthetic") / "set", lesions=56, seed=3, size=(48, 64))


@pytest.fixture
def dataset(pristine: Path, tmp_path: Path) -> Path:
    """A small data set of one's own to damage."""
    return shutil.copytree(pristine, tmp_path / "set")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code and what the last line of standard error says."""
    code = exit_code(*words)
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("dermlens: ")]
    return code, lines[-1] if lines else ""


def edit(folder: Path, change) -> None:
    """Apply `change(rows)` to the metadata."""
    path = folder / CSV
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows) or rows
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def first_image(folder: Path) -> Path:
    with (folder / CSV).open(newline="", encoding="utf-8") as file:
        return folder / "images" / f"{next(csv.DictReader(file))['image_id']}.jpg"


def set_first(key: str, value: str):
    def change(rows):
        rows[0][key] = value

    return change


def drop_column(key: str):
    return lambda rows: [{k: v for k, v in row.items() if k != key} for row in rows]


def png_of_2_500_000_000_pixels() -> bytes:
    """A PNG whose header promises 50,000 × 50,000 pixels, in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_column("dx"), [CSV, "dx"]),
        (set_first("dx", "melnoma"), ["melnoma", "mel", "row 2"]),
        (set_first("age", "-3"), ["row 2", "-3", "0 to 120"]),
        (set_first("age", "400"), ["row 2", "400", "0 to 120"]),
        (set_first("age", "old"), ["row 2", "old"]),
        (lambda rows: [*rows, rows[0]], ["SYN3_", "one row"]),
    ],
    ids=["no dx column", "unknown diagnosis", "age -3", "age 400", "age in words", "duplicated id"],
)
def test_bad_metadata(dataset, change, words, capsys):
    edit(dataset, change)
    code, sentence = run(capsys, "data", "verify", "--data", dataset)
    assert code == 2
    for word in [dataset.name, *words]:
        assert word in sentence


def test_missing_folder(tmp_path, capsys):
    code, sentence = run(capsys, "data", "verify", "--data", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in sentence


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"this is not a picture, whatever its name says\n" * 20, "not"),
        (png_of_2_500_000_000_pixels(), "pixels"),
        (None, "truncated"),
        ("absent", "absent"),
    ],
    ids=["0 bytes", "text renamed", "50,000 x 50,000", "truncated", "absent"],
)
def test_bad_image_stops_training_with_its_name(dataset, tmp_path, content, word, capsys):
    image = first_image(dataset)
    if content == "absent":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes()[:-200] if content is None else content)
    out = tmp_path / "run"
    options = ("--data", dataset, "--out", out, "--cache", tmp_path / "cache", "--set", "data.size=32")
    code, sentence = run(capsys, "train", "demo", *options)
    assert code == 2
    assert image.stem in sentence
    assert not (out / "model.safetensors").exists()
    assert not list(tmp_path.glob("cache/**/*.npy")), "a half-built cache must not pass for a whole one"
    code, _ = run(capsys, "data", "verify", "--data", dataset)
    assert code == 2


def test_split_of_another_table(dataset, pristine, tmp_path, capsys):
    code, _ = run(capsys, "data", "split", "--data", pristine, "--out", tmp_path / "split.csv")
    assert code == 0
    edit(dataset, set_first("age", "77"))
    options = (
        "--data",
        dataset,
        "--out",
        tmp_path / "run",
        "--set",
        f"split.manifest={tmp_path / 'split.csv'}",
    )
    code, sentence = run(capsys, "train", "demo", *options)
    assert code == 2
    assert "another table" in sentence


def test_run_directory_of_a_failed_run(tmp_path, capsys):
    from dermlens.recipe import Recipe
    from dermlens.runs import Run

    Run.create(tmp_path / "run", Recipe()).end("failed")
    for verb in ("evaluate", "report"):
        code, sentence = run(capsys, verb, tmp_path / "run")
        assert code == 2
        assert "is failed" in sentence


def test_a_mask_file_is_not_needed(dataset, capsys):
    shutil.rmtree(dataset / "masks")
    code, sentence = run(capsys, "data", "verify", "--data", dataset)
    assert (code, sentence) == (0, "")

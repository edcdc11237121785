"""What is published is read so that damage is one sentence."""

from __future__ import annotations

import gzip

import pytest

from dermlens.errors import UserError
from paper.study import read_published, read_record, require_results


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "cannot be read"),
        ("garbage\n", "column dx"),
        ("dx,images\nmel,many\n", "column images: .*number"),
        ("dx,images\nmel,1.5\n", "column images: .*count"),
        ('dx,images\n"mel,1\n', "cannot be read"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "counts.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        read_published(path, ["dx", "images"], ["images"], whole=True)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_too(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"dx,images\nmel,1\n")[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        read_published(path, ["dx"])


def test_records(tmp_path):
    path = tmp_path / "run.json"
    assert read_record(path) == {}
    path.write_text('{"a": 1}')
    assert read_record(path) == {"a": 1}
    for content in ("{bad", "[]"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"run\.json.*JSON"):
            read_record(path)


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(UserError, match="nothing of the study"):
        require_results(tmp_path)
    (tmp_path / "leak").mkdir()
    require_results(tmp_path)

from __future__ import annotations

import json

import pytest

from dermlens.atomic import atomic_path, check_target, write_json, write_text
from dermlens.errors import UserError


def test_a_file_appears_whole(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "γ")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "γ"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_halfway():
        with atomic_path(target) as part:
            part.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_target_is_checked_before_there_is_anything_to_write(tmp_path):
    target = tmp_path / "new" / "a.txt"
    check_target(target)
    assert list(tmp_path.rglob("*")) == [target.parent]
    target.write_text("old")
    check_target(target)
    assert target.read_text() == "old"
    for path, words in ((tmp_path, "is a folder"), (target / "x", "cannot be written: ")):
        with pytest.raises(UserError, match=words) as caught:
            check_target(path)
        assert str(caught.value).startswith(f"{path} ")


def test_json_keeps_order_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [None, "é"]})
    assert list(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))) == ["b", "a"]
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()

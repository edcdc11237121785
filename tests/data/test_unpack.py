"""Archives that are sound, damaged, or meant to do harm."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from dermlens.data.fetch import MOST_ENTRIES, MOST_RATIO, unpack
from dermlens.errors import UserError


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


SOUND = zipped(
    {"part/": b"", "part/I1.jpg": b"1" * 900, "I2.jpg": b"2" * 700, "__MACOSX/part/._I1.jpg": b"x"}
)


def archive_with(tmp_path: Path, *infos: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in infos:
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "a/../../evil.jpg", "/etc/evil.jpg", "C:/evil.jpg", "C:evil.jpg", "a\\..\\..\\evil.jpg"],
)
def test_members_that_would_leave_the_folder_stop_the_whole_archive(tmp_path, name):
    path = archive_with(tmp_path, ("good.jpg", b"1"), (name, b"2"))
    with pytest.raises(UserError, match=r"a\.zip.*outside"):
        unpack(path, tmp_path / "into" / "here")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UserError, match=r"'link\.jpg'.*link"):
        unpack(archive_with(tmp_path, (link, b"/etc/passwd")), tmp_path / "here")


def test_two_members_of_one_name_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"two.*'a\.jpg'"):
        unpack(archive_with(tmp_path, ("x/a.jpg", b"1"), ("y/a.jpg", b"2")), tmp_path / "here")


def test_a_bomb_is_refused_before_it_unfolds(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a.jpg": bytes((MOST_RATIO + 1) << 20)}))
    with pytest.raises(UserError, match="grow"):
        unpack(path, tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dermlens.data.fetch.MOST_ENTRIES", 2)
    assert MOST_ENTRIES > 25_331, "ISIC 2019 has as many images"
    with pytest.raises(UserError, match=r"3 members.*2"):
        unpack(archive_with(tmp_path, *((f"{i}.jpg", b"1") for i in range(3))), tmp_path / "here")


def in_the_list(place: int, value: int):
    """A field of the archive's list of members set in all of them."""

    def changed(data: bytes) -> bytes:
        parts = data.split(b"PK\x01\x02")
        begun = [part[: place - 4] + bytes([value]) + part[place - 3 :] for part in parts[1:]]
        return b"PK\x01\x02".join([parts[0], *begun])

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"1" * 40, b"1" * 39 + b"2"),
        in_the_list(10, 99),
    ],
    ids=["cut", "changed", "packed by no known method"],
)
def test_a_damaged_archive_leaves_nothing(tmp_path, damage):
    path = archive_with(tmp_path, ("a.jpg", b"1" * 5000), ("b.jpg", b"2" * 5000))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"a\.zip"):
        unpack(path, tmp_path / "here")
    assert list(tmp_path.iterdir()) == [path]


def test_unpacking_is_flat_and_repeatable_and_spares_other_content(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(SOUND)
    assert unpack(path, tmp_path / "here") == 2
    assert sorted(file.name for file in (tmp_path / "here").iterdir()) == ["I1.jpg", "I2.jpg"]
    assert unpack(path, tmp_path / "here") == 2
    (tmp_path / "here" / "I1.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"here.*I1\.jpg"):
        unpack(path, tmp_path / "here")

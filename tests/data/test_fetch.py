"""A data set as a whole: terms, files, record, and what a second call does."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dermlens.data.download import RemoteFile
from dermlens.data.fetch import CC_BY_NC, RECORD, SOURCES, Source, fetch
from dermlens.data.table import read_table
from dermlens.errors import UserError


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


TABLE = (
    b"lesion_id,image_id,dx,dx_type,age,sex,localization\nL1,I1,nv,histo,40,male,back\nL2,I2,mel,histo,,,\n"
)
ARCHIVE = zipped(
    {"part/": b"", "part/I1.jpg": b"1" * 900, "I2.jpg": b"2" * 700, "__MACOSX/part/._I1.jpg": b"x"}
)
MASKS = zipped({"segmentations/I1_segmentation.png": b"mask"})


@pytest.fixture
def tiny(server, monkeypatch) -> Source:
    """A data set like HAM10000, on the local server."""
    files = {
        "HAM10000_metadata.csv": TABLE,
        "HAM10000_segmentations_lesion_tschandl.zip": MASKS,
        "HAM10000_images_part_1.zip": ARCHIVE,
    }
    remotes = tuple(replace(server.remote(*file), hosts=("http://127.0.0.1:9",)) for file in files.items())
    source = Source("tiny", CC_BY_NC, ("Somebody 2018.",), remotes)
    monkeypatch.setitem(SOURCES, "tiny", source)
    return source


def fetched(server, folder: Path, **more) -> str:
    written = io.StringIO()
    fetch(
        "tiny",
        folder,
        **{"accept_licence": True, "base_url": server.address, "pause_s": 0} | more,
        console=Console(file=written, width=300),
    )
    return written.getvalue()


def test_a_fetched_set_is_readable(server, tiny, tmp_path):
    text = fetched(server, tmp_path / "set")
    table = read_table(tmp_path / "set")
    assert table["image_id"].tolist() == ["I1", "I2"]
    assert [mask is not None for mask in table["mask"]] == [True, False]
    assert "CC BY-NC 4.0" in text
    assert "Somebody 2018." in text
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "HAM10000_images_part_1",
        "HAM10000_metadata.csv",
        "HAM10000_segmentations_lesion_tschandl",
        RECORD,
    ]


def test_the_licence_must_be_accepted(server, tiny, tmp_path):
    written = io.StringIO()
    with pytest.raises(UserError, match=r"tiny.*CC BY-NC 4.0.*--accept-licence"):
        fetch(
            "tiny",
            tmp_path / "set",
            accept_licence=False,
            base_url=server.address,
            console=Console(file=written),
        )
    for words in ("CC BY-NC 4.0", "non-commercial", "Somebody 2018."):
        assert words in written.getvalue()
    assert server.asked == []
    assert not (tmp_path / "set").exists()


def test_what_is_whole_is_not_fetched_again(server, tiny, tmp_path):
    fetched(server, tmp_path)
    asked = len(server.asked)
    assert fetched(server, tmp_path).count("here already") == 3
    assert len(server.asked) == asked


def test_what_was_lost_is_fetched_again(server, tiny, tmp_path):
    fetched(server, tmp_path)
    (tmp_path / "HAM10000_metadata.csv").unlink()
    for file in (tmp_path / "HAM10000_images_part_1").iterdir():
        file.unlink()
    (tmp_path / "HAM10000_images_part_1").rmdir()
    del server.asked[:]
    fetched(server, tmp_path)
    assert sorted(path for path, _ in server.asked) == [
        "/HAM10000_images_part_1.zip",
        "/HAM10000_metadata.csv",
    ]
    assert len(read_table(tmp_path)) == 2


def test_a_folder_that_lost_files_is_said_before_anything_is_fetched(server, tiny, tmp_path):
    fetched(server, tmp_path)
    (tmp_path / "HAM10000_images_part_1" / "I1.jpg").unlink()
    del server.asked[:]
    with pytest.raises(UserError, match=r"HAM10000_images_part_1.*1 of 2"):
        fetched(server, tmp_path)
    assert server.asked == []


def test_the_record_says_what_and_under_which_terms(server, tiny, tmp_path):
    fetched(server, tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    assert (record["source"], record["licence"], record["citation"]) == (
        "tiny",
        "CC BY-NC 4.0",
        ["Somebody 2018."],
    )
    entry = record["files"]["HAM10000_images_part_1.zip"]
    assert (entry["bytes"], entry["sha256"], entry["verified"], entry["unpacked"]) == (
        len(ARCHIVE),
        hashlib.sha256(ARCHIVE).hexdigest(),
        True,
        2,
    )


def test_a_file_without_a_published_sum_is_called_unverified(server, tiny, tmp_path, monkeypatch):
    bare = tuple(replace(remote, size=None, md5=None, sha256=None) for remote in tiny.remotes)
    monkeypatch.setitem(SOURCES, "tiny", replace(tiny, remotes=bare))
    text = fetched(server, tmp_path)
    expected = f"unverified, no check sum is published; SHA-256 {hashlib.sha256(TABLE).hexdigest()}"
    assert f"HAM10000_metadata.csv: {expected}" in text
    assert json.loads((tmp_path / RECORD).read_text())["files"]["HAM10000_metadata.csv"]["verified"] is False


def test_a_wrong_file_keeps_the_others(server, tiny, tmp_path):
    server.files["/HAM10000_images_part_1.zip"] = ARCHIVE[:-1] + b"x"
    with pytest.raises(UserError, match=r"HAM10000_images_part_1\.zip.*SHA-256"):
        fetched(server, tmp_path)
    assert (tmp_path / "HAM10000_metadata.csv").exists()
    assert not (tmp_path / "HAM10000_images_part_1").exists()
    assert not list(tmp_path.glob("*.part*"))


def test_two_sets_do_not_share_a_folder(server, tiny, tmp_path, monkeypatch):
    fetched(server, tmp_path)
    monkeypatch.setitem(SOURCES, "other", replace(tiny, name="other"))
    with pytest.raises(UserError, match=r"tiny.*other"):
        fetch(
            "other",
            tmp_path,
            accept_licence=True,
            base_url=server.address,
            console=Console(file=io.StringIO()),
        )


def test_an_unknown_set(tmp_path):
    with pytest.raises(UserError, match=r"'ham1000'.*nearest: ham10000"):
        fetch("ham1000", tmp_path, accept_licence=True)


CHILD = """
import sys
from pathlib import Path
from dermlens.data.fetch import fetch
from dermlens.data.fetch import CC_BY_NC, SOURCES, Source; from dermlens.data.download import RemoteFile
big = RemoteFile("big.bin", (), "/big.bin", int(sys.argv[3]), None, sys.argv[4])
SOURCES["big"] = Source("big", CC_BY_NC, (), (big,))
fetch("big", Path(sys.argv[1]), accept_licence=True, base_url=sys.argv[2], pause_s=0)
"""


def test_a_killed_fetch_goes_on_where_it_was(server, tmp_path):
    body = os.urandom(3_000_000)
    server.files["/big.bin"], server.cut_after, server.stall = body, [2_000_000], True
    command = [
        sys.executable,
        "-c",
        CHILD,
        str(tmp_path),
        server.address,
        str(len(body)),
        hashlib.sha256(body).hexdigest(),
    ]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    part = tmp_path / "big.bin.part"
    try:
        deadline = time.monotonic() + 300
        while not (part.exists() and part.stat().st_size == 2_000_000):
            assert time.monotonic() < deadline, "the child has not come so far"
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (tmp_path / "big.bin").exists()
    server.stall = False
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=600)
    assert (tmp_path / "big.bin").read_bytes() == body
    assert server.sent == len(body), "no byte twice"


def all_remotes() -> list[RemoteFile]:
    return [remote for source in SOURCES.values() for remote in source.remotes]


@pytest.mark.parametrize("remote", all_remotes(), ids=lambda remote: remote.name)
def test_sources_are_well_formed(remote):
    assert all(host.startswith("https://") and not host.endswith("/") for host in remote.hosts)
    assert remote.path.startswith("/")
    assert remote.md5 is None or (len(remote.md5) == 32 and int(remote.md5, 16))
    assert remote.sha256 is None or (len(remote.sha256) == 64 and int(remote.sha256, 16))


def test_tables_from_dataverse_are_asked_for_as_uploaded():
    """Without `format=original` it serves an export of its own, whose sum differs."""
    tables = [
        remote for remote in all_remotes() if "dataverse" in remote.hosts[0] and remote.name.endswith(".csv")
    ]
    assert len(tables) == 2
    assert all(remote.path.endswith("?format=original") for remote in tables)


def test_ham10000_is_verified_throughout():
    assert all(remote.verified and remote.size for remote in SOURCES["ham10000"].remotes)
    assert sum(remote.size or 0 for remote in SOURCES["ham10000"].remotes) == 2_781_587_616

"""One file against a server that fails in the ways servers fail."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dermlens.data.download import TRIES, RemoteFile, download, sums_of
from dermlens.errors import UserError

BODY = bytes(range(256)) * 400


@pytest.fixture
def remote(server) -> RemoteFile:
    return server.remote("file", BODY)


@pytest.fixture
def bare(remote) -> RemoteFile:
    """The same without anything published about it."""
    return replace(remote, size=None, md5=None, sha256=None)


def test_a_file_arrives_whole_and_leaves_nothing_else(remote, tmp_path):
    seen: list[tuple[int, int | None]] = []
    sums = download(remote, tmp_path / "file", pause_s=0, tell=lambda here, total: seen.append((here, total)))
    assert (tmp_path / "file").read_bytes() == BODY
    assert (sums.size, sums.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))


def test_cut_connections_are_picked_up_where_they_ended(server, remote, tmp_path):
    """More cuts than tries: what counts is tries without a new byte."""
    server.cut_after = [10_000] * (TRIES + 3)
    download(remote, tmp_path / "file", pause_s=0)
    assert (tmp_path / "file").read_bytes() == BODY
    assert [asked for _, asked in server.asked[:3]] == [None, "bytes=10000-", "bytes=20000-"]
    assert server.sent == len(BODY), "no byte twice"


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, remote, tmp_path, code):
    server.answers = [code] * (TRIES - 1)
    download(remote, tmp_path / "file", pause_s=0)
    assert len(server.asked) == TRIES


def test_a_server_that_stays_down_is_given_up_and_what_arrived_is_kept(server, remote, tmp_path):
    server.cut_after = [30_000]
    server.answers = [200] + [503] * TRIES
    with pytest.raises(UserError, match=rf"{TRIES}.*503"):
        download(remote, tmp_path / "file", pause_s=0)
    assert (tmp_path / "file.part").stat().st_size == 30_000
    download(remote, tmp_path / "file", pause_s=0)
    assert server.sent == len(BODY)


def test_a_server_that_is_not_there(remote, tmp_path):
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/file.*6"):
        download(replace(remote, hosts=("http://127.0.0.1:9",)), tmp_path / "file", pause_s=0)


def test_the_pause_grows_and_heeds_the_server(server, remote, tmp_path, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("dermlens.data.download.time.sleep", slept.append)
    server.answers, server.retry_after = [503, 503, 503], "3"
    download(remote, tmp_path / "file", pause_s=2)
    assert slept == [3, 4, 8]


def test_a_server_without_ranges_gives_the_whole_again(server, remote, tmp_path):
    server.ranges = False
    server.cut_after = [10_000, 20_000]
    download(remote, tmp_path / "file", pause_s=0)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_not_mixed(server, bare, tmp_path):
    """The remainder of another version must not be appended: the server's mark tells."""
    server.cut_after, server.answers = [10_000], [200] + [503] * TRIES
    with pytest.raises(UserError):
        download(bare, tmp_path / "file", pause_s=0)
    server.files["/file"], server.etag = b"new" * 20_000, '"two"'
    download(bare, tmp_path / "file", pause_s=0)
    assert (tmp_path / "file").read_bytes() == b"new" * 20_000


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_mark_and_sum_nothing_is_resumed(server, bare, tmp_path, etag):
    server.etag, server.cut_after = etag, [10_000]
    download(bare, tmp_path / "file", pause_s=0)
    assert [asked for _, asked in server.asked] == [None, None]
    assert (tmp_path / "file").read_bytes() == BODY


def test_more_here_than_there_starts_over(remote, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY + b"more")
    download(remote, tmp_path / "file", pause_s=0)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_part_that_is_whole_already(remote, tmp_path):
    """Killed between the last byte and the new name."""
    (tmp_path / "file.part").write_bytes(BODY)
    download(remote, tmp_path / "file", pause_s=0)
    assert (tmp_path / "file").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("what", ["sha256", "md5", "size"])
def test_a_wrong_sum_removes_the_file_and_says_both(remote, tmp_path, what):
    wrong = 7 if what == "size" else "0" * len(getattr(remote, what))
    with pytest.raises(UserError) as caught:
        download(replace(remote, **{what: wrong}), tmp_path / "file", pause_s=0)
    assert str(caught.value).startswith("file ")
    assert f"is {getattr(remote, what)}, expected {wrong}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_checked_and_not_fetched(server, remote, tmp_path):
    (tmp_path / "file").write_bytes(BODY)
    download(remote, tmp_path / "file", pause_s=0)
    assert server.asked == []
    (tmp_path / "file").write_bytes(BODY[:-1])
    with pytest.raises(UserError, match="size"):
        download(remote, tmp_path / "file", pause_s=0)
    assert (tmp_path / "file").exists(), "what the user put there is the user's"


def test_the_next_host_is_asked_where_one_lacks_the_file(server, remote, tmp_path):
    server.files["/second/file"] = BODY
    hosts = (f"{server.address}/first", f"{server.address}/second")
    download(replace(remote, hosts=hosts), tmp_path / "file", pause_s=0)
    assert [path for path, _ in server.asked] == ["/first/file", "/second/file"]


def test_no_host_has_it(remote, tmp_path):
    with pytest.raises(UserError, match=r"file.*/elsewhere.*404"):
        download(replace(remote, path="/elsewhere"), tmp_path / "file", pause_s=0)


def test_no_room_is_said_before_the_first_byte(server, remote, tmp_path, monkeypatch):
    monkeypatch.setattr("dermlens.data.download.shutil.disk_usage", lambda _: type("", (), {"free": 10})())
    with pytest.raises(UserError, match=r"file.*0\.0 GB.*0\.0 GB"):
        download(remote, tmp_path / "file", pause_s=0)
    assert server.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which plays a full disk")
def test_a_disk_that_fills_up(remote, tmp_path):
    (tmp_path / "file.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="No space left"):
        download(remote, tmp_path / "file", pause_s=0)


def test_sums_are_those_of_another_program(tmp_path):
    (tmp_path / "file").write_bytes(BODY)
    sums = sums_of(tmp_path / "file")
    for program, found in (("md5sum", sums.md5), ("sha256sum", sums.sha256)):
        result = subprocess.run([program, tmp_path / "file"], capture_output=True, text=True, check=True)
        assert result.stdout.split()[0] == found


def test_a_redirect_is_followed_with_the_range_kept(server, remote, tmp_path):
    """Dataverse answers with the address of a store, and it is the store that must resume."""
    server.redirects["/access"] = "/file"
    server.cut_after = [40_000]
    download(replace(remote, path="/access"), tmp_path / "file", pause_s=0)
    assert server.asked == [
        ("/access", None),
        ("/file", None),
        ("/access", "bytes=40000-"),
        ("/file", "bytes=40000-"),
    ]
    assert (tmp_path / "file").read_bytes() == BODY

"""One file from the web: resumed where it stopped, checked, and under its name only when whole."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from dermlens import __version__
from dermlens.errors import UserError

TRIES = 6
"""In a row without a new byte; a connection that is cut but moves on is picked up as often as it takes."""
PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
TIMEOUT_S = 30.0
CHUNK = 1 << 20
PASSING = (408, 425, 429, 500, 502, 503, 504)

Tell = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes there will be, if known."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to download.

    Attributes:
        name: what it is called here; an archive (`.zip`) becomes a folder of its name without `.zip`.
        hosts: beginnings of its address; the next one is tried where one does not have the file.
        path: the rest of the address.
        size: in bytes, where published.
        md5, sha256: as published; a file with neither is recorded as unverified.
    """

    name: str
    hosts: tuple[str, ...]
    path: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def verified(self) -> bool:
        """Whether a check sum is published."""
        return bool(self.md5 or self.sha256)


@dataclass(frozen=True)
class Sums:
    """What a file holds."""

    size: int
    md5: str
    sha256: str


class _HostError(Exception):
    """This host will not give the file; another may."""


class _PassingError(Exception):
    """Worth another try.

    Attributes:
        wait_s: how long the server asked to wait.
    """

    def __init__(self, reason: object, wait_s: float = 0.0):
        super().__init__(reason)
        self.wait_s = wait_s


def sums_of(path: Path) -> Sums:
    """Hash a file, reading it once."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
    return Sums(path.stat().st_size, md5.hexdigest(), sha256.hexdigest())


def mismatch(remote: RemoteFile, sums: Sums) -> str | None:
    """How a file differs from what is published, or None."""
    for what, expected, found in (
        ("size", remote.size, sums.size),
        ("SHA-256", remote.sha256, sums.sha256),
        ("MD5", remote.md5, sums.md5),
    ):
        if expected is not None and expected != found:
            return f"its {what} is {found}, expected {expected}"
    return None


def download(
    remote: RemoteFile,
    target: Path,
    *,
    tell: Tell = lambda _here, _total: None,
    pause_s: float = PAUSE_S,
) -> Sums:
    """Bring a file here.

    What has arrived is kept in `<target>.part`, next to it the server's mark of the version, so that a later
    call goes on where this one stopped, whatever stopped it.

    Args:
        remote: address, size and check sums.
        target: where it shall be; its folder is made. A file that is there and fits is not fetched again.
        tell: called with the progress.
        pause_s: before the second try; doubled before each further one.

    Returns:
        Size and check sums of the file.

    Raises:
        UserError: no host has the file, the network stays down, the disk is full, or what arrived is not what
            is published, in which case it is removed.
    """
    if target.exists():
        sums = sums_of(target)
        if wrong := mismatch(remote, sums):
            raise UserError(f"{target} is there, but {wrong}; move it away and fetch again")
        return sums
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    _refuse_full_disk(remote, part)
    reasons = []
    for host in remote.hosts:
        try:
            _bring(remote, host + remote.path, part, tell, pause_s)
            break
        except _HostError as error:
            reasons.append(f"{host}{remote.path} {error}")
    else:
        raise UserError(
            f"{remote.name}: {'; '.join(reasons)}; what has arrived is kept, fetch again to go on"
        )
    sums = sums_of(part)
    if wrong := mismatch(remote, sums):
        _forget(part)
        raise UserError(f"{remote.name} arrived, but {wrong}; it was removed: fetch again")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _mark_of(part).unlink(missing_ok=True)
    return sums


def _bring(remote: RemoteFile, address: str, part: Path, tell: Tell, pause_s: float) -> None:
    """Try until the whole of a file is in `part`."""
    failures, here = 0, 0
    while True:
        try:
            return _go_on(remote, address, part, tell)
        except _PassingError as error:
            before, here = here, part.stat().st_size if part.exists() else 0
            failures = 1 if here > before else failures + 1
            if failures >= TRIES:
                raise _HostError(f"could not be read in {TRIES} tries ({error})") from error
            time.sleep(min(max(error.wait_s, pause_s * 2 ** (failures - 1)), LONGEST_PAUSE_S))


def _go_on(remote: RemoteFile, address: str, part: Path, tell: Tell) -> None:
    """One connection: append what is missing to `part`.

    Raises:
        _PassingError: the server is busy or out of reach, or the connection ended early.
        _HostError: the server does not have the file, or not for us.
    """
    mark = _mark_of(part).read_text(encoding="ascii") if _mark_of(part).exists() else ""
    if not mark and not remote.verified:
        part.unlink(missing_ok=True)  # of an unknown version, and no check sum would tell
    here = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"dermlens/{__version__}", "Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
        if mark:
            headers["If-Range"] = mark
    try:
        response = urlopen(Request(address, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        raise _answer(error, part) from error
    except (OSError, HTTPException) as error:
        raise _PassingError(error) from error
    with response:
        if address.startswith("https:") and not response.url.startswith("https:"):
            raise _HostError(f"leads to {response.url}, which is not encrypted")
        _append(response, part, here, tell)


def _answer(error: HTTPError, part: Path) -> Exception:
    """What an answer that is no file means for us."""
    if error.code == 416:
        _forget(part)
        return _PassingError("the server has less than what is here; starting over")
    if error.code in PASSING:
        wait = error.headers.get("Retry-After", "")
        return _PassingError(f"{error.code} {error.reason}", float(wait) if wait.isdigit() else 0.0)
    return _HostError(f"answers {error.code} {error.reason}")


def _append(response: HTTPResponse, part: Path, here: int, tell: Tell) -> None:
    """Write a response's bytes to their place."""
    resumed = response.status == 206
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
        _forget(part)
        raise _PassingError("the server resumes at another place; starting over")
    if not resumed:
        here = 0
        mark = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        # A weak mark promises the same meaning, not the same bytes: nothing is resumed on it.
        _mark_of(part).write_text("" if mark.startswith("W/") else mark, encoding="ascii", errors="ignore")
    length = response.headers.get("Content-Length")
    total = here + int(length) if length else None
    tell(here, total)
    with part.open("ab" if resumed else "wb") as file:
        while chunk := _read(response):
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise UserError(f"{part}: {error.strerror}; make room and fetch again to go on") from error
            here += len(chunk)
            tell(here, total)
    if total is not None and here < total:
        raise _PassingError(f"the connection ended after {here} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _PassingError(error) from error


def _refuse_full_disk(remote: RemoteFile, part: Path) -> None:
    if remote.size is None:
        return
    missing = remote.size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if free < missing:
        raise UserError(
            f"{remote.name} needs {missing / 1e9:.1f} GB and {part.parent} has {free / 1e9:.1f} GB free"
        )


def _mark_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _mark_of(part).unlink(missing_ok=True)

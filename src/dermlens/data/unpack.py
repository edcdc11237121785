"""An archive into a folder: flat, within limits, all of it or nothing."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from dermlens.atomic import atomic_folder
from dermlens.errors import UserError

MOST_ENTRIES = 100_000
MOST_BYTES = 40 << 30
"""Unpacked; ISIC 2019, the largest archive in `sources`, has about 10 GB."""
MOST_RATIO = 200
"""Unpacked to packed, of the whole archive; images hardly shrink, masks about tenfold."""


def members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by the names they get: without folders, without what a Mac adds.

    Args:
        archive: an open archive.
        name: its name, for the sentence.

    Raises:
        UserError: a member would leave the folder, is a link or encrypted, two would get one name, or there
            is more than the limits allow.
    """
    infos = archive.infolist()
    if len(infos) > MOST_ENTRIES:
        raise UserError(f"{name} has {len(infos)} members; at most {MOST_ENTRIES} are unpacked")
    packed, unpacked = sum(i.compress_size for i in infos), sum(i.file_size for i in infos)
    if unpacked > MOST_BYTES or unpacked > MOST_RATIO * max(packed, 1 << 20):
        raise UserError(f"{name} would grow from {packed} to {unpacked} bytes; that is no archive of images")
    kept: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        elsewhere = path.is_absolute() or ".." in path.parts or PureWindowsPath(info.filename).drive
        if elsewhere or "\\" in info.filename:
            raise UserError(
                f"{name}: member '{info.filename}' would be written outside the folder; nothing was"
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(f"{name}: member '{info.filename}' is a link; nothing was unpacked")
        if info.flag_bits & 1:
            raise UserError(f"{name}: member '{info.filename}' is encrypted; nothing was unpacked")
        if info.is_dir() or "__MACOSX" in path.parts or path.name.startswith("."):
            continue
        if path.name in kept:
            raise UserError(f"{name}: two members are called '{path.name}'; nothing was unpacked")
        kept[path.name] = info
    return kept


def unpack(file: Path, folder: Path) -> int:
    """Unpack a zip archive; the folder appears when all of it is there.

    A folder that is there is taken as the outcome of an earlier run if it has every member at its size.

    Args:
        file: the archive.
        folder: made here.

    Returns:
        The number of files.

    Raises:
        UserError: the archive is damaged or not to be trusted, or the folder holds something else.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            kept = members(archive, file.name)
            if folder.exists():
                _refuse_other_content(folder, kept)
                return len(kept)
            with atomic_folder(folder) as part:
                for name, info in kept.items():
                    with archive.open(info) as source, (part / name).open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise UserError(f"{file} is no whole zip archive ({error}); remove it and fetch again") from error
    except OSError as error:
        raise UserError(
            f"{folder} could not be written ({error.strerror}); nothing of it was kept"
        ) from error
    return len(kept)


def _refuse_other_content(folder: Path, kept: dict[str, zipfile.ZipInfo]) -> None:
    for name, info in kept.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != info.file_size:
            raise UserError(f"{folder} is there, but {name} in it is not the archive's; move the folder away")

"""`dermlens data fetch`: published data sets, where they lie, and on what terms they are given."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dermlens.data.download import PAUSE_S, RemoteFile, Sums, download
from dermlens.errors import UserError, nearest
from dermlens.files import atomic_folder, read_json, write_json


@dataclass(frozen=True)
class Licence:
    """The terms of a data set, in words that a person can decide on."""

    name: str
    meaning: str
    address: str


@dataclass(frozen=True)
class Source:
    """A data set: its files, its terms and what to cite."""

    name: str
    licence: Licence
    citation: tuple[str, ...]
    remotes: tuple[RemoteFile, ...]


CC_BY_NC = Licence(
    "CC BY-NC 4.0",
    "free to use and share for non-commercial purposes, with attribution; models trained on it "
    "inherit the limit",
    "https://creativecommons.org/licenses/by-nc/4.0/",
)
DATAVERSE = ("https://dataverse.harvard.edu/api/access/datafile",)
ISIC = ("https://isic-challenge-data.s3.amazonaws.com", "https://isic-archive.s3.amazonaws.com/challenges")


def _isic(path: str) -> RemoteFile:
    """A file of the ISIC challenges, which publish no check sums."""
    return RemoteFile(path.rpartition("/")[2], ISIC, f"/{path}")


HAM10000_PAPER = (
    "Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset, a large collection of multi-source "
    "dermatoscopic images of common pigmented skin lesions. Sci Data 5, 180161 (2018). "
    "doi:10.1038/sdata.2018.161"
)
ISIC2018_PAPER = (
    "Codella N, Rotemberg V, Tschandl P, et al. Skin Lesion Analysis Toward Melanoma Detection 2018: "
    "A Challenge Hosted by the International Skin Imaging Collaboration (ISIC). arXiv:1902.03368"
)

HAM10000 = Source(
    "ham10000",
    CC_BY_NC,
    (
        HAM10000_PAPER,
        "Lesion masks: Tschandl P, Rinner C, Apalla Z, et al. Human–computer collaboration for skin cancer "
        "recognition. Nat Med 26, 1229–1234 (2020). doi:10.1038/s41591-020-0942-0",
    ),
    (
        RemoteFile(
            "HAM10000_metadata.csv",
            DATAVERSE,
            # Without `format=original` Dataverse gives its own tab-separated export, of another check sum.
            "/4338392?format=original",
            690_218,
            "8f85fb1aa29d80a2797247e434deb79d",
            "de17ec44cb25ea9c3f6378ba18d69224c740afd62e86ec2edc6a894d6aa663d3",
        ),
        RemoteFile(
            "HAM10000_segmentations_lesion_tschandl.zip",
            DATAVERSE,
            "/3838943",
            10_808_743,
            "6e8d252e09cfdb0189199f15985a5b84",
        ),
        RemoteFile(
            "HAM10000_images_part_1.zip",
            DATAVERSE,
            "/3172585",
            1_366_522_108,
            "4639bfa73ab251610530a97c898e6e46",
            "6202a599129c2efe81c25aea8586d422eeda8a4fae5df49dd7b7bbf956d419db",
        ),
        RemoteFile(
            "HAM10000_images_part_2.zip",
            DATAVERSE,
            "/3172584",
            1_403_566_547,
            "da43d6cc50f6613013be07e8986b384b",
            "9677f30118c21ecc667a147de369d89acb25efab046fd32f6b13ad677ce2d6d0",
        ),
    ),
)

ISIC2018_VALIDATION = Source(
    "isic2018-validation",
    CC_BY_NC,
    (HAM10000_PAPER, ISIC2018_PAPER),
    (
        _isic("2018/ISIC2018_Task3_Validation_GroundTruth.zip"),
        _isic("2018/ISIC2018_Task3_Validation_Input.zip"),
    ),
)

ISIC2018_TEST = Source(
    "isic2018-test",
    CC_BY_NC,
    (HAM10000_PAPER, ISIC2018_PAPER),
    (
        # The challenge's own files have all 1,512 images; HAM10000's record has 1,511, and age, sex and site.
        _isic("2018/ISIC2018_Task3_Test_GroundTruth.zip"),
        RemoteFile("metadata/ISIC2018_Task3_Test_GroundTruth.csv", DATAVERSE, "/6924466?format=original"),
        _isic("2018/ISIC2018_Task3_Test_Input.zip"),
    ),
)

ISIC2019_TRAINING = Source(
    "isic2019-training",
    CC_BY_NC,
    (
        HAM10000_PAPER,
        "Codella N, Gutman D, Celebi ME, et al. Skin Lesion Analysis Toward Melanoma Detection: A Challenge "
        "at the 2017 International Symposium on Biomedical Imaging (ISBI). arXiv:1710.05006",
        "Combalia M, Codella N, Rotemberg V, et al. BCN20000: Dermoscopic Lesions in the Wild. "
        "arXiv:1908.02288",
    ),
    (
        _isic("2019/ISIC_2019_Training_GroundTruth.csv"),
        _isic("2019/ISIC_2019_Training_Metadata.csv"),
        _isic("2019/ISIC_2019_Training_Input.zip"),
    ),
)

SOURCES = {
    source.name: source for source in (HAM10000, ISIC2018_VALIDATION, ISIC2018_TEST, ISIC2019_TRAINING)
}


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
                for name, info in kept.items():
                    there = folder / name
                    if not there.is_file() or there.stat().st_size != info.file_size:
                        raise UserError(
                            f"{folder} is there, but {name} in it is not the archive's; move the folder away"
                        )
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


RECORD = "fetched.json"
"""In the data folder: what was fetched, from where, when, with which sums, under which licence."""


def fetch(
    name: str,
    destination: Path,
    *,
    accept_licence: bool,
    base_url: str | None = None,
    console: Console | None = None,
    pause_s: float = PAUSE_S,
) -> Path:
    """Download, check and unpack a data set so that `read_table` finds its form.

    It can be stopped at any point and called again: what is whole is not fetched twice. Archives are removed
    once they are unpacked. A file without a published check sum is recorded as unverified, with its SHA-256.

    Args:
        name: one of `SOURCES`.
        destination: the data folder; made if need be.
        accept_licence: whether the user accepts the licence, which is shown either way.
        base_url: instead of the official hosts: a mirror with the same paths.
        console: where to write; none takes a new one on standard error.
        pause_s: before a failed connection is tried again.

    Returns:
        The data folder.

    Raises:
        UserError: the name is not known, the licence is not accepted, or a file cannot be had as published.
    """
    if name not in SOURCES:
        raise UserError(f"data set '{name}' is not known{nearest(name, SOURCES)}")
    source = SOURCES[name]
    console = console or Console(stderr=True)
    _show_terms(source, console)
    if not accept_licence:
        raise UserError(
            f"{name} is given under {source.licence.name}; fetch it with --accept-licence if you accept"
        )
    destination.mkdir(parents=True, exist_ok=True)
    record = _read_record(destination, source)
    for official in source.remotes:
        remote = replace(official, hosts=(base_url.rstrip("/"),)) if base_url else official
        if _is_whole(remote, destination, record["files"].get(remote.name)):
            console.print(f"{remote.name}: here already")
            continue
        sums = _download_with_bar(remote, destination, console, pause_s)
        entry: dict[str, Any] = {
            "addresses": [host + remote.path for host in remote.hosts],
            "bytes": sums.size,
            "sha256": sums.sha256,
            "md5": sums.md5,
            "verified": remote.verified,
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        target = destination / remote.name
        if target.suffix == ".zip":
            entry["unpacked"] = unpack(target, target.with_suffix(""))
        record["files"][remote.name] = entry
        write_json(destination / RECORD, record)
        if target.suffix == ".zip":
            target.unlink()
        if not remote.verified:
            console.print(f"{remote.name}: unverified, no check sum is published; SHA-256 {sums.sha256}")
    return destination


def _show_terms(source: Source, console: Console) -> None:
    console.print(f"{source.name}: {source.licence.name} ({source.licence.address})")
    console.print(f"That is: {source.licence.meaning}.")
    console.print("Cite:")
    for paper in source.citation:
        console.print(f"  {paper}", highlight=False)


def _read_record(destination: Path, source: Source) -> dict[str, Any]:
    path = destination / RECORD
    empty = {
        "schema": 1,
        "source": source.name,
        "licence": source.licence.name,
        "citation": list(source.citation),
        "files": {},
    }
    if not path.exists():
        return empty
    record = read_json(path)
    if record.get("source") != source.name:
        raise UserError(
            f"{destination} holds {record.get('source')}; fetch {source.name} into a folder of its own"
        )
    return record


def _is_whole(remote: RemoteFile, destination: Path, entry: dict[str, Any] | None) -> bool:
    """Whether an earlier run has brought a file here, and it is still as that run left it."""
    if entry is None:
        return False
    target = destination / remote.name
    if target.suffix == ".zip":
        folder = target.with_suffix("")
        if not folder.is_dir():
            return False
        here = sum(1 for _ in folder.iterdir())
        if here < entry["unpacked"]:
            raise UserError(f"{folder} has {here} of {entry['unpacked']} files; remove it and fetch again")
        target.unlink(missing_ok=True)
        return True
    return target.is_file() and target.stat().st_size == entry["bytes"]


def _download_with_bar(remote: RemoteFile, destination: Path, console: Console, pause_s: float) -> Sums:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(remote.name, total=remote.size)
        return download(
            remote,
            destination / remote.name,
            tell=lambda here, total: bar.update(task, completed=here, total=total),
            pause_s=pause_s,
        )

"""`dermlens fetch`: a published data set, from where its authors keep it, on their terms."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dermlens.atomic import write_json
from dermlens.data.download import PAUSE_S, Sums, download
from dermlens.data.sources import SOURCES, Remote, Source
from dermlens.data.unpack import unpack
from dermlens.errors import UserError, nearest

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
        entry = _entry(remote, sums)
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
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record.get("source") != source.name:
        raise UserError(
            f"{destination} holds {record.get('source')}; fetch {source.name} into a folder of its own"
        )
    return record


def _is_whole(remote: Remote, destination: Path, entry: dict[str, Any] | None) -> bool:
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


def _entry(remote: Remote, sums: Sums) -> dict[str, Any]:
    return {
        "addresses": [host + remote.path for host in remote.hosts],
        "bytes": sums.size,
        "sha256": sums.sha256,
        "md5": sums.md5,
        "verified": remote.verified,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _download_with_bar(remote: Remote, destination: Path, console: Console, pause_s: float) -> Sums:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task(remote.name, total=remote.size)
        return download(
            remote,
            destination / remote.name,
            tell=lambda here, total: bar.update(task, completed=here, total=total),
            pause_s=pause_s,
        )

"""A long job's answers as they come: a file that outlives an interruption and becomes the output."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, Any, Self

from dermlens import __version__
from dermlens.atomic import atomic_path, check_target
from dermlens.deploy.answers import Answer
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.requests import Patient
from dermlens.deploy.words import answer_json, answer_row, heading_json
from dermlens.errors import UserError, require
from dermlens.lock import lock

CHUNK = 10_000
"""Rows of a parquet file that are in memory at once."""
LONGEST = 2**20
"""Bytes that the heading of a journal cannot exceed; another file's first line may."""


class Journal:
    """Answers on their way to `output`: a line of JSON each in `<output>.partial`, headed by the job.

    A later process with the same job goes on with it, and answers again for images that could not be read or
    whose files have changed since. One process at a time writes it.

    Attributes:
        path: of the journal.
        done: ids of the images that have an answer, by earlier processes too.
        abstained: from how many of them the model abstains.

    Args:
        output: the file to be, whose suffix is one of `WRITERS`.
        predictor: who answers.
        prior: as `Predictor.predict` takes it.
        everyone: the patient of images that have no row.
        patients: by image id.
        images: the files to be answered for, by image id.

    Raises:
        UserError: another suffix, a place that takes no file, a file there that is no journal or a damaged
            one, or a journal of another job or that another process is writing.
    """

    def __init__(
        self,
        output: Path,
        predictor: Predictor,
        prior: Sequence[float] | None,
        everyone: Patient,
        patients: Mapping[str, Patient],
        images: Mapping[str, Path],
    ) -> None:
        known = output.suffix.lower() in WRITERS
        if known or output.exists():
            check_target(output)
        if not known:
            raise UserError(f"--output {output}: its ending says how to write; it is {', '.join(WRITERS)}")
        if output.suffix.lower() == ".parquet":
            require("pyarrow", "parquet")
        self.output, self.path = output, output.with_name(f"{output.name}.partial")
        self.done: set[str] = set()
        self.abstained = 0
        self._images, self._classes = images, predictor.classes
        self._void: set[int] = set()
        self._heading = heading_json(predictor, prior)
        told = json.dumps([asdict(everyone), {name: asdict(one) for name, one in patients.items()}])
        job = {
            "job": self._heading["model"],
            "dermlens": __version__,
            "document": _sha256(predictor.document.model_dump_json()),
            "prior": self._heading["prior"],
            "patients": _sha256(told),
        }
        self._file = self._claimed()
        try:
            self._resume((json.dumps(job) + "\n").encode())
        except UserError:
            self._file.close()
            raise
        except OSError:
            self.abandon()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, image_id: str, found: Answer | str) -> None:
        """Write an answer, or why there is none, to the journal."""
        line: dict[str, Any] = {"image_id": image_id}
        if isinstance(found, str):
            line["unreadable"] = found
        else:
            line |= {"file": _identity(self._images[image_id])}
            line |= {"row": answer_row(found, self._classes), "answer": answer_json(found)}
            self._count(line)
        self._write((json.dumps(line) + "\n").encode())

    def answers(self) -> Iterator[dict[str, Any]]:
        """The answers so far, as `--json` has them."""
        return ({"image_id": line["image_id"]} | line["answer"] for line in self._lines() if "row" in line)

    def finish(self) -> None:
        """Make the output of the journal, whole or not at all, and take the journal away.

        Without one answer there is no output.
        """
        if self.done:
            with atomic_path(self.output) as part:
                WRITERS[self.output.suffix.lower()](part, self._heading, self._lines)
        self._remove()

    def abandon(self) -> None:
        """Take the journal away."""
        self._remove()

    def _remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)  # while it is locked: no other process goes on with it
        except PermissionError:  # Windows, where there are no locks, removes no open file
            self._file.close()
            self.path.unlink(missing_ok=True)
        with suppress(OSError):  # of what a full disk could not take
            self._file.close()

    def _write(self, text: bytes) -> None:
        self._file.write(text)
        self._file.flush()

    def _count(self, line: dict[str, Any]) -> None:
        self.done.add(line["image_id"])
        self.abstained += line["answer"]["abstain"]

    def _claimed(self) -> IO[bytes]:
        """The journal, open and ours alone."""
        while True:
            if self.path.exists() and not self.path.is_file():
                raise UserError(f"{self.path} is in the way: answers are kept there as they come; move it")
            file = self.path.open("a+b")
            if not lock(file):
                file.close()
                raise UserError(
                    f"{self.path} is being written by another process: wait for it, or name another --output"
                )
            with suppress(FileNotFoundError):  # its last process may have finished before the lock was ours
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    return file
            file.close()

    def _resume(self, heading: bytes) -> None:
        """Read what an earlier part of the job has written; a last line that was cut short is taken away.

        Nothing is written to a file that is not this job's.
        """
        self._file.seek(0)
        first = self._file.readline(LONGEST)
        if heading.startswith(first) and first != heading:
            self._file.truncate(0)
            self._write(heading)
            return
        if first != heading:
            raise UserError(self._why_not(first))
        whole = len(first)
        for number, text in enumerate(self._file, start=1):
            if not text.endswith(b"\n"):
                break
            self._resume_line(number, text)
            whole += len(text)
        self._file.truncate(whole)

    def _why_not(self, first: bytes) -> str:
        try:
            ours = "job" in json.loads(first)
        except (ValueError, TypeError):
            ours = False
        if not ours:
            return (
                f"{self.path} is no journal of dermlens predict, which keeps answers there as they come: move"
                " it, or name another --output"
            )
        return (
            f"{self.path} belongs to another job (of another model, dermlens, prior or patients): finish that"
            " one, or delete the file"
        )

    def _resume_line(self, number: int, text: bytes) -> None:
        try:
            line = json.loads(text)
            image_id = str(line["image_id"])
            where = "" if "unreadable" in line else str(line["file"][0])
            whole = not where or (
                isinstance(line["row"], dict) and isinstance(line["answer"]["abstain"], bool)
            )
        except (ValueError, TypeError, KeyError, IndexError):
            whole = False
        if not whole:
            raise UserError(f"{self.path}, line {number + 1}, is damaged: delete the file to begin anew")
        path = self._images.get(image_id)
        if where and (path is None or _identity(path)[0] != where):
            raise UserError(
                f"{self.path} belongs to another job: it answers for {where}, which is none of these images;"
                " finish that one, or delete the file"
            )
        if not where or path is None or image_id in self.done or line["file"] != _identity(path):
            self._void.add(number)  # to be answered again
        else:
            self._count(line)

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            for number, text in enumerate(file):
                if number and number not in self._void:
                    yield json.loads(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(path: Path) -> list[Any]:
    """By which a file is known again: where it is, its bytes, and when it was written in nanoseconds."""
    where = os.path.abspath(path)  # noqa: PTH100  # not resolve(): links stay as the user laid them
    try:
        found = path.stat()
    except OSError:  # taken away since it was read
        return [where, None, None]
    return [where, found.st_size, found.st_mtime_ns]


Lines = Callable[[], Iterator[dict[str, Any]]]


def _rows(lines: Lines) -> Iterator[dict[str, Any]]:
    return ({"image_id": line["image_id"]} | line["row"] for line in lines() if "row" in line)


def _write_csv(path: Path, heading: dict[str, Any], lines: Lines) -> None:
    del heading
    with path.open("w", newline="", encoding="utf-8") as file:
        writer: csv.DictWriter[str] | None = None
        for row in _rows(lines):
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)


def _write_json(path: Path, heading: dict[str, Any], lines: Lines) -> None:
    """As `dermlens predict --json`, without ever holding all of it."""
    unreadable = {}
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(heading, indent=2, ensure_ascii=False)[:-2] + ',\n  "answers": [')
        between = "\n    "
        for line in lines():
            if "unreadable" in line:
                unreadable[line["image_id"]] = line["unreadable"]
                continue
            one = {"image_id": line["image_id"]} | line["answer"]
            file.write(between + json.dumps(one, ensure_ascii=False))
            between = ",\n    "
        file.write('\n  ],\n  "unreadable": ' + json.dumps(unreadable, ensure_ascii=False) + "\n}\n")


def _write_parquet(path: Path, heading: dict[str, Any], lines: Lines) -> None:
    arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    rows, writer = _rows(lines), None
    while chunk := list(islice(rows, CHUNK)):
        if writer is None:
            kinds = {name: arrow.float64() if name.startswith("p_") else arrow.string() for name in chunk[0]}
            said = {"dermlens": json.dumps(heading, ensure_ascii=False)}
            writer = parquet.ParquetWriter(path, arrow.schema(list(kinds.items()), said))
        writer.write_table(arrow.Table.from_pylist(chunk, writer.schema))
    if writer is not None:
        writer.close()


WRITERS = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}

"""A long job's answers as they come: a file that outlives an interruption and becomes the output."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, Any, Self

from dermlens.atomic import atomic_path, check_target
from dermlens.deploy.answers import Answer
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.requests import Patient
from dermlens.deploy.words import answer_json, answer_row, heading_json
from dermlens.errors import UserError, require

CHUNK = 10_000
"""Rows of a parquet file that are in memory at once."""


class Journal:
    """Answers on their way to `output`: a line of JSON each in `<output>.partial`, headed by the job.

    Attributes:
        path: of the journal.
        done: ids of the images that have an answer, or a sentence, already.
        answered, abstained: how many images, of this job's earlier parts too.
        unreadable: the sentence for each image without an answer, by id.

    Args:
        output: the file to be, whose suffix is one of `WRITERS`.
        predictor: who answers.
        prior: as `Predictor.predict` takes it.
        everyone: the patient of images that have no row.
        patients: by image id.

    Raises:
        UserError: another suffix, a place that takes no file, or a journal of another job.
    """

    def __init__(
        self,
        output: Path,
        predictor: Predictor,
        prior: Sequence[float] | None,
        everyone: Patient,
        patients: Mapping[str, Patient],
    ) -> None:
        self.output, self.path = output, output.with_name(f"{output.name}.partial")
        check_target(output)
        if output.suffix.lower() not in WRITERS:
            raise UserError(f"--output {output}: its ending says how to write; it is {', '.join(WRITERS)}")
        if output.suffix.lower() == ".parquet":
            require("pyarrow", "parquet")
        self.done: set[str] = set()
        self.answered = self.abstained = 0
        self.unreadable: dict[str, str] = {}
        told = json.dumps([asdict(everyone), {name: asdict(one) for name, one in patients.items()}])
        self._heading = heading_json(predictor, prior)
        job = {
            "job": self._heading["model"],
            "prior": self._heading["prior"],
            "patients": hashlib.sha256(told.encode()).hexdigest(),
        }
        self._resume(job)
        self._file: IO[str] = self.path.open("a", encoding="utf-8")
        if not self.done and self.path.stat().st_size == 0:
            try:
                self._write(job)
            except OSError:
                self.abandon()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, image_id: str, found: Answer | str) -> None:
        """Write an answer, or why there is none, to the journal."""
        if isinstance(found, str):
            line: dict[str, Any] = {"unreadable": found}
        else:
            line = {"row": answer_row(found), "answer": answer_json(found)}
        self._write({"image_id": image_id} | line)
        self._count(image_id, line)

    def answers(self) -> Iterator[dict[str, Any]]:
        """The answers so far, as `--json` has them."""
        return ({"image_id": line["image_id"]} | line["answer"] for line in self._lines() if "row" in line)

    def finish(self) -> None:
        """Make the output of the journal, whole or not at all, and take the journal away.

        Without one answer there is no output.
        """
        self._file.close()
        if self.answered:
            with atomic_path(self.output) as part:
                WRITERS[self.output.suffix.lower()](part, self._heading, self._lines)
        self.path.unlink()

    def abandon(self) -> None:
        """Take the journal away."""
        with suppress(OSError):  # of what a full disk could not take
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _count(self, image_id: str, line: dict[str, Any]) -> None:
        self.done.add(image_id)
        if "unreadable" in line:
            self.unreadable[image_id] = line["unreadable"]
            return
        self.answered += 1
        self.abstained += line["answer"]["abstain"]

    def _resume(self, job: dict[str, Any]) -> None:
        """Read what an earlier part of the job has written; a last line that was cut short is taken away."""
        if not self.path.exists():
            return
        whole = 0
        with self.path.open("rb") as file:
            for number, text in enumerate(file):
                try:
                    line = json.loads(text)
                except ValueError:
                    break
                if not text.endswith(b"\n"):
                    break
                if number == 0 and line != job:
                    raise UserError(
                        f"{self.path} belongs to another job (another model, prior or table): finish that"
                        " one, or delete the file"
                    )
                if number:
                    self._count(line["image_id"], line)
                whole += len(text)
        with self.path.open("r+b") as file:
            file.truncate(whole)

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            yield from map(json.loads, islice(file, 1, None))


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
        table = arrow.Table.from_pylist(chunk)
        if writer is None:
            said = {"dermlens": json.dumps(heading, ensure_ascii=False)}
            writer = parquet.ParquetWriter(path, table.schema.with_metadata(said))
        writer.write_table(table.replace_schema_metadata(writer.schema.metadata))
    if writer is not None:
        writer.close()


WRITERS = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}

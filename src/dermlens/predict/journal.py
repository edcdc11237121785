"""A long job's answers as they come: a file that outlives an interruption and becomes the output."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

from dermlens import __version__
from dermlens.errors import UserError, require
from dermlens.files import atomic_path, check_target, file_sha256
from dermlens.predict.answers import Answer, answer_json, answer_of_json, answer_row, by_lesion, heading_json
from dermlens.predict.jobfile import JobFile
from dermlens.predict.outputs import progress
from dermlens.predict.patients import Request
from dermlens.predict.predictor import Predictor, answer_stream
from dermlens.predict.priors import ClassPrior
from dermlens.predict.sources.tables import is_formula

CHUNK = 10_000
"""Rows of a parquet file that are in memory at once."""


class Journal:
    """Answers on their way to `output`: a line of JSON each in `<output>.partial`, headed by the job.

    A later process with the same job goes on with it, and answers again for images that could not be read or
    whose files have changed since. Images are known again by their path below the folder that was named and
    by their bytes, so the folder may have been moved. Each line has a check sum. One process at a time writes
    it.

    Attributes:
        path: of the journal.
        done: ids of the images that have an answer, by earlier processes too.

    Args:
        output: the file to be, whose suffix is one of `WRITERS`.
        predictor: the model.
        prior: the case mix; none for the model's own.
        asked: the images, the output having an answer a lesion where lesions are named.

    Raises:
        UserError: another suffix, an id that a spreadsheet would run in a CSV file, a place that takes no
            file, a file there that is no journal or a damaged one, or a journal of another job or that
            another process is writing.
    """

    def __init__(self, output: Path, predictor: Predictor, prior: ClassPrior | None, asked: Request) -> None:
        known = output.suffix.lower() in WRITERS
        if known or output.exists():
            check_target(output)
        if not known:
            raise UserError(f"--out {output}: its ending says how to write; it is {', '.join(WRITERS)}")
        if output.suffix.lower() == ".parquet":
            require("pyarrow", "parquet")
        names = [*asked.images, *asked.lesion_of.values(), *predictor.classes]
        if output.suffix.lower() == ".csv" and (run := next(filter(is_formula, names), None)) is not None:
            raise UserError(
                f"--out {output}: a spreadsheet would run the id {run!r} as a formula: rename"
                f" {asked.images.get(run, 'it')}, or write a .json or .parquet file"
            )
        self.output, self.path = output, output.with_name(f"{output.name}.partial")
        self.done: set[str] = set()
        self._predictor, self._prior, self._lesion_of = predictor, prior, asked.lesion_of
        self._images, self._classes = asked.images, predictor.classes
        self._folders = [Path(os.path.abspath(folder)) for folder in asked.folders]  # noqa: PTH100  # links stay
        self._void: set[int] = set()
        self._heading = heading_json(predictor, prior)
        patients = {name: asdict(one) for name, one in asked.patients.items()}
        patients_text = json.dumps([asdict(asked.everyone), patients, asked.lesion_of])
        job = {
            "job": self._heading["model"],
            "dermlens": __version__,
            "document": _sha256(predictor.document.model_dump_json()),
            "prior": self._heading["prior"],
            "patients": _sha256(patients_text),
        }
        self._file = JobFile(self.path, job, "model, dermlens, prior or patients")
        try:
            self._resume()
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
            line |= {"file": self._identity(self._images[image_id])}
            line |= {"row": answer_row(found, self._classes), "answer": answer_json(found)}
            line |= {"score": None if found.score is None else list(found.score)}
            self.done.add(line["image_id"])
        self._file.write(line)

    def answers(self) -> Iterator[dict[str, Any]]:
        """The answers so far, as `--json` has them."""
        return (_name(line) | line["answer"] for line in self._shown() if "row" in line)

    def finish(self) -> Counter[str]:
        """Make the output of the journal, whole or not at all, and take the journal away.

        Without one answer there is no output.

        Returns:
            How many answers, of images or of lesions, have each state.
        """
        states: Counter[str] = Counter()

        def lines() -> Iterator[dict[str, Any]]:
            for line in self._shown():
                states.update([line["answer"]["state"]] if "row" in line else [])
                yield line

        if self.done:
            with atomic_path(self.output) as part:
                WRITERS[self.output.suffix.lower()](part, self._heading, lines)
        self.abandon()
        return states

    def abandon(self) -> None:
        """Take the journal away."""
        self._file.remove()

    def _resume(self) -> None:
        """Read what an earlier part of the job has written. Nothing is written to a file of another job."""
        answered_else = ""
        for number, line in self._file.read():
            answered_else = self._resume_line(number, line) or answered_else
        if answered_else and not self.done:
            raise UserError(
                f"{self.path} belongs to another job: it answers for {answered_else}, which is none of these"
                " images as they are now; finish that one, or delete the file"
            )
        self._file.begin()

    def _resume_line(self, number: int, line: dict[str, Any]) -> str:
        """Take a line's answer. Returns: the image it is of, if that has other bytes now; else nothing."""
        try:
            image_id = str(line["image_id"])
            where = "" if "unreadable" in line else str(line["file"][0])
            whole = not where or (isinstance(line["row"], dict) and isinstance(line["answer"]["state"], str))
        except (TypeError, KeyError, IndexError):
            whole = False
        if not whole:
            raise self._file.damaged(number)
        path = self._images.get(image_id)
        now = self._identity(path) if where and path is not None else None
        if where and (now is None or now[0] != where):
            raise UserError(
                f"{self.path} belongs to another job: it answers for {where}, which is none of these images;"
                " finish that one, or delete the file"
            )
        if now is None or image_id in self.done or line["file"] != now:
            self._void.add(number)  # to be answered again
            return where if now is not None and line["file"] != now else ""
        self.done.add(line["image_id"])
        return ""

    def _shown(self) -> Iterator[dict[str, Any]]:
        """A line an image, or where lesions are named a line a lesion, which all have to be read for."""
        if not self._lesion_of:
            yield from self._lines()
            return
        answers = list[tuple[str, Answer]]()
        for line in self._lines():
            if "unreadable" in line:
                yield line
            else:
                one = answer_of_json(line["answer"], line["score"], line["image_id"])
                answers.append((line["image_id"], one))
        for name, one in by_lesion(self._predictor, answers, self._lesion_of, self._prior).items():
            yield {"lesion_id": name, "row": answer_row(one, self._classes), "answer": answer_json(one)}

    def _lines(self) -> Iterator[dict[str, Any]]:
        return (line for number, line in self._file.read() if number not in self._void)

    def _identity(self, path: Path) -> list[Any]:
        """What identifies a file: where it lies below the folder that was named, and its SHA-256."""
        full = Path(os.path.abspath(path))  # noqa: PTH100  # not resolve(): links stay as the user laid them
        folder = next((one for one in self._folders if full.is_relative_to(one)), full.parent)
        try:
            return [full.relative_to(folder).as_posix(), file_sha256(path)]
        except OSError:  # taken away since it was read
            return [full.relative_to(folder).as_posix(), None]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


Lines = Callable[[], Iterator[dict[str, Any]]]


def _rows(lines: Lines) -> Iterator[dict[str, Any]]:
    return (_name(line) | line["row"] for line in lines() if "row" in line)


def _name(line: Mapping[str, Any]) -> dict[str, str]:
    """The lesion or the image of a line, by the name of its column."""
    return {name: line[name] for name in ("lesion_id", "image_id") if name in line}


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
            one = _name(line) | line["answer"]
            file.write(between + json.dumps(one, ensure_ascii=False))
            between = ",\n    "
        file.write('\n  ],\n  "unreadable": ' + json.dumps(unreadable, ensure_ascii=False) + "\n}\n")


def _write_parquet(path: Path, heading: dict[str, Any], lines: Lines) -> None:
    arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    rows, writer = _rows(lines), None
    while chunk := list(islice(rows, CHUNK)):
        if writer is None:
            numbers = {name for name in chunk[0] if name.startswith("p_")} | {"suspicion", "melanoma", "ood"}
            kinds = {name: arrow.float64() if name in numbers else arrow.string() for name in chunk[0]}
            properties = {"dermlens": json.dumps(heading, ensure_ascii=False)}
            writer = parquet.ParquetWriter(path, arrow.schema(list(kinds.items()), properties))
        writer.write_table(arrow.Table.from_pylist(chunk, writer.schema))
    if writer is not None:
        writer.close()


WRITERS = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}


@dataclass(frozen=True, slots=True)
class Job:
    """What came of a request.

    Attributes:
        answers: by image id, or by lesion where lesions are named; empty where they went to a file.
        listed: the same as `--json` has them, from a file too where they were asked for.
        unreadable: the sentence for each image without an answer.
        written: how many answers of each state went to a file; none where there is no file.
    """

    answers: dict[str, Answer]
    listed: list[dict[str, Any]]
    unreadable: dict[str, str]
    written: Counter[str] | None


def work_off(
    predictor: Predictor,
    asked: Request,
    prior: ClassPrior | None,
    out: Path | None,
    say: Callable[[str], None],
    *,
    listed: bool,
) -> Job:
    """Answer for every image, and write the answers as they come, if they shall be in a file.

    Args:
        predictor: the model.
        asked: the images.
        prior: the case mix; none for the model's own.
        out: the file; none keeps the answers in memory.
        say: takes a sentence where an interrupted job goes on.
        listed: whether answers that went to a file are wanted as well.

    Raises:
        UserError: as `Journal` raises it, or the prior does not fit the model.
        KeyboardInterrupt: with a sentence that says what is kept.
    """
    answers, unreadable, what = dict[str, Answer](), dict[str, str](), "image_id"
    written: Counter[str] | None = None
    with ExitStack() as stack:
        journal = None
        if out is not None:
            journal = stack.enter_context(Journal(out, predictor, prior, asked))
            if journal.done:
                say(f"going on where {journal.path} ends: {len(journal.done)} images are done")
        left = {name: path for name, path in asked.images.items() if not journal or name not in journal.done}
        stream = progress(answer_stream(predictor, left, asked.patient, prior), len(left))
        try:
            for image_id, one in chain(stream, asked.unreadable.items()):
                if journal is not None:
                    journal.add(image_id, one)
                if isinstance(one, str):
                    unreadable[image_id] = one
                elif journal is None:
                    answers[image_id] = one
        except KeyboardInterrupt:
            kept = "" if journal is None else f"; {len(journal.done)} images are kept in {journal.path}"
            raise KeyboardInterrupt(f"interrupted{kept}") from None
        if asked.lesion_of:
            answers, what = by_lesion(predictor, answers.items(), asked.lesion_of, prior), "lesion_id"
        given = [{what: name} | answer_json(one) for name, one in answers.items()]
        if journal is not None:
            given = list(journal.answers()) if listed else []
            written = journal.finish()
    return Job(answers, given, unreadable, written)

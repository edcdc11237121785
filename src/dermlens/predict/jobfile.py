"""What a long job has done so far: a file that outlives an interruption, of answers or of masks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from dermlens.errors import UserError
from dermlens.files import claimed

LONGEST = 2**20
"""Bytes that the heading of a journal cannot exceed; another file's first line may."""


class JobFile:
    """What a long job has done: lines of JSON with check sums, headed by the job.

    One process at a time writes it, and a later one with the same job goes on with it.

    Args:
        path: of the file.
        job: what an earlier process must have in common with this one, under `job` and other keys.
        of: what that is, in words.

    Raises:
        UserError: there is something else in its place, or another process is writing it.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], of: str) -> None:
        self.path, self._whole, self._of = path, 0, of
        self._heading = _sealed(job)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{path} is in the way: what is done is kept there; move it")
        with ExitStack() as held:
            if not held.enter_context(claimed(path.with_name(f".{path.name}.lock"))):
                raise UserError(f"{path} is being written by another process: wait, or name another --out")
            self.is_new = not path.exists()
            self._file = held.enter_context(path.open("ab"))
            self._held = held.pop_all()

    def read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """What is done so far, with the numbers of the lines; one that was cut short is none.

        Raises:
            UserError: it is of another job, or a line is damaged.
        """
        with self.path.open("rb") as file:
            first = file.readline(LONGEST)
            if first != self._heading:
                self._check_begun(first)
                return
            self._whole = len(first)
            for number, text in enumerate(file, start=1):
                if not text.endswith(b"\n"):
                    break
                try:
                    yield number, _unsealed(text)
                except ValueError as error:
                    raise self.damaged(number) from error
                self._whole += len(text)

    def _check_begun(self, first: bytes) -> None:
        """Let the beginning of a heading pass, and nothing else. Raises: UserError."""
        if self._heading.startswith(first):
            return
        try:
            ours = "job" in json.loads(first)
        except (ValueError, TypeError, RecursionError):
            ours = False
        if ours:
            raise UserError(
                f"{self.path} belongs to another job (of another {self._of}): finish that one, name another"
                " --out, or delete the file"
            )
        raise UserError(
            f"{self.path} is no journal of dermlens, which keeps there what is done: move it, or name another"
            " --out"
        )

    def damaged(self, number: int) -> UserError:
        """The error about a line."""
        return UserError(
            f"{self.path}, line {number + 1}, is damaged: name another --out, or delete the file"
        )

    def begin(self) -> None:
        """Take away what was cut short, and write the heading where there is none; after `read`."""
        self._file.truncate(self._whole)
        if not self._whole:
            self._add(self._heading)

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        self._add(_sealed(line))

    def _add(self, text: bytes) -> None:
        self._file.write(text)
        self._file.flush()

    def remove(self) -> None:
        """Take it away, once."""
        if self._file.closed:
            return
        with self._held:  # until it is gone no other process goes on with it
            with suppress(OSError):  # of what a full disk could not take
                self._file.close()  # Windows removes no open file
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it to the next process."""
        self._held.close()


def _sealed(line: Mapping[str, Any]) -> bytes:
    """A line of JSON whose last entry is the CRC-32 of the others."""
    text = json.dumps(line)
    return f'{text[:-1]}, "crc32": {zlib.crc32(text.encode())}}}\n'.encode()


def _unsealed(text: bytes) -> dict[str, Any]:
    """Read what `_sealed` wrote. Raises: ValueError when bits have changed, or it is something else."""
    try:
        line = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is no line of ours") from error
    rest = {key: value for key, value in line.items() if key != "crc32"} if isinstance(line, dict) else {}
    if _sealed(rest) != text:
        raise ValueError("the check sum is not the line's")
    return rest

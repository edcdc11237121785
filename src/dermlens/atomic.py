"""Files that are either whole or absent, whatever stops the process."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dermlens.errors import UserError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well.

    Args:
        path: where the file shall be; its folder is made.

    Yields:
        A path in the same folder to write to.

    Raises:
        OSError: as the writing raised it, the disk being full for one; nothing is left behind.
    """
    part = _part(path)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_target(path: Path) -> None:
    """Make sure that a file can be written, before the work of which it is to hold the result.

    Args:
        path: where the file shall be; its folder is made.

    Raises:
        UserError: it is a folder or a device, or its folder takes no files.
    """
    if path.exists() and not path.is_file():
        raise UserError(
            f"{path} is {'a folder' if path.is_dir() else 'no ordinary file'}: name a file to write"
        )
    try:
        _part(path).unlink()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _part(path: Path) -> Path:
    """A new, empty file beside `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    return Path(name)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that readers see the old file or the new one."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object. Raises: UserError when it holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a JSON object; dermlens did not write it like this")
    return found


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, keys in the given order, one final newline; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

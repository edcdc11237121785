"""Files and folders that are either whole or absent, whatever stops the process."""

from __future__ import annotations

import json
import os
import shutil
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


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` that takes its name, and the old one's place, when the block ends well.

    All of the old folder goes, so what is to stay of it has to be copied. A process that is killed leaves the
    old folder as it was, and a `.part` beside it; between the two renamings at the end, which no system does
    as one everywhere, the old folder is such a `.part` too.

    Args:
        path: where the folder shall be; the folder above is made. A link to a folder stays one.

    Yields:
        An empty folder to write to.

    Raises:
        UserError: something else than a folder has the name.
        OSError: as the writing raised it; the old folder is as it was then.
    """
    target = path.resolve()
    if target.exists() and not target.is_dir():
        raise UserError(f"{path} is a file: name a folder to write to")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    part.chmod(0o755)
    old = part.with_suffix(".old.part")
    try:
        yield part
        if target.exists():
            target.replace(old)
        part.replace(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.replace(target)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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

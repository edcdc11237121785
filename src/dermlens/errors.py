"""What went wrong, explained to the person who can mend it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class UserError(Exception):
    """The user's mistake: one sentence with the offending name and what would be right. Exit code 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The three known words most like `word`, as the end of an error sentence.

    Args:
        word: what was given.
        known: the valid words.

    Returns:
        `; nearest: a, b`, or `; known: …` where nothing resembles it.
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"; nearest: {', '.join(close)}" if close else f"; known: {', '.join(known)}"


def require(module: str, extra: str) -> ModuleType:
    """Import a module that belongs to an optional extra.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"this needs {error.name}, which the base install leaves out: pip install 'dermlens[{extra}]'"
        ) from error


_TRAIN = {
    "torch", "torchvision", "timm", "lightning", "pandas", "pandera", "sklearn", "matplotlib", "jinja2",
    "safetensors",
}  # fmt: skip


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """The sentence for a module that an extra would have brought; none for any other module."""
    module = (error.name or "").partition(".")[0]
    if module not in _TRAIN:
        return None
    return f"this needs {module}, which the base install leaves out: pip install 'dermlens[train]'"

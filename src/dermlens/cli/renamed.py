"""What commands and options were called before, and what to write instead: for errors, and the changelog."""

from __future__ import annotations

from typing import Any

VERBS = {
    "verify": "data verify",
    "fetch": "data fetch",
    "split": "data split",
    "synthesize": "data synthesize",
    "models": "model list",
    "recipes": "model recipes",
    "weights": "model weights",
    "publish": "model publish",
    "decision-report": "analyze reliability",
    "told-less": "analyze missing-metadata",
    "far-ood": "analyze out-of-distribution",
    "near-ood": "analyze unseen-class",
    "source-probe": "analyze source-probe",
    "learn-dermoscopy": "calibrate --not-dermoscopy",
    "crossfit": "study crossfit",
    "ablate": "study ablate",
    "ensemble": "study ensemble",
    "soup": "study soup",
    "soft-labels": "study soft-labels",
}
"""The command by its old name."""

PAPER = "study paper"
"""What left the package: the paper's study lies next to it."""

OPTIONS = {
    ("predict", "--output"): "--out",
    ("explain", "--output"): "--out",
    ("data fetch", "--to"): "--out",
    ("data split", "--output"): "--out",
    ("export", "--to"): "--format",
    ("calibrate", "--dermoscopic"): "--dermoscopy",
    ("calibrate", "--other"): "--not-dermoscopy",
    ("calibrate", "--kept"): "--dermoscopy-kept",
    ("analyze missing-metadata", "--output"): "--out",
    ("analyze out-of-distribution", "--output"): "--out",
    ("analyze out-of-distribution", "--set"): "--other",
    ("analyze source-probe", "--output"): "--out",
    ("study soft-labels", "--output"): "--out",
}
"""The option by its command's new name and its own old one."""

WORDS = {
    "data verify": "--data DIR",
    "data synthesize": "--out DIR",
    "serve": "--model DIR",
    "explain": "IMAGE --model RUN",
    "export": "--out DIR",
    "model publish": "--out DIR",
}
"""Options that were a bare word behind the command."""


def renamed_verb(old: str) -> str | None:
    """What to write instead of an old command; none where it is none."""
    if old == PAPER:
        return f"dermlens {old} is now: python -m paper (in the repository)"
    if old not in VERBS:
        return None
    return f"dermlens {old} is now: dermlens {VERBS[old]}"


def instead(error: Any) -> str:
    """What stands behind a mistake in options or words: what they are called now, or where help is.

    Args:
        error: of the command line.
    """
    path = command_path(getattr(error, "ctx", None))
    new = OPTIONS.get((path, str(getattr(error, "option_name", ""))))
    if new is None and "unexpected extra argument" in str(error.message):
        new = WORDS.get(path)
    help_of = f"dermlens {path} --help".replace("  ", " ")
    return f" ({help_of})" if new is None else f"; it is now {new} ({help_of})"


def command_path(ctx: Any) -> str:
    """The command that was read, such as `data split`, without the program."""
    parts: list[str] = []
    while ctx is not None and ctx.parent is not None:
        parts.insert(0, str(ctx.info_name))
        ctx = ctx.parent
    return " ".join(parts)

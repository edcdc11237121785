"""The trained folds of an arm."""

from __future__ import annotations

from pathlib import Path

from dermlens.errors import UserError
from dermlens.runs import Run
from dermlens.studies.ablation import is_trained


def folds_of(arm: Path) -> list[Run]:
    """The runs of a cross-fit's folder, in the order of its folds.

    Raises:
        UserError: it is none, or not all of its folds are trained.
    """
    if not is_trained(arm):
        raise UserError(f"{arm} is not trained yet: its folds come first")
    found = sorted(arm.glob("fold-*"), key=lambda folder: int(folder.name.removeprefix("fold-")))
    return [Run(folder) for folder in found]

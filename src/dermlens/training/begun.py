"""What a run began with, so that one which was stopped goes on with nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dermlens.errors import UserError
from dermlens.recipe import Recipe
from dermlens.runs import Run
from dermlens.training.inputs import Inputs

KEY = "began_with"
"""Of run.json."""
SHOWN = 3
"""Keys of a recipe that a sentence names."""


def begun_with(recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    """Everything that decides what is learned.

    Returns:
        `recipe`, resolved; and SHA-256 sums: `split` of the manifest's text, `labels` of diagnoses, metadata,
        weights and soft labels as the network gets them, `pixels` of the check sums of all images.
    """
    parts: list[np.ndarray] = [inputs.target_N, inputs.meta_NM]
    parts += [part.numpy() for part in (inputs.weight_N, inputs.soft_NC) if part is not None]
    labels = hashlib.sha256()
    for part in parts:
        labels.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    return {
        "recipe": recipe.model_dump(mode="json"),
        "split": hashlib.sha256(inputs.split.text().encode()).hexdigest(),
        "labels": labels.hexdigest(),
        "pixels": inputs.cache.sha256(),
    }


def check_unchanged(run: Run, now: Mapping[str, Any]) -> None:
    """Refuse to go on with another recipe, split or data than a run began with.

    Args:
        run: with a checkpoint; runs of earlier versions do not say what they began with.
        now: of `begun_with`.

    Raises:
        UserError: it names what has changed.
    """
    before = run.read_record().get(KEY)
    if before is None:
        return
    keys = list(_changed(before["recipe"], now["recipe"]))
    named = f"{run.recipe_file} ({', '.join(keys[:SHOWN])}{' and others' if len(keys) > SHOWN else ''})"
    changed = [named] if keys else []
    changed += [
        said
        for part, said in (
            ("split", str(run.split_file)),
            ("labels", "the diagnoses or metadata of the images"),
            ("pixels", "the images themselves"),
        )
        if before[part] != now[part]
    ]
    if changed:
        raise UserError(
            f"run {run.path} has changed since it began: {'; '.join(changed)}. Undo that, or train into a"
            " folder of its own"
        )


def _changed(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """The keys, dotted, that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _changed(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield path

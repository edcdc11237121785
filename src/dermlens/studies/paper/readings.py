"""What trained arms say without another training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from dermlens.evaluation.predictions import classes_of
from dermlens.studies.paper.attention_mass import attention_mass
from dermlens.studies.paper.metadata_alone import metadata_alone
from dermlens.studies.paper.told import told

LOOKING = ("base", "corrected", "uniform", "frozen", "corrected_gamma")
"""Arms with Soft-Attention, or a placebo of it."""


class Read(Protocol):
    """Reads the folder of an arm: name → table."""

    def __call__(
        self, arm: Path, data: Path, *, device: str, cache: Path | None
    ) -> Mapping[str, pd.DataFrame]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of which arm.

    Attributes:
        arm: of the experiment `questions`.
        read: how.
    """

    arm: str
    read: Read


def _metadata_alone(arm: Path, data: Path, *, device: str, cache: Path | None) -> Mapping[str, pd.DataFrame]:
    del device, cache
    return {"metadata_alone": _slim(metadata_alone(arm, data))}


def _told(arm: Path, data: Path, *, device: str, cache: Path | None) -> Mapping[str, pd.DataFrame]:
    tables = told(arm, data, device=device, cache=cache)
    return {name: _slim(table) for name, table in tables.items()}


def _attention(arm: Path, data: Path, *, device: str, cache: Path | None) -> Mapping[str, pd.DataFrame]:
    return {"attention": attention_mass(arm, data, device=device, cache=cache)}


def _slim(table: pd.DataFrame) -> pd.DataFrame:
    """Ids and probabilities: the truth lies with the experiment."""
    return table[["image_id", *(f"p_{code}" for code in classes_of(table))]]


READINGS: dict[str, Reading] = {
    "metadata_alone": Reading("base", _metadata_alone),
    "told": Reading("base", _told),
    **{f"attention_{arm}": Reading(arm, _attention) for arm in LOOKING},
}

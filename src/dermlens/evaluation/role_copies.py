"""Images of a run's test role under other names: the same file, or the same picture saved anew.

What an image looks like is known by its fingerprint. Those of the test role of `grouped-v1` come with
dermlens, since a fingerprint is a number and no picture; those of another run's are taken of its own images,
where they still are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

SHIPPED = "grouped-v1-test-fingerprints.csv"


@dataclass(frozen=True, slots=True)
class Copies:
    """What of another set is of the test role.

    Attributes:
        paths: files that are.
        unchecked: images of the test role whose look is not known.
    """

    paths: frozenset[str]
    unchecked: int


def find_copies(test_ids: Sequence[str], own: pd.DataFrame, paths: Sequence[str]) -> Copies:
    """TEMP"""
    return Copies(frozenset(), 0)

"""The best subset of several systems, by every subset (Gessert et al. 2020, arXiv 1910.03910, [10]).

The article chooses among its best 15 networks by the folds that it then scores. Here the fold that chooses
learning rates chooses the subset as well, and is scored for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pandas as pd
from pydantic import Field

from dermlens.documents import Section
from dermlens.studies.ensemble import every_subset, mean_table


class SubsetRecipe(Section):
    """The mean of the probabilities of some trained systems.

    Attributes:
        name: of the system.
        members: ids of the systems among which is chosen.
    """

    name: str
    members: Annotated[tuple[str, ...], Field(min_length=2, max_length=5)]


def best_subset(chooses: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """The members whose mean has the best mean recall; of equals the fewest, then the first.

    Args:
        chooses: predictions of the fold that chooses, by member.
    """
    tables = [table.sort_values("image_id", ignore_index=True) for table in chooses.values()]
    subsets = every_subset(tables, "probabilities")
    best = subsets["members"].iloc[int(subsets["mean_recall"].to_numpy().argmax())]
    return tuple(list(chooses)[place] for place in best)


def mean_of_members(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The mean of predictions of the same images, by image id."""
    ordered = [table.sort_values("image_id", ignore_index=True) for table in tables]
    for table in ordered[1:]:
        assert table["image_id"].equals(ordered[0]["image_id"]), "folds hold out the same images"
    return mean_table(ordered, "probabilities")

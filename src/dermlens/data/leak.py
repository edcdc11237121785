"""What a split lets through: lesions and files on both sides, and how many held-out images that touches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from dermlens.data.lesion_groups import contents, lesion_groups
from dermlens.data.manifest import Split
from dermlens.errors import UserError


@dataclass(frozen=True)
class Leak:
    """How many held-out images have a sibling, an image with the same lesion id, among those trained on.

    Attributes:
        images: held-out images.
        siblings: those of them with a sibling in training.
        by_class: share with a sibling, 0 … 1, by class of the held-out images.
    """

    images: int
    siblings: int
    by_class: dict[str, float]

    @property
    def overall(self) -> float:
        """Share of the held-out images with a sibling, 0 … 1."""
        return self.siblings / self.images if self.images else 0.0

    def sentence(self) -> str:
        """The finding in plain words, one sentence."""
        if not self.siblings:
            return f"None of the {self.images:,} held-out images shows a lesion that is trained on."
        worst_first = sorted(self.by_class.items(), key=lambda item: (-item[1], item[0]))
        classes = ", ".join(f"{dx} {share:.0%}" for dx, share in worst_first)
        return (
            f"{self.overall:.1%} of the {self.images:,} held-out images show a lesion that is trained on "
            f"({classes}): scores on them are higher than new patients would give."
        )


def leak(split: Split, table: pd.DataFrame) -> Leak:
    """Measure the leak of a split.

    Held out are all images outside train; of folds, each is held out from the others in turn.

    Args:
        split: with its roles, or with folds.
        table: the LesionTable that the split was made for.
    """
    rows = split.roles.merge(table[["image_id", "dx"]], on="image_id", validate="one_to_one")
    trains = rows["role"].eq("train") | rows["role"].str.startswith("fold-")
    trained_in = rows[trains].groupby("lesion_id")["role"].agg(set).to_dict()
    held = rows[rows["role"] != "train"]
    sibling = pd.Series(
        [
            bool(trained_in.get(lesion, set()) - {role})
            for lesion, role in zip(held["lesion_id"], held["role"], strict=True)
        ],
        index=held.index,
        dtype=bool,
    )
    by_class = {str(dx): float(share) for dx, share in sibling.groupby(held["dx"]).mean().items()}
    return Leak(images=len(held), siblings=int(sibling.sum()), by_class=by_class)


def check_disjoint(split: Split, table: pd.DataFrame, protocol: str) -> list[str]:
    """Make sure that no two roles share a lesion or an image file.

    A lesion is one however many ids it has; files are compared by SHA-256 of their bytes.

    Args:
        split: with its roles, or with folds.
        table: the LesionTable that the split was made for.
        protocol: what the split is held to.

    Returns:
        One warning each for lesions and for files that cross roles, with counts; empty when none do.

    Raises:
        UserError: something crosses, and the protocol is `grouped`.
    """
    rows = split.roles.merge(table[["image_id", "path"]], on="image_id", validate="one_to_one")
    digests = contents(rows["path"])
    found = [
        *_crossing("lesion", lesion_groups(rows), rows),
        *_crossing("image file", rows["path"].map(digests).dropna(), rows),
    ]
    if found and protocol == "grouped":
        raise UserError(
            f"the split is declared as grouped, and {'; '.join(found)}: make one with `dermlens split`, "
            "or declare another protocol in its header"
        )
    return found


def _crossing(what: str, key: pd.Series[str], rows: pd.DataFrame) -> Iterable[str]:
    """A sentence with count and first example, if equal keys are in several roles."""
    shared = rows.loc[key.index].assign(key=key)
    shared = shared[shared.groupby("key")["role"].transform("nunique") > 1]
    if shared.empty:
        return
    first = shared[shared["key"] == shared["key"].iloc[0]].drop_duplicates("role").iloc[:2]
    example = " and ".join(f"{row.image_id} ({row.role})" for row in first.itertuples())
    number = shared["key"].nunique()
    yield (
        f"{number:,} {what}{'s' if number > 1 else ''} with {len(shared):,} images "
        f"{'are' if number > 1 else 'is'} in more than one role, {example} for one"
    )

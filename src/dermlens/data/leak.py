"""What a split lets through: lesions and files on both sides, and how many held-out images that touches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from dermlens.data.manifest import BY_LESION, Split
from dermlens.data.protocols import contents, lesion_groups
from dermlens.errors import UserError


@dataclass(frozen=True)
class Leak:
    """How many held-out images have a sibling, an image with the same lesion id, among those trained on.

    Attributes:
        images: held-out images.
        siblings: those of them with a sibling in training, as the published leak is counted.
        by_class: share with a sibling, 0 … 1, by class of the held-out images.
        by_list: further held-out images whose lesion is trained on under another id, by the list of lesions
            with several ids.
        of_patients: held-out images whose patient is known.
        by_patient: those of them whose patient is trained on, whatever the lesion.
    """

    images: int
    siblings: int
    by_class: dict[str, float]
    by_list: int = 0
    of_patients: int = 0
    by_patient: int = 0

    @property
    def overall(self) -> float:
        """Share of the held-out images with a sibling, 0 … 1."""
        return self.siblings / self.images if self.images else 0.0

    def sentence(self) -> str:
        """The finding in plain words, one sentence."""
        does = "does" if self.by_list == 1 else "do"
        further = f"{self.by_list:,} {does} under another id, by the list of lesions with several ids"
        patients = self._of_patients()
        if not self.siblings:
            none = f"None of the {self.images:,} held-out images shows a lesion that is trained on"
            return (f"{none}, by lesion id; {further}." if self.by_list else f"{none}.") + patients
        worst_first = sorted(self.by_class.items(), key=lambda item: (-item[1], item[0]))
        classes = ", ".join(f"{dx} {share:.0%}" for dx, share in worst_first)
        return (
            f"{self.overall:.1%} of the {self.images:,} held-out images show a lesion that is trained on "
            f"({classes}){f', and {further}' if self.by_list else ''}: "
            "scores on them are higher than new patients would give."
        ) + patients

    def _of_patients(self) -> str:
        """What is known of patients, a sentence; empty where none is known."""
        if not self.of_patients:
            return ""
        known = f"the {self.of_patients:,} held-out images whose patient is known"
        if not self.by_patient:
            return f" None of {known} is of a patient who is trained on."
        return (
            f" {self.by_patient / self.of_patients:.1%} of {known} are of a patient who is trained on: "
            "scores on them are higher than new patients would give."
        )


def leak(split: Split, table: pd.DataFrame) -> Leak:
    """Measure the leak of a split.

    Held out are all images outside train; of folds, each is held out from the others in turn.

    Args:
        split: with its roles, or with folds.
        table: the LesionTable that the split was made for.
    """
    wanted = [name for name in ("image_id", "dx", "patient_id") if name in table]
    rows = split.roles.merge(table[wanted], on="image_id", validate="one_to_one")
    trains = rows["role"].eq("train") | rows["role"].str.startswith("fold-")
    held = rows[rows["role"] != "train"]

    def trained_elsewhere(key: pd.Series[str]) -> pd.Series[bool]:
        """For each held-out image: is its key trained on in another role than its own?"""
        roles = rows["role"][trains].groupby(key[trains]).agg(set).to_dict()
        found = [
            bool(roles.get(name, set()) - {role})
            for name, role in zip(key[held.index], held["role"], strict=True)
        ]
        return pd.Series(found, index=held.index, dtype=bool)

    sibling = trained_elsewhere(rows["lesion_id"])
    listed = trained_elsewhere(lesion_groups(rows[["image_id", "lesion_id"]])) & ~sibling
    patients = rows["patient_id"] if "patient_id" in rows else pd.Series(None, index=rows.index, dtype=object)
    known = patients[held.index].notna()
    by_patient = trained_elsewhere(patients.where(patients.notna(), "")) & known
    by_class = {str(dx): float(share) for dx, share in sibling.groupby(held["dx"]).mean().items()}
    return Leak(
        len(held), int(sibling.sum()), by_class, int(listed.sum()), int(known.sum()), int(by_patient.sum())
    )


def check_disjoint(split: Split, table: pd.DataFrame, protocol: str) -> list[str]:
    """Make sure that no two roles share a lesion, a patient or an image file.

    A lesion is one however many ids it has; files are compared by SHA-256 of their bytes.

    Args:
        split: with its roles, or with folds.
        table: the LesionTable that the split was made for.
        protocol: what the split is held to.

    Returns:
        One warning each for lesions, patients and files that cross roles, with counts; empty when none do.

    Raises:
        UserError: something crosses, and the protocol keeps lesions apart (`BY_LESION`).
    """
    wanted = [name for name in ("image_id", "path", "patient_id") if name in table]
    rows = split.roles.merge(table[wanted], on="image_id", validate="one_to_one")
    patients = rows["patient_id"].dropna() if "patient_id" in rows else rows["path"].iloc[:0]
    digests = contents(rows["path"])
    found = [
        *_crossing("lesion", lesion_groups(rows), rows),
        *_crossing("patient", patients, rows),
        *_crossing("image file", rows["path"].map(digests).dropna(), rows),
    ]
    if found and protocol in BY_LESION:
        raise UserError(
            f"the split is declared as {protocol}, and {'; '.join(found)}: make one with `dermlens data"
            " split`, or declare another protocol in its header"
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

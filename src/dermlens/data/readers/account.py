"""What a reader made of a data set, in sentences, and whether a field gives the class away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.predict.sources.values import FIELDS

SHOWN = 8
"""Words in one sentence; further ones are counted."""


@dataclass
class Account:
    """What was read, and what was mapped, dropped or left out, each counted.

    Attributes:
        source: the table that was read; the folder, where its folders are the classes.
        columns: our column by the source's, those with another name.
        joined: further tables whose columns were taken, for the same images, and which.
        not_read: tables in the folder that were not read, and why.
        unread: columns of the table that were not read.
        telling: columns that tell the answer.
        mapped: by field (dx, sex, site, age) how often a word was read as another one, by (theirs, ours).
        dropped: by field how often a word was not understood, or is none of ours, and counts as missing.
        left_out: images left out, by the diagnosis that is in none of the classes, or that a map drops.
        notes: further sentences.
        parts: the accounts of several data sets that make one table; it has no more to say than they.
    """

    source: Path
    columns: dict[str, str] = field(default_factory=dict)
    joined: dict[Path, list[str]] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    telling: list[str] = field(default_factory=list)
    mapped: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    parts: list[Account] = field(default_factory=list)

    def map(self, name: str, theirs: str, ours: str) -> None:
        """Count a word that was read as another one."""
        self.mapped.setdefault(name, Counter())[theirs, ours] += 1

    def drop(self, name: str, theirs: str) -> None:
        """Count a word that counts as missing."""
        self.dropped.setdefault(name, Counter())[theirs] += 1

    def join(self, other: Account) -> None:
        """Take in what was made of a further table that is read as one with this."""
        self.columns |= other.columns
        self.joined |= other.joined
        for mine, further in (
            (self.not_read, other.not_read),
            (self.unread, other.unread),
            (self.telling, other.telling),
            (self.notes, other.notes),
        ):
            mine += [one for one in further if one not in mine]

    def files(self) -> list[Path]:
        """The tables that were read, and folders that were read in their place."""
        return [self.source, *self.joined, *(file for part in self.parts for file in part.files())]

    def sentences(self) -> list[str]:
        """All of it, a sentence each, the table that was read first."""
        if self.parts:
            return [sentence for part in self.parts for sentence in part.sentences()]
        lines = [f"read: {self.source}"]
        if self.columns:
            named = ", ".join(f"{ours}={theirs}" for theirs, ours in self.columns.items())
            lines[0] += f" (columns {named})"
        lines += [f"joined: {path} ({', '.join(names)})" for path, names in self.joined.items()]
        lines += [f"not read: {why}" for why in self.not_read]
        lines += [f"{name}: read as {_pairs(words)}" for name, words in self.mapped.items()]
        lines += self.losses()
        if self.telling:
            lines.append(f"columns that tell the answer, and never become inputs: {', '.join(self.telling)}")
        if self.unread:
            lines.append(f"columns that were not read: {_some(self.unread)}")
        return [*lines, *self.notes]

    def losses(self) -> list[str]:
        """What the source says and the table does not: words that count as missing, images left out."""
        if self.parts:
            return [sentence for part in self.parts for sentence in part.losses()]
        sentences = [
            f"{name}: words that count as missing: {_counts(words)}, on {_images(sum(words.values()))}"
            + (f"; --value {name}.OURS=THEIRS reads one as a word of ours" if name in FIELDS else "")
            for name, words in self.dropped.items()
        ]
        if self.left_out:
            sentences.append(
                f"left out: {_images(sum(self.left_out.values()))}, whose diagnosis is in none of the "
                f"classes, or is dropped: {_counts(self.left_out)}; --label OURS=THEIRS reads one as a class"
            )
        return sentences


def _images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"


def _pairs(words: Mapping[tuple[str, str], int]) -> str:
    common = Counter(dict(words)).most_common()
    shown = [f"'{theirs}' → {ours} ({count:,})" for (theirs, ours), count in common[:SHOWN]]
    return ", ".join(shown) + _more(len(common))


def _counts(words: Mapping[str, int]) -> str:
    common = Counter(dict(words)).most_common()
    return ", ".join(f"'{word}' {count:,}" for word, count in common[:SHOWN]) + _more(len(common))


def _some(words: list[str]) -> str:
    return ", ".join(words[: 2 * SHOWN]) + (f" and {n} more" if (n := len(words) - 2 * SHOWN) > 0 else "")


def _more(number: int) -> str:
    return f" and {number - SHOWN} more words" if number > SHOWN else ""


# Does age, sex or site give the class away? Some tables know an age only where a lesion was cut out.


FEW = 20
"""Images below which nothing is measured."""
MOST = 0.5
"""Share of the uncertainty about the class that a field may take away. HAM10000's take 4 to 10 %."""


def telltales(table: pd.DataFrame) -> list[str]:
    """A sentence for each of age, sex and site that nearly gives the class away, or whose absence does.

    Measured is the uncertainty coefficient (Theil 1970): the mutual information of the field, in decades of
    age, and the class, as a share of the class's entropy. It is lowered by what chance would give (Miller
    1955).

    Args:
        table: a LesionTable.
    """
    if len(table) < FEW or table["dx"].nunique() < 2:
        return []
    fields = {
        "age": (table["age"] // 10).fillna(-1).astype(int).astype(str),
        "sex": table["sex"],
        "site": table["site"],
    }
    found = {name: uncertainty_coefficient(words, table["dx"]) for name, words in fields.items()}
    return [
        f"{name} nearly gives the class away: it takes {share:.0%} of the uncertainty about it, by what it "
        "says or by being missing; a network that gets it learns that, and not lesions"
        for name, share in found.items()
        if share > MOST
    ]


def uncertainty_coefficient(words: pd.Series[str], classes: pd.Series[str]) -> float:
    """How much of the class's entropy a word takes away, 0 … 1, less what chance gives."""
    counts_WC = pd.crosstab(words, classes).to_numpy(dtype=float)
    total = counts_WC.sum()
    p_WC = counts_WC / total
    p_W, p_C = p_WC.sum(axis=1), p_WC.sum(axis=0)
    filled = p_WC > 0
    information = float((p_WC[filled] * np.log(p_WC[filled] / np.outer(p_W, p_C)[filled])).sum())
    entropy = float(-(p_C * np.log(p_C)).sum())
    chance = (len(p_W) - 1) * (len(p_C) - 1) / (2 * total)
    return float(max(0.0, information - chance) / entropy)

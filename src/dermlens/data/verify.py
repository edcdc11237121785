"""`dermlens data verify`: what a data set holds, what is wrong with it, and what is good to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dermlens.data.duplicates import Mark, exact_groups, marked, marker, near_pairs
from dermlens.data.table import Maps, read_set
from dermlens.errors import UserError

SHOWN = 5
"""Names in one sentence; the count says how many there are."""


@dataclass
class Verification:
    """The outcome.

    Attributes:
        folder: what was looked at.
        images, lesions: how many the table lists.
        counts: images by `dx`, `sex`, `site`, `age` (decade), and `dx_type`, `source` and
            `skin_tone` where known.
        masks: images that have a lesion mask.
        sizes: images by (width, height), the commonest first.
        exact: groups of image ids with equal pixels.
        near: pairs of image ids that are nearly the same picture, equal ones left out.
        account: what was read, understood, mapped, dropped and grouped, a sentence each.
        problems: what is wrong, a sentence each.
        notes: what is good to know, a sentence each.
    """

    folder: Path
    images: int
    lesions: int
    counts: dict[str, dict[str, int]]
    masks: int
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    exact: list[list[str]] = field(default_factory=list)
    near: list[tuple[str, str]] = field(default_factory=list)
    account: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def render(self) -> RenderableType:
        """Counts side by side, then notes, then problems."""
        columns = Table.grid(padding=(0, 4))
        columns.add_row(*(_column(name, counts) for name, counts in self.counts.items()))
        # Text and not strings: a file's name may hold what Rich takes for markup.
        lines: list[RenderableType] = [
            Text(f"{self.folder}: images {self.images}, lesions {self.lesions}, masks {self.masks}"),
            *map(Text, self.account),
            columns,
        ]
        lines += [Text(f"note: {note}") for note in self.notes]
        lines += [Text.assemble(("wrong: ", "red"), problem) for problem in self.problems]
        lines.append(Text(f"problems: {len(self.problems)}"))
        return Group(*lines)


def verify(folder: Path, *, near_duplicates: bool = True, **maps: Unpack[Maps]) -> Verification:
    """Read a data set's table and decode every image of it.

    Args:
        folder: as for `read_table`.
        near_duplicates: whether to look for pictures that are nearly the same.
        **maps: as for `read_table`.

    Returns:
        Wrong are: images that are missing, truncated or no images; equal images of different lesions or with
        different diagnoses. Good to know are: equal images of one lesion, nearly equal ones, sizes, lesions
        with several images or several diagnoses, missing ages and masks.

    Raises:
        UserError: the table cannot be read.
    """
    read = read_set(folder, **maps, check_files=False)
    table = read.table
    seen = Verification(
        Path(folder),
        images=len(table),
        lesions=table["lesion_id"].nunique(),
        counts=_counts(table),
        masks=int(table["mask"].notna().sum()),
        account=read.account.sentences(),
    )
    mark_of_row = _decode(table, seen)
    readable = table.loc[list(mark_of_row)].reset_index(drop=True)
    marks = list(mark_of_row.values())
    groups = exact_groups(marks, readable["path"].tolist())
    _judge_exact(readable, groups, seen)
    if near_duplicates:
        equal = {(i, j) for group in groups for i in group for j in group if i < j}
        _tell_near(readable, [pair for pair in near_pairs(marks) if pair not in equal], seen)
    _tell_table(table, seen)
    return seen


def _column(name: str, counts: dict[str, int]) -> Table:
    part = Table(title=name, box=None, show_header=False, title_justify="left", padding=(0, 1))
    part.add_column()
    part.add_column(justify="right")
    for value, count in counts.items():
        part.add_row(Text(value), str(count))
    return part


def _counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = {name: dict(Counter(table[name]).most_common()) for name in ("dx", "sex", "site")}
    decades = Counter(int(age // 10) * 10 for age in table["age"].dropna())
    counts["age"] = {f"{decade}–{decade + 9}": decades[decade] for decade in sorted(decades)}
    if unknown := int(table["age"].isna().sum()):
        counts["age"]["unknown"] = unknown
    for name in ("dx_type", "source"):
        if (table[name] != "unknown").any():
            counts[name] = dict(Counter(table[name]).most_common())
    if "skin_tone" in table:
        tones = table["skin_tone"].map(lambda tone: "unknown" if pd.isna(tone) else f"{tone:.0f}")
        counts["skin_tone"] = {tone: int((tones == tone).sum()) for tone in sorted(set(tones))}
    return counts


def _decode(table: pd.DataFrame, seen: Verification) -> dict[int, Mark]:
    """Decode every image, scaled down: the whole file is read all the same, and shows its damage.

    A process does it, behind limits: a file that crashes a decoder, hangs or takes too much is named too.

    Returns:
        Marks of the readable ones, by row of the table.
    """
    marks: dict[int, Mark] = {}
    missing: list[str] = []
    damaged: list[str] = []
    sizes: Counter[tuple[int, int]] = Counter()
    with closing(marker()) as worker:
        for row, (image_id, path) in enumerate(zip(table["image_id"], table["path"], strict=True)):
            if not Path(path).exists():
                missing.append(image_id)
                continue
            try:
                marks[row], size = marked(worker, Path(path))
                sizes[size] += 1
            except UserError as error:
                damaged.append(str(error))
    if missing:
        seen.problems.append(f"missing images: {len(missing)} of {len(table)} ({_some(missing)})")
    seen.problems += damaged
    seen.sizes = dict(sizes.most_common())
    return marks


def _judge_exact(readable: pd.DataFrame, groups: list[list[int]], seen: Verification) -> None:
    within = []
    for group in groups:
        ids, lesions, dx = (readable.loc[group, name].tolist() for name in ("image_id", "lesion_id", "dx"))
        seen.exact.append(ids)
        what = " = ".join(ids)
        if len(set(dx)) > 1:
            seen.problems.append(f"equal images with different diagnoses: {what} ({', '.join(dx)})")
        elif len(set(lesions)) > 1:
            seen.problems.append(f"equal images of different lesions: {what} ({', '.join(lesions)})")
        else:
            within.append(what)
    if within:
        seen.notes.append(f"equal images of one lesion, groups: {len(within)} ({_some(within)})")


def _tell_near(readable: pd.DataFrame, pairs: list[tuple[int, int]], seen: Verification) -> None:
    ids, lesions, dx = (readable[name].tolist() for name in ("image_id", "lesion_id", "dx"))
    seen.near = [(ids[i], ids[j]) for i, j in pairs]
    within = [f"{ids[i]} ~ {ids[j]}" for i, j in pairs if lesions[i] == lesions[j]]
    across = [
        f"{ids[i]} ~ {ids[j]} with {lesions[i]} {dx[i]}, {lesions[j]} {dx[j]}"
        for i, j in pairs
        if lesions[i] != lesions[j]
    ]
    if within:
        seen.notes.append(f"nearly equal images of one lesion, pairs: {len(within)} ({_some(within)})")
    if across:
        seen.notes.append(
            f"nearly equal images under different lesion ids, perhaps one lesion, pairs: {len(across)} "
            f"({_some(across)})"
        )


def _tell_table(table: pd.DataFrame, seen: Verification) -> None:
    images_of = table["lesion_id"].value_counts()
    several = images_of[images_of > 1]
    if len(several):
        seen.notes.append(
            f"lesions with several images: {len(several)}, of {int(several.sum())} images; "
            "split by lesion, or one lesion is in training and in test"
        )
    diagnoses = table.groupby("lesion_id")["dx"].nunique()
    torn = diagnoses.index[diagnoses > 1].tolist()
    if torn:
        seen.notes.append(f"lesions with images of different diagnoses: {len(torn)} ({_some(torn)})")
    if ages := int(table["age"].isna().sum()):
        seen.notes.append(f"images without an age: {ages}")
    if 0 < seen.masks < len(table):
        seen.notes.append(f"images without a lesion mask: {len(table) - seen.masks} of {len(table)}")
    if len(seen.sizes) > 1:
        (width, height), count = next(iter(seen.sizes.items()))
        others = sum(seen.sizes.values()) - count
        seen.notes.append(f"images not of the commonest size, {width} × {height} pixels: {others}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")

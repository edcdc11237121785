"""The images a person should look at: the surest mistakes, melanoma taken for nevus first (Figure 18)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dermlens.evaluation.figures.style import DPI
from dermlens.labels import Vocabulary

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Case:
    """One image and what the model said of it.

    Attributes:
        image_id, lesion_id: of the image.
        target: its true class.
        named: the class the model named.
        p_named, p_target: the probabilities of the two.
    """

    image_id: str
    lesion_id: str
    target: str
    named: str
    p_named: float
    p_target: float


@dataclass(frozen=True, slots=True)
class CaseGroup:
    """Cases of one kind, the surest first, and how many there were in all."""

    title: str
    cases: tuple[Case, ...]
    total: int


def worst_errors(
    predictions: pd.DataFrame, vocabulary: Vocabulary, *, most: tuple[int, int, int, int] = (8, 6, 10, 3)
) -> list[CaseGroup]:
    """Choose the cases to show.

    Args:
        predictions: image_id, lesion_id, target, p_<class>… of one role.
        vocabulary: the classes. Where there is no `mel`, the malignant own classes stand for melanoma, and
            all others for nevus.
        most: how many at the most: melanoma named nevus; nevus named melanoma; other errors; and of melanoma
            and nevus each, images recognised with the highest probability, for comparison.

    Returns:
        Groups in that order, without the empty ones; within each the highest probability of the named class
        comes first (ties by image_id).
    """
    classes = vocabulary.classes
    p_NC = predictions[[f"p_{code}" for code in classes]].to_numpy(float)
    named_N = np.asarray(classes, dtype=object)[p_NC.argmax(axis=1)]
    target_N = predictions["target"].to_numpy(str)
    image_ids, lesion_ids = predictions["image_id"].tolist(), predictions["lesion_id"].tolist()
    errors_N = named_N != target_N
    sought = vocabulary.sought or ("mel",)
    others = ("nv",) if sought == ("mel",) else tuple(code for code in classes if code not in sought)
    name, other = ("melanoma", "nevus") if sought == ("mel",) else ("malignant", "another class")
    is_sought_N, is_other_N = np.isin(target_N, sought), np.isin(target_N, others)
    missed_N = is_sought_N & np.isin(named_N, others)
    alarm_N = is_other_N & np.isin(named_N, sought)
    chosen = [
        (f"{name.capitalize()} named {other}", missed_N, most[0]),
        (f"{other.capitalize()} named {name}", alarm_N, most[1]),
        ("Other errors", errors_N & ~missed_N & ~alarm_N, most[2]),
        (f"For comparison: {name} recognised", is_sought_N & ~errors_N, most[3]),
        (f"For comparison: {other} recognised", is_other_N & ~errors_N, most[3]),
    ]

    def cases(rows_N: NDArray[np.bool_]) -> Iterator[Case]:
        for row in np.flatnonzero(rows_N):
            target = str(target_N[row])
            known = list(classes).index(target) if target in classes else None
            yield Case(
                image_id=str(image_ids[row]),
                lesion_id=str(lesion_ids[row]),
                target=target,
                named=str(named_N[row]),
                p_named=float(p_NC[row].max()),
                p_target=float(p_NC[row, known]) if known is not None else 0.0,
            )

    groups = []
    for words, rows_N, limit in chosen:
        found = sorted(cases(rows_N), key=lambda case: (-case.p_named, case.image_id))
        if found:
            groups.append(CaseGroup(words, tuple(found[:limit]), len(found)))
    return groups


def thumbnail(image_HWC: NDArray[np.uint8], side: int = 224) -> bytes:
    """A JPEG of at most `side` pixels a side."""
    picture = Image.fromarray(image_HWC)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def error_gallery(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], columns: int = 4) -> Figure:
    """Pictures in a grid, each under its caption.

    Args:
        images: RGB, (H, W, 3).
        captions: one an image.
        columns: pictures a row.

    Returns:
        A figure with one pair of axes a picture.
    """
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(2.0 * columns, 2.35 * rows), dpi=DPI, facecolor="white")
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0.01, 0.0, 0.99, 1 - 0.37 / (2.35 * rows), wspace=0.04, hspace=0.18)
    for axis in grid.flat:
        axis.set_axis_off()
    for axis, image_HWC, caption in zip(grid.flat, images, captions, strict=False):
        axis.imshow(image_HWC)
        axis.set_title(caption, fontsize=8, parse_math=False)
    return figure

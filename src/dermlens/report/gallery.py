"""The pictures a person should look at: the surest errors, and what the network looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dermlens.errors import UserError
from dermlens.labels import Vocabulary
from dermlens.predict.pictures.images import encoded
from dermlens.predict.pictures.preprocessing import Crop, read_square
from dermlens.report.plots import DPI, data_uri, save_figure
from dermlens.runs import Run

if TYPE_CHECKING:
    import pandas as pd


# What Soft-Attention weighed, drawn over the picture.
#
# Legend: H, W image height and width; K heads; h, w the feature map's.


def attention_map(alpha_Khw: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """Attention summed over its heads, enlarged bicubically, stretched to 0 … 1.

    Args:
        alpha_Khw: the maps; each head sums to 1 over its positions.
        height: of the picture in pixels.
        width: of the picture in pixels.

    Returns:
        (height, width); all zero where the attention is the same everywhere.
    """
    assert alpha_Khw.ndim == 3
    sum_hw: NDArray[np.float32] = np.asarray(alpha_Khw.sum(axis=0), np.float32)
    low, high = float(np.min(sum_hw)), float(np.max(sum_hw))
    if high - low <= 1e-6 * max(abs(high), 1e-12):  # uniform: stretching would draw rounding errors
        return np.zeros((height, width), np.float32)
    stretched = Image.fromarray((sum_hw - low) / (high - low))
    large = stretched.resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large, np.float32), 0, 1)


def overlay(image_HWC: NDArray[np.uint8], alpha_Khw: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The picture in grey under its attention in colour (magma: light is much, also without colour vision).

    Args:
        image_HWC: RGB, the square that the network saw.
        alpha_Khw: its attention maps.

    Returns:
        RGB of the same size.
    """
    height, width, _ = image_HWC.shape
    heat_HW = attention_map(alpha_Khw, height, width)
    color_HWC = mpl.colormaps["magma"](heat_HW)[..., :3] * 255
    grey_HW1 = np.asarray(Image.fromarray(image_HWC).convert("L"), np.float32)[..., None]
    return (0.5 * grey_HW1 + 0.5 * color_HWC).round().astype(np.uint8)


# The images a person should look at: the surest mistakes, melanoma taken for nevus first (Figure 18).


@dataclass(frozen=True, slots=True)
class Case:
    """One image and the model's answer.

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
    return encoded(picture, "JPEG", quality=82)


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


# The pictures of a report: the surest errors and what the network looked at, from the user's own images.
#
# Legend: H, W pixels of the square that the network saw; K heads; h, w of the feature map; M metadata
# features.


SIDE = 224
Attend = Callable[[Path, Any], NDArray[np.floating]]
"""A picture's path and its row of the table → alpha (K, h, w)."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A case as the page shows it; the addresses are empty where there is no picture."""

    case: Case
    image: str = ""
    attention: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """All cases, and why something is missing where it is."""

    groups: Sequence[tuple[CaseGroup, Sequence[Shown]]]
    notes: Sequence[str]

    @property
    def pictured(self) -> bool:
        """Whether any case has its picture."""
        return any(shown.image for _, group in self.groups for shown in group)


def build_gallery(
    run: Run, groups: Sequence[CaseGroup], table: pd.DataFrame | None, why_not: str, folder: Path
) -> Gallery:
    """Find the images of the cases, shrink them and draw the attention over them.

    The files worst_errors.png and attention.png hold the same pictures.

    Args:
        run: whose model is asked for its attention.
        groups: the cases.
        table: a LesionTable with the images' paths; none where the images are not there.
        why_not: what to say then.
        folder: where the two files go.

    Returns:
        The gallery; cases whose image cannot be read stand in it without a picture.
    """
    if table is None:
        return Gallery([(group, [Shown(case) for case in group.cases]) for group in groups], [why_not])
    notes: list[str] = []
    crop = _crop(run)
    attend, reason = _attention(run)
    if reason:
        notes.append(reason)
    rows: dict[str, Any] = {str(row.image_id): row for row in table.itertuples()}
    images: list[NDArray[np.uint8]] = []
    maps: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    shown_groups: list[tuple[CaseGroup, list[Shown]]] = []
    for group in groups:
        shown = []
        for case in group.cases:
            row = rows.get(case.image_id)
            try:
                if row is None:
                    raise UserError(f"image {case.image_id} is not in the data folder")
                image_HWC = read_square(Path(row.path), SIDE, crop)
            except (UserError, OSError) as error:
                notes.append(f"Without picture: {error}.")
                shown.append(Shown(case))
                continue
            images.append(image_HWC)
            captions.append(f"{case.target}, named {case.named} {case.p_named:.2f}\n{case.image_id}")
            drawn = ""
            if attend is not None:
                map_HWC = overlay(image_HWC, attend(Path(row.path), row))
                maps.append(map_HWC)
                drawn = data_uri(thumbnail(map_HWC, SIDE), "jpeg")
            shown.append(Shown(case, data_uri(thumbnail(image_HWC, SIDE), "jpeg"), drawn))
        shown_groups.append((group, shown))
    if images:
        save_figure(error_gallery(images, captions), folder / "worst_errors.png")
    if maps:
        save_figure(error_gallery(maps, captions), folder / "attention.png")
    return Gallery(shown_groups, notes)


def _crop(run: Run) -> Crop:
    """The crop the network saw, so that the attention lies where it belongs."""
    return run.recipe.data.crop if run.recipe_file.is_file() else "center"


def _attention(run: Run) -> tuple[Attend | None, str]:
    """A function that gives the attention of an image, or why there is none."""
    if not run.model_file.is_file():
        return None, "No attention is drawn: the model is not in the run's folder."
    import torch

    saved = run.model()
    if saved.config.attention == "none":
        return None, "No attention is drawn: the model has no attention module."

    def attend(path: Path, row: Any) -> NDArray[np.floating]:
        image_HWC = read_square(path, saved.size, saved.crop, saved.colour_constancy)
        x_BCHW = torch.from_numpy(np.ascontiguousarray(image_HWC)).permute(2, 0, 1)[None]
        meta_BM = torch.from_numpy(saved.encoder.encode([row.age], [row.sex], [row.site]))
        with torch.inference_mode():
            _, found = saved.model(x_BCHW, meta_BM)
        alpha_Khw: NDArray[np.floating] = found["alpha_BKHW"][0].float().numpy()
        return alpha_Khw

    return attend, ""

"""The pictures of a report: the surest errors and what the network looked at, from the user's own images.

Legend: H, W pixels of the square that the network saw; K heads; h, w of the feature map; M metadata features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dermlens.data.crops import Crop, read_square
from dermlens.errors import UserError
from dermlens.evaluation.figures.attention import overlay
from dermlens.evaluation.figures.gallery import Case, CaseGroup, error_gallery, thumbnail
from dermlens.evaluation.figures.style import data_uri, save_figure
from dermlens.runs import Run

if TYPE_CHECKING:
    import pandas as pd

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
    return run.recipe().data.crop if run.recipe_file.is_file() else "center"


def _attention(run: Run) -> tuple[Attend | None, str]:
    """A function that gives the attention of an image, or why there is none."""
    if not run.model_file.is_file():
        return None, "No attention is drawn: the model is not in the run's folder."
    import torch

    from dermlens.models.saved import load_model

    saved = load_model(run.path)
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

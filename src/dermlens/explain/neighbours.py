"""The nearest training cases of each class, by what the last layer sees of an image.

N training images, D features, S side of the square.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermlens.data.cache import cache_root
from dermlens.explain.network import BATCH, outputs
from dermlens.files import atomic_path
from dermlens.metrics import Floats
from dermlens.models.saved import SavedModel
from dermlens.predict.decision import unit
from dermlens.predict.document import of_last_layer, read_document
from dermlens.predict.pictures.preprocessing import read_square
from dermlens.runs import Run

REMEDY = "name the run's own data by --data"


@dataclass(frozen=True, slots=True)
class Case:
    """A training case.

    Attributes:
        image_id: of the image.
        dx: its class.
        distance: between features of length one: 0 for the same, 2 for opposite ones.
        path: of the image, where it is there.
    """

    image_id: str
    dx: str
    distance: float
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """Features of training images, each of length one."""

    image_id: npt.NDArray[np.str_]
    dx: npt.NDArray[np.str_]
    features_ND: npt.NDArray[np.float16]


def nearest_cases(embedded: Embedded, features_D: npt.NDArray[np.floating], each: int) -> list[Case]:
    """The nearest of each class.

    Args:
        embedded: the training images.
        features_D: of the image in question, of any length.
        each: how many of a class at the most.

    Returns:
        Classes in alphabetical order, within each the nearest first, of equal ones by image id.
    """
    own_D = unit(np.asarray(features_D)[None])[0]
    distance_N: Floats = np.linalg.norm(embedded.features_ND.astype(np.float64) - own_D, axis=1)
    rows = pd.DataFrame({"dx": embedded.dx, "distance": distance_N, "image_id": embedded.image_id})
    nearest = rows.sort_values(["dx", "distance", "image_id"]).groupby("dx").head(each)
    cells = zip(nearest["image_id"], nearest["dx"], nearest["distance"], strict=True)
    return [Case(str(image_id), str(dx), float(distance)) for image_id, dx, distance in cells]


def training_cases(
    run: Run,
    saved: SavedModel,
    data: Path | None,
    *,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Embedded | None, dict[str, Path], str]:
    """The features of a run's training images, computed once and kept next to the pixel caches.

    Args:
        run: its folder; a folder without a split has no training cases.
        saved: its model.
        data: where its images are; none takes the folder that it was trained on, if that is still there.
        cache: where features are kept; none for the usual place.
        say: called before what takes minutes.

    Returns:
        The features, or none; the paths of images that are there, empty without `data`; and why something is
        missing, else an empty sentence.

    Raises:
        UserError: the folder named is no data set, or not that of the run.
    """
    if not (run.split_file.is_file() and run.recipe_file.is_file()):
        lacks = "split" if not run.split_file.is_file() else "recipe"
        return (
            None,
            {},
            f"No nearest training cases: {run.path.resolve().name} has no {lacks}, as a run directory has.",
        )
    ids = run.split().ids("train")
    kept = (cache or cache_root()) / f"features-{_key(run, ids)}.npz"
    paths: dict[str, Path] = {}
    if data is not None:
        table = run.table(data, check_files=False)
        run.split(table)
        known = zip(table["image_id"], table["path"], strict=True)
        paths = {str(image_id): Path(path) for image_id, path in known if path}
    if kept.is_file():
        return _read(kept), paths, ""
    if not run.has_images(data):
        return None, {}, "No nearest training cases: the run's images are not there; --data DIR names them."
    table = run.table(data)
    run.split(table)
    rows = table[table["image_id"].isin(ids)]
    say(f"the network looks at {len(rows)} training images, once; their features are kept in {kept}")
    embedded = embed(saved, rows)
    with atomic_path(kept) as part, part.open("wb") as file:
        np.savez(file, image_id=embedded.image_id, dx=embedded.dx, features_ND=embedded.features_ND)
    return embedded, paths, ""


def embed(saved: SavedModel, rows: pd.DataFrame) -> Embedded:
    """The features of the rows of a LesionTable. Raises: UserError when an image cannot be read."""
    meta_NM = saved.encoder.encode(rows["age"], rows["sex"].tolist(), rows["site"].tolist())
    paths = [Path(path) for path in rows["path"]]
    parts = []
    for start in range(0, len(rows), BATCH):
        taken = paths[start : start + BATCH]
        x_BSSC = np.stack(
            [read_square(path, saved.size, saved.crop, saved.colour_constancy) for path in taken]
        )
        _, features_BD = outputs(saved, x_BSSC, meta_NM[start : start + BATCH])
        parts.append(unit(of_last_layer(features_BD, saved.dermoscopy)).astype(np.float16))
    names = rows["image_id"].to_numpy(dtype=str), rows["dx"].to_numpy(dtype=str)
    return Embedded(*names, np.concatenate(parts))


def _key(run: Run, ids: list[str]) -> str:
    """Of the weights and the images; all else that decides features belongs to the weights' document."""
    document = read_document(run.document_file)
    words = [document.sha256, str(document.size), document.crop, document.colour_constancy, *ids]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _read(path: Path) -> Embedded:
    with np.load(path, allow_pickle=False) as held:
        return Embedded(held["image_id"], held["dx"], held["features_ND"])

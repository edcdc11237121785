"""The features of images: what a network sees in each, for methods of one's own. Free of torch.

Shapes: N images, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dermlens.errors import UserError, require
from dermlens.files import atomic_path
from dermlens.predict.decoding import PICTURE_MEMORY, Worker
from dermlens.predict.patients import find_images
from dermlens.predict.picture import Needs
from dermlens.predict.pictures.preprocessing import Numbers
from dermlens.predict.predictor import Predictor

SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True, slots=True)
class Embedded:
    """Images that were embedded, and those that could not be.

    Attributes:
        image_ids: in the order of the rows.
        features_ND: what the last layer sees of each image as it is; age, sex and site have no part in it.
        unreadable: the sentence for each other image, by its id.
        doubts: sentences on files that were left out.
    """

    image_ids: tuple[str, ...]
    features_ND: Numbers
    unreadable: dict[str, str]
    doubts: list[str]


def embed(predictor: Predictor, images: Sequence[Path]) -> Embedded:
    """Embed images, or folders of them.

    Args:
        predictor: the model.
        images: files and folders.

    Raises:
        UserError: a path is not there, a folder holds no images, or not one image can be read.
    """
    found = find_images(images)
    rows: dict[str, Numbers] = {}
    unreadable = dict(found.unreadable)
    worker = Worker(Needs.of(predictor.document), PICTURE_MEMORY)
    try:
        for image_id, path in found.images.items():
            picture = worker.picture(path, image_id)
            if isinstance(picture, str):
                unreadable[image_id] = picture
            else:
                rows[image_id] = predictor.features([picture])[0]
    finally:
        worker.close()
    if not rows:
        raise UserError("; ".join(unreadable.values()))
    return Embedded(tuple(rows), np.stack(list(rows.values())), unreadable, found.doubts)


def check_format(path: Path) -> None:
    """Refuse a file of another kind, before what takes long. Raises: UserError."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {path}: features are written as {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".parquet":
        require("pyarrow", "parquet")


def write_features(path: Path, embedded: Embedded) -> None:
    """Write features: `image_id` and `features` in .npz; `image_id`, `feature_0` … in .parquet."""
    check_format(path)
    with atomic_path(path) as part, part.open("wb") as file:
        if path.suffix.lower() == ".npz":
            np.savez_compressed(file, image_id=np.array(embedded.image_ids), features=embedded.features_ND)
            return
        arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
        columns: Mapping[str, object] = {
            f"feature_{index}": column for index, column in enumerate(embedded.features_ND.T)
        }
        parquet.write_table(arrow.table({"image_id": list(embedded.image_ids), **columns}), file)

"""PH2 (Mendonça et al. 2013) beside HAM10000: eight classes (Rezvantalab et al. 2018, arXiv 1810.10348).

PH2 as it is distributed is a folder with `PH2_dataset.txt` and a folder an image:

    PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp     the image, 768 × 560 or nearly
    PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp         its mask

In the text file a row is `||  IMD003 ||  <histology>  ||  <diagnosis>  ||  …`, the diagnosis 0 for a common
nevus, 1 for an atypical nevus, 2 for a melanoma; a legend follows. The article takes 120 of its 200 images:
these are the 80 atypical nevi, its eighth class, and the 40 melanomas.

All of the eighth class is of one camera, so whoever knows the camera knows the class. `source_only` says how
much that alone gives.

Shapes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermlens import metrics
from dermlens.documents import Section
from dermlens.errors import UserError
from dermlens.plugins import plugin

TABLE, HAM = "PH2_dataset.txt", "HAM10000_metadata.csv"
DIAGNOSES = {"0": "nv", "1": "atypical", "2": "mel"}
"""Words of the classes, by the file's own numbers."""
SOURCE = "ph2"


class PH2Config(Section):
    """What is read of PH2.

    Attributes:
        common_nevi: read the 80 common nevi too, as `nv`; the article leaves them out.
    """

    common_nevi: bool = False


@plugin("reader", PH2Config)
def with_ph2(folder: Path, *, common_nevi: bool) -> pd.DataFrame:
    """The rows of a folder of PH2, or of HAM10000 as published, for a recipe that names both.

    Raises:
        UserError: it is neither, or a row of PH2 has no diagnosis that is known.
    """
    if tables := sorted(folder.rglob(TABLE)):
        return read_ph2(tables[0], common_nevi=common_nevi)
    if not (folder / HAM).is_file():
        raise UserError(f"{folder} has neither {TABLE} of PH2 nor {HAM}")
    table = pd.read_csv(folder / HAM, dtype=str, keep_default_na=False)
    table = table.rename(columns={"localization": "site"})
    return table[["image_id", "lesion_id", "dx", "dx_type", "age", "sex", "site"]].assign(source="ham10000")


def read_ph2(path: Path, *, common_nevi: bool = False) -> pd.DataFrame:
    """The rows of `PH2_dataset.txt`: `image_id`, `lesion_id` (an image is a lesion), `dx`, `source`.

    Args:
        path: of the file.
        common_nevi: as `PH2Config`.

    Raises:
        UserError: a row's diagnosis is not 0, 1 or 2, or the file has no row.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) < 4 or not cells[1].startswith("IMD"):
            continue  # the names of the columns, and the legend
        if cells[3] not in DIAGNOSES:
            raise UserError(
                f"{path}, line {number}: the clinical diagnosis of {cells[1]} is {cells[3]!r}; 0, 1 or 2"
            )
        if cells[3] != "0" or common_nevi:
            rows.append((cells[1], DIAGNOSES[cells[3]]))
    if not rows:
        raise UserError(f"{path} has no row that begins with || IMD…: it is not the table of PH2")
    table = pd.DataFrame(rows, columns=["image_id", "dx"])
    return table.assign(lesion_id=table["image_id"], source=SOURCE)[["image_id", "lesion_id", "dx", "source"]]


def source_only(
    trained_source_N: Sequence[str],
    trained_target_N: NDArray[np.int64],
    source_M: Sequence[str],
    classes: int,
) -> NDArray[np.float64]:
    """p_MC of a classifier that sees nothing but the source: the class shares of the training images of it.

    Args:
        trained_source_N: source of the images that train.
        trained_target_N: their classes.
        source_M: of the images that are scored; of a source that none trained on the shares are those of all.
        classes: C.
    """
    trained = np.asarray(trained_source_N)
    whole_C = np.bincount(trained_target_N, minlength=classes) / len(trained_target_N)
    shares = {
        name: np.bincount(trained_target_N[trained == name], minlength=classes) / (trained == name).sum()
        for name in np.unique(trained)
    }
    return np.stack([shares.get(name, whole_C) for name in source_M])


def by_source(
    target_M: NDArray[np.int64], p_MC: NDArray[np.float64], source_M: Sequence[str], one: int, source: str
) -> dict[str, float]:
    """How much of a class's area under the curve is its source.

    Args:
        target_M: classes.
        p_MC: probabilities.
        source_M: sources.
        one: the class.
        source: the source that it comes from.

    Returns:
        `auc` against all other images, and `auc_within` against those of the same source alone, where the
        source tells nothing; not a number where the source has none of the one or of the others.
    """
    inside_M = np.asarray(source_M) == source
    positive_M, score_M = target_M == one, p_MC[:, one]
    within = positive_M[inside_M]
    known = 0 < within.sum() < len(within)
    return {
        "auc": float(metrics.ranking(positive_M, score_M).auc),
        "auc_within": float(metrics.ranking(within, score_M[inside_M]).auc) if known else float("nan"),
    }

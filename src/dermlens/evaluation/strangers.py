"""How well the out-of-distribution scores tell strangers from new images of the known kind.

Shapes: N images, S strangers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_sample_images

from dermlens import metrics
from dermlens.atomic import atomic_path
from dermlens.decision.fit_ood import fit_ood
from dermlens.decision.labelled import Labelled
from dermlens.decision.ood import Kind, ood_scores
from dermlens.evaluation.intervals import draw_lesions, estimate
from dermlens.metrics import Floats

KINDS: tuple[Kind, ...] = get_args(Kind)
REPLICATES = 1000
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "ihc", "moon", "motorcycle_left", "page", "retina", "rocket", "text",
)  # fmt: skip
"""Pictures that scikit-image carries in its package, by the name of their file."""


def stranger_table(
    train: Labelled, calibration: Labelled, familiar: Labelled, strangers: Mapping[str, Labelled]
) -> pd.DataFrame:
    """AUROC of each score for each set of strangers, and what its threshold does to them.

    Args:
        train: the training role, which the scores are fitted on.
        calibration: the calibration role, which fixes the thresholds.
        familiar: images of the known kind that are new to both, such as the selection role.
        strangers: outputs by the name of the set; their truth is not looked at.

    Returns:
        A row a set and score: `set`, `score`, `images`, `auroc` with `low` and `high` (95 % intervals over
        lesions), `flagged`, the share of the strangers above the threshold, and `familiar_flagged`, that of
        the familiar images.
    """
    rows = []
    for kind in KINDS:
        ood, arrays = fit_ood(kind, train, calibration)

        def scores(of: Labelled) -> Floats:
            return ood_scores(ood.kind, of.logits_NC, of.features_ND, arrays, ood.neighbours)  # noqa: B023

        familiar_N = scores(familiar)
        for name, found in strangers.items():
            stranger_S = scores(found)
            rows.append(
                {"set": name, "score": kind, "images": len(stranger_S)}
                | _auroc(familiar_N, familiar.lesion_N, stranger_S, found.lesion_N)
                | {
                    "flagged": float((stranger_S > ood.threshold).mean()),
                    "familiar_flagged": float((familiar_N > ood.threshold).mean()),
                }
            )
    return pd.DataFrame(rows)


def write_photographs(folder: Path, *, pieces: int = 8, seed: int = 0) -> pd.DataFrame:
    """Cut ordinary photographs into pieces and make a table of them that a network can be shown.

    Pieces of a picture share its `lesion_id`. The pictures are scikit-image's or, where that is not
    installed, the two of scikit-learn.

    Args:
        folder: to write the pieces to, as PNG.
        pieces: squares from each picture, of a half to the whole of its shorter side.
        seed: of where they are cut.

    Returns:
        A LesionTable whose `dx` is `none`.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, picture in _photographs().items():
        height, width = picture.shape[:2]
        for piece in range(pieces):
            side = int(rng.integers(min(height, width) // 2, min(height, width) + 1))
            top, left = (int(rng.integers(0, length - side + 1)) for length in (height, width))
            image_id = f"{name}_{piece}"
            path = folder / f"{image_id}.png"
            with atomic_path(path) as part:
                Image.fromarray(picture[top : top + side, left : left + side]).save(part, "PNG")
            rows.append({"image_id": image_id, "lesion_id": name, "path": str(path.resolve())})
    return pd.DataFrame(rows).assign(
        dx="none",
        age=np.nan,
        sex="unknown",
        site="unknown",
        dx_type="unknown",
        source="photographs",
        mask=None,
        aspect=np.nan,
    )


def _photographs() -> dict[str, np.ndarray]:
    """Pictures as uint8 RGB, by name."""
    if importlib.util.find_spec("skimage") is None:
        found = load_sample_images()
        return {Path(name).stem: image for name, image in zip(found.filenames, found.images, strict=True)}
    # Read as files: its functions fetch a picture that is not there from the network.
    with as_file(files("skimage") / "data") as folder:
        paths = sorted(path for path in folder.iterdir() if path.stem in PHOTOGRAPHS)
        pictures = {}
        for path in paths:
            with Image.open(path) as picture:
                pictures[path.stem] = np.asarray(picture.convert("RGB"))
        return pictures


def _auroc(familiar_N: Floats, lesion_N: Any, stranger_S: Floats, lesion_S: Any) -> dict[str, Any]:
    """AUROC with its interval over lesions."""
    strange = np.concatenate([np.zeros(len(familiar_N), dtype=bool), np.ones(len(stranger_S), dtype=bool)])
    score = np.concatenate([familiar_N, stranger_S])
    lesions = np.array(
        [*(f"familiar {name}" for name in lesion_N), *(f"strange {name}" for name in lesion_S)]
    )
    resamples = draw_lesions(lesions, strange.astype(np.int64), replicates=REPLICATES, seed=0)
    found = estimate(
        lambda weights: {("auroc",): metrics.ranking(strange, score, weights).auc}, resamples, level=0.95
    )["auroc",]
    return {"auroc": found["value"], "low": found["low"], "high": found["high"]}

"""A table's images answered as `dermlens predict` answers them, by any network, from the pixel cache.

Shapes: N images, S side of the square, C classes, D features, M metadata width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.data.cache import open_cache
from dermlens.data.views import Numbers, Pixels, average_views
from dermlens.decision.answer import Answers, answer
from dermlens.decision.dermoscopy import is_dermoscopy
from dermlens.decision.document import plain_decision
from dermlens.deploy.engines.network import Network
from dermlens.metrics import Bools
from dermlens.models.saved import SavedModel

BATCH = 16


def answers_of(
    saved: SavedModel, network: Network, table: pd.DataFrame, root: Path | None
) -> tuple[Answers, Bools]:
    """Answers of a network by the views and the decision of a model.

    Args:
        saved: the model.
        network: its own, or a file made from it.
        table: a LesionTable.
        root: folder of the pixel caches; none for the default place.

    Returns:
        The answers, and which images do not look like dermoscopy, none of them where the model cannot tell.
    """
    caches = {
        size: open_cache(
            table, size=size, crop=saved.crop, colour_constancy=saved.colour_constancy, root=root
        )
        for size in sorted({saved.size, *saved.views.sizes})
    }
    meta_NM = saved.encoder.encode(table["age"], table["sex"].tolist(), table["site"].tolist())
    outputs = []
    for start in range(0, len(table), BATCH):
        rows = np.arange(start, min(start + BATCH, len(table)))

        def pixels(size: int, rows: np.ndarray = rows) -> Pixels:
            return caches[size].take(rows)

        def forward(x_BSSC: Pixels, rows: np.ndarray = rows) -> tuple[Numbers, Numbers]:
            return network(x_BSSC, meta_NM[rows])

        outputs.append(average_views(saved.views, saved.size, pixels, forward))
    logits_NC, features_ND = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    looks = saved.dermoscopy
    alien_N = np.zeros(len(table), dtype=bool) if looks is None else ~is_dermoscopy(looks.scores(features_ND))
    decision = saved.decision or plain_decision(saved.classes)
    return answer(logits_NC, features_ND, decision, saved.arrays), alien_N

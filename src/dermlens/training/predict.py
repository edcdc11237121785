"""Probabilities for the rows of a table.

Shapes: B batch, C classes, M metadata width, N rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dermlens.data.cache import PixelCache, open_cache
from dermlens.models.saved import SavedModel
from dermlens.training.device import resolve_device

CARRIED = ("age", "sex", "site", "dx_type")
"""Columns that go along, for subgroups; none of them but the first three ever reached the network."""


def predict_table(
    model: SavedModel,
    table: pd.DataFrame,
    *,
    cache_root: Path | None = None,
    device: str = "auto",
    batch_size: int = 64,
) -> pd.DataFrame:
    """Predict every image of a table.

    Args:
        model: a loaded model.
        table: a LesionTable.
        cache_root: where pixel caches are; none takes the default place.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: images at a time; what comes out does not depend on it but for rounding.

    Returns:
        `image_id`, `lesion_id`, `target` (class code), `p_<class>` … that sum to 1 in each row, `age`, `sex`,
        `site`, `dx_type`; rows as in the table.

    Raises:
        UserError: no such device, or an image cannot be read.
    """
    cache = open_cache(table, size=model.size, crop=model.crop, root=cache_root)
    return predict_cached(model, table, cache, device=device, batch_size=batch_size)


def predict_cached(
    model: SavedModel, table: pd.DataFrame, cache: PixelCache, *, device: str, batch_size: int = 64
) -> pd.DataFrame:
    """As `predict_table`, with a cache at hand that holds at least the images of the table."""
    rows_N = np.array([cache.index[image] for image in table["image_id"]], dtype=np.int64)
    meta_NM = model.encoder.encode(table["age"], table["sex"].tolist(), table["site"].tolist())
    batches = list(_probabilities(model, cache, rows_N, meta_NM, resolve_device(device), batch_size))
    p_NC = np.concatenate(batches) if batches else np.empty((0, len(model.classes)))
    frame = table[["image_id", "lesion_id"]].reset_index(drop=True).assign(target=table["dx"].to_numpy())
    for column, code in enumerate(model.classes):
        frame[f"p_{code}"] = p_NC[:, column]
    for name in CARRIED:
        frame[name] = table[name].to_numpy()
    return frame


@torch.inference_mode()
def _probabilities(
    model: SavedModel,
    cache: PixelCache,
    rows_N: npt.NDArray[np.int64],
    meta_NM: npt.NDArray[np.float32],
    device: str,
    batch_size: int,
) -> Iterator[npt.NDArray[np.float64]]:
    """Calibrated probabilities (B, C), batch by batch."""
    network = model.model.to(device).to(memory_format=torch.channels_last).eval()
    for start in range(0, len(rows_N), batch_size):
        taken = slice(start, start + batch_size)
        # Pixels lie as HWC: seen as CHW they are channels-last already.
        x_BCHW = torch.from_numpy(cache.take(rows_N[taken])).permute(0, 3, 1, 2).to(device)
        logits_BC = network(x_BCHW, torch.from_numpy(meta_NM[taken]).to(device))[0]
        # Apple's GPUs have no double precision; the softmax of seven numbers is done on the CPU.
        yield (logits_BC.cpu().double() / model.temperature).softmax(1).numpy()

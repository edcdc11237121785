"""Logits and probabilities for the rows of a table.

Shapes: B batch, C classes, D features, M metadata width, N rows, S side of the square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dermlens.data.cache import PixelCache, open_cache
from dermlens.errors import UserError
from dermlens.models.cuts import feature_shape
from dermlens.models.saved import SavedModel
from dermlens.predict.decision import ANSWERED, answer, answer_columns
from dermlens.predict.decision_document import plain_decision
from dermlens.predict.pictures.preprocessing import Logits, Numbers, Pixels, average_views
from dermlens.training.machine import keep_memory, resolve_device

Metadata = npt.NDArray[np.float32]

CARRIED = ("age", "sex", "site", "dx_type", "source", "skin_tone")
"""Columns that go along, for subgroups; none of them but the first three ever reached the network."""


BATCH = 16
"""Images at a time; more leave a CPU's caches (64: 0.76 of the speed, MobileNetV2, 192 px)."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network says of the rows of a table, before any calibration.

    Attributes:
        logits_NC: averaged over the model's views.
        features_ND: what the last layer sees of the image as it is, the metadata's part left out.
    """

    logits_NC: Logits
    features_ND: Numbers


def predict_table(
    model: SavedModel,
    table: pd.DataFrame,
    *,
    of: pd.DataFrame | None = None,
    cache_root: Path | None = None,
    device: str = "auto",
    batch_size: int = BATCH,
) -> pd.DataFrame:
    """Predict every image of a table.

    Args:
        model: a loaded model.
        table: a LesionTable.
        of: a larger table that its rows are of, whose pixels are cached together; none for these alone.
        cache_root: where pixel caches are; none takes the default place.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: images at a time; what comes out does not depend on it but for rounding.

    Returns:
        `image_id`, `lesion_id`, `target` (class code), `p_<class>` … that sum to 1 in each row, where the
        model has a decision the columns `ANSWERED` of `dermlens.predict.decision`, `age`, `sex`, `site`,
        `dx_type`, `source` and, where the table has it, `skin_tone`; rows as in the table.

    Raises:
        UserError: no such device, an image cannot be read, or a view is too small for the network.
    """
    whole = table if of is None else of
    cache = _cache(model, whole, model.size, cache_root)
    return predict_cached(model, table, cache, of=whole, device=device, batch_size=batch_size)


def predict_cached(
    model: SavedModel,
    table: pd.DataFrame,
    cache: PixelCache,
    *,
    of: pd.DataFrame,
    device: str,
    batch_size: int = BATCH,
) -> pd.DataFrame:
    """As `predict_table`, with a cache at hand of the images of `of`; other sizes have caches next to it."""
    decision = model.decision or plain_decision(model.classes)
    # batch by batch: the features of a whole table may not fit into memory
    answers = [
        answer(logits_BC, features_BD, decision, model.arrays)
        for logits_BC, features_BD in _run(model, table, of, cache, device=device, batch_size=batch_size)
    ]
    p_NC = np.concatenate([np.empty((0, len(model.classes))), *(batch.p_NC for batch in answers)])
    frame = table[["image_id", "lesion_id"]].reset_index(drop=True).assign(target=table["dx"].to_numpy())
    for column, code in enumerate(model.classes):
        frame[f"p_{code}"] = p_NC[:, column]
    if model.decision is not None:
        columns = [answer_columns(batch, model.classes) for batch in answers]
        for name in ANSWERED:
            frame[name] = [cell for batch in columns for cell in batch[name]]
    for name in (name for name in CARRIED if name in table):
        frame[name] = table[name].to_numpy()
    return frame


def logits_table(
    model: SavedModel,
    table: pd.DataFrame,
    *,
    of: pd.DataFrame | None = None,
    cache_root: Path | None = None,
    device: str = "auto",
) -> Outputs:
    """What calibration, decisions and out-of-distribution scores are fitted on.

    Arguments and errors are those of `predict_table`; the table has a row at least.
    """
    whole = table if of is None else of
    cache = _cache(model, whole, model.size, cache_root)
    batches = list(_run(model, table, whole, cache, device=device, batch_size=BATCH))
    return Outputs(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def _cache(model: SavedModel, table: pd.DataFrame, size: int, root: Path | None) -> PixelCache:
    """The pixels of a table as the model sees them at a size."""
    return open_cache(table, size=size, crop=model.crop, colour_constancy=model.colour_constancy, root=root)


def _run(
    model: SavedModel,
    table: pd.DataFrame,
    whole: pd.DataFrame,
    cache: PixelCache,
    *,
    device: str,
    batch_size: int,
) -> Iterator[tuple[Logits, Numbers]]:
    """logits_BC and features_BD, batch by batch."""
    caches = {model.size: cache}
    for size in model.views.sizes:
        if size not in caches:
            _check_size(model, size)
            caches[size] = _cache(model, whole, size, cache.path.parent)
    keep_memory()
    resolved = resolve_device(device)
    network = model.model.to(resolved).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def forward(x_BSSC: Pixels, meta_BM: Metadata) -> tuple[Numbers, Numbers]:
        # Pixels lie as HWC: seen as CHW they are channels-last already.
        x_BCSS = torch.from_numpy(x_BSSC).permute(0, 3, 1, 2).to(resolved)
        logits_BC, found = network(x_BCSS, torch.from_numpy(meta_BM).to(resolved))
        return logits_BC.cpu().numpy(), found["features_BD"].cpu().numpy()

    yield from view_batches(model, table, caches, forward, batch_size=batch_size)


def view_batches(
    model: SavedModel,
    table: pd.DataFrame,
    caches: Mapping[int, PixelCache],
    forward: Callable[[Pixels, Metadata], tuple[Numbers, Numbers]],
    *,
    batch_size: int = BATCH,
) -> Iterator[tuple[Logits, Numbers]]:
    """logits_BC and features_BD of a table, batch by batch, averaged over the model's views.

    Args:
        model: whose input and views these are.
        table: the rows.
        caches: of a table that has the rows, by size.
        forward: the network, from x_BSSC and meta_BM.
        batch_size: images at a time.
    """
    images = table["image_id"].tolist()
    meta_NM = model.encoder.encode(table["age"], table["sex"].tolist(), table["site"].tolist())
    for start in range(0, len(images), batch_size):
        taken = images[start : start + batch_size]

        def pixels(size: int, taken: list[str] = taken) -> Pixels:
            return caches[size].take(np.array([caches[size].index[image] for image in taken]))

        def with_metadata(x_BSSC: Pixels, start: int = start) -> tuple[Numbers, Numbers]:
            return forward(x_BSSC, meta_NM[start : start + batch_size])

        yield average_views(model.views, model.size, pixels, with_metadata)


def _check_size(model: SavedModel, size: int) -> None:
    if feature_shape(model.model.backbone, size) is None:  # type: ignore[arg-type]
        raise UserError(f"evaluation.views.sizes {size} is too small for {model.config.backbone}")

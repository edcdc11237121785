"""Batches straight from the pixel cache.

Shapes: N images of the table, R of a role, E of an epoch, B of a batch; M metadata features, C channels (3),
S side of the square. Row i of the cache, the metadata and the targets all belong to row i of the table.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dermlens.data.cache import PixelCache
from dermlens.data.offline_plan import planned_epoch


class Draw(NamedTuple):
    """One batch to be: rows of the table (B,), and whether each image is to be augmented (B,)."""

    rows: np.ndarray
    augment: np.ndarray


BatchLoader = DataLoader[dict[str, Tensor]]


class LesionBatches(Dataset[dict[str, Tensor]]):
    """Whole batches by the rows of their images: one copy out of the cache, nothing to collate.

    Args:
        cache: the pixels.
        meta_NM: float32 metadata; M may be 0.
        target_N: class indices.
        masks: the lesion masks of the same table, to ride along.
    """

    def __init__(
        self, cache: PixelCache, meta_NM: np.ndarray, target_N: np.ndarray, masks: PixelCache | None = None
    ):
        assert len(cache.index) == len(meta_NM) == len(target_N), "one row of each an image of the table"
        self.cache, self.masks = cache, masks
        self.meta_NM, self.target_N = meta_NM, target_N

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Make the batch of a draw.

        Returns:
            `image` uint8 (B, C, S, S) in channels-last memory, `meta` float32 (B, M), `target` and `row`
            int64 (B,), `augment` bool (B,); with masks also `mask` uint8 (B, 1, S, S), `has_mask` bool (B,).
        """
        batch = {
            "image": _channels_first(self.cache.take(draw.rows)),
            "meta": torch.from_numpy(self.meta_NM[draw.rows]),
            "target": torch.from_numpy(self.target_N[draw.rows]),
            "row": torch.from_numpy(draw.rows),
            "augment": torch.from_numpy(draw.augment),
        }
        if self.masks is not None:
            batch["mask"] = _channels_first(self.masks.take(draw.rows))
            batch["has_mask"] = torch.from_numpy(self.masks.present[draw.rows])
        return batch


def make_loader(
    cache: PixelCache,
    rows_R: np.ndarray,
    meta_NM: np.ndarray,
    target_N: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    plan: bool = False,
    rank: int = 0,
    world: int = 1,
    masks: PixelCache | None = None,
) -> BatchLoader:
    """One epoch's batches of a role. Their order is a function of the arguments alone, whatever ran before.

    It already shares the batches among the ranks of a distributed run: leave that to no other sampler.

    Args:
        cache: the pixels of the table.
        rows_R: rows of the role's images.
        meta_NM: float32 metadata of the table; M may be 0.
        target_N: class indices of the table.
        batch_size: images a batch and rank; the last batch may be smaller or, in training, one larger.
        seed: of the run.
        epoch: from 0; each has its own order.
        shuffle: true to train, in random order and with as many images on every rank, for which a few may
            come twice; false to evaluate, in the given order and each image once over all ranks.
        plan: draw by the authors' offline plan; its originals are not to be augmented.
        rank: which process this is.
        world: how many processes there are.
        masks: lesion masks of the table, to ride along.

    Returns:
        A loader of the batches that `LesionBatches` describes. It reads in the main process: copying a batch
        out of the cache takes about a thousandth of a training step.
    """
    rows_R, target_N = np.asarray(rows_R, np.int64), np.asarray(target_N, np.int64)
    rng = np.random.default_rng([seed, epoch])
    rows_E, augment_E = rows_R, np.ones(len(rows_R), bool)
    if plan:
        positions_E, augment_E = planned_epoch(target_N[rows_R], rng)
        rows_E = rows_R[positions_E]
    if shuffle:
        # Every rank needs as many batches as the others, or the last ones wait for ever.
        padded = -(-len(rows_E) // world) * world
        order_E = np.resize(rng.permutation(len(rows_E)), padded)
        rows_E, augment_E = rows_E[order_E], augment_E[order_E]
    rows_E, augment_E = rows_E[rank::world], augment_E[rank::world]
    edges = [*range(0, len(rows_E), batch_size), len(rows_E)]
    if shuffle and len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]  # one image alone has no variance for a batch norm to divide by
    draws = [Draw(rows_E[first:end], augment_E[first:end]) for first, end in itertools.pairwise(edges)]
    return DataLoader(LesionBatches(cache, meta_NM, target_N, masks), sampler=draws, batch_size=None)


def _channels_first(pixels_BSSC: np.ndarray) -> Tensor:
    """The same memory under the names that torch expects, which makes it channels-last."""
    return torch.from_numpy(pixels_BSSC).permute(0, 3, 1, 2)

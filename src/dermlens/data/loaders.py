"""Batches straight from the pixel cache, in a drawn or a planned order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dermlens.data.cache import PixelCache

# The authors' 8,000-images-a-class folders as a sampling plan instead of files on disk.
#
# Source: the procedure of the paper's reference [14], which the authors ran on their 15 % split. For a class
# with n images it draws ceil((8000 − n) / 50) batches of 50 from an iterator over the class folder, whose
# last batch of each pass holds what is left, and writes every drawn image, augmented, next to the originals.
# The counts it printed for four splits follow exactly.


FOLDER = 8000
BATCH = 50


def offline_plan(counts: Mapping[str, int]) -> dict[str, int]:
    """How many images each class folder holds after the offline augmentation.

    Args:
        counts: originals of each class.

    Returns:
        Originals plus generated copies, class by class; 53,573 in all for the 15 % training split.
    """
    totals = {}
    for name, n in counts.items():
        passes, rest = _passes_and_rest(n)
        totals[name] = n + passes * n + rest
    return totals


def planned_epoch(target_N: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One pass over the folders that the plan stands for, in order of class.

    The authors augmented once and trained on the same files in every epoch; here a generated copy is a new
    random view each time, and the images of the last, incomplete pass are drawn anew.

    Args:
        target_N: class indices of the originals.
        rng: chooses the images of the incomplete pass.

    Returns:
        positions_E: int64, positions in `target_N`, each class as often as its folder would hold it.
        augment_E: bool, false where the original stands for itself, true where a generated copy would.
    """
    positions, augment = [], []
    for target in np.unique(target_N):
        originals = np.flatnonzero(target_N == target)
        passes, rest = _passes_and_rest(len(originals))
        copies = [originals] * passes + [rng.permutation(originals)[:rest]]
        positions += [originals, *copies]
        augment += [np.zeros(len(originals), bool), np.ones(passes * len(originals) + rest, bool)]
    return np.concatenate(positions), np.concatenate(augment)


def _passes_and_rest(n: int) -> tuple[int, int]:
    """Whole passes over n originals, and images of the pass that the count of batches cuts short."""
    if n == 0:
        return 0, 0
    batches = max(0, -(-(FOLDER - n) // BATCH))
    passes, left = divmod(batches, -(-n // BATCH))
    return passes, left * BATCH


# Shapes: N images of the table, R of a role, E of an epoch, B of a batch; M metadata features, C channels
# (3), S side of the square. Row i of the cache, the metadata and the targets all belong to row i of the
# table.


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
    """

    def __init__(self, cache: PixelCache, meta_NM: np.ndarray, target_N: np.ndarray):
        assert len(cache.index) == len(meta_NM) == len(target_N), "one row of each an image of the table"
        self.cache = cache
        self.meta_NM, self.target_N = meta_NM, target_N

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Make the batch of a draw.

        Returns:
            `image` uint8 (B, C, S, S) in channels-last memory, `meta` float32 (B, M), `target` and `row`
            int64 (B,), `augment` bool (B,).
        """
        return {
            # the same memory under the names that torch expects, which makes it channels-last
            "image": torch.from_numpy(self.cache.take(draw.rows)).permute(0, 3, 1, 2),
            "meta": torch.from_numpy(self.meta_NM[draw.rows]),
            "target": torch.from_numpy(self.target_N[draw.rows]),
            "row": torch.from_numpy(draw.rows),
            "augment": torch.from_numpy(draw.augment),
        }


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
    return DataLoader(LesionBatches(cache, meta_NM, target_N), sampler=draws, batch_size=None)

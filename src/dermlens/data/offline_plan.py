"""The authors' 8,000-images-a-class folders as a sampling plan instead of files on disk.

Source: P§1.7, item 1. For a class with n images their script draws ceil((8000 − n) / 50) batches of 50 from
an iterator over the class folder, whose last batch of each pass holds what is left, and writes every drawn
image, augmented, beside the originals. The counts it printed for four splits follow exactly.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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

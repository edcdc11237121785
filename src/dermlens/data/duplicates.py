"""Images that are there twice: pixel by pixel, or nearly, by their perceptual fingerprints."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dermlens.data.images import read_image
from dermlens.data.perceptual import SIDE, fingerprint, matches

DECODE = SIDE
"""Short side, in pixels, of the scaled-down decode that everything here begins with."""


@dataclass(frozen=True)
class Mark:
    """What is kept of an image to find it again: a digest of its small decode, and its fingerprint."""

    digest: bytes
    fingerprint: bytes


def mark(pixels_HW3: np.ndarray) -> Mark:
    """Mark a decode of DECODE pixels or more."""
    digest = hashlib.blake2b(pixels_HW3.tobytes(), digest_size=16).digest()
    return Mark(digest, fingerprint(pixels_HW3))


def exact_groups(marks: Sequence[Mark], paths: Sequence[str]) -> list[list[int]]:
    """Images with equal pixels, whatever their files say besides.

    Args:
        marks: of all images.
        paths: their files, read again and decoded whole where digests agree.

    Returns:
        Groups of two or more rows.
    """
    same: dict[bytes, list[int]] = defaultdict(list)
    for row, one in enumerate(marks):
        same[one.digest].append(row)
    groups: list[list[int]] = []
    for rows in same.values():
        if len(rows) > 1:
            whole: dict[tuple[tuple[int, ...], bytes], list[int]] = defaultdict(list)
            for row in rows:
                pixels_HW3 = read_image(Path(paths[row]))
                whole[pixels_HW3.shape, hashlib.sha256(pixels_HW3.tobytes()).digest()].append(row)
            groups += [group for group in whole.values() if len(group) > 1]
    return groups


def near_pairs(marks: Sequence[Mark]) -> list[tuple[int, int]]:
    """Pairs of images that a person would call the same picture, turned or mirrored ones among them.

    Returns:
        Rows (i, j), i < j, sorted; equal images are among them.
    """
    prints = [one.fingerprint for one in marks]
    return sorted((i, j) for i, j, _ in matches(prints, prints) if i < j)

"""Images that are there twice: pixel by pixel, or nearly, by a hash of their brightness gradients.

Shapes: N images, H height, W width, S side of a thumbnail, B bands of a hash.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dermlens.data.images import read_image

DECODE = 64
"""Short side, in pixels, of the scaled-down decode that everything here begins with."""
SIDE = 16
BANDS = SIDE * SIDE // 16
MOST = BANDS - 1
"""Bits of 256 that near duplicates may differ in. With 15, one of 16 bands must agree: none is missed."""
ALIKE = 0.95
"""Least correlation of the gradients of two near duplicates. HAM10000's images have 0.988 or more with
copies of themselves (JPEG of quality 50, other sizes, squashed); with others of a close hash, up to 0.93."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image to find it again: a digest of its small decode, and its gradient hash."""

    digest: bytes
    gradients: np.ndarray


def fingerprint(pixels_HW3: np.ndarray) -> Fingerprint:
    """Fingerprint a decode of DECODE pixels or more.

    The hash (dHash) is whether each of 16 × 16 places is darker than its right neighbour: uint16 (16,), one
    word a band. It survives another size, another compression and a change of exposure. A turned, mirrored
    or cropped copy has another hash.
    """
    small = _grey(pixels_HW3, (SIDE + 1, SIDE))
    gradients = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint16)
    return Fingerprint(hashlib.blake2b(pixels_HW3.tobytes(), digest_size=16).digest(), gradients)


def exact_groups(prints: Sequence[Fingerprint], paths: Sequence[str]) -> list[list[int]]:
    """Images with equal pixels, whatever their files say besides.

    Args:
        prints: of N images.
        paths: their files, read again and decoded whole where digests agree.

    Returns:
        Groups of two or more rows.
    """
    same: dict[bytes, list[int]] = defaultdict(list)
    for row, mark in enumerate(prints):
        same[mark.digest].append(row)
    groups: list[list[int]] = []
    for rows in same.values():
        if len(rows) > 1:
            whole: dict[tuple[tuple[int, ...], bytes], list[int]] = defaultdict(list)
            for row in rows:
                pixels_HW3 = read_image(Path(paths[row]))
                whole[pixels_HW3.shape, hashlib.sha256(pixels_HW3.tobytes()).digest()].append(row)
            groups += [group for group in whole.values() if len(group) > 1]
    return groups


def near_pairs(prints: Sequence[Fingerprint], paths: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of images that a person would call the same picture.

    A close hash makes a candidate; the correlation of their gradients decides, since on even skin under one
    lens hashes come close by chance.

    Returns:
        Rows (i, j), i < j, sorted; equal images are among them.
    """
    if not prints:
        return []
    candidates = close_hashes(np.stack([mark.gradients for mark in prints]))
    thumbnails = {row: _gradients(paths[row]) for pair in candidates for row in pair}
    return [(i, j) for i, j in candidates if float(thumbnails[i] @ thumbnails[j]) >= ALIKE]


def close_hashes(hashes_NB: np.ndarray, most: int = MOST) -> list[tuple[int, int]]:
    """All pairs of hashes that differ in few bits, found without comparing all with all.

    Args:
        hashes_NB: uint16 (N, 16).
        most: the largest number of differing bits, 0 to 15: so many leave one of 16 bands untouched, so only
            images with an equal band are compared.

    Returns:
        Rows (i, j), i < j, sorted.
    """
    assert 0 <= most <= MOST, "beyond that, bands would miss pairs"
    found: set[tuple[int, int]] = set()
    words_NW = np.ascontiguousarray(hashes_NB).view(np.uint64)
    for band in range(BANDS):
        order = np.argsort(hashes_NB[:, band], kind="stable")
        keys, words = hashes_NB[order, band], words_NW[order]
        first = np.arange(len(order))
        # Equal keys lie side by side: compare neighbours at step 1, 2, … until no group is that long.
        for step in range(1, len(order)):
            first = first[first < len(order) - step]
            first = first[keys[first] == keys[first + step]]
            if not first.size:
                break
            distance = np.bitwise_count(words[first] ^ words[first + step]).sum(axis=1)
            close = first[distance <= most]
            # The sort is stable, so the first of two is the one with the smaller row.
            found.update(zip(order[close].tolist(), order[close + step].tolist(), strict=True))
    return sorted(found)


def _grey(pixels_HW3: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Brightness at another size, in floats: on even skin neighbours differ by less than a step of 8 bits."""
    grey = Image.fromarray(pixels_HW3.astype(np.float32) @ LUMA)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR))


def _gradients(path: str) -> np.ndarray:
    """Both gradients of a thumbnail, of mean 0 and length 1."""
    small_SS = _grey(read_image(Path(path), min_side=DECODE), (2 * SIDE, 2 * SIDE))
    both = np.concatenate([np.diff(small_SS, axis=0).ravel(), np.diff(small_SS, axis=1).ravel()])
    both -= both.mean()
    length = float(np.linalg.norm(both))
    return both / length if length else both

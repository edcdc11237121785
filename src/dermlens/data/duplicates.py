"""Images that are there twice, and fingerprints that are close for copies."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dermlens.errors import UserError
from dermlens.predict.decoding import (
    PICTURE_MEMORY,
    Handler,
    Message,
    Worker,
    file_handler,
    prepare,
    run,
)
from dermlens.predict.picture import Needs
from dermlens.predict.pictures.preprocessing import image_size, read_image

# A picture's fingerprint: close for copies that were saved, scaled, cropped a little or turned anew.
#
# Shapes: N and M pictures; S side of the grid that a picture is averaged to; K frequencies along each side.
#
# The local mean of the brightness is taken away and the rest is divided by the local contrast, so that a dark
# rim, a ruler or a light spot that many pictures share counts no more than the same area of skin. The
# fingerprint is the sign of the K × K lowest cosine coefficients (as in pHash; Zauner 2010, section 3.2.1). A
# mirrored picture has the same coefficients, those of odd frequencies negated, and a transposed picture has
# them transposed: the eight ways to turn a picture are compared without the picture.


SIDE = 96
"""S; a decode for a fingerprint needs no more pixels on its short side."""
FREQUENCIES = 24
WINDOW = 7.0
"""Standard deviation, in places of the grid, of the Gaussian that local means are taken with."""
FLOOR = 2.0
"""Grey levels that are added to the local contrast: noise on even skin stays small."""
CLIP = 2.0
"""Local contrasts beyond which a place counts no more."""
EVEN = 0.5
"""Grey levels: a picture that nowhere differs more from its local mean shows nothing to know it by."""
BYTES = FREQUENCIES * FREQUENCIES // 8
"""Length of a fingerprint."""
THRESHOLD = 170
"""Bits of 567 that two copies of one picture may differ in; see docs/results/perceptual_hash.md."""
BLOCK = 1024
"""Fingerprints that are compared with as many others at a time."""

_PLACE_S = (np.arange(SIDE) + 0.5) / SIDE
_COSINES_KS = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * _PLACE_S)
_MEAN_SS = np.exp(-0.5 * ((_PLACE_S[:, None] - _PLACE_S) * SIDE / WINDOW) ** 2)
_MEAN_SS /= _MEAN_SS.sum(axis=1, keepdims=True)
_HIGHER_K = np.maximum(np.arange(FREQUENCIES) - 2, 0)
_HIGH_KK = np.maximum.outer(_HIGHER_K, _HIGHER_K).astype(bool)
"""The coefficients that count: local means took the others away."""
_ODD_K = np.arange(FREQUENCIES) % 2 == 1
_PARITIES = [
    (_HIGH_KK & (_ODD_K[:, None] == down) & (right == _ODD_K)).ravel()
    for down in (False, True)
    for right in (False, True)
]


def fingerprint(pixels_HW3: np.ndarray) -> bytes:
    """Fingerprint one picture.

    Args:
        pixels_HW3: uint8 RGB, of any size and aspect; below SIDE pixels on a side it is less sure.

    Returns:
        BYTES bytes; all zero for a picture without structure, which is like no other.
    """
    grey = Image.fromarray(pixels_HW3).convert("L").convert("F")
    grid_SS = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    detail_SS = grid_SS - _MEAN_SS @ grid_SS @ _MEAN_SS.T
    if np.abs(detail_SS).max() <= EVEN:
        return bytes(BYTES)
    contrast_SS = np.sqrt(_MEAN_SS @ detail_SS**2 @ _MEAN_SS.T)
    flat_SS = np.clip(detail_SS / (contrast_SS + FLOOR), -CLIP, CLIP)
    return np.packbits((_COSINES_KS @ flat_SS @ _COSINES_KS.T > 0).ravel()).tobytes()


def distances(queries: Sequence[bytes], among: Sequence[bytes]) -> np.ndarray:
    """Bits in which fingerprints differ, in the most alike of the eight ways to turn one of two pictures.

    Args:
        queries: N fingerprints.
        among: M fingerprints.

    Returns:
        int16 (N, M), 0 to 567; about 266 between pictures that have nothing in common.
    """
    ours_ND, theirs_MD = _signs(queries), _signs(among)
    agreement_NM = np.full((len(queries), len(among)), -np.inf, dtype=np.float32)
    turned_MD = theirs_MD.reshape(-1, FREQUENCIES, FREQUENCIES).swapaxes(1, 2).reshape(theirs_MD.shape)
    for other_MD in (theirs_MD, turned_MD):
        # A mirror negates whole parities, so one product each serves all four of them.
        even, right, down, both = (ours_ND[:, part] @ other_MD[:, part].T for part in _PARITIES)
        np.maximum(agreement_NM, even + both + np.abs(right + down), out=agreement_NM)
        np.maximum(agreement_NM, even - both + np.abs(right - down), out=agreement_NM)
    bits_NM: np.ndarray = ((_HIGH_KK.sum() - agreement_NM) / 2).astype(np.int16)
    return bits_NM


def matches(queries: Sequence[bytes], among: Sequence[bytes]) -> Iterator[tuple[int, int, int]]:
    """All pairs of one picture, of many fingerprints against many.

    Args:
        queries: N fingerprints.
        among: M fingerprints.

    Yields:
        Row of a query, row among the others, bits in which they differ; in no order.
    """
    for top in range(0, len(queries), BLOCK):
        for left in range(0, len(among), BLOCK):
            bits = distances(queries[top : top + BLOCK], among[left : left + BLOCK])
            for i, j in np.argwhere(bits <= THRESHOLD).tolist():
                yield top + i, left + j, int(bits[i, j])


def _signs(prints: Sequence[bytes]) -> np.ndarray:
    """Float32 (N, K · K): 1 and −1, and 0 all over for a picture without structure."""
    packed = np.frombuffer(b"".join(prints), dtype=np.uint8).reshape(-1, BYTES)
    signs_ND = 2 * np.unpackbits(packed, axis=1).astype(np.float32) - 1
    signs_ND[~packed.any(axis=1)] = 0
    return signs_ND


# Images that are there twice: pixel by pixel, or nearly, by their perceptual fingerprints.


DIGEST = 16
"""Bytes."""


@dataclass(frozen=True)
class Mark:
    """What is kept of an image to find it again: a digest of its small decode, and its fingerprint."""

    digest: bytes
    fingerprint: bytes


def mark(pixels_HW3: np.ndarray) -> Mark:
    """Mark a decode of SIDE pixels or more."""
    digest = hashlib.blake2b(pixels_HW3.tobytes(), digest_size=DIGEST).digest()
    return Mark(digest, fingerprint(pixels_HW3))


def marker() -> Worker:
    """A process that marks files for this one, behind the limits that `predict` decodes with."""
    return Worker(Needs((SIDE,), "squash", "none"), PICTURE_MEMORY, __name__)


def marked(worker: Worker, path: Path) -> tuple[Mark, tuple[int, int]]:
    """The mark of a file, and its width and height in pixels.

    Raises:
        UserError: it cannot be read, the extra that reads it is not installed, or it ends the process.
    """
    found = worker.ask_file("mark", path)
    if isinstance(found, str):
        raise UserError(found)
    content, blob = found
    width, height = content["size"]
    return Mark(blob[:DIGEST], blob[DIGEST:]), (width, height)


def _marks(needs: Needs) -> dict[str, Handler]:
    del needs

    def look(path: Path, header: dict[str, Any]) -> Message:
        del header
        one = mark(read_image(path, min_side=SIDE))
        return {"size": image_size(path)}, one.digest + one.fingerprint

    return {"mark": file_handler(look)}


def main() -> None:
    """Mark files by their paths."""
    prepare()
    run(_marks)


def exact_groups(marks: Sequence[Mark], paths: Sequence[str]) -> list[list[int]]:
    """Images with equal pixels, whatever else their files say.

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

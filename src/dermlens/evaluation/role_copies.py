"""Images of a run's test role under other names: pictures that were saved, scaled or cropped anew.

What a picture looks like is known by its fingerprint. Those of the test role of `grouped-v1` come with
dermlens, since a fingerprint is a number and no picture; those of another run's are taken of its own images,
where they still are.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from dermlens.data.images import ImageError, read_image
from dermlens.data.perceptual import SIDE, fingerprint, matches

SHIPPED = "grouped-v1-test-fingerprints.csv"
COLUMNS = ("image_id", "fingerprint")


def find_copies(test_ids: Sequence[str], own: Mapping[str, str], paths: Sequence[str]) -> set[str]:
    """Which files show a picture of the test role.

    Args:
        test_ids: of the test role.
        own: path by image id, of those of the run's own images that are still there; the others are known
            where their fingerprints come with dermlens.
        paths: of the other set. A file that cannot be read shows nothing; whoever predicts it says so.
    """
    if not paths:
        return set()
    shipped = shipped_fingerprints()
    known = [shipped[image_id] for image_id in test_ids if image_id in shipped]
    read = _fingerprints([own[one] for one in test_ids if one not in shipped and one in own])
    prints = _fingerprints(paths)
    seen = list(prints)
    found = matches([prints[path] for path in seen], [*known, *read.values()])
    return {seen[row] for row, _, _ in found}


@cache
def shipped_fingerprints() -> dict[str, bytes]:
    """The fingerprints of the test role of `grouped-v1`, by image id."""
    text = (files("dermlens.data.manifests") / SHIPPED).read_text(encoding="utf-8")
    return {row["image_id"]: bytes.fromhex(row["fingerprint"]) for row in csv.DictReader(text.splitlines())}


def _fingerprints(paths: Sequence[str]) -> dict[str, bytes]:
    """Path to fingerprint, of the files that hold a picture."""
    found = {}
    for path in paths:
        try:
            found[path] = fingerprint(read_image(Path(path), min_side=SIDE))
        except ImageError:
            continue
    return found

"""Find lesions that data sets share: local features, votes, a geometric check, and sheets to look at.

    pip install opencv-python-headless faiss-cpu
    OMP_NUM_THREADS=1 python benchmarks/shared_lesions.py DATA OUT --write

OpenCV and FAISS serve this program alone, so no requirement of dermlens names them. DATA holds ham10000, isic2017,
milk10k and isic2018_val. OUT receives candidates.csv (pairs under different lesion ids, the best first) and
sheets of them side by side, which are pictures of patients and no part of the project. What a person finds to
be the same skin goes into src/dermlens/data/manifests/shared_lesions.csv; how often the search finds
lesions that are known, and how the candidates fared, into docs/results/shared_lesions.md.

1. SIFT features (Lowe 2004; as RootSIFT, Arandjelović and Zisserman 2012) of every picture, made 180 × 135
   pixels, squares included: at that size all sets show as much. Dark rims are left out.
2. Features of each query find their nearest ones among all pictures and vote for these; votes for one
   picture count together as far as they agree in rotation and scale (Jégou et al. 2008).
3. The best candidates are matched one by one: mutual nearest features under a ratio test, RANSAC for a
   similarity, and the count of features that obey it.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import cv2
import faiss
import numpy as np
from heading import heading
from PIL import Image, ImageDraw

from dermlens.atomic import write_text
from dermlens.data.images import read_image
from dermlens.data.table import read_table

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "shared_lesions.md"
SETS = ("ham10000", "isic2017", "milk10k", "isic2018_val")
SIZE = (180, 135)
MOST = 300
"""Features of a picture, the strongest."""
ASKED = 120
"""Features that a query asks with."""
NEIGHBOURS, LISTS, PROBED = 12, 2048, 4
WORST_VOTE = 0.05
CANDIDATES, CANDIDATES_ELSEWHERE = 8, 4
"""Pictures that are matched with a query: the best of all, and the best of each other set."""
RATIO, TOLERANCE, FEWEST = 0.85, 3.0, 6
"""Of the geometric check: Lowe's ratio, pixels of 180 × 135, and inliers in distinct places."""
KNOWN = 300
"""Lesions of HAM10000 with several images that the search is tried on."""


class Features:
    """Features of all pictures: places (x, y, size, angle) and descriptors, those of picture i in `of(i)`."""

    def __init__(self, paths: list[str]) -> None:
        sift = cv2.SIFT_create(nfeatures=MOST, contrastThreshold=0.008, edgeThreshold=12)
        places, descriptors = [], []
        for path in paths:
            pixels = cv2.resize(read_image(Path(path)), SIZE, interpolation=cv2.INTER_AREA)
            lit = (cv2.blur(pixels.max(axis=2), (5, 5)) > 45).astype(np.uint8)
            lit = cv2.erode(lit, np.ones((7, 7), np.uint8), borderValue=1)
            found, described = sift.detectAndCompute(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), lit)
            order = np.argsort([-one.response for one in found])[:MOST]
            places.append(np.array([[*found[k].pt, found[k].size, found[k].angle] for k in order]).reshape(-1, 4))
            root = np.zeros((0, 128)) if described is None else described[order]
            root = np.sqrt(root / np.maximum(root.sum(axis=1, keepdims=True), 1e-9))
            descriptors.append((root * 512).round().clip(0, 255).astype(np.uint8))
        self.start = np.cumsum([0, *(len(one) for one in places)])
        self.owner = np.repeat(np.arange(len(paths)), np.diff(self.start))
        self.places, self.descriptors = np.concatenate(places), np.concatenate(descriptors)

    def of(self, picture: int) -> slice:
        return slice(self.start[picture], self.start[picture + 1])


def index_of(features: Features) -> faiss.Index:
    """Inverted lists of all descriptors, 8 bits a number."""
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatL2(128), 128, LISTS, faiss.ScalarQuantizer.QT_8bit_direct
    )
    draw = np.random.default_rng(0)
    index.train(features.descriptors[draw.permutation(len(features.owner))[: 40 * LISTS]].astype(np.float32))
    for first in range(0, len(features.owner), 200_000):
        index.add(features.descriptors[first : first + 200_000].astype(np.float32))
    index.nprobe = PROBED
    return index


def votes(features: Features, index: faiss.Index, query: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that share features with a query, the best first, and their votes."""
    rows = np.arange(features.start[query], features.start[query + 1])[:ASKED]
    if not len(rows):
        return np.zeros(0, int), np.zeros(0)
    distance, near = index.search(features.descriptors[rows].astype(np.float32), NEIGHBOURS)
    weight = (1 - distance / np.maximum(distance[:, -1:], 1e-9)).clip(0, 1)
    weight[features.owner[near] == query] = 0
    asked, rank = np.nonzero(weight > WORST_VOTE)
    near, weight = near[asked, rank], weight[asked, rank]
    ours, theirs = features.places[rows[asked]], features.places[near]
    turn, zoom = (theirs[:, 3] - ours[:, 3]) / 45, np.log2(theirs[:, 2] / ours[:, 2])
    pictures, which = np.unique(features.owner[near], return_inverse=True)
    best = np.zeros(len(pictures))
    for shift in (0.0, 0.5):
        cell = np.floor((turn + shift) % 8).astype(int) * 32 + np.floor(zoom + shift + 16).astype(int)
        cells, into = np.unique(which * 512 + cell.clip(0, 511), return_inverse=True)
        np.maximum.at(best, cells // 512, np.bincount(into, weight))
    order = np.argsort(-best)
    return pictures[order], best[order]


def inliers(features: Features, one: int, other: int) -> int:
    """Features in distinct places that one similarity takes from a picture to another."""
    ours, theirs = (features.descriptors[features.of(k)].astype(np.float32) for k in (one, other))
    if min(len(ours), len(theirs)) < 4:
        return 0
    ours, theirs = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1) for x in (ours, theirs))
    distance = np.sqrt((2 - 2 * ours @ theirs.T).clip(0))
    nearest = distance.argmin(axis=1)
    first, second = np.partition(distance, 1, axis=1)[:, :2].T
    mutual = distance.argmin(axis=0)[nearest] == np.arange(len(ours))
    kept = (first < RATIO * second) & mutual
    if kept.sum() < 4:
        return 0
    here = features.places[features.of(one)][kept, :2]
    there = features.places[features.of(other)][nearest[kept], :2]
    found, obey = cv2.estimateAffinePartial2D(
        here, there, ransacReprojThreshold=TOLERANCE, maxIters=300, confidence=0.99
    )
    if found is None or not 0.25 < np.hypot(found[0, 0], found[1, 0]) < 4:
        return 0
    return len(np.unique(np.round(there[obey.ravel() > 0] / TOLERANCE), axis=0))

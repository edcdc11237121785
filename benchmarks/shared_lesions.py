"""Find lesions that data sets share: local features, votes, a geometric check, and sheets to look at.

    pip install opencv-python-headless faiss-cpu
    OMP_NUM_THREADS=1 python benchmarks/shared_lesions.py DATA OUT --write

OpenCV and FAISS serve this program alone, so no requirement of dermlens names them. DATA holds ham10000,
isic2017, milk10k and isic2018_val. OUT receives matched.csv, what the search found (as long as it is there,
a further call only reports anew), candidates.csv, pairs on no list, the best first, and sheets of them side
by side, which are pictures of patients and no part of the project. What a person finds to be the same skin
goes into the lists FOUND of src/dermlens/data/manifests; how often the search finds lesions that are known,
and how the candidates fared, into docs/results/shared_lesions.md.

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
from collections import defaultdict
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import cv2
import faiss
import numpy as np
from heading import heading
from PIL import Image, ImageDraw

from dermlens.files import write_text
from dermlens.predict.pictures.preprocessing import read_image

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "shared_lesions.md"
BEFORE = "same_lesion_other_id.csv"
FOUND = ("shared_lesions.csv", "same_lesion_found_later.csv")
"""Lists that this search made: across and within the other sets, and within HAM10000."""
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
RATIO, TOLERANCE = 0.85, 3.0
"""Of the geometric check: Lowe's ratio, and pixels of 180 × 135."""
FEWEST, SURE = 5, 6
"""Inliers in distinct places: of pairs worth looking at, and of those that nearly always are one lesion."""


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
            places.append(
                np.array([[*found[k].pt, found[k].size, found[k].angle] for k in order]).reshape(-1, 4)
            )
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


def sheet(pairs: list[tuple[str, str, str]], out: Path, width: int = 240, across: int = 4) -> None:
    """Pairs of pictures side by side, for a person to look at."""
    height = width * 3 // 4
    page = Image.new("RGB", (across * (2 * width + 10), -(-len(pairs) // across) * (height + 14)), "white")
    pen = ImageDraw.Draw(page)
    for k, (one, other, words) in enumerate(pairs):
        left, top = k % across * (2 * width + 10), k // across * (height + 14)
        for step, path in enumerate((one, other)):
            tile = Image.fromarray(read_image(Path(path))).resize((width, height))
            page.paste(tile, (left + step * width, top + 14))
        pen.text((left, top + 1), words, fill="black")
    page.save(out)


class Lesions:
    """All pictures of the sets, and which of them are known to show one lesion."""

    def __init__(self, data: Path) -> None:
        self.image, self.lesion, self.set, self.path = [], [], [], []
        for name in SETS:
            with next((data / name).glob("*[mM]etadata.csv")).open(encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    self.image.append(row["image_id"])
                    self.lesion.append(row["lesion_id"] or row["image_id"])
                    self.set.append(name)
                    self.path.append(str(data / name / "images" / f"{row['image_id']}.jpg"))
        self.row = {image: row for row, image in enumerate(self.image)}

    def joined(self, names: Iterable[str]) -> np.ndarray:
        """A number for each picture, equal where lesion ids or shipped lists say that it is one lesion."""
        group = np.unique(self.lesion, return_inverse=True)[1]
        for name in names:
            pictures_of = defaultdict(list)
            for row, listed in self.groups(name).items():
                pictures_of[listed].append(row)
            for rows in pictures_of.values():
                group[np.isin(group, group[rows])] = group[rows[0]]
        return group

    def groups(self, name: str) -> dict[int, str]:
        """Group by picture, of one of the shipped lists."""
        text = (files("dermlens.data") / "manifests" / name).read_text(encoding="utf-8")
        listed = csv.DictReader(text.splitlines())
        return {
            self.row[one["image_id"]]: one["lesion_group"] for one in listed if one["image_id"] in self.row
        }


def search(all_: Lesions, matched: Path) -> None:
    """Match every picture with its candidates: one row each, the votes' best first (rank 0)."""
    features = Features(all_.path)
    index = index_of(features)
    sets = np.array(all_.set)
    checked: dict[tuple[int, int], int] = {}
    lines = ["image_id,other_image_id,rank,votes,inliers"]
    for query in range(len(sets)):
        pictures, weight = votes(features, index, query)
        asked = set(range(min(CANDIDATES, len(pictures))))
        for name in set(SETS) - {all_.set[query]}:
            asked |= set(np.flatnonzero(sets[pictures] == name)[:CANDIDATES_ELSEWHERE].tolist())
        for rank in sorted(asked):
            pair = min(query, int(pictures[rank])), max(query, int(pictures[rank]))
            if pair not in checked:
                checked[pair] = inliers(features, *pair)
            other = all_.image[pictures[rank]]
            lines.append(f"{all_.image[query]},{other},{rank},{weight[rank]:.3f},{checked[pair]}")
    write_text(matched, "\n".join(lines) + "\n")


def report(
    all_: Lesions,
    place: dict[int, list[int]],
    found: dict[tuple[int, int], tuple[int, float]],
    out: Path,
    write: bool,
) -> None:
    """What is left to look at, into OUT; how known lesions fared, into the page."""
    before, after = all_.joined([BEFORE]), all_.joined([BEFORE, *FOUND])
    under_other_id = all_.groups(BEFORE)
    pictures_of = defaultdict(set)
    for row, lesion in enumerate(all_.lesion):
        pictures_of[lesion].add(row)
    siblings = {
        row: pictures_of[all_.lesion[row]] - {row}
        for row in place
        if all_.set[row] in ("ham10000", "isic2018_val")
    }
    renamed = {
        row: {
            other
            for other, group in under_other_id.items()
            if group == under_other_id[row] and all_.lesion[other] != all_.lesion[row]
        }
        for row in under_other_id
    }
    known = []
    for words, partners in (
        ("another image of the lesion, HAM10000 and ISIC 2018 validation", siblings),
        ("the lesion under another id, same_lesion_other_id.csv", renamed),
    ):
        asked = {row: others for row, others in partners.items() if others}
        first = sum(bool(others & set(place[row][:1])) for row, others in asked.items())
        among = sum(bool(others & set(place[row])) for row, others in asked.items())
        passed = sum(
            any(found.get((min(row, one), max(row, one)), (0, 0))[0] >= SURE for one in others)
            for row, others in asked.items()
        )
        shares = [f"{count / len(asked):.1%}" for count in (first, among, passed)]
        known.append([words, f"{len(asked):,}", *shares])

    kinds: dict[str, list[int]] = {}
    rest = []
    for (one, other), (count, weight) in found.items():
        if before[one] == before[other]:
            continue
        kind = kinds.setdefault(" – ".join(sorted({all_.set[one], all_.set[other]})), [0] * 5)
        kind[0] += 1
        is_listed = after[one] == after[other]
        kind[1] += is_listed and count >= SURE
        kind[2] += not is_listed and count >= SURE
        kind[3] += is_listed and count == FEWEST
        kind[4] += not is_listed and count == FEWEST
        if not is_listed and count >= FEWEST:
            rest.append((count, weight, one, other))
    rest.sort(reverse=True)
    with (out / "candidates.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image_id", "set", "other_image_id", "other_set", "inliers", "votes"])
        for count, weight, one, other in rest:
            rows.writerow(
                [all_.image[one], all_.set[one], all_.image[other], all_.set[other], count, f"{weight:.2f}"]
            )
    for first in range(0, len(rest), 48):
        pairs = [
            (all_.path[one], all_.path[other], f"{all_.image[one]} {all_.image[other]} {count}")
            for count, _, one, other in rest[first : first + 48]
        ]
        sheet(pairs, out / f"sheet_{first:04}.png")
    joins: dict[tuple[str, str], int] = defaultdict(int)
    for name in FOUND:
        groups = all_.groups(name)
        sets_of = defaultdict(set)
        for row, group in groups.items():
            sets_of[group].add(all_.set[row])
        for sets in sets_of.values():
            joins[name, " – ".join(sorted(sets))] += 1
    text = "\n".join(
        [
            *heading("Lesions that data sets share", "shared_lesions.py DATA OUT", ""),
            *page(joins, known, kinds, len(all_.image)),
        ]
    )
    print(text)
    if write:
        write_text(RESULTS, text + "\n")


def page(
    joins: dict[tuple[str, str], int],
    known: list[list[str]],
    kinds: dict[str, list[int]],
    pictures: int,
) -> list[str]:
    """The page's lines below its heading."""
    return [
        f"Found were {sum(joins.values())} lesions that have several ids within or across data sets, "
        "beyond `same_lesion_other_id.csv`. Every pair was looked at, one picture laid over the other as the "
        "geometric check says. It is a lower bound: what has few features, or was photographed very "
        "differently, is not found. `same_lesion_found_later.csv` is no part of the groups that splits are "
        "drawn by: `grouped-v1` is older, and some of these lesions are in two of its roles.",
        "",
        *table(
            ["list in `manifests`", "data sets", "lesions"],
            [[name, names, str(count)] for (name, names), count in sorted(joins.items())],
        ),
        "",
        f"All {pictures:,} pictures were searched in all, by SIFT features at 180 × 135 pixels: {ASKED} "
        "features of each picture vote for pictures that agree with them in rotation and scale; the "
        f"{CANDIDATES} best, and the {CANDIDATES_ELSEWHERE} best of each other set, are matched one by one "
        f"under a ratio test and RANSAC for a similarity. It takes about ten minutes of one processor.",
        "",
        "## Lesions that are known",
        "",
        "Pictures that have a known partner, and the share of them whose partner is the first candidate, is "
        f"among the {CANDIDATES} best, and passes the geometric check with {SURE} inliers or more.",
        "",
        *table(["partner", "pictures", "first", f"in {CANDIDATES}", "passed"], known),
        "",
        "## Candidates",
        "",
        f"Pairs of different lesion ids that were matched. With {SURE} inliers or more, nearly all show the "
        f"same skin; those turned down show two lesions next to the same ruler or rim. With {FEWEST} a few "
        "do. Of about a hundred with 4 that were looked at, none does.",
        "",
        *table(
            [
                "data sets",
                "pairs matched",
                f"≥ {SURE} inliers, listed",
                f"≥ {SURE}, turned down",
                f"{FEWEST}, listed",
                f"{FEWEST}, turned down",
            ],
            [[names, *(f"{count:,}" for count in counts)] for names, counts in sorted(kinds.items())],
        ),
    ]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--write", action="store_true")
    wanted = parser.parse_args()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    all_ = Lesions(wanted.data)
    wanted.out.mkdir(parents=True, exist_ok=True)
    matched = wanted.out / "matched.csv"
    if not matched.exists():
        search(all_, matched)
    place: dict[int, list[int]] = {row: [] for row in range(len(all_.image))}
    found: dict[tuple[int, int], tuple[int, float]] = {}
    with matched.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            query, other = all_.row[row["image_id"]], all_.row[row["other_image_id"]]
            found[min(query, other), max(query, other)] = int(row["inliers"]), float(row["votes"])
            if int(row["rank"]) < CANDIDATES:
                place[query].append(other)
    report(all_, place, found, wanted.out, wanted.write)


if __name__ == "__main__":
    main()

"""Where the threshold of `dermlens.data.duplicates` comes from, and which copies it finds.

    OMP_NUM_THREADS=1 python benchmarks/perceptual_hash.py DATA --write

DATA holds ham10000 and, where they are to be had, isic2017, milk10k and isic2018_val. Compares every picture
with every other, within and across the sets, and writes docs/results/perceptual_hash.md. A pair is of one
lesion where the sets' lesion ids or the shipped lists, whose pairs were looked at, say so. Every other pair
under the threshold is a false hit.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable
from importlib.resources import files
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from heading import heading
from PIL import Image, ImageFilter

from dermlens.data.duplicates import BLOCK, SIDE, THRESHOLD, distances, fingerprint
from dermlens.files import write_text
from dermlens.predict.pictures.preprocessing import read_image

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "perceptual_hash.md"
SETS = {"ham10000": "HAM10000_metadata.csv", "isic2017": "metadata.csv"}
SETS |= {"milk10k": "metadata.csv", "isic2018_val": "metadata.csv"}
LISTS = ("same_lesion_other_id.csv", "shared_lesions.csv", "same_lesion_found_later.csv")
COPIED_OF = 300
"""Pictures of each set that are copied in each way."""
FAR = 400
Change = Callable[[Image.Image], Image.Image]


def saved(quality: int) -> Change:
    def change(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return change


def scaled(width: int, height: int) -> Change:
    return lambda picture: picture.resize((width, height), Image.Resampling.LANCZOS)


def cropped(share: float, at: float) -> Change:
    """Without `share` of both sides; `at` of it is cut left and above."""

    def change(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        left, top = round(width * share * at), round(height * share * at)
        right, bottom = round(width * share * (1 - at)), round(height * share * (1 - at))
        return picture.crop((left, top, width - right, height - bottom))

    return change


def levels(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda picture: Image.fromarray(
        change(np.asarray(picture, np.float32)).clip(0, 255).astype(np.uint8)
    )


def all_at_once(picture: Image.Image) -> Image.Image:
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return saved(75)(scaled(600, 450)(cropped(0.02, 0.5)(mirrored)))


COPIES: dict[str, Change] = {
    "saved as JPEG, quality 95": saved(95),
    "quality 75": saved(75),
    "quality 50": saved(50),
    "quality 20": saved(20),
    "scaled to 600 × 450": scaled(600, 450),
    "scaled to 360 × 270": scaled(360, 270),
    "squashed to 256 × 256": scaled(256, 256),
    "scaled to 128 × 96": scaled(128, 96),
    "2 % cropped, all around": cropped(0.02, 0.5),
    "2 % cropped, from a corner": cropped(0.02, 1.0),
    "4 % cropped, all around": cropped(0.04, 0.5),
    "5 % cropped, all around": cropped(0.05, 0.5),
    "10 % cropped, all around": cropped(0.1, 0.5),
    "20 levels brighter": levels(lambda pixels: pixels + 20),
    "1.2 times the light": levels(lambda pixels: pixels * 1.2),
    "0.7 times the light": levels(lambda pixels: pixels * 0.7),
    "gamma 0.7": levels(lambda pixels: 255 * (pixels / 255) ** 0.7),
    "red × 1.15, blue × 0.85": levels(lambda pixels: pixels * np.float32([1.15, 1, 0.85])),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "blurred, sigma 1.5 pixels": lambda picture: picture.filter(ImageFilter.GaussianBlur(1.5)),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 90°": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "turned by 180°": lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
    "turned by 2°": lambda picture: picture.rotate(2, Image.Resampling.BICUBIC),
    "turned by 5°": lambda picture: picture.rotate(5, Image.Resampling.BICUBIC),
    "mirrored, 2 % cropped, 600 × 450, quality 75": all_at_once,
}


class Pictures:
    """Fingerprints of all sets, and which pictures are known to show one lesion."""

    def __init__(self, data: Path, sets: list[str]) -> None:
        self.ids: list[str] = []
        self.source: list[str] = []
        self.prints: list[bytes] = []
        lesion_of: dict[str, str] = {}
        for name in sets:
            with (data / name / SETS[name]).open(encoding="utf-8") as file:
                lesion_of |= {
                    row["image_id"]: row["lesion_id"] or row["image_id"] for row in csv.DictReader(file)
                }
            for path in sorted((data / name / "images").glob("*.jpg")):
                self.ids.append(path.stem)
                self.source.append(name)
                self.prints.append(fingerprint(read_image(path)))
        groups: dict[str, set[str]] = {}
        for name in LISTS:
            text = (files("dermlens.data") / "manifests" / name).read_text(encoding="utf-8")
            for row in csv.DictReader(text.splitlines()):
                groups.setdefault(row["image_id"], set()).add(f"{name} {row['lesion_group']}")
        self.keys = [groups.get(image, set()) | {lesion_of[image]} for image in self.ids]
        """What a picture shows: its lesion, and the groups that it is listed in."""


def compare(
    pictures: Pictures, one: str, other: str
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str, str]]]:
    """Pairs by distance, of different lesions and of one; and which of the former THRESHOLD lets through."""
    ours, theirs = (
        [row for row, source in enumerate(pictures.source) if source == name] for name in (one, other)
    )
    far, near, hits = np.zeros(FAR, np.int64), np.zeros(FAR, np.int64), []
    twins: dict[str, list[int]] = {}
    for row in theirs:
        for key in pictures.keys[row]:
            twins.setdefault(key, []).append(row)
    for top in range(0, len(ours), BLOCK):
        rows = ours[top : top + BLOCK]
        bits = distances([pictures.prints[i] for i in rows], [pictures.prints[j] for j in theirs])
        if one == other:
            bits[np.arange(len(rows))[:, None] + top >= np.arange(len(theirs))] = FAR - 1
        place = {row: column for column, row in enumerate(theirs)}
        for line, i in enumerate(rows):
            for key in pictures.keys[i]:
                for j in twins.get(key, []):
                    near[bits[line, place[j]]] += 1
                    bits[line, place[j]] = FAR - 1
        far += np.bincount(bits.ravel(), minlength=FAR)
        hits += [
            (int(bits[line, column]), pictures.ids[rows[line]], pictures.ids[theirs[column]])
            for line, column in np.argwhere(bits <= THRESHOLD).tolist()
        ]
    far[-1] = near[-1] = 0
    return far, near, sorted(hits)


def copies(data: Path, sets: list[str]) -> dict[str, np.ndarray]:
    """Distance between a picture and its copy, by the way it was copied."""
    draw = np.random.default_rng(0)
    bits: dict[str, list[int]] = {name: [] for name in [*COPIES, "decoded at a smaller size"]}
    for name in sets:
        paths = sorted((data / name / "images").glob("*.jpg"))
        for k in draw.permutation(len(paths))[:COPIED_OF]:
            picture = Image.fromarray(read_image(paths[k]))
            changed = [change(picture) for change in COPIES.values()]
            pixels = [np.asarray(one) for one in changed] + [read_image(paths[k], min_side=SIDE)]
            found = distances([fingerprint(np.asarray(picture))], [fingerprint(one) for one in pixels])[0]
            for way, far in zip(bits, found.tolist(), strict=True):
                bits[way].append(far)
    return {way: np.array(found) for way, found in bits.items()}


def table(head: list[str], rows: list[list[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true")
    wanted = parser.parse_args()
    sets = [name for name in SETS if (wanted.data / name).is_dir()]
    started = time.process_time()
    pictures = Pictures(wanted.data, sets)
    marked = time.process_time()
    pairs, all_hits = [], []
    for one, other in combinations_with_replacement(sets, 2):
        far, near, hits = compare(pictures, one, other)
        closest = np.flatnonzero(far)[:1].tolist() or ["–"]
        total, share = int(far.sum()), np.searchsorted(np.cumsum(far), 1e-5 * far.sum())
        middle = np.searchsorted(np.cumsum(far), far.sum() / 2)
        known = f"{near[: THRESHOLD + 1].sum():,} of {near.sum():,}" if near.sum() else "–"
        pairs.append([one, other, f"{total:,}", closest[0], share, middle, len(hits), known])
        all_hits += hits
    compared = time.process_time()
    copied = copies(wanted.data, [name for name in sets if name != "isic2018_val"])
    lines = heading("Perceptual fingerprints: threshold and copies found", "perceptual_hash.py DATA", "")
    lines += [
        "A fingerprint has 72 bytes, of which 567 bits are compared in the eight ways to turn a picture. Two "
        f"pictures are one where at most {THRESHOLD} bits differ. {len(pictures.prints):,} pictures took "
        f"{marked - started:.0f} s, all pairs of them {compared - marked:.0f} s of one processor.",
        "",
        "## Pairs of different lesions",
        "",
        "Bits in which pictures differ that neither lesion ids nor the shipped lists call one lesion. The "
        "last column counts the pairs of one lesion that are one picture, or nearly so: another exposure of "
        "a lesion is another picture, and is not to be found.",
        "",
        *table(
            [
                "one",
                "other",
                "pairs",
                "closest",
                "0.001 %",
                "median",
                f"≤ {THRESHOLD}",
                f"one lesion, ≤ {THRESHOLD}",
            ],
            pairs,
        ),
        "",
        f"Hits under the threshold that are on no list: {len(all_hits)}"
        + "".join(f"; {one} and {other} ({bits})" for bits, one, other in all_hits)
        + ".",
        "",
        "## Copies",
        "",
        f"Bits in which a copy differs, of {COPIED_OF} pictures of each of HAM10000, ISIC 2017 and MILK10k.",
        "",
        *table(
            ["copy", "median", "99 %", "furthest", "found (%)"],
            [
                [
                    way,
                    *np.percentile(bits, [50, 99, 100]).round().astype(int),
                    f"{(bits <= THRESHOLD).mean():.1%}",
                ]
                for way, bits in copied.items()
            ],
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if wanted.write:
        write_text(RESULTS, text)


if __name__ == "__main__":
    main()

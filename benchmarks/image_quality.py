"""Where the limits of `dermlens.predict.pictures.preprocessing` come from, and whom they turn away.

    OMP_NUM_THREADS=1 python benchmarks/image_quality.py DATA [--further FOLDER]… --write

DATA holds ham10000 and, where they are to be had, isic2018_val, isic2017 and pad_ufes_20; further folders
hold pictures of any kind. Prints the extremes of HAM10000's training pictures (role train of grouped-v1), the
share of other pictures that each limit turns away, spoilt ones among them, and the shares that the model
that ships takes for no dermoscopy, finds unlike its training's, and answers without probabilities; writes
docs/results/image_quality.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from heading import heading
from PIL import Image, ImageFilter

from dermlens.calibration.variations import WAYS
from dermlens.data.manifest import load_manifest
from dermlens.data.table import read_table
from dermlens.files import write_text
from dermlens.predict.answers import NOT_DERMOSCOPY
from dermlens.predict.document import Dermoscopy
from dermlens.predict.patients import find_images
from dermlens.predict.pictures.preprocessing import (
    LIMITS,
    SIDE,
    faults,
    measured_square,
    measures,
    read_image,
)
from dermlens.predict.predictor import Predictor
from dermlens.studies.out_of_distribution import write_photographs

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "image_quality.md"
TAIL = 0.001
SPOILT_OF = 100
"""Pictures that are spoilt in each way."""
WORDS = tuple(dict.fromkeys(one.fault for one in LIMITS))
Change = Callable[[np.ndarray], np.ndarray]


def blurred(image: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(image)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(min(picture.size) / 30)))


SPOILT: dict[str, Change] = {
    "a quarter of the light": lambda image: (image * 0.25).astype(np.uint8),
    "three times the light": lambda image: np.clip(image * 3.0, 0, 255).astype(np.uint8),
    "a tenth of the contrast": lambda image: (image * 0.1 + 0.9 * image.mean((0, 1))).astype(np.uint8),
    "blurred, sigma 1/30 of the side": blurred,
    "the middle 0.4 of its sides": lambda image: image[
        3 * len(image) // 10 : 7 * len(image) // 10, 3 * image.shape[1] // 10 : 7 * image.shape[1] // 10
    ],
    "grey": lambda image: np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
}


def as_elsewhere(way: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """The middle square of a picture, as another clinic may take it."""

    def change(image: np.ndarray) -> np.ndarray:
        side = min(image.shape[:2])
        top, left = (length // 2 - side // 2 for length in image.shape[:2])
        square = np.ascontiguousarray(image[top : top + side, left : left + side])
        return way(torch.from_numpy(square).permute(2, 0, 1)).permute(1, 2, 0).numpy()

    return change


def look(paths: Sequence[Path], change: Change | None = None) -> list[np.ndarray]:
    """Small copies of pictures, as they are measured."""

    def one(path: Path) -> np.ndarray:
        image = read_image(path, min_side=SIDE)
        side = min(image.shape[:2])
        picture = Image.fromarray(image)
        picture.thumbnail((SIDE * picture.width // side + 1, SIDE * picture.height // side + 1))
        small = np.asarray(picture)
        return small if change is None else change(small)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, paths))


def shares(pictures: Sequence[np.ndarray]) -> dict[str, float]:
    found_of = [faults(picture) for picture in pictures]
    found = {
        word: float(np.mean([word in one for one in found_of]))
        for word in dict.fromkeys(x.fault for x in LIMITS)
    }
    return found | {"any": float(np.mean([bool(one) for one in found_of]))}


def _named(boundary: Dermoscopy | None) -> str:
    """The sets that a boundary was fitted on."""
    if boundary is None:
        return "nothing"
    sides = (boundary.dermoscopic, boundary.other)
    return " against ".join(
        ", ".join(f"{count:,} of `{name}`" for name, count in one.items()) for one in sides
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--further", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    table = read_table(options.data / "ham10000")
    split = load_manifest("grouped-v1", table)
    paths = {image_id: Path(path) for image_id, path in zip(table["image_id"], table["path"], strict=True)}
    train = look([paths[image_id] for image_id in split.ids("train")])
    found = [measures(measured_square(picture)) for picture in train]
    lines = [
        *heading(
            "Image quality: limits and whom they turn away",
            "image_quality.py DATA" + " --further FOLDER" * len(options.further),
            "",
        ),
        f"Limits are the extremes of {len(train):,} training pictures of HAM10000: one in a thousand lies"
        " beyond each.",
        "",
        "| measure | lowest in a thousand | median | highest in a thousand |",
        "|---|---|---|---|",
    ]
    for name in found[0]:
        low, middle, high = np.quantile([one[name] for one in found], [TAIL, 0.5, 1 - TAIL])
        lines.append(f"| {name} | {low:.4f} | {middle:.3f} | {high:.4f} |")
    rng = np.random.default_rng(0)
    calibration = [paths[image_id] for image_id in split.ids("calibration")]
    with tempfile.TemporaryDirectory() as folder:
        sets: dict[str, tuple[list[Path], Change | None]] = {
            "HAM10000, role calibration": (calibration, None)
        }
        sets["HAM10000, role test (pictures alone)"] = (
            [paths[image_id] for image_id in split.ids("test")],
            None,
        )
        known = [options.data / name for name in ("isic2018_val", "isic2017", "pad_ufes_20")]
        for place in (*filter(Path.is_dir, known), *options.further):
            other = list(find_images([place]).images.values())
            chosen = rng.permutation(len(other))[:1000]
            sets[place.name] = ([other[index] for index in chosen], None)
        sets["ordinary photographs"] = ([Path(p) for p in write_photographs(Path(folder))["path"]], None)
        for name, change in SPOILT.items():
            drawn = rng.permutation(len(calibration))[:SPOILT_OF]
            sets[f"role calibration, {name}"] = ([calibration[index] for index in drawn], change)
        test = [paths[image_id] for image_id in split.ids("test")]
        for name, way in WAYS.items():
            drawn = rng.permutation(len(test))[:SPOILT_OF]
            sets[f"role test (pictures alone), {name}"] = (
                [test[index] for index in drawn],
                as_elsewhere(way),
            )
        predictor = Predictor.open()
        lines += [
            "",
            "Share of pictures (%) that are reported as …, as they are measured by small copies; and that the"
            " model that ships finds unlike what it was trained on, takes for no dermoscopy, and answers"
            " without probabilities, for the latter reason or for their colours, as `dermlens predict` does."
            f" It was taught what dermoscopy is by {_named(predictor.document.dermoscopy)}; what it makes of"
            " such pictures when it was not shown them is in"
            " [shipped_model/dermoscopy.csv](shipped_model/dermoscopy.csv).",
            "",
            f"| pictures | n | {' | '.join(WORDS)} | any of these | unlike | no dermoscopy | withheld |",
            f"|---|---{'|---' * (len(WORDS) + 4)}|",
        ]
        for name, (files, change) in sets.items():
            one = shares(look(files, change))
            answers = [
                answer
                for path in files
                for answer in predictor.predict(path if change is None else change(read_image(path)))
            ]
            unlike = np.mean([answer.out_of_distribution for answer in answers])
            alien = np.mean([NOT_DERMOSCOPY in answer.reason for answer in answers])
            withheld = np.mean([answer.withheld for answer in answers])
            cells = [*(one[word] for word in [*WORDS, "any"]), unlike, alien, withheld]
            lines.append(f"| {name} | {len(files)} | {' | '.join(f'{100 * cell:.1f}' for cell in cells)} |")
            print(lines[-1], flush=True)
    lines += ["", f"{time.perf_counter() - began:.0f} s, {os.cpu_count()} processors."]
    print("\n".join(lines))
    if options.write:
        write_text(RESULTS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

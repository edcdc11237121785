"""What each kind of augmentation costs: images a second by method, at 128 and 224 px.

Batches are random bytes as the cache gives them, channels last; times do not depend on what a picture shows.
Methods take turns, so that all meet the same machine; figures are of the median turn.

    OMP_NUM_THREADS=1 python benchmarks/augmentation_speed.py --write

prints the table and writes docs/results/augmentation_speed.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from heading import heading
from torch import Tensor

from dermlens.data.augment.augmentation import Augmentation
from dermlens.data.augment.geometry import mix
from dermlens.data.config import AugmentConfig, MixConfig
from dermlens.files import write_text
from dermlens.predict.pictures.preprocessing import constant_colours

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "augmentation_speed.md"
SIDES = (128, 224)
BATCH = 64
TURNS = 15
STILL = {"rotation": 0, "shift": 0, "zoom": 0, "horizontal_flip": False, "vertical_flip": False}
COLOUR = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02, "illuminant": 0.1}
RECIPES = {
    "none, bytes to floats": STILL,
    "views (the default)": {},
    "colour alone": STILL | {"colour": COLOUR},
    "cutout alone": STILL | {"cutout": {}},
    "views and colour": {"colour": COLOUR},
    "views and RandAugment, 2 operations": {"policy": {"kind": "rand"}},
    "views and TrivialAugment": {"policy": {"kind": "trivial"}},
    "views, other light: gains and gamma": {"colour": COLOUR | {"gains": 0.18, "gamma": 0.3}},
    "views, another camera": {"camera": {"resample": 0.4, "quality": [40, 95]}},
    "all of sources/efficientnet_lite0": {
        "zoom": 0,
        "scale": [0.75, 1.1],
        "aspect": 0.15,
        "camera": {"resample": 0.4, "quality": [40, 95]},
        "colour": {"contrast": 0.25, "saturation": 0.4, "hue": 0.02, "gains": 0.18, "gamma": 0.3},
    },
    "views, colour, RandAugment, cutout": {"colour": COLOUR, "policy": {"kind": "rand"}, "cutout": {}},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="also write docs/results/augmentation_speed.md")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    text = as_text({side: speeds(side) for side in SIDES})
    print(text)
    if options.write:
        write_text(RESULTS, text)


def speeds(side: int) -> dict[str, float]:
    """Images a second by method."""
    pixels_BSSC = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    x_BCHW = torch.from_numpy(pixels_BSSC).permute(0, 3, 1, 2)
    todo = {name: augmented(recipe, x_BCHW) for name, recipe in RECIPES.items()}
    for kind in ("mixup", "cutmix"):
        todo[f"{kind}, after the others"] = mixed(kind, x_BCHW.float())
    todo["shades of gray, in the cache"] = lambda: [
        constant_colours(image, "shades_of_gray") for image in pixels_BSSC
    ]
    seconds: dict[str, list[float]] = {name: [] for name in todo}
    for turn in range(TURNS + 1):
        for name, run in todo.items():
            began = time.perf_counter()
            run()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - began)
    return {name: BATCH / statistics.median(times) for name, times in seconds.items()}


def augmented(recipe: dict[str, object], x_BCHW: Tensor) -> Callable[[], object]:
    augment = Augmentation(AugmentConfig.model_validate(recipe))
    generator = torch.Generator().manual_seed(0)
    return lambda: augment(x_BCHW, generator)


def mixed(kind: str, x_BCHW: Tensor) -> Callable[[], object]:
    config = MixConfig.model_validate({"kind": kind, "alpha": 1.0})
    generator = torch.Generator().manual_seed(0)
    return lambda: mix(config, x_BCHW, generator)


def as_text(measured: dict[int, dict[str, float]]) -> str:
    """The table, with machine and command."""
    about = f"; batches of {BATCH}, median of {TURNS} turns"
    lines = [
        *heading("Speed of augmentation", "augmentation_speed.py", about),
        f"| method | {' | '.join(f'images/s at {side} px' for side in measured)} |",
        f"|---|{'---|' * len(measured)}",
        *(
            f"| {name} | {' | '.join(f'{by_name[name]:,.0f}' for by_name in measured.values())} |"
            for name in measured[SIDES[0]]
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

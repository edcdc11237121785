"""How long the paper's networks take for one image, against MobileNetV3-Large.

    OMP_NUM_THREADS=1 python benchmarks/paper_latency.py --write

One image at a time, at the size of the network, in PyTorch, on as many threads as are set. The networks take
turns, so that all of them meet the same machine; a ratio is of two times of one turn. Weights are random:
speed does not depend on them. Prints a table and writes docs/results/paper/latency.csv.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dermlens.data.predictions import write_csv
from dermlens.labels import CLASSES
from dermlens.models.classifier import LesionClassifier, build_classifier
from dermlens.models.summary import count
from dermlens.recipe import load_recipe
from dermlens.runs import environment
from paper.latency import COLUMNS, LATENCY, REFERENCE
from paper.layers import META_WIDTH
from paper.study import load_systems

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "paper"
TURNS = 15
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"also write docs/results/paper/{LATENCY}")
    parser.add_argument("--turns", type=int, default=TURNS)
    options = parser.parse_args()
    table = measure(options.turns)
    print(table.to_string(index=False))
    if options.write:
        write_csv(RESULTS / LATENCY, table, digits=4)


@torch.inference_mode()
def measure(turns: int) -> pd.DataFrame:
    """A row a network, with `COLUMNS`."""
    names = [name for name, system in load_systems().items() if system.column == "md"]
    networks = {name: build(load_systems()[name].recipe) for name in names}
    seconds = {name: np.empty(turns) for name in names}
    for turn in range(-WARM_UP, turns):
        for name, network in networks.items():
            x_BCHW = torch.randint(256, (1, 3, network.size, network.size), dtype=torch.uint8)
            meta_BM = torch.zeros(1, META_WIDTH)
            began = time.perf_counter()
            network(x_BCHW, meta_BM)
            if turn >= 0:
                seconds[name][turn] = time.perf_counter() - began
    facts = environment()
    rows = []
    for name, network in networks.items():
        ratio = seconds[name] / seconds[REFERENCE]
        low, middle, high = np.quantile(ratio, [0.025, 0.5, 0.975])
        parameters, _ = count(network)
        rows.append(
            (
                name,
                network.size,
                parameters,
                1000 * np.median(seconds[name]),
                middle,
                low,
                high,
                turns,
                torch.get_num_threads(),
                facts["machine"]["processor"] or platform.machine(),
                facts["versions"]["torch"],
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def build(recipe: str) -> LesionClassifier:
    """The network of a recipe, with random weights, as it answers."""
    loaded = load_recipe(recipe, ("model.weights=none",))
    network = build_classifier(
        loaded.network, num_classes=len(CLASSES), meta_width=META_WIDTH, size=loaded.data.size
    )
    return network.eval()


if __name__ == "__main__":
    main()

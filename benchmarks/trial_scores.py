"""The rows of docs/results/travel/trials.md that are scored on the calibration role of `sources-v1`.

    python benchmarks/trial_scores.py docs/results/travel/first192 docs/results/travel/second192

prints rows of a table for each run. All numbers are at equal class shares: probabilities are taken back to
them from the case mix that they hold for, and in a class every image weighs alike. `home` is HAM10000's part.
Nothing is fitted here but what `dermlens calibrate` fitted on the same role. Of a cross-fit by source, the
rows are of each source that was left out, and of one by lesion, of the folds that are there, by probabilities
as the network gives them: those of a balanced softmax hold for equal shares.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, read_predictions
from dermlens.labels import CLASSES
from dermlens.predict.priors import default_prior
from dermlens.studies.by_source import RECORD, left_out_predictions

AWAY = ("isic2017", "milk10k")
FEWEST = 5
"""Images of a class in a source, below which it has no part in that source's means."""
HEAD = "| run | images of | n | log loss | mean recall | melanoma recall | macro AUC | melanoma AUC |"


def row(predictions: pd.DataFrame, run: str, part: str, prior_C: np.ndarray) -> str:
    """One line of the table, of some images, whose probabilities hold for a case mix."""
    target_N, p_NC = arrays(predictions, CLASSES)
    equal_NC = p_NC / prior_C
    equal_NC /= equal_NC.sum(axis=1, keepdims=True)
    count_C = np.bincount(target_N, minlength=len(CLASSES))
    weight_N = 1 / count_C[target_N]
    counted = [index for index in range(len(CLASSES)) if count_C[index] >= FEWEST]
    named_N = metrics.predicted_classes(equal_NC)
    recall = {index: (named_N[target_N == index] == index).mean() for index in counted}
    auc = {
        index: float(metrics.ranking(target_N == index, equal_NC[:, index], weight_N).auc)
        for index in counted
    }
    melanoma = CLASSES.index("mel")
    loss = float(metrics.log_loss(target_N, equal_NC, weight_N))
    return (
        f"| {run} | {part} | {len(target_N):,} | {loss:.3f} | {np.mean(list(recall.values())):.3f}"
        f" | {recall[melanoma]:.3f} | {np.mean(list(auc.values())):.3f} | {auc[melanoma]:.3f} |"
    )


def parts_of(predictions: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """All images, those of HAM10000, and those of single sources, as far as there are any."""
    source = predictions["source"]
    parts = {"all": source == source, "home": ~source.isin(AWAY)}
    parts |= {name: source == name for name in ("rosendahl", *AWAY)}
    for part, inside in parts.items():
        if inside.any():
            yield part, predictions[inside]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n")
    specialist_C = np.array(default_prior(CLASSES).shares)
    for run in parser.parse_args().runs:
        if (run / RECORD).is_file():
            for source, table in left_out_predictions(run).items():
                print(row(table, run.name, f"{source}, left out", np.ones(len(CLASSES))))
            continue
        if folds := sorted(run.glob("fold-*/predictions.csv*")):
            table = pd.concat([read_predictions(path) for path in folds])
            for part, inside in parts_of(table[table["role"] == "selection"]):
                print(row(inside, run.name, f"{part}, held out", np.ones(len(CLASSES))))
            continue
        (path,) = run.glob("predictions.csv*")
        predictions = read_predictions(path)
        predictions = predictions[predictions["role"] == "calibration"]
        for part, inside in parts_of(predictions):
            print(row(inside, run.name, part, specialist_C))


if __name__ == "__main__":
    main()

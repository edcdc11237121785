"""The rows of docs/results/travel/trials.md that are scored on the calibration role of `sources-v1`.

    python benchmarks/trial_scores.py docs/results/travel/first192 docs/results/travel/second192

prints rows of a table for each run. All numbers are at equal class shares: probabilities are taken back to
them from the case mix that they hold for, and in a class every image weighs alike. `home` is HAM10000's part.
Nothing is fitted here but what `dermlens calibrate` fitted on the same role. Of a cross-fit by source, the
rows are of each source that was left out, and of one by lesion, of the folds that are there, by probabilities
as the network gives them: those of a balanced softmax hold for equal shares.

    python benchmarks/trial_scores.py --common docs/results/travel/mv2_e docs/results/shipped_model

scores runs on the images that all of them have, and the geometric mean of their probabilities. A column is
added: how malignant lesions (bcc, mel) are ranked above benign ones, akiec left out, by the sum of their
probabilities in the case mix `specialist`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
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
P = [f"p_{code}" for code in CLASSES]
MALIGNANT = ("bcc", "mel")
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


def at_equal_shares(run: Path) -> pd.DataFrame:
    """The held-out images of a run or of its folds, by image, their probabilities taken to equal shares."""
    folds = sorted(run.glob("fold-*/predictions.csv*"))
    files, role = (folds, "selection") if folds else (list(run.glob("predictions.csv*")), "calibration")
    table = pd.concat([read_predictions(path) for path in files])
    table = table[table["role"] == role].set_index("image_id")
    if "diagnosis" in table:  # calibrated: they hold for the case mix of answers
        p_NC = table[P].to_numpy() / np.array(default_prior(CLASSES).shares)
        table[P] = p_NC / p_NC.sum(axis=1, keepdims=True)
    return table


def common_rows(runs: Sequence[Path]) -> Iterator[str]:
    """Rows of several runs, and of their geometric mean, on the images that all have."""
    tables = {run.name: at_equal_shares(run) for run in runs}
    common = sorted(set.intersection(*(set(table.index) for table in tables.values())))
    tables = {name: table.loc[common] for name, table in tables.items()}
    joined = next(iter(tables.values())).copy()
    p_NC = np.exp(np.mean([np.log(table[P].to_numpy() + 1e-6) for table in tables.values()], axis=0))
    joined[P] = p_NC / p_NC.sum(axis=1, keepdims=True)
    for name, table in {**tables, "their mean": joined}.items():
        table["source"] = joined["source"]
        for part, inside in parts_of(table.reset_index()):
            yield f"{row(inside, name, part, np.ones(len(CLASSES)))} {_malignant_auc(inside):.3f} |"


def _malignant_auc(table: pd.DataFrame) -> float:
    """Area under the curve of p_bcc + p_mel in the case mix `specialist`, bcc and mel against benign."""
    table = table[table["target"] != "akiec"]
    p_NC = table[P].to_numpy() * np.array(default_prior(CLASSES).shares)
    suspicion_N = p_NC[:, [CLASSES.index(code) for code in MALIGNANT]].sum(axis=1) / p_NC.sum(axis=1)
    return float(metrics.ranking(table["target"].isin(MALIGNANT).to_numpy(), suspicion_N).auc)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--common", action="store_true", help="on the images that all runs have")
    options = parser.parse_args()
    head = f"{HEAD} malignant AUC |" if options.common else HEAD
    print(head, "|---" * head.count(" | ") + "|---|", sep="\n")
    if options.common:
        print(*common_rows(options.runs), sep="\n")
        return
    specialist_C = np.array(default_prior(CLASSES).shares)
    for run in options.runs:
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

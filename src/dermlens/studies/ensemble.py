"""Several networks' predictions averaged, and soft labels made of predictions.

Shapes: N images, C classes, M members.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd

from dermlens.calibration.decision import run_outputs
from dermlens.data.predictions import (
    arrays,
    classes_of,
    holds_answers,
    read_predictions,
    write_csv,
    write_predictions,
)
from dermlens.errors import UserError
from dermlens.files import file_sha256, read_json, write_json
from dermlens.metrics import Floats, balanced_accuracy_isic
from dermlens.predict.decision import ANSWERED, log_softmax
from dermlens.recipe import load_recipe
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig, ImbalanceConfig
from dermlens.studies.crossfit import PAIR, PAIRS
from dermlens.studies.folds import FOLD, read_out_of_fold, write_out_of_fold
from dermlens.studies.scores import score_study
from dermlens.training.machine import Where

Mean = Literal["probabilities", "logs"]
Choose = Literal["all", "exhaustive"]
RECORD = "ensemble.json"
CHOOSES = "selection"
MOST = 12
"""Members of which every subset is tried: 4,095 subsets."""


def ensemble(
    members: Sequence[Path],
    out: Path,
    *,
    mean: Mean = "probabilities",
    choose: Choose = "all",
    config: EvaluationConfig | None = None,
) -> dict[str, Any]:
    """Average predictions of the same images, score them, and write both.

    A sealed test role takes no part: what is looked at there is a line in the ledger, and this writes none.

    Args:
        members: two or more: runs, or cross-fits, or ensembles of them.
        out: folder for predictions.csv and ensemble.json; absent or empty.
        mean: `probabilities`, or `logs` for the geometric mean, normalised.
        choose: `all`, or `exhaustive` for those runs whose mean has the best mean recall on the selection
            role; subsets.csv has that of all subsets.
        config: of the bootstrap.

    Returns:
        The content of ensemble.json.

    Raises:
        UserError: fewer than two members, members of other images, roles, diagnoses or classes, cross-fits
            mixed with runs, calibrated runs with others, or a folder that is not empty; nothing to choose by.
    """
    if len(members) < 2:
        raise UserError("an ensemble needs two members: dermlens study ensemble FOLDER FOLDER… --out DIR")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: name a new folder with --out")
    files = [predictions_file(member) for member in members]
    tables, chosen = aligned(files), {}
    if choose == "exhaustive":
        subsets = every_subset(tables, mean)
        recall_S, folders = subsets["mean_recall"].to_numpy(), [str(member) for member in members]
        best = list(subsets["members"].iloc[recall_S.argmax()])
        chosen = {"chosen": {"role": CHOOSES, "mean_recall": float(recall_S.max()), "of": folders}}
        named = [" + ".join(folders[place] for place in one) for one in subsets["members"]]
        write_csv(out / "subsets.csv", subsets.assign(members=named), digits=9)
        members, files, tables = ([every[place] for place in best] for every in (members, files, tables))
    table = mean_table(tables, mean)
    facts = {
        "mean": mean,
        **chosen,
        "calibrated": _is_calibrated(files[0]),
        "imbalance": [way.model_dump(mode="json") for member in members for way in _imbalance_of(member)],
        "members": [{"folder": str(path.parent), "sha256": file_sha256(path)} for path in files],
        **score_study(table, config or EvaluationConfig()),
    }
    if FOLD in table:
        write_out_of_fold(out / "predictions.csv", table)
    else:
        write_predictions(out / "predictions.csv", table)
    write_json(out / RECORD, facts)
    return facts


def soft_labels(members: Sequence[Path], path: Path, *, mean: Mean = "probabilities") -> pd.DataFrame:
    """Write labels for distillation: what networks say of images they were not trained on.

    The teachers of an image had the labels of all other folds. A student that is scored on an image of those
    has heard of its label through them: score students on a role that no teacher saw. What a network's
    probabilities mean depends on its loss (of a balanced softmax they hold for equal class shares), so
    teachers are averaged under one, and the student learns under the same.

    Args:
        members: one or more cross-fits, or ensembles of them.
        path: of the CSV: `image_id, p_<class>…`, as `train.distillation.soft_labels` takes it.
        mean: as for `ensemble`.

    Returns:
        What was written.

    Raises:
        UserError: a member is not out of fold, cross-fits differ in what they do about imbalance, or as for
            `ensemble`.
    """
    _check_priors(members)
    table = mean_table(aligned([predictions_file(member) for member in members]), mean)
    if FOLD not in table:
        raise UserError(
            f"{members[0]} is no cross-fit: what a teacher says of images that it was trained on, or chosen"
            " by, repeats their labels"
        )
    labels = table[["image_id", *(f"p_{code}" for code in classes_of(table))]]
    write_csv(path, labels, digits=9)
    return labels


def labels_within(
    members: Sequence[Path], fold: int, path: Path, *, mean: Mean = "probabilities"
) -> pd.DataFrame:
    """Write labels for distillation within a fold, by networks that saw neither the image nor that fold.

    A student that is trained on them and scored on the fold has heard of none of the labels that score it.

    Args:
        members: one or more cross-fits by pairs of folds, whose pairs with `fold` are trained.
        fold: the one that the student will be scored on.
        path: of the CSV, as for `soft_labels`; of every image outside the fold and the test role.
        mean: as for `ensemble`.

    Returns:
        What was written.

    Raises:
        UserError: a member is no such cross-fit, pairs are missing, or as for `soft_labels`.
    """
    _check_priors(members)
    tables = [_labels_of_pairs(member, fold) for member in members]
    for member, table in zip(members, tables, strict=True):
        if table["image_id"].tolist() != tables[0]["image_id"].tolist():
            raise UserError(f"{member} has other images outside fold {fold} than {members[0]}")
    labels = mean_table(tables, mean)
    write_csv(path, labels, digits=9)
    return labels


def _labels_of_pairs(member: Path, fold: int) -> pd.DataFrame:
    """What the pairs with a fold say of their other fold, by image id."""
    facts = read_json(member / PAIRS) if (member / PAIRS).is_file() else {"folds": {}, "missing": []}
    names = sorted({*facts["folds"], *facts["missing"]})
    runs = [Run(member / name) for name in names if str(fold) in name.removeprefix(PAIR).split("-")]
    if not runs:
        raise UserError(
            f"{member} has no pairs with fold {fold}: make some with `dermlens study crossfit --by pair`"
        )
    if open_ones := [run.path.name for run in runs if run.path.name in facts["missing"]]:
        raise UserError(
            f"{member} lacks {', '.join(open_ones)}: `study crossfit --by pair` goes on with them"
        )
    rows = pd.concat([run.predictions() for run in runs])
    rows = rows[rows["role"] == "selection"]
    # The fold itself is in every pair, an image of another in one.
    rows = rows[~rows["image_id"].duplicated(keep=False)].sort_values("image_id", ignore_index=True)
    return rows[["image_id", *(f"p_{code}" for code in classes_of(rows))]]


def training_labels(
    members: Sequence[Path],
    path: Path,
    *,
    mean: Mean = "probabilities",
    data: Path | None = None,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """Write labels for distillation: what networks say of the very images that they were trained on.

    They repeat the true labels as far as a network has memorised them; where its training loss is near the
    held-out one, that is little. In return a student of a fold learns nothing of the labels that it is scored
    by, so that two stages of training can be cross-fitted as one.

    Args:
        members: one or more completed runs of the same training images.
        path: of the CSV, as for `soft_labels`.
        mean: as for `ensemble`.
        data: as for `Run.table`.
        **where: see `Where`.

    Returns:
        What was written.

    Raises:
        UserError: a member is not a completed run or has other images or classes, or as for `soft_labels`.
    """
    _check_priors(members)
    runs = [Run(member) for member in members]
    images = [set(run.split().ids("train")) for run in runs]
    for run, own in zip(runs, images, strict=True):
        if own != images[0] or run.recipe.data.classes != runs[0].recipe.data.classes:
            raise UserError(f"{run.path} was trained on other images or classes than {members[0]}")
    tables = []
    for run in runs:
        saved = run.model()
        outputs = run_outputs(run, saved, ("train",), data=data, **where)["train"]
        p_NC = np.exp(log_softmax(outputs.labelled.logits_NC))
        table = pd.DataFrame(p_NC, columns=[f"p_{code}" for code in saved.classes])
        table.insert(0, "image_id", outputs.images)
        tables.append(table)
    labels = mean_table(tables, mean)
    write_csv(path, labels, digits=9)
    return labels


def _check_priors(members: Sequence[Path]) -> None:
    """Cross-fits whose recipes are at hand were trained for one class prior."""
    ways = [(member, way) for member in members for way in _imbalance_of(member)]
    for member, way in ways:
        first, expected = ways[0]
        if way != expected:
            names = type(way).model_fields
            key = next(name for name in names if getattr(way, name) != getattr(expected, name))
            differs = (
                f"{member} is a mean of members that differ in imbalance.{key}"
                if member == first
                else f"{member} has another imbalance.{key} than {first}"
            )
            raise UserError(
                f"{differs}: their probabilities may hold for different class shares, and have no mean then"
            )


def _imbalance_of(member: Path) -> list[ImbalanceConfig]:
    """What the trainings of a member did about imbalance, one each whose recipe is at hand."""
    if record := _record(member):
        return [ImbalanceConfig.model_validate(way) for way in record.get("imbalance", ())]
    recipes = [folder / "recipe.yaml" for folder in (member / "fold-0", member)]
    return [load_recipe(str(path)).imbalance for path in recipes if path.is_file()][:1]


def _is_calibrated(path: Path) -> bool:
    """Whether probabilities are those of decisions; the mean of such has no answers next to it."""
    return holds_answers(path) or bool(_record(path.parent).get("calibrated"))


def _record(member: Path) -> dict[str, Any]:
    """The content of ensemble.json; empty where a member is none."""
    path = member / RECORD
    return read_json(path) if path.is_file() else {}


def every_subset(tables: Sequence[pd.DataFrame], mean: Mean) -> pd.DataFrame:
    """How well each subset of runs does on the selection role (Gessert et al. 2020, arXiv 1910.03910).

    Args:
        tables: of the same images, as `aligned` gives them.
        mean: as for `ensemble`.

    Returns:
        `size`, `mean_recall` and `members` (places of them), the smallest subsets first.

    Raises:
        UserError: more members than can be tried, or none has a selection role.
    """
    if len(tables) > MOST:
        raise UserError(
            f"{len(tables)} members have {2 ** len(tables) - 1:,} subsets: name {MOST} at the most"
        )
    tables = [table[table["role"] == CHOOSES] for table in tables]
    if tables[0].empty:
        raise UserError(
            f"the members have no {CHOOSES} role to choose on; --choose exhaustive takes runs that have one"
        )
    classes = classes_of(tables[0])
    target_N, _ = arrays(tables[0], classes)
    p_MNC = np.stack([arrays(table, classes)[1] for table in tables])
    rows = [
        (size, float(balanced_accuracy_isic(target_N, mean_of(p_MNC[list(one)], mean))), one)
        for size in range(1, len(tables) + 1)
        for one in itertools.combinations(range(len(tables)), size)
    ]
    return pd.DataFrame(rows, columns=["size", "mean_recall", "members"])


def aligned(files: Sequence[Path]) -> list[pd.DataFrame]:
    """Tables of predictions of the same images in the same order.

    Args:
        files: predictions, all with folds or all without.

    Raises:
        UserError: as for `ensemble`.
    """
    calibrated = {path: _is_calibrated(path) for path in files}
    for path in files:
        if calibrated[path] != calibrated[files[0]]:
            raise UserError(
                f"of {path} and {files[0]} one alone is calibrated: their probabilities hold for different"
                " class shares and have no mean"
            )
    tables = [_read(path) for path in files]
    first = tables[0]
    for path, table in zip(files, tables, strict=True):
        _check_same(files[0], first, path, table)
    return tables


def mean_table(tables: Sequence[pd.DataFrame], mean: Mean) -> pd.DataFrame:
    """The mean of aligned tables, with the other columns of the first."""
    first = tables[0]
    columns = [f"p_{code}" for code in classes_of(first)]
    p_NC = mean_of(np.stack([table[columns].to_numpy(dtype=np.float64) for table in tables]), mean)
    return first.assign(**{name: p_NC[:, index] for index, name in enumerate(columns)})


def mean_of(p_MNC: Floats, mean: Mean) -> Floats:
    """The mean over members: arithmetic, or geometric and normalised.

    Logarithms are cut at the smallest step of float64, as in the log loss, so that one member's zero does not
    forbid a class.
    """
    if mean == "probabilities":
        p_NC = p_MNC.mean(axis=0)
    else:
        p_NC = np.exp(np.log(np.maximum(p_MNC, np.finfo(np.float64).eps)).mean(axis=0))
    return np.asarray(p_NC / p_NC.sum(axis=1, keepdims=True))


def predictions_file(member: Path) -> Path:
    """The predictions of a run, a cross-fit or an ensemble. Raises: UserError when there are none."""
    for name in ("predictions.csv", "predictions.csv.gz"):
        if (member / name).is_file():
            return member / name
    raise UserError(
        f"{member} has no predictions.csv: name a completed run, or a cross-fit with all its folds"
    )


def _read(path: Path) -> pd.DataFrame:
    """Predictions by image id, with folds if there are any, without a test role."""
    out_of_fold = FOLD in pd.read_csv(path, nrows=0).columns
    table = read_out_of_fold(path) if out_of_fold else read_predictions(path)
    table = table[table["role"] != "test"].sort_values("image_id", ignore_index=True)
    # A member's answers are not those of the mean.
    table = table.drop(columns=[name for name in ANSWERED if name in table])
    if table.empty:
        raise UserError(f"{path} has images of the test role alone, which is sealed")
    return table


def _check_same(first_path: Path, first: pd.DataFrame, path: Path, table: pd.DataFrame) -> None:
    """Members have the same images in the same roles, and the same classes."""
    if (FOLD in table) != (FOLD in first):
        raise UserError(f"{path} and {first_path}: one alone is out of fold; average cross-fits, or runs")
    if set(classes_of(table)) != set(classes_of(first)):
        raise UserError(
            f"{path} has the classes {', '.join(classes_of(table))}, {first_path} has"
            f" {', '.join(classes_of(first))}"
        )
    if different := set(table["image_id"]) ^ set(first["image_id"]):
        raise UserError(
            f"{path} and {first_path} are not of the same images: {min(different)} and"
            f" {len(different) - 1} others are in one of them"
        )
    for column, words in (("role", "role"), ("target", "diagnosis")):
        differs = table[column] != first[column]
        if differs.any():
            image_id = table["image_id"][int(differs.to_numpy().argmax())]
            raise UserError(f"{path} gives image {image_id} another {words} than {first_path}")

"""`dermlens evaluate`: a run's own roles from its predictions, its sealed test role, or any other labelled
set.

The test role is sealed: it is scored with `open_test` alone, each time with a line in the ledger, even where
its predictions lie in the run already. Under `singletons` alone the test role is all that is held out; it is
scored like any other and `open_test` merely enters it. Another set never lets in an image of the run's own
split, under its name or as a copy, so it is no back door to the test role.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.atomic import write_json
from dermlens.data.split import Split, load_manifest
from dermlens.data.table import read_configured, read_table, table_sha256
from dermlens.errors import UserError
from dermlens.evaluation.ledger import append_entry
from dermlens.evaluation.overlap import without_own
from dermlens.evaluation.predictions import classes_of, is_answered, read_predictions, write_predictions
from dermlens.evaluation.score import score
from dermlens.evaluation.teaching import epoch_roles, taught
from dermlens.runs import Run

FEW = 2
"""Lesions of a class that a bootstrap cannot vary."""
LEDGER = Path("docs/results/test_ledger.csv")


def evaluate_run(
    run: Run,
    *,
    data: Path | None = None,
    open_test: bool = False,
    device: str = "auto",
    ledger: Path = LEDGER,
    cache: Path | None = None,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Score a run and write metrics.json.

    Args:
        run: a completed run.
        data: another labelled set, scored as the role `external` into `evaluations/<name>/` of the run; with
            `open_test`, where the run's own images are now, if they have moved.
        open_test: score the sealed test role too, and enter it in the ledger.
        device: where to predict: auto, cpu, cuda or mps.
        ledger: the CSV of opened tests.
        cache: root of the pixel cache; none for the usual one.
        columns: the set's column by ours, as `read_table` takes them.
        labels: our class by the set's diagnosis, likewise.

    Returns:
        The content of metrics.json; `warnings` says what a reader must know of the numbers.

    Raises:
        UserError: nothing to score, no test role, predictions that are not of the split's images, the data
            are not there or not the run's, a set has no image that is not the run's own, or `columns` or
            `labels` without another set.
    """
    if (columns or labels) and (data is None or open_test):
        raise UserError(
            "--column and --label go with --data of another set; the run's own images are read as its "
            "recipe maps them"
        )
    if data is not None and not open_test:
        return _evaluate_other(run, data, device=device, cache=cache, columns=columns, labels=labels)
    return _evaluate_own(run, data, open_test=open_test, device=device, ledger=ledger, cache=cache)


def seals_test(split: Split) -> bool:
    """Whether the test role waits for `open_test`; only `singletons` has it as the role to look at."""
    return split.protocol != "singletons"


def _evaluate_own(
    run: Run, data: Path | None, *, open_test: bool, device: str, ledger: Path, cache: Path | None
) -> dict[str, Any]:
    split = load_manifest(str(run.split_file))
    held_out = [role for role in ("selection", "calibration", "test") if split.ids(role)]
    if open_test and "test" not in held_out:
        raise UserError(
            f"run {run.path} has no test role to open: its split has {', '.join(held_out) or 'none'}"
        )
    sealed = seals_test(split) and not open_test
    roles = [role for role in held_out if role != "test" or not sealed]
    if not roles and sealed and "test" in held_out:
        raise UserError(f"run {run.path} holds out a test role alone, which is sealed; --open-test scores it")

    predictions = _held_out(run, split, roles, lambda: _predict_test(run, data, device=device, cache=cache))
    classes = classes_of(predictions)
    scored = predictions[predictions["role"].isin(roles)]
    if scored.empty:
        raise UserError(
            f"{run.predictions_file} has no image of {' or '.join(roles) or 'a held-out role'}; "
            "`dermlens train` predicts them, and --open-test the test role"
        )
    _check_complete(run, split, scored, roles)
    metrics = score(scored, classes, run.recipe().evaluation)
    metrics["warnings"] = _own_warnings(run, metrics) + _rare(scored)
    if open_test:  # the ledger first: no number of the test role is seen that is not entered
        append_entry(ledger, _entry(run, metrics["roles"]["test"]))
    write_predictions(run.predictions_file, predictions)
    write_json(run.metrics_file, metrics)
    return metrics


def _held_out(
    run: Run, split: Split, roles: Sequence[str], predict_test: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The run's predictions, with those of the test role where it is asked for and not there yet."""
    if "test" not in roles:
        return read_predictions(run.predictions_file)
    if not run.predictions_file.is_file():  # training writes none where nothing but train and test is held
        return predict_test()
    predictions = read_predictions(run.predictions_file)
    of_test = predictions["role"] == "test"
    if set(predictions.loc[of_test, "image_id"]) == set(split.ids("test")):
        return predictions
    return _joined(run, predictions[~of_test], predict_test())


def _joined(run: Run, own: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Rows of the run's predictions and new ones of its model, if both were decided alike."""
    if len(own) and is_answered(own) != is_answered(new):
        raise UserError(
            f"{run.predictions_file} and the model beside it do not hold the same decision:"
            f" `dermlens calibrate {run.path}` writes both anew"
        )
    return pd.concat([own, new], ignore_index=True)


def _check_complete(run: Run, split: Split, predictions: pd.DataFrame, roles: Sequence[str]) -> None:
    """Every role must have all images of the split and no other: part of a role is another test set."""
    for role in roles:
        due = set(split.ids(role))
        there = set(predictions.loc[predictions["role"] == role, "image_id"])
        if there != due:
            raise UserError(
                f"{run.predictions_file}: of the {len(due)} images that the split gives to role {role}, "
                f"{len(due - there)} are missing, and {len(there - due)} others stand there; restore the file"
            )


def _predict_test(run: Run, data: Path | None, *, device: str, cache: Path | None) -> pd.DataFrame:
    folder = data or Path(run.read_record().get("data") or "")
    if not folder.exists() or folder == Path():
        raise UserError(
            f"run {run.path} was trained on {folder}, which is not there: name its folder with --data"
        )
    table = read_configured(folder, run.recipe().data)
    split: Split = load_manifest(str(run.split_file), table, remedy="name the run's own data by --data")
    test = table[table["image_id"].isin(split.ids("test"))].reset_index(drop=True)
    return _predict(run, test, role="test", device=device, cache=cache)


def _predict(run: Run, table: pd.DataFrame, *, role: str, device: str, cache: Path | None) -> pd.DataFrame:
    from dermlens.models.saved import load_model
    from dermlens.training.predict import predict_table

    predictions: pd.DataFrame = predict_table(load_model(run.path), table, cache_root=cache, device=device)
    return predictions.assign(role=role)


def _own_warnings(run: Run, metrics: dict[str, Any]) -> list[str]:
    """What flatters the numbers: an epoch, a rule or thresholds that were fixed on the images scored."""
    roles = metrics["roles"]
    warnings = []
    if metrics["decision"] == "rule":
        fixed = {
            "selection": "the decision rule was fixed on these images, so recall and accuracy are flattered",
            "calibration": "probabilities, sets and abstention were fixed on these images, so calibration "
            "error, log loss, coverage and the share abstained from are flattered",
        }
        warnings += [f"{role}: {said}" for role, said in fixed.items() if role in roles]
    warnings += [
        f"{role}: the epoch was chosen on these images, so every score of the role flatters the model"
        for role in epoch_roles(run.recipes())
        if role in roles
    ]
    if taught(run.recipes()):
        warnings += [
            f"{role}: the teachers of the soft labels may have been trained on these images, so every score"
            " of the role may flatter the model"
            for role in ("selection", "calibration")
            if role in roles
        ]
    warnings += [
        f"{role}: there is no other role to fix thresholds on, so sensitivities at a threshold are met by "
        "construction"
        for role, scored in roles.items()
        if any(
            point["optimistic"]
            for found in scored["detection"].values()
            for point in found["operating_points"]
        )
    ]
    return warnings


def _rare(scored: pd.DataFrame) -> list[str]:
    """Classes of one or two lesions, which a bootstrap over lesions hardly varies."""
    warnings = []
    for role, of_role in scored.groupby("role", sort=False):
        for code, count in of_role.groupby("target", sort=False)["lesion_id"].nunique().items():
            if count <= FEW:
                warnings.append(
                    f"{role}: {code} has {count} lesion{'s' if count > 1 else ''}, too few for a bootstrap to"
                    " vary, so the intervals of means over classes are too narrow"
                )
    return warnings


def _entry(run: Run, scored: dict[str, Any]) -> dict[str, object]:
    recipe = run.recipe()
    mean_recall = scored["overall"]["balanced_accuracy_isic"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.path.resolve().name,
        "recipe": recipe.name,
        "recipe_sha256": _sha256(run.recipe_file),
        "manifest": recipe.split.manifest or recipe.split.protocol,
        "split_sha256": _sha256(run.split_file),
        "git_commit": run.read_record().get("git_commit"),
        "images": scored["images"],
        "accuracy": _rounded(scored["overall"]["accuracy"]["value"]),
        "mean_recall": _rounded(mean_recall["value"]),
        "mean_recall_low": _rounded(mean_recall["low"]),
        "mean_recall_high": _rounded(mean_recall["high"]),
        "melanoma_recall": _rounded(scored["per_class"].get("mel", {}).get("recall", {}).get("value")),
    }


def _rounded(number: float | None) -> str | None:
    return None if number is None else f"{number:.4f}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _evaluate_other(
    run: Run,
    data: Path,
    *,
    device: str,
    cache: Path | None,
    columns: Mapping[str, str] | None,
    labels: Mapping[str, str] | None,
) -> dict[str, Any]:
    recipe = run.recipe()
    table = read_table(data, columns=columns, labels=labels, classes=recipe.data.classes)
    kept, warnings = without_own(run, data, table)
    external = _predict(run, kept, role="external", device=device, cache=cache)
    own = read_predictions(run.predictions_file)
    thresholds = own[own["role"].isin(["selection", "calibration"])]
    split = load_manifest(str(run.split_file))
    _check_complete(run, split, own, [role for role in ("selection", "calibration") if split.ids(role)])
    metrics = score(
        _joined(run, thresholds, external),
        classes_of(external),
        recipe.evaluation,
        only=["external"],
    )
    sha256 = table_sha256(table)
    name = f"{data.resolve().stem}-{sha256[:8]}"
    folder = run.path / "evaluations" / name
    metrics |= {
        "warnings": [*warnings, *_rare(external)],
        "data": {
            "name": name,
            "table_sha256": sha256,
            "images": len(table),
            "columns": dict(columns or {}),
            "labels": dict(labels or {}),
        },
    }
    write_predictions(folder / "predictions.csv", external)
    write_json(folder / "metrics.json", metrics)
    return metrics

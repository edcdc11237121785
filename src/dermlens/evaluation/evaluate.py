"""`dermlens evaluate`: a run's own roles, its sealed test role, or any other labelled set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from dermlens.data.manifest import Split
from dermlens.data.predictions import classes_of, is_answered, write_predictions
from dermlens.data.split import absent_classes
from dermlens.data.table import Maps, read_set, table_sha256
from dermlens.errors import UserError
from dermlens.evaluation.ledger import enter_opening, seals_test
from dermlens.evaluation.overlap import without_own
from dermlens.evaluation.score import score
from dermlens.predict.priors import ClassPrior, Prior, read_prior
from dermlens.predict.sources.values import ValueMap
from dermlens.recipe import Recipe
from dermlens.records import Metrics
from dermlens.runs import Run

if TYPE_CHECKING:
    from dermlens.training.machine import Where

# The test role is sealed: it is scored with `open_test` alone, each time with a line in the ledger of the
# run, even where its predictions lie in the run already. Under `singletons` alone the test role is all that
# is held out; it is scored like any other and `open_test` merely enters it. Of another set, images of the
# run's own split are left out, under their names or as copies, and copies of test images are entered in the
# ledger too: a look at the test role that nobody counts is hard to do by accident.


FEW = 2
"""Lesions of a class that a bootstrap cannot vary."""


def evaluate_run(
    run: Run,
    *,
    data: Path | None = None,
    open_test: bool = False,
    ledger: Path | None = None,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    values: ValueMap | None = None,
    prior: Prior = None,
    say: Callable[[str], None] | None = None,
    **where: Unpack[Where],
) -> Metrics:
    """Score a run and write metrics.json; of another case mix than the model's own below `priors/`.

    Args:
        run: a completed run.
        data: another labelled set, scored as the role `external` into `evaluations/<name>/` of the run; with
            `open_test`, where the run's own images are now, if they have moved.
        open_test: score the sealed test role too, and enter it in the run's ledger.
        ledger: a CSV of opened tests to enter it in as well as in the run's own; none for that alone.
        columns: the set's column by ours, as `read_table` takes them.
        labels: our class by the set's diagnosis.
        values: the set's words of age, sex and site by ours.
        prior: the case mix to score in, as `read_prior` takes it; none for the model's own.
        say: takes sentences on which table was read and what was made of it, before anything is predicted.
        **where: see `Where`.

    Returns:
        What metrics.json says; its `warnings` says what a reader must know of the numbers.

    Raises:
        UserError: nothing to score, no test role, predictions that are not of the split's images, the data
            are not there or not the run's, a set has no image that is not the run's own, a map without
            another set, or a prior for a run that nobody has calibrated.
    """
    maps: Maps = {"columns": columns, "labels": labels, "values": values}
    if any(maps.values()) and (data is None or open_test):
        raise UserError(
            "--column, --label, --value and --skip go with --data of another set; the run's own images are"
            " read as its recipe maps them"
        )
    mix = _mix(run, prior)
    if data is not None and not open_test:
        return _evaluate_other(run, data, maps, say, mix, ledger, **where)

    def predict_test() -> pd.DataFrame:
        table = run.reading(data).announced_to(say)
        test = table[table["image_id"].isin(run.split(table).ids("test"))].reset_index(drop=True)
        return _predict(run, test, "test", **where)

    return _evaluate_own(run, predict_test, mix, ledger, open_test=open_test)


def _mix(run: Run, prior: Prior) -> ClassPrior | None:
    """The case mix that is asked for; none for the model's own. Raises: UserError."""
    if prior is None:
        return None
    decision = run.decision()
    if decision is None or decision.prior is None:
        raise UserError(
            f"run {run.path} is not calibrated, so it has no case mix: dermlens calibrate {run.path}"
        )
    mix = read_prior(prior, decision.classes, "--prior")
    return None if mix == decision.prior else mix


def _folder(run: Run, mix: ClassPrior | None) -> Path:
    """Where scores in a case mix go."""
    if mix is None:
        return run.path
    shares = "-".join(f"{share:.3g}" for share in mix.shares)
    return run.path / "priors" / (shares if mix.name == "own" else mix.name)


def _evaluate_own(
    run: Run,
    predict_test: Callable[[], pd.DataFrame],
    mix: ClassPrior | None,
    ledger: Path | None,
    *,
    open_test: bool,
) -> Metrics:
    split = run.split()
    roles = _roles_to_score(run, split, open_test=open_test)
    predictions = _held_out(run, split, roles, predict_test)
    scored = predictions[predictions["role"].isin(roles)]
    if scored.empty:
        raise UserError(
            f"{run.predictions_file} has no image of {' or '.join(roles) or 'a held-out role'}; "
            "`dermlens train` predicts them, and --open-test the test role"
        )
    _check_complete(run, split, scored, roles)
    metrics = _score(run, scored, mix)
    metrics["warnings"] = _own_warnings(run, metrics) + absent_classes(_support(metrics)) + _rare(scored)
    if open_test:  # the ledger first: no number of the test role is seen that is not entered
        enter_opening(run, metrics["roles"]["test"], project=ledger)
    if mix is None or open_test:
        write_predictions(run.predictions_file, predictions)
    return Run(_folder(run, mix)).write_metrics(metrics)


def _roles_to_score(run: Run, split: Split, *, open_test: bool) -> list[str]:
    """The held-out roles of a split, test only where it is not sealed or is opened. Raises: UserError."""
    held_out = [role for role in ("selection", "calibration", "test") if split.ids(role)]
    if open_test and "test" not in held_out:
        raise UserError(
            f"run {run.path} has no test role to open: its split has {', '.join(held_out) or 'none'}"
        )
    if open_test or not seals_test(split):
        return held_out
    if held_out == ["test"]:
        raise UserError(f"run {run.path} holds out a test role alone, which is sealed; --open-test scores it")
    return [role for role in held_out if role != "test"]


def _score(
    run: Run, rows: pd.DataFrame, mix: ClassPrior | None, only: Sequence[str] | None = None
) -> dict[str, Any]:
    """Score predictions as the run's recipe has it; `only` as `score` takes it."""
    config, described = run.recipe.evaluation, run.recipe.data.facts
    return score(
        rows, classes_of(rows), config, only=only, described=described, decision=run.decision(), prior=mix
    )


def _held_out(
    run: Run, split: Split, roles: Sequence[str], predict_test: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The run's predictions, with those of the test role where it is asked for and not there yet."""
    if "test" not in roles:
        return run.predictions()
    if not run.predictions_file.is_file():  # training writes none where nothing but train and test is held
        return predict_test()
    predictions = run.predictions()
    of_test = predictions["role"] == "test"
    if set(predictions.loc[of_test, "image_id"]) == set(split.ids("test")):
        return predictions
    return _joined(run, predictions[~of_test], predict_test())


def _joined(run: Run, own: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Rows of the run's predictions and new ones of its model, if both were decided alike."""
    if len(own) and is_answered(own) != is_answered(new):
        raise UserError(
            f"{run.predictions_file} and the model next to it do not hold the same decision:"
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


def _predict(run: Run, table: pd.DataFrame, role: str, **where: Unpack[Where]) -> pd.DataFrame:
    from dermlens.training.predict import predict_table

    device, cache = where.get("device", "auto"), where.get("cache")
    return predict_table(run.model(), table, cache_root=cache, device=device).assign(role=role)


def _own_warnings(run: Run, metrics: dict[str, Any]) -> list[str]:
    """What makes the numbers look better: an epoch, a scaling or thresholds fixed on the scored images."""
    roles = metrics["roles"]
    warnings = []
    if metrics["decision"] == "calibrated" and "calibration" in roles:
        warnings.append(
            "calibration: probabilities, marks, sets and abstention were fixed on these images, so"
            " calibration "
            "error, log loss, what is flagged, coverage and the share abstained from are flattered"
        )
    warnings += [
        f"{role}: the epoch was chosen on these images, so every score of the role flatters the model"
        for role in epoch_roles(run.recipes())
        if role in roles
    ]
    if distilled(run.recipes()):
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


def _support(metrics: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Images by role and class."""
    return {
        role: {code: of_class["support"] for code, of_class in scored["per_class"].items()}
        for role, scored in metrics["roles"].items()
    }


def score_other(run: Run, external: pd.DataFrame, mix: ClassPrior | None = None) -> dict[str, Any]:
    """Score a run's predictions of another set, with the thresholds of its own roles.

    Args:
        run: with its split and the predictions of its own roles.
        external: predictions of the role `external`.
        mix: another case mix than the model's own.

    Returns:
        metrics.json but for `warnings` and `data`.
    """
    own = run.predictions()
    thresholds = own[own["role"].isin(["selection", "calibration"])]
    split = run.split()
    _check_complete(run, split, own, [role for role in ("selection", "calibration") if split.ids(role)])
    return _score(run, _joined(run, thresholds, external), mix, only=["external"])


def _evaluate_other(
    run: Run,
    data: Path,
    maps: Maps,
    say: Callable[[str], None] | None,
    mix: ClassPrior | None,
    ledger: Path | None,
    **where: Unpack[Where],
) -> Metrics:
    recipe = run.recipe
    maps = {**maps, "classes": recipe.data.classes}
    read = read_set(data, **maps, skip=recipe.data.skip, squashed=recipe.data.squashed)
    table = read.announced_to(say)
    kept, warnings = without_own(run, data, table, ledger=ledger)
    external = _predict(run, kept, "external", **where)
    metrics = score_other(run, external, mix)
    sha256 = table_sha256(table)
    name = f"{data.resolve().stem}-{sha256[:8]}"
    folder = Run(_folder(run, mix)).evaluations / name
    metrics |= {
        "warnings": [
            *warnings,
            *(f"external: {loss}" for loss in read.account.losses()),
            *absent_classes(_support(metrics)),
            *_rare(external),
        ],
        "data": {
            "name": name,
            "table_sha256": sha256,
            "images": len(table),
            "columns": dict(maps["columns"] or {}),
            "labels": dict(maps["labels"] or {}),
            "values": dict(maps["values"] or {}),
            "skip": list(recipe.data.skip),
        },
    }
    write_predictions(folder / "predictions.csv", external)
    return Run(folder).write_metrics(metrics)


# What else reached a network: the choice of an epoch, and the labels of teachers.


def epoch_roles(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """The roles on which a training's epoch was chosen, each with the first recipe that chose there."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        chosen = recipe.train.keep != "last" or recipe.train.early_stopping is not None
        if chosen and recipe.train.monitor_role != "none":
            found.setdefault(recipe.train.monitor_role, recipe)
    return found


def distilled(recipes: Sequence[Recipe]) -> int:
    """How many of the trainings had soft labels in addition to the given ones."""
    return sum(recipe.train.distillation is not None for recipe in recipes)

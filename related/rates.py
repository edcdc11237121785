"""The learning rates of a system: tried on the fold that is not scored, the best one taken for the others."""

from __future__ import annotations

from pathlib import Path

from dermlens.data.manifest import Split
from dermlens.data.predictions import arrays, classes_of, read_predictions
from dermlens.errors import UserError
from dermlens.metrics import balanced_accuracy_isic
from dermlens.recipe import Recipe
from dermlens.runs import Run
from dermlens.studies.folds import held_out, unit_recipe
from paper.plan import Folders
from paper.study import read_record
from related.plan import PREDICTIONS, RECORD, RUNS
from related.study import Job, Study, System


def units_of(
    study: Study, system: System, job: Job, folders: Folders, manifest: Path | None = None
) -> dict[str, Recipe]:
    """The recipes of a job and of those that share its folder, by the last part of their names.

    Args:
        study: what is compared.
        system: of the job.
        job: a rate, or a fold; the rate of a fold is the one whose training has the best mean recall.
        folders: where the rates were tried: here, or where the system's first seed was published.
        manifest: of the singletons; none for folds.
    """
    folds = f"split.folds={study.folds + 1}"
    if job.rate is not None:
        return {
            other.part: unit_recipe(
                study.recipe_of(system, "seed=0", f"train.optimizer.lr={other.rate}"),
                folds,
                f"split.fold={other.fold}",
            )
            for other in study.jobs_of(system)
            if other.folder == job.folder
        }
    rate = rate_of(study, system, folders)
    recipe = study.recipe_of(system, f"seed={job.seed}", f"train.optimizer.lr={rate}")
    if manifest is not None:
        return {job.part: unit_recipe(recipe, f"split.manifest={manifest}")}
    return {f"fold-{fold}": unit_recipe(recipe, folds, f"split.fold={fold}") for fold in range(study.folds)}


def rate_of(study: Study, system: System, folders: Folders) -> float:
    """The learning rate of a system, chosen where all were tried, or where that was published."""
    assert folders.out is not None, "a run has a folder to work in"
    tried = study.systems[system.rates_of or system.id]
    found = rates_of(study, tried, folders.out)
    whole = set(found) == set(study.rates)
    return best_rate(found if whole else published_rates(tried, folders.results))


def rates_of(study: Study, system: System, out: Path) -> dict[float, float]:
    """Mean recall on the fold that is not scored, by learning rate; those that are done."""
    found = {}
    for job in study.jobs_of(system):
        if job.rate is None or not is_whole(system, out / job.id):
            continue
        if system.kind == "training":
            run = Run(out / job.id)
            table = held_out(run, split_of(run))
        else:
            table = read_predictions(out / job.id / PREDICTIONS)
        target_N, p_NC = arrays(table, classes_of(table))
        found[job.rate] = float(balanced_accuracy_isic(target_N, p_NC))
    return found


def published_rates(system: System, results: Path) -> dict[float, float]:
    """The same of what is published. Raises: UserError: nothing is."""
    found = read_record(results / RUNS).get(f"{system.id}/seed-0", {}).get("rates")
    if not found:
        raise UserError(f"{system.id}: no learning rate was tried yet; run {system.id}/rates first")
    return {float(rate): float(value) for rate, value in found.items()}


def is_whole(system: System, folder: Path) -> bool:
    """Whether a job's folder is done."""
    if system.kind != "training":
        return "seconds" in read_record(folder / RECORD)
    return bool(read_record(Run(folder).record_file).get("status") == "completed")


def split_of(run: Run) -> Split:
    """The split that a run was trained with."""
    return run.split()


def best_rate(recall: dict[float, float]) -> float:
    """The learning rate of the best mean recall; of equals the smallest."""
    return min(recall, key=lambda rate: (-recall[rate], rate))

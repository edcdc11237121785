"""What of the comparison is published: predictions by image id, and how each run was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.data.predictions import read_predictions
from dermlens.errors import UserError
from dermlens.evaluation.ledger import without_paths
from dermlens.files import write_json
from dermlens.runs import Run
from dermlens.studies.folds import (
    IMAGES,
    held_out,
    merge,
    read_images,
    read_tables,
    write_arm,
    write_images,
)
from paper.study import read_record
from related.plan import PREDICTIONS, RECORD, RUNS, SCORED, seconds_of_run
from related.rates import is_whole, rates_of
from related.study import Ground, Job, Study, System

KEPT = ("git_commit", "machine", "python", "dermlens", "torch", "scikit-learn", "device", "threads")


def arm_of(system: System, seed: int) -> str:
    """The name of a system's predictions of one seed, out of fold."""
    return f"{system.id}_seed-{seed}"


def publish(study: Study, out: Path, results: Path) -> Iterator[str]:
    """Copy every system and seed whose folds are all done from OUT to RESULTS.

    Yields:
        The names of what was published.

    Raises:
        UserError: the images are not those of what is published, a fold lacks some of its own, or the folds
            are of unlike recipes or data.
    """
    for system in study.systems.values():
        jobs = study.jobs_of(system)
        for seed in range(system.seeds):
            folds = [job for job in jobs if job.rate is None and job.seed == seed]
            if not folds or not all(is_whole(system, out / job.id) for job in folds):
                continue
            table = merge({job.fold: _scored(system, out / job.id) for job in folds})
            folder = folder_of(results, system.ground)
            _check_images(folder, table, system)
            facts = _facts(study, system, folds, out)
            write_arm(folder, arm_of(system, seed), table)
            runs = read_record(results / RUNS)
            name = f"{system.id}/seed-{seed}"
            tried = {key: value for key, value in runs.get(name, {}).items() if key == "rates"}
            runs[name] = tried | facts  # folds whose rate was published elsewhere have none of their own
            write_json(results / RUNS, runs)
            yield f"{system.id}, seed {seed}"


def folder_of(results: Path, ground: Ground) -> Path:
    """Where predictions of a ground are."""
    return results if ground == "folds" else results / ground


def read_published(study: Study, results: Path, ground: Ground = "folds") -> dict[str, list[pd.DataFrame]]:
    """Predictions out of fold by system, a table for each seed that is there; nothing for the others.

    Raises:
        UserError: a file is damaged, or of other images.
    """
    systems = [system for system in study.systems.values() if system.ground == ground]
    return read_arms(systems, folder_of(results, ground))


def read_arms(systems: Iterable[System], folder: Path) -> dict[str, list[pd.DataFrame]]:
    """As `read_published`, of some systems in a folder."""
    found: dict[str, list[pd.DataFrame]] = {}
    for system in systems:
        arms = [arm_of(system, seed) for seed in range(system.seeds)]
        there = [arm for arm in arms if (folder / "predictions" / f"{arm}.csv.gz").is_file()]
        if there:
            found[system.id] = list(read_tables(folder, there).values())
    return found


def _scored(system: System, folder: Path) -> pd.DataFrame:
    """Predictions of all held-out images of a fold. Raises: UserError: some are not there."""
    if system.kind == "training":
        run = Run(folder)
        return held_out(run, run.split())
    table = read_predictions(folder / PREDICTIONS)
    scored = read_record(folder / RECORD).get(SCORED, len(table))
    if len(table) != scored:
        raise UserError(
            f"{folder / PREDICTIONS} has {len(table)} of {scored} images: delete {folder} and run it again"
        )
    return table


def _check_images(results: Path, table: pd.DataFrame, system: System) -> None:
    """Begin the list of images, or find it to be of the same."""
    if not (results / IMAGES).is_file():
        results.mkdir(parents=True, exist_ok=True)
        write_images(results, table)
        return
    images = read_images(results)
    columns = ["image_id", "target", "fold"]
    if not images[columns].equals(table[columns].astype(str)):
        raise UserError(f"{system.id} was scored on other images or folds than {results / IMAGES} lists")


def _facts(study: Study, system: System, folds: list[Job], out: Path) -> dict[str, Any]:
    """How long a system's folds took, and what it was."""
    if system.kind != "training":
        records = [read_record(out / job.id / RECORD) for job in folds]
        for job, record in zip(folds, records, strict=True):
            for key in ("recipe", "table_sha256"):
                if record.get(key) != records[0].get(key):
                    raise UserError(
                        f"{out / job.id / RECORD}: its {key} is not that of {folds[0].id}; delete one of the"
                        " two folders and run it again"
                    )
        facts: dict[str, Any] = {
            "seconds": round(sum(record["seconds"] for record in records), 1),
            "recipe": records[0]["recipe"],
        }
        facts |= {key: records[0][key] for key in ("parameters", "chosen") if key in records[0]}
    else:
        runs = [Run(out / job.id) for job in folds]
        records = [read_record(run.record_file) for run in runs]
        recipe = runs[0].recipe
        steps = int(pd.read_csv(runs[0].history_file)["step"].iloc[-1])
        facts = {
            "seconds": round(sum(seconds_of_run(run) for run in runs), 1),
            "parameters": records[0].get("trainable_parameters"),
            "images_seen": steps * recipe.train.batch_size,
            "recipe": recipe.model_dump(mode="json"),
        }
    if rates := rates_of(study, system, out):
        facts["rates"] = {f"{rate:g}": round(value, 6) for rate, value in sorted(rates.items())}
    kept = {name: records[0][name] for name in KEPT if name in records[0]}
    return dict(without_paths(facts | kept))

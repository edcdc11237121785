"""A search: trials of a recipe's keys on folds that are set apart for it, drawn by Optuna.

search.yaml       the search
recipe.yaml       its recipe without the values of a trial, resolved
journal.log       Optuna's journal, by which a search that was stopped goes on
trials/<n>/       fold-<k>/ each: record, recipe, history and predictions of a run, without its model
search.csv        a row a trial: values, measure, state, seconds
best.yaml         the recipe of the best trial; its measure is an optimistic number

What chooses is flattered by the choice. So one fold chooses, unless the search names more, and the others are
left to compare the chosen recipe with another.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Unpack

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed  # type: ignore[import-untyped]
from rich.console import Group, RenderableType
from rich.table import Table

from dermlens import metrics
from dermlens.calibration.probabilities import Labelled, fit_even_scaling
from dermlens.data.manifest import Split
from dermlens.data.predictions import arrays, classes_of, write_csv
from dermlens.data.table import table_sha256
from dermlens.errors import UserError, require
from dermlens.files import claimed, exclusive, write_text
from dermlens.recipe import load_recipe
from dermlens.runs import Run, is_vacant, taken_back
from dermlens.studies.folds import check_fold, draw, held_out, train_fold
from dermlens.studies.scores import OVERALL, Decided, by_argmax, numbers
from dermlens.studies.space import Search, load_search, words_of
from dermlens.training.machine import Where, resolve_device

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

DOCUMENT, RECIPE, JOURNAL = "search.yaml", "recipe.yaml", "journal.log"
TABLE, BEST = "search.csv", "best.yaml"
STAYS = ("run.json", "recipe.yaml", "history.csv", "predictions.csv")
"""What stays of a trial's run."""


def search(
    plan: Search,
    data: Path,
    out: Path,
    *,
    jobs: int = 1,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """Train the trials that are not there yet, and choose the best.

    A trial is a function of the search and of the trials before it, so a search that was stopped ends as if
    it had not been. Several jobs, or the same command given several times at once, share the trials; what is
    drawn then depends on which end first. A trial that the network, its memory or its loss does not allow
    has failed, and the search goes on.

    Args:
        plan: the search.
        data: the data folder.
        out: the folder of the search; absent, empty, or of the same search, which goes on.
        jobs: trials at once.
        **where: see `Where`.

    Returns:
        The content of search.csv.

    Raises:
        UserError: Optuna is not there, the space, the table or the split does not allow it, or the folder is
            of another search: no trial has been trained then. Or no trial was completed.
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    require("optuna", "search")
    with taken_back(out, lambda: any(out.glob("trials/*/*/history.csv"))):
        resolve_device(where.get("device", "auto"))
        splits = _begin(plan, data, out)
        work = partial(_work, plan, data, out, splits, **where)
        try:
            if jobs == 1:
                work()
            else:
                Parallel(n_jobs=jobs)(delayed(work)() for _ in range(jobs))
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(
                f"{out} was interrupted; the same command goes on where it stopped"
            ) from error
        table = write_results(plan, open_study(plan, out).get_trials(), out)
        if best_of(plan, table) is None:
            raise UserError(f"{out}: of {len(table)} trials none was completed; see the reasons above")
    return table


def _begin(plan: Search, data: Path, out: Path) -> dict[int, Split]:
    """Make the folder, or go on with it, once every trial is known to be possible; the split of each fold."""
    base = plan.recipe_of({})
    if (out / DOCUMENT).is_file():
        begun = load_search(out / DOCUMENT, trials=plan.trials)
        if begun != plan or load_recipe(str(out / RECIPE)) != base:
            raise UserError(f"{out} is of another search or recipe: name a new folder with --out")
    elif not is_vacant(out):
        raise UserError(f"{out} is not empty and no search: name a new folder with --out")
    else:
        plan.check()
    folds = plan.fold_recipes(plan.recipe_of({key: values[0] for key, values in plan.tried.items()}))
    table, splits = draw(list(folds.values()), data)
    for file in out.glob("trials/*/fold-*/run.json"):
        check_fold(Run(file.parent), Run(file.parent).recipe, table_sha256(table))
    base.save(out / RECIPE)
    write_text(out / DOCUMENT, plan.dump())
    return dict(zip(folds, splits, strict=True))


def _work(plan: Search, data: Path, out: Path, splits: Mapping[int, Split], **where: Unpack[Where]) -> None:
    """Train trials until all are there, or are another process's."""
    study = open_study(plan, out)
    while True:
        with _taken(plan, study, out) as trial:
            if trial is None:
                return
            folder, values = _folder(out, trial.number), words_of(trial.params)
            parts = []
            try:
                for fold, recipe in plan.fold_recipes(plan.recipe_of(trial.params)).items():
                    run = train_fold(recipe, data, folder / f"fold-{fold}", **where)
                    parts.append(held_out(run, splits[fold]))
                value = measured(pd.concat(parts, ignore_index=True), plan.measure, plan.decision)
                print(f"{folder}: {plan.measure} {value:.4f} with {values}")
            except (UserError, torch.OutOfMemoryError) as error:
                # A full disk, as the system or as PyTorch's writer has it, or a file that cannot be read.
                if isinstance(error.__cause__, OSError | RuntimeError):
                    raise
                value = math.nan
                print(f"{folder}: failed with {values}: {error}")
            _tidy(folder)
            tell(plan, study, trial.number, value, out)


def measured(table: pd.DataFrame, measure: str, decision: str) -> float:
    """The number that decides, to the nine digits of search.csv.

    Args:
        table: predictions of images that nothing was trained on.
        measure: as cross-fits name it.
        decision: `argmax`, or `equal`, where each image is scaled to equal class shares by what the images of
            other lesions teach.
    """
    classes = classes_of(table)
    target_N, p_NC = arrays(table, classes)
    decided = by_argmax(p_NC)
    if decision == "equal":
        images = Labelled.of_probabilities(p_NC, target_N, table["lesion_id"].to_numpy(dtype=str))
        even_NC = np.exp(fit_even_scaling(images)[1])
        decided = Decided(even_NC, metrics.predicted_classes(even_NC), even=True)
    return float(f"{float(numbers(target_N, decided, classes, None)[measure,]):.9g}")


def _folder(out: Path, number: int) -> Path:
    return out / "trials" / str(number)


def _tidy(folder: Path) -> None:
    """Leave of a trial's runs how they were trained, and what the measure can be computed from."""
    for path in folder.glob("fold-*/*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in STAYS:
            path.unlink()


# The trials, in Optuna's journal. Whoever writes there holds the lock of `files.exclusive`. A trial is one
# line with all its values, so that a killed process leaves a whole one or none.


class _HeldAlready:
    """The journal's own lock, which a killed process would leave behind."""

    def acquire(self) -> bool:
        """Its writers hold ours."""
        return True

    def release(self) -> None:
        """Ours is given back by who holds it."""


def open_study(plan: Search, out: Path) -> Study:
    """The study of a search's folder, made where there is none.

    Raises:
        UserError: its journal is damaged.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = out / JOURNAL
    with exclusive(path):
        try:
            if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
                write_text(path, content[: content.rfind(b"\n") + 1].decode("utf-8"))  # killed in a line
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_HeldAlready()))  # type: ignore[arg-type]
            if optuna.get_all_study_names(storage):  # a second making, even of the same, is a line
                return optuna.load_study(study_name=None, storage=storage)
        except (ValueError, LookupError, TypeError, AssertionError) as error:
            raise UserError(f"{path} is damaged: restore it, or name a new folder with --out") from error
        return optuna.create_study(storage=storage, study_name="search", direction=plan.direction)


def drawn(plan: Search, past: Sequence[FrozenTrial]) -> FrozenTrial:
    """The next trial: a function of the search and of the trials so far."""
    import optuna

    sampler: BaseSampler
    if plan.sampler == "grid":
        sampler = optuna.samplers.GridSampler(plan.tried, seed=plan.seed)
    else:
        seed = np.random.SeedSequence([plan.seed, len(past)]).generate_state(1)
        sampler = optuna.samplers.TPESampler(seed=int(seed[0]))
    study = optuna.create_study(sampler=sampler, direction=plan.direction)
    study.add_trials(past)
    space = plan.distributions
    values = study.ask(space).params
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, params=values, distributions=space
    )


@contextmanager
def _taken(plan: Search, study: Study, out: Path) -> Iterator[FrozenTrial | None]:
    """A trial that no other process trains, stopped ones before new ones; none when all are there."""
    with ExitStack() as held:

        def ours(trial: FrozenTrial) -> bool:
            return held.enter_context(claimed(_folder(out, trial.number) / ".lock"))

        with exclusive(out / JOURNAL):
            past = study.get_trials(deepcopy=False)
            found = next((trial for trial in past if not trial.state.is_finished() and ours(trial)), None)
            if found is None and len(past) < plan.most:
                study.add_trial(drawn(plan, past))
                found = study.get_trials(deepcopy=False)[-1]
                ours(found)
        yield found


def tell(plan: Search, study: Study, number: int, value: float, out: Path) -> None:
    """Enter a trial's measure, NaN where it failed, and write what came of all so far."""
    from optuna.trial import TrialState

    with exclusive(out / JOURNAL):
        if math.isnan(value):
            study.tell(number, state=TrialState.FAIL)
        else:
            study.tell(number, value)
        write_results(plan, study.get_trials(deepcopy=False), out)


# What came of it.


def write_results(plan: Search, trials: Sequence[FrozenTrial], out: Path) -> pd.DataFrame:
    """Write search.csv, and as best.yaml the recipe of the best completed trial. Returns: the table."""
    states = {"COMPLETE": "completed", "FAIL": "failed", "RUNNING": "running"}
    rows = [
        {
            "trial": trial.number,
            **{key: str(value) for key, value in trial.params.items()},
            "measure": trial.value,
            "state": states[trial.state.name],
            "seconds": _seconds(_folder(out, trial.number)),
        }
        for trial in trials
    ]
    table = pd.DataFrame(rows, columns=["trial", *plan.space, "measure", "state", "seconds"])
    write_csv(out / TABLE, table, digits=9)
    best = best_of(plan, table)
    if best is not None:
        recipe = plan.recipe_of(trials[best].params)
        head = [*wrap(summary(plan, table, best), 108), f"Its values: {words_of(trials[best].params)}"]
        comment = "".join(f"# {line}\n" for line in [*head, f"dermlens train {BEST} --data DIR"])
        write_text(out / BEST, comment + recipe.dump())
    return table


def best_of(plan: Search, table: pd.DataFrame) -> int | None:
    """The completed trial of the best measure, the first of several; none where none was completed."""
    ranked = ranking(plan, table)
    return None if ranked.empty else int(ranked["trial"].iloc[0])


def ranking(plan: Search, table: pd.DataFrame) -> pd.DataFrame:
    """The completed trials, the best first."""
    done = table[table["state"] == "completed"]
    return done.sort_values("measure", ascending=plan.direction == "minimize", kind="stable")


def _seconds(folder: Path) -> float:
    """Of all epochs of a trial."""
    return round(sum(pd.read_csv(file)["seconds"].sum() for file in folder.glob("fold-*/history.csv")), 1)


def summary(plan: Search, table: pd.DataFrame, best: int) -> str:
    """The best trial in a sentence, which says what chose it."""
    value, count = table["measure"].iloc[best], len(ranking(plan, table))
    better = "less" if plan.direction == "minimize" else "more"
    folds = f"fold{'s' * (len(plan.scored) > 1)} {', '.join(map(str, plan.scored))}"
    return (
        f"Trial {best}, the best of {count} completed: {OVERALL[plan.measure]} {value:.4g} ({better} is"
        f" better, decision {plan.decision}) on {folds} of {plan.folds}. That is an optimistic number,"
        " those images chose it; the other folds say what the recipe is worth."
    )


def render(plan: Search, table: pd.DataFrame, out: Path) -> RenderableType:
    """The ten best trials for a terminal, and what comes next."""
    ranked = ranking(plan, table)
    shown = Table(title=f"{OVERALL[plan.measure]}, the best trials first")
    for name in ("trial", *plan.space, "measure"):
        shown.add_column(name, justify="right")
    for row in ranked.head(10).to_dict("records"):
        shown.add_row(str(row["trial"]), *(row[key] for key in plan.space), f"{row['measure']:.4f}")
    states = table["state"].value_counts()
    rest = [f"{states[name]} {name}" for name in ("failed", "running") if name in states]
    command = f"dermlens study crossfit {out / BEST} --data DIR --out DIR --folds {plan.folds}"
    return Group(
        shown,
        summary(plan, table, int(ranked["trial"].iloc[0])),
        f"{', '.join(['of all trials', *rest])}; next: {command}" if rest else f"next: {command}",
    )

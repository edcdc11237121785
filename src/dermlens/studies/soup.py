"""A soup: the mean of the weights of several trainings, as one network.

    w = (w_1 + … + w_M) / M

Wortsman et al. 2022, "Model soups" (arXiv 2203.05482), the uniform one; statistics of batch norms are
averaged with the rest. Trainings that begin at the same weights and differ in how they went on end in one
basin, where the mean of the weights does about what the mean of the predictions does, for the price of one
network. Random starts do not: members must share the pretrained start and, by the recipe's seed, the first
weights of what follows the backbone.

members/1/ …      each member's run.json, recipe.yaml, history.csv
all else          as in any run, the recipe being the first member's
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import pandas as pd
import torch
from torch import Tensor

from dermlens.data.predictions import write_predictions
from dermlens.errors import UserError
from dermlens.evaluation.ledger import carry_over
from dermlens.files import atomic_folder, copy_file, file_sha256, read_json, write_json
from dermlens.models.saved import SavedModel, save_model
from dermlens.recipe import Recipe
from dermlens.runs import Run, check_vacant
from dermlens.studies.crossfit import PREDICTIONS, RECORD
from dermlens.studies.folds import held_out, merge, read_out_of_fold, write_out_of_fold
from dermlens.studies.scores import score_study
from dermlens.training.machine import Where
from dermlens.training.predict import predict_table

RECORDED = ("run.json", "recipe.yaml", "history.csv")
CARRIED = (
    "data", "table_sha256", "also_train", "sources", "folders", "start", "split", "counts", "class_weights",
    "seeds", "trainable_parameters",
)  # fmt: skip


def soup(
    members: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    **where: Unpack[Where],
) -> Run:
    """Average runs into a run, and predict the roles that they predicted; never test.

    Args:
        members: two or more completed runs of one network on one split.
        out: the run directory to make; absent or empty.
        data: as for `Run.table`.
        **where: see `Where`.

    Returns:
        The completed run. It has no decision: `dermlens calibrate` gives it one.

    Raises:
        UserError: fewer than two members, a member that is a soup itself, members that do not fit together,
            or images that are not there.
    """
    runs, saved = _open(members)
    model = saved[0].model
    model.load_state_dict(mean_of([one.model.state_dict() for one in saved]))
    return make_run(runs, replace(saved[0], model=model), runs[0].recipe, out, data, **where)


def make_run(
    runs: Sequence[Run],
    saved: SavedModel,
    recipe: Recipe,
    out: Path,
    data: Path | None,
    *,
    device: str = "auto",
    cache: Path | None = None,
    **facts: Any,
) -> Run:
    """Make a run of a model that is made of others' models.

    Args:
        runs: the others, completed, of one split.
        saved: the model; its input and classes are theirs.
        recipe: of the new run.
        out: as for `soup`.
        data: as for `soup`.
        device: as for `soup`.
        cache: as for `soup`.
        facts: for run.json, where they differ from the first run's.
    """
    table = runs[0].table(data)
    records = [run.read_record() for run in runs]
    first, members = records[0], [_member(run) for run in runs]
    split = runs[0].split(table)
    check_vacant(out)
    with atomic_folder(out) as part:
        made = Run.create(part, recipe)
        carried = first.model_dump(include={*CARRIED}, exclude_unset=True)
        warnings = _warnings(record.warnings for record in records)
        made.record(**carried | {"soup": members, "warnings": warnings} | facts)
        split.save(made.split_file)
        for number, run in enumerate(runs, start=1):
            _remember(run, made.member_folder / str(number))
        save_model(made.path, saved)
        roles = [role for role in first.predicted_roles if role != "test"]
        frames = []
        for role in roles:
            rows = table[table["image_id"].isin(split.ids(role))].reset_index(drop=True)
            frame = predict_table(made.model(), rows, of=table, cache_root=cache, device=device)
            frames.append(frame.assign(role=role))
        if frames:
            write_predictions(made.predictions_file, pd.concat(frames, ignore_index=True))
        carry_over(list(runs), made)
        made.end("completed", predicted_roles=roles)
    return Run(out)


def soup_crossfits(
    members: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Average cross-fits fold by fold into a cross-fit, and score it.

    Args:
        members: two or more cross-fits with all their folds, of one network on one table.
        out: the folder to make, or one that was begun with them: completed folds are left as they are.
        data: as for `soup`.
        **where: see `Where`.

    Returns:
        The content of crossfit.json.

    Raises:
        UserError: as for `soup`; or a member is no cross-fit, has other folds, or lacks one; or the folder
            holds anything but a soup of these members.
    """
    names = [_folds(member) for member in members]
    for member, found in zip(members, names, strict=True):
        if found != names[0]:
            raise UserError(f"{member} has {len(found)} folds, {members[0]} has {len(names[0])}")
    folds = {name: [member / name for member in members] for name in names[0]}
    for inner in folds.values():
        _open(inner)
    parts, recipe = {}, Run(members[0] / names[0][0]).recipe
    facts: dict[str, Any] = {
        "recipe": recipe.name,
        "status": "partial",
        "soup": [str(member) for member in members],
        "sha256": {
            name: [file_sha256(Run(path).model_file) for path in inner] for name, inner in folds.items()
        },
        "warnings": _warnings(read_json(member / RECORD).get("warnings") or () for member in members),
        "missing": names[0],
    }
    _begin(out, facts)
    for fold, (name, inner) in enumerate(folds.items()):
        if not Run(out / name).is_completed:
            shutil.rmtree(out / name, ignore_errors=True)  # of an earlier version, which began in place
            soup(inner, out / name, data=data, **where)
        made = Run.open(out / name)
        parts[fold] = held_out(made, made.split())
    facts |= {"status": "completed", "missing": []}
    write_out_of_fold(out / PREDICTIONS, merge(parts))
    facts |= score_study(read_out_of_fold(out / PREDICTIONS), recipe.evaluation)
    write_json(out / RECORD, facts)
    return facts


def _remember(run: Run, folder: Path) -> None:
    """Keep how a member was trained, and how its own members were."""
    folder.mkdir(parents=True)
    for name in RECORDED:
        if (run.path / name).is_file():
            copy_file(run.path / name, folder / name)
    for member in run.members:
        _remember(member, folder / run.member_folder.name / member.path.name)


def is_crossfit(folder: Path) -> bool:
    """Whether a folder holds a cross-fit."""
    return (folder / RECORD).is_file()


def mean_of(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several states, taken in float64; whole numbers, which only count, are the first's."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(first.dtype)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def _open(members: Sequence[Path]) -> tuple[list[Run], list[SavedModel]]:
    """Members and their models, seen to be trainings that fit together."""
    if len(members) < 2:
        raise UserError("a soup needs two members: dermlens study soup RUN RUN… --out DIR")
    runs = [Run.open(member) for member in members]
    if nested := [run.path for run in runs if run.member_folder.is_dir()]:
        raise UserError(f"{nested[0]} is a soup itself: name its members along with the others")
    first, recipes = runs[0], [run.recipe for run in runs]
    if recipes[0].model.weights == "none":
        raise UserError(f"{first.path} began at random weights; a soup needs members of one pretrained start")
    for run, recipe in zip(runs, recipes, strict=True):
        if recipe.seed != recipes[0].seed:
            raise UserError(
                f"{run.path} has seed {recipe.seed}, {first.path} has {recipes[0].seed}: members begin at the"
                " same head; vary the rest of the recipe, not the seed"
            )
    saved = [run.model() for run in runs]
    networks = [one.config.model_copy(update={"dropout": 0.0}) for one in saved]
    check_alike(runs, {"network": networks, "input": map(input_of, saved)}, "their weights have no mean")
    return runs, saved


def input_of(saved: SavedModel) -> tuple[Any, ...]:
    """What lies in front of a network, but for the views."""
    return saved.classes, saved.size, saved.crop, saved.colour_constancy, saved.encoder.to_json()


def check_alike(runs: Sequence[Run], traits: Mapping[str, Iterable[Any]], why: str) -> None:
    """Refuse runs of several splits, or that differ in a trait, which each has one of.

    Raises:
        UserError: it names run and trait, and ends with `why`.
    """
    # the split first: another one has another scale of ages
    splits = [run.split().roles.to_csv() for run in runs]
    for words, (first, *others) in ({"split": splits} | dict(traits)).items():
        for run, own in zip(runs[1:], others, strict=True):
            if own != first:
                raise UserError(f"{run.path} has another {words} than {runs[0].path}: {why}")


def _begin(out: Path, facts: dict[str, Any]) -> None:
    """Make the folder, or find it and its folds to be of a soup of the same networks."""
    if not out.is_dir() or not any(not entry.name.startswith(".") for entry in out.iterdir()):
        write_json(out / RECORD, facts)
        return
    sums = facts["sha256"]
    ours = {out: is_crossfit(out) and read_json(out / RECORD).get("sha256") == sums}
    ours |= {out / name: _is_soup_of(Run(out / name), sums[name]) for name in sums}
    if others := [path for path, is_ours in ours.items() if not is_ours]:
        raise UserError(
            f"{others[0]} is not empty and no soup of these members: name a new folder with --out"
        )


def _is_soup_of(run: Run, sums: Sequence[str]) -> bool:
    """Whether a folder is a soup of these weights, or absent."""
    if not run.path.exists():
        return True
    return run.record_file.is_file() and [one["sha256"] for one in run.read_record().soup] == list(sums)


def _warnings(of_members: Iterable[Iterable[str]]) -> list[str]:
    """Those of all members, each once, in order."""
    return list(dict.fromkeys(warning for warnings in of_members for warning in warnings))


def _member(run: Run) -> dict[str, Any]:
    """What run.json says of a member."""
    record, recipe = run.read_record(), run.recipe
    train = recipe.train
    history = run.history()
    return {
        "run": run.path.name,
        "recipe": recipe.name,
        "keep": train.keep,
        "monitor_role": train.monitor_role,
        "distilled": train.distillation is not None,
        "seconds": None if history is None else round(float(history["seconds"].sum()), 1),
        "git_commit": record.git_commit,
        "sha256": file_sha256(run.model_file),
    }


def _folds(member: Path) -> list[str]:
    """Names of a cross-fit's folds."""
    if not is_crossfit(member):
        raise UserError(f"{member} is no cross-fit; a soup is of runs alone, or of cross-fits alone")
    if not (member / PREDICTIONS).is_file():
        raise UserError(f"{member} lacks folds: `dermlens study crossfit` goes on with them")
    found = [path.name for path in member.glob("fold-*") if path.is_dir()]
    return sorted(found, key=lambda name: int(name.partition("-")[2]))

"""Networks that look for a class which nothing was fitted on ([4]): frozen, or trained without it.

OUT has a folder a class, unseen/<class>/fold-<j>: a training of the baseline on the fold's training images of
all other classes, of its seed 0 and learning rate. A training that was stopped goes on from its last epoch.

ODIN (Liang et al. 2018): the image takes a step that makes the class which is named likelier, and is asked
again at a high temperature. Temperature and step are those of a study of ISIC's images (Ferles, 2020: 1000
and 0.0014); the step is in normalised pixels.

Shapes: N images, F features of a stage, B of a batch, K classes that trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dermlens.data.cache import open_cache
from dermlens.data.manifest import Split
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.metrics import Floats, Ints
from dermlens.plugins import trusted_code
from dermlens.runs import Run
from dermlens.studies.crossfit import train_units
from dermlens.studies.folds import unit_recipe
from paper.study import read_record
from related.classical import FeatureRecipe, frozen_network
from related.isolation import stage_features
from related.rates import rate_of
from related.unseen import LEFT_OUT, of_features, of_logits, ood_scores
from related.work import Worker

TEMPERATURE, STEP = 1000.0, 0.0014
TRAINED = "unseen"
"""The folder of the trainings."""


def frozen_scores(worker: Worker) -> Iterator[pd.DataFrame]:
    """Scores of the images of the folds by an ImageNet network and what was fitted on all classes but one.

    Yields:
        After each fold, all that there is so far, for `unseen_table`.
    """
    recipe = worker.with_start(FeatureRecipe(name="unseen"))
    table, _ = worker.drawn("folds", 0)
    model = frozen_network(recipe, recipe.cached)
    cache = open_cache(table, size=recipe.cached, crop="squash", root=worker.site.cache)
    batches = (cache.take(rows) for rows in _parts(len(table)))
    found = [stage_features(model, torch.from_numpy(x_BSS3).permute(0, 3, 1, 2)) for x_BSS3 in batches]
    stages = [np.concatenate(stage) for stage in zip(*found, strict=True)]
    worker.say(f"features of {len(stages)} stages of {len(table)} images")
    scored = []
    for fold in range(worker.study.folds):
        role_N = _role_of(worker.drawn("folds", fold)[1], table)
        for left_out in LEFT_OUT:
            trains_N = (role_N == "train") & (table["dx"] != left_out).to_numpy()
            score = ood_scores(stages, trains_N, _target_of(table), role_N == "selection")
            rows = table[role_N == "selection"].assign(target=table["dx"], fold=fold, left_out=left_out)
            scored.append(rows.assign(**score))
            worker.say(f"fold {fold}, without {left_out}")
        yield pd.concat(scored, ignore_index=True)


def train_all(worker: Worker, only: Sequence[str] | None = None) -> None:
    """Train the networks that are wanted and not there yet.

    Args:
        worker: whose folder is worked in.
        only: such as `df` or `df/fold-2`; none for all classes and folds.

    Raises:
        UserError: there is no such training, or no learning rate of the baseline was tried or published.
        KeyboardInterrupt: the same command goes on.
    """
    known = _names(worker)
    for name in only or ():
        if name not in known and name not in LEFT_OUT:
            raise UserError(f"--only '{name}': there is no such training; {known[0]} is one")
    for name in known:
        left_out, _, part = name.partition("/")
        if only is None or not {left_out, name}.isdisjoint(only):
            train_without(worker, left_out, int(part.removeprefix("fold-")))
            worker.say(f"{name}: trained")


def trained_scores(worker: Worker) -> pd.DataFrame:
    """The scores by networks that were trained without the class, of those that are there.

    Raises:
        UserError: none is.
    """
    scored = []
    for name in _names(worker):
        left_out, _, part = name.partition("/")
        run = Run(worker.site.out / TRAINED / name)
        if read_record(run.record_file).get("status") == "completed":
            scored.append(_scores_of(worker, run, left_out, int(part.removeprefix("fold-"))))
            worker.say(f"{name}: scored")
    if not scored:
        raise UserError(f"{worker.site.out} has no training without a class that is done")
    return pd.concat(scored, ignore_index=True)


def _names(worker: Worker) -> list[str]:
    """All trainings, those of a class together."""
    return [f"{left_out}/fold-{fold}" for left_out in LEFT_OUT for fold in range(worker.study.folds)]


def train_without(worker: Worker, left_out: str, fold: int) -> Run:
    """The baseline of a fold, trained on its training images of all classes but one; not trained twice."""
    study, site = worker.study, worker.site
    table, split = worker.drawn("folds", fold)
    out = site.out / TRAINED / left_out
    diagnosis = split.roles["image_id"].map(table.set_index("image_id")["dx"])
    unused = (split.roles["role"] == "train") & (diagnosis == left_out)
    # `calibration` plays no part in a training
    roles = split.roles.assign(role=split.roles["role"].mask(unused, "calibration"))
    header = {key: value for key, value in split.header.items() if key not in ("folds", "fold")}
    manifest = site.out / TRAINED / f"{left_out}-fold-{fold}.csv"
    Split(roles, header).save(manifest)
    system = study.baseline
    rate = rate_of(study, system, site.folders)
    recipe = study.recipe_of(system, "seed=0", f"train.optimizer.lr={rate}")
    part = f"fold-{fold}"
    units = {part: unit_recipe(recipe, f"split.manifest={manifest}")}
    record = out / f"{part}.json"
    train_units(
        recipe, units, site.data, out, record=record, only=[part], device=site.device, cache=site.cache
    )
    return Run(out / part)


def odin(model: nn.Module, x_BCHW: Tensor, known_K: Sequence[int]) -> Floats:
    """score_B of ODIN: 1 less the highest probability at TEMPERATURE, after a step of STEP.

    Args:
        model: a classifier in evaluation mode; `normalize` is taken off it, the step is behind that.
        x_BCHW: pixels of 0 to 255.
        known_K: places of the logits of the classes that trained.
    """
    known = torch.as_tensor(list(known_K))
    z_BCHW = model.get_submodule("normalize")(x_BCHW).detach().requires_grad_(True)
    log_p_BK = (_behind(model, z_BCHW)[:, known] / TEMPERATURE).log_softmax(dim=1)
    (slope_BCHW,) = torch.autograd.grad(log_p_BK.max(dim=1).values.sum(), z_BCHW)
    with torch.inference_mode():
        p_BK = (_behind(model, z_BCHW + STEP * slope_BCHW.sign())[:, known].double() / TEMPERATURE).softmax(1)
    return np.asarray(1 - p_BK.max(dim=1).values.numpy(), dtype=np.float64)


def _behind(model: nn.Module, z_BCHW: Tensor) -> Tensor:
    """logits_BC of normalised pixels."""
    logits_BC: Tensor = model.get_submodule("head")(model.get_submodule("backbone")(z_BCHW), None)[0]
    return logits_BC


def _scores_of(worker: Worker, run: Run, left_out: str, fold: int) -> pd.DataFrame:
    """Scores of a fold's held-out images by its network, with features of its training images."""
    table, split = worker.drawn("folds", fold)
    role_N, target_N = _role_of(split, table), _target_of(table)
    trains_N = (role_N == "train") & (table["dx"] != left_out).to_numpy()
    known_K = [place for place, code in enumerate(CLASSES) if code in set(table["dx"][trains_N])]
    with trusted_code():  # of a recipe that the comparison names
        saved = run.model()
    cache = open_cache(table, size=saved.size, crop=saved.crop, root=worker.site.cache)
    stages_of, logits, steps = [], [], []
    for rows in _parts(len(table)):
        x_BCHW = torch.from_numpy(cache.take(rows)).permute(0, 3, 1, 2)
        stages_of.append(stage_features(saved.model, x_BCHW))
        held = torch.from_numpy(role_N[rows] == "selection")
        if held.any():
            with torch.inference_mode():
                logits.append(saved.model(x_BCHW[held])[0][:, known_K].double().numpy())
            steps.append(odin(saved.model, x_BCHW[held], known_K))
    stages = [np.concatenate(stage) for stage in zip(*stages_of, strict=True)]
    score = of_features(stages, trains_N, target_N, role_N == "selection")
    score |= of_logits(np.concatenate(logits)) | {"odin": np.concatenate(steps)}
    scored: pd.DataFrame = table[role_N == "selection"]
    return scored.assign(target=scored["dx"], fold=fold, left_out=left_out, **score)


def _parts(images: int) -> list[Ints]:
    return np.array_split(np.arange(images), max(1, images // 64))


def _role_of(split: Split, table: pd.DataFrame) -> NDArray[np.str_]:
    role = dict(zip(split.roles["image_id"], split.roles["role"], strict=True))
    return table["image_id"].map(role).to_numpy()


def _target_of(table: pd.DataFrame) -> Ints:
    return table["dx"].map(list(CLASSES).index).to_numpy(np.int64)

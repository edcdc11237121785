"""Do what there is to do: one fold of one system after the other, or several at once.

OUT has a folder a system:

    <system>/rates/rate-<r>/    a training with the fold held out that is not scored, one a learning rate
    <system>/seed-<k>/fold-<j>/ predictions.csv of the held-out images, and run.json or record.json

The rates and the folds of a training are cross-fits of dermlens. A fold that is done is never done again;
one that was stopped goes on from its last whole epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from dermlens.data.cache import open_cache
from dermlens.data.config import DataConfig, SplitConfig
from dermlens.data.manifest import Split
from dermlens.data.predictions import AFTER, BEFORE, arrays, classes_of, read_predictions, write_predictions
from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured, table_sha256
from dermlens.errors import UserError
from dermlens.files import write_json
from dermlens.labels import CLASSES
from dermlens.metrics import balanced_accuracy_isic
from dermlens.recipe import Recipe
from dermlens.runs import Run, environment
from dermlens.studies.crossfit import train_units
from dermlens.studies.folds import check_sealed, held_out, unit_recipe
from paper.batch import run_all
from paper.plan import Folders
from paper.study import read_record, start_of
from related.classical import FeatureRecipe, Features, features, frozen_network, pipeline, probabilities
from related.heads import FittedHead
from related.isolation import stage_features
from related.king_zeng import for_population
from related.plan import RECORD, RUNS, is_done
from related.singletons import open_singletons
from related.study import Ground, Job, Study, System
from related.unseen import LEFT_OUT, strangeness

AnyFeatures = TypeVar("AnyFeatures", bound=FeatureRecipe)

PREDICTIONS = "predictions.csv"
SCORED = "images_scored"
"""In a record, how many images the predictions are of."""
GROUPED = SplitConfig(manifest="grouped-v1")


@dataclass(frozen=True)
class Site:
    """Where the comparison is run.

    Attributes:
        data: the data folder.
        folders: to work in, and of what is published.
        split: of the classical systems; the recipes of the trainings name the same.
        device, cache: as for `fit`.
        weights: a folder of starts, or none.
    """

    data: Path
    folders: Folders
    split: SplitConfig = GROUPED
    device: str = "cpu"
    cache: Path | None = None
    weights: Path | None = None

    @property
    def out(self) -> Path:
        """The working folder."""
        assert self.folders.out is not None
        return self.folders.out


@dataclass
class Worker:
    """Does the jobs of a comparison.

    Attributes:
        study: what is compared.
        site: where.
        say: takes a line about how far the work is.
    """

    study: Study
    site: Site
    say: Callable[[str], None] = print
    _asked: frozenset[str] = frozenset()
    _table: pd.DataFrame | None = None
    _features: dict[str, Features] = field(default_factory=dict)

    def work(self, jobs: Sequence[Job], processes: int = 1) -> list[Job]:
        """Do the jobs, several at once. Returns: those that failed or wait.

        Raises:
            UserError: the data folder is none.
            KeyboardInterrupt: the same command goes on.
        """
        self._table = read_configured(self.site.data, DataConfig())
        self._asked = frozenset(job.id for job in jobs)
        return run_all(jobs, self._do, self._is_done, processes=processes, say=self.say)

    def _do(self, job: Job) -> None:
        system = self.study.systems[job.system]
        doing = {"training": self._train, "adjusted": self._adjust}
        doing.get(system.kind, self._fit)(system, job)

    def _is_done(self, name: str) -> bool:
        job, folders = next(job for job in self.study.jobs if job.id == name), self.site.folders
        if job.rate is not None and name not in self._asked:
            folders = replace(folders, again=False)  # `rate_of` takes a published rate as well
        return is_done(self.study, job, folders)

    # Trainings: cross-fits whose folds are taken one by one.

    def _train(self, system: System, job: Job) -> None:
        manifest = self._singletons() if system.ground == "singletons" else None
        units = units_of(self.study, system, job, self.site.folders, manifest)
        recipe = self.study.recipe_of(system, f"seed={job.seed}")
        folder = self.site.out / job.folder
        train_units(
            recipe,
            units,
            self.site.data,
            folder,
            record=folder / "crossfit.json",
            only=[job.part],
            device=self.site.device,
            cache=self.site.cache,
        )

    def _singletons(self) -> Path:
        """The manifest of the singletons in the folder that is worked in."""
        path = self.site.out / "singletons.csv"
        if not path.is_file():
            open_singletons(self._whole, self.site.split).save(path)
        return path

    # A class that nothing was fitted on.

    def unseen(self) -> Iterator[pd.DataFrame]:
        """Scores of the images of the folds by what saw all classes but one, for `unseen_table`.

        Yields:
            After each fold, all that there is so far.
        """
        self._table = read_configured(self.site.data, DataConfig())
        recipe = self._with_start(FeatureRecipe(name="unseen"))
        table, _ = self._drawn("folds", 0)
        model = frozen_network(recipe, recipe.cached)
        cache = open_cache(table, size=recipe.cached, crop="squash", root=self.site.cache)
        parts = np.array_split(np.arange(len(table)), max(1, len(table) // 64))
        found = [
            stage_features(model, torch.from_numpy(cache.take(rows)).permute(0, 3, 1, 2)) for rows in parts
        ]
        stages = [np.concatenate(stage) for stage in zip(*found, strict=True)]
        self.say(f"features of {len(stages)} stages of {len(table)} images")
        target_N = table["dx"].map(list(CLASSES).index).to_numpy(np.int64)
        scored = []
        for fold in range(self.study.folds):
            split = self._drawn("folds", fold)[1]
            role = dict(zip(split.roles["image_id"], split.roles["role"], strict=True))
            role_N = table["image_id"].map(role).to_numpy()
            for left_out in LEFT_OUT:
                trains_N = (role_N == "train") & (table["dx"] != left_out).to_numpy()
                score = strangeness(stages, trains_N, target_N, role_N == "selection")
                rows = table[role_N == "selection"].assign(target=table["dx"], fold=fold, left_out=left_out)
                scored.append(rows.assign(**score))
                self.say(f"fold {fold}, without {left_out}")
            yield pd.concat(scored, ignore_index=True)

    # Classical systems and heads: features of each image, and what is fitted on those that train.

    def _fit(self, system: System, job: Job) -> None:
        """Fit on the images that train, and write the predictions of the others."""
        began = time.monotonic()
        table, split = self._drawn(system.ground, job.fold)
        classes = list(CLASSES)
        role_N = table["image_id"].map(dict(zip(split.roles["image_id"], split.roles["role"], strict=True)))
        target_N = table["dx"].map(classes.index).to_numpy(np.int64)
        trains_N, scored_N = (role_N == "train").to_numpy(), (role_N == "selection").to_numpy()
        recipe: FeatureRecipe
        if system.kind == "head":
            recipe = self._with_start(self.study.head_of(system))
            lr = job.rate or rate_of(self.study, system, self.site.folders)
            recipe = recipe.model_copy(update={"lr": lr})
            features_NF = self._features_of(recipe, table)
            lesion_N = table["lesion_id"].to_numpy(dtype=str)
            head = FittedHead(recipe, job.seed)
            head.fit(features_NF[trains_N], target_N[trains_N], lesion_N[trains_N], len(classes))
            p_NC = head.probabilities(features_NF[scored_N])
            facts: dict[str, Any] = {"parameters": head.parameters, "temperature": head.temperature}
        else:
            recipe = self._with_start(self.study.classical_of(system))
            features_NF = self._features_of(recipe, table)
            fitted = pipeline(recipe, job.seed).fit(features_NF[trains_N], target_N[trains_N])
            p_NC, facts = probabilities(fitted, features_NF[scored_N], len(classes)), {}
        scored = table[scored_N].reset_index(drop=True)
        predicted = scored.assign(role="selection", target=scored["dx"])
        predicted = predicted.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(classes)})
        facts |= {
            "recipe": recipe.model_dump(mode="json", exclude={"weights"}),
            "table_sha256": table_sha256(self._whole),
            "images_trained_on": int(trains_N.sum()),
            "features": int(features_NF.shape[1]),
        }
        self._write(job, predicted[[*BEFORE, *(f"p_{code}" for code in classes), *AFTER]], began, facts)

    def _adjust(self, system: System, job: Job) -> None:
        """Weigh the predictions of another system anew, for equal class shares."""
        began = time.monotonic()
        recipe = self.study.adjusted_of(system)
        run = Run(self.site.out / job.needs[0])
        if not run.split_file.is_file():
            raise UserError(f"{run.path} is not there: train {recipe.of} into this folder first")
        split = split_of(run)
        table = held_out(run, split)
        classes = classes_of(table)
        p_NC = arrays(table, classes)[1]
        dx = self._whole.set_index("image_id")["dx"].reindex(split.ids("train"))
        sample_C = np.array([(dx == code).mean() for code in classes], dtype=np.float64)
        p_NC = for_population(p_NC, sample_C, np.full(len(classes), 1 / len(classes)))
        predicted = table.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(classes)})
        self._write(job, predicted, began, {"recipe": recipe.model_dump(mode="json")})

    def _write(self, job: Job, predicted: pd.DataFrame, began: float, facts: dict[str, Any]) -> None:
        """The predictions of a fold, and last the record that it is done."""
        folder = self.site.out / job.id
        folder.mkdir(parents=True, exist_ok=True)
        write_predictions(folder / PREDICTIONS, predicted)
        seconds = round(time.monotonic() - began, 1)
        facts |= {"seconds": seconds, SCORED: len(predicted)}
        write_json(folder / RECORD, facts | environment())

    @property
    def _whole(self) -> pd.DataFrame:
        assert self._table is not None, "`work` reads it"
        return self._table

    def _drawn(self, ground: Ground, fold: int) -> tuple[pd.DataFrame, Split]:
        """The images outside the test role, by image id, and the split of a fold."""
        if ground == "singletons":
            split = open_singletons(self._whole, self.site.split)
        else:
            config = self.site.split.model_copy(update={"folds": self.study.folds + 1, "fold": fold})
            split = resolve_split(self._whole, config)
        check_sealed(self._whole, split)
        kept = set(split.roles.loc[split.roles["role"] != "test", "image_id"])
        table = self._whole[self._whole["image_id"].isin(kept)]
        return table.sort_values("image_id", ignore_index=True), split

    def _features_of(self, recipe: FeatureRecipe, table: pd.DataFrame) -> Features:
        """Features of all images of the folds, made once a process: none of them looks at another image."""
        key = recipe.key
        if key not in self._features:
            size, root = recipe.cached, self.site.cache
            cache, masks = open_cache(table, size=size, crop="squash", root=root), None
            if recipe.lesion != "none":
                if table["mask"].isna().any():
                    raise UserError(f"{self.site.data} lacks lesion masks: put them into its folder masks")
                masks = open_cache(table, size=size, crop="squash", root=root, what="mask")
            parts = np.array_split(np.arange(len(table)), max(1, len(table) // 512))
            self._features[key] = np.concatenate(
                [
                    features(cache.take(rows), recipe, None if masks is None else masks.take(rows)[..., 0])
                    for rows in parts
                ]
            )
        return self._features[key]

    def _with_start(self, recipe: AnyFeatures) -> AnyFeatures:
        """The recipe, its network's start from the folder of starts if there is one."""
        if recipe.features != "backbone":
            return recipe
        for override in start_of(recipe.backbone, self.site.weights):
            key, _, value = override.partition("=")
            if key == "model.weights":
                return recipe.model_copy(update={"weights": value})
        return recipe


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

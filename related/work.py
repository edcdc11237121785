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
from numpy.typing import NDArray

from dermlens.data.cache import open_cache
from dermlens.data.config import DataConfig, SplitConfig
from dermlens.data.manifest import Split
from dermlens.data.predictions import AFTER, BEFORE, arrays, classes_of, write_predictions
from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured, table_sha256
from dermlens.errors import UserError
from dermlens.files import write_json
from dermlens.labels import CLASSES
from dermlens.plugins import trusted_code
from dermlens.runs import Run, environment
from dermlens.studies.crossfit import train_units
from dermlens.studies.folds import check_sealed, held_out
from dermlens.training.predict import predict_table
from paper.batch import run_all
from paper.plan import Folders
from paper.study import start_of
from related.away import FOLDER
from related.classical import FeatureRecipe, Features, features, pipeline, probabilities
from related.heads import FittedHead
from related.king_zeng import for_population
from related.masks import MASKED
from related.plan import PREDICTIONS, RECORD, SCORED, is_done
from related.rates import best_rate, is_whole, rate_of, rates_of, split_of, units_of
from related.singletons import open_singletons
from related.study import Ground, Job, Study, System
from related.subset import best_subset, mean_of_members
from related.views import mean_of_views

AnyFeatures = TypeVar("AnyFeatures", bound=FeatureRecipe)

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
        doing = {
            "training": self._train,
            "adjusted": self._adjust,
            "views": self._view,
            "subset": self._choose,
        }
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

    # Classical systems and heads: features of each image, and what is fitted on those that train.

    def _fit(self, system: System, job: Job) -> None:
        """Fit on the images that train, and write the predictions of the others."""
        began = time.monotonic()
        table, split = self.drawn(system.ground, job.fold)
        role = dict(zip(split.roles["image_id"], split.roles["role"], strict=True))
        scored = table[(table["image_id"].map(role) == "selection").to_numpy()].reset_index(drop=True)
        p_NC, facts = self._fitted(system, job, scored, table)
        predicted = scored.assign(role="selection", target=scored["dx"])
        predicted = predicted.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(CLASSES)})
        self._write(job, predicted[[*BEFORE, *(f"p_{code}" for code in CLASSES), *AFTER]], began, facts)

    def _fitted(
        self, system: System, job: Job, scored: pd.DataFrame, of: pd.DataFrame
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """p_NC of some images by what is fitted on the images of a fold that train, and what it is.

        Args:
            system: a classical one or a head.
            job: a fold or a rate.
            scored: the images.
            of: a table that has them, whose features are made together.
        """
        table, split = self.drawn(system.ground, job.fold)
        classes = list(CLASSES)
        role_N = table["image_id"].map(dict(zip(split.roles["image_id"], split.roles["role"], strict=True)))
        target_N = table["dx"].map(classes.index).to_numpy(np.int64)
        trains_N = (role_N == "train").to_numpy()
        rows = of["image_id"].isin(set(scored["image_id"])).to_numpy()
        assert of.loc[rows, "image_id"].tolist() == scored["image_id"].tolist(), "one order"
        recipe: FeatureRecipe
        facts: dict[str, Any]
        if system.kind == "head":
            recipe = self.with_start(self.study.head_of(system))
            lr = job.rate or rate_of(self.study, system, self.site.folders)
            recipe = recipe.model_copy(update={"lr": lr})
            features_NF = self._features_of(recipe, table)
            lesion_N = table["lesion_id"].to_numpy(dtype=str)
            head = FittedHead(recipe, job.seed)
            head.fit(features_NF[trains_N], target_N[trains_N], lesion_N[trains_N], len(classes))
            p_NC = head.probabilities(self._features_of(recipe, of)[rows])
            facts = {"parameters": head.parameters, "temperature": head.temperature}
        else:
            recipe = self.with_start(self.study.classical_of(system))
            features_NF = self._features_of(recipe, table)
            fitted = pipeline(recipe, job.seed).fit(features_NF[trains_N], target_N[trains_N])
            p_NC, facts = probabilities(fitted, self._features_of(recipe, of)[rows], len(classes)), {}
        return p_NC, facts | {
            "recipe": recipe.model_dump(mode="json", exclude={"weights"}),
            "table_sha256": table_sha256(self._whole),
            "images_trained_on": int(trains_N.sum()),
            "features": int(features_NF.shape[1]),
        }

    # Images of other clinics, each asked of the network of one fold.

    def away(self, table: pd.DataFrame, chosen: Sequence[Job]) -> Iterator[tuple[System, int, pd.DataFrame]]:
        """What the systems of some jobs, trained at home, say of other images.

        Args:
            table: as `read_away` gives it.
            chosen: the jobs; a system and seed of which a fold is not trained is left out.

        Yields:
            System, seed, and predictions by image id.
        """
        self._table = read_configured(self.site.data, DataConfig())
        seeds = {(job.system, job.seed): None for job in chosen if job.rate is None}
        for name, seed in seeds:
            system = self.study.systems[name]
            jobs = [one for one in self.study.jobs_of(system) if one.rate is None and one.seed == seed]
            is_there = [is_whole(system, self.site.out / one.id) for one in jobs]
            trained = system.kind != "training" or all(is_there)
            if not (trained and system.ground == "folds" and self._takes_any_image(system)):
                self.say(
                    f"{name}, seed {seed}: left out, it has no folds here that other images can be asked of"
                )
                continue
            parts = [self._asked_of(system, job, table) for job in jobs]
            yield system, seed, pd.concat(parts).sort_values("image_id", ignore_index=True)

    def _takes_any_image(self, system: System) -> bool:
        """Whether a system can be asked of an image without a mask, and is not derived of others."""
        if system.kind == "classical":
            return self.study.classical_of(system).lesion not in MASKED
        return system.kind in ("training", "head")

    def _asked_of(self, system: System, job: Job, table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["fold"] == job.fold].reset_index(drop=True)
        if system.kind == "training":
            with trusted_code():
                saved = Run(self.site.out / job.id).model()
            found = predict_table(saved, rows, of=table, cache_root=self.site.cache, device=self.site.device)
            return found.assign(role=FOLDER, fold=job.fold)
        p_NC, _ = self._fitted(system, job, rows, table)
        found = rows[["image_id", "lesion_id", "fold"]].assign(role=FOLDER, target=rows["dx"])
        return found.assign(**{f"p_{code}": p_NC[:, place] for place, code in enumerate(CLASSES)})

    def _adjust(self, system: System, job: Job) -> None:
        """Weigh the predictions of another system anew, for equal class shares."""
        began = time.monotonic()
        recipe = self.study.adjusted_of(system)
        run = self._trained(job.needs[0])
        split = split_of(run)
        table = held_out(run, split)
        classes = classes_of(table)
        p_NC = arrays(table, classes)[1]
        dx = self._whole.set_index("image_id")["dx"].reindex(split.ids("train"))
        sample_C = np.array([(dx == code).mean() for code in classes], dtype=np.float64)
        p_NC = for_population(p_NC, sample_C, np.full(len(classes), 1 / len(classes)))
        predicted = table.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(classes)})
        self._write(job, predicted, began, {"recipe": recipe.model_dump(mode="json")})

    def _trained(self, name: str) -> Run:
        """The run of a fold in the folder that is worked in. Raises: UserError: it is not there."""
        run = Run(self.site.out / name)
        if not run.split_file.is_file():
            raise UserError(f"{run.path} is not there: train {name.split('/')[0]} into this folder first")
        return run

    def _view(self, system: System, job: Job) -> None:
        """Ask the networks of another system for the mean of many views."""
        began = time.monotonic()
        recipe = self.study.views_of(system)
        run = self._trained(job.needs[0])
        table = held_out(run, split_of(run))
        with trusted_code():  # of a recipe that the comparison names
            saved = run.model()
        rows = self._whole.set_index("image_id", drop=False).loc[table["image_id"]]
        light = saved.colour_constancy
        cache = open_cache(
            rows, size=recipe.cached, crop=saved.crop, colour_constancy=light, root=self.site.cache
        )
        meta_NM = saved.encoder.encode(rows["age"], rows["sex"].tolist(), rows["site"].tolist())
        place_N = np.array([cache.index[image] for image in table["image_id"]])
        parts = np.array_split(np.arange(len(table)), max(1, len(table) // 32))
        p_NC = np.concatenate(
            [mean_of_views(saved, recipe, cache.take(place_N[part]), meta_NM[part]) for part in parts]
        )
        predicted = table.assign(**{f"p_{code}": p_NC[:, place] for place, code in enumerate(saved.classes)})
        self._write(job, predicted, began, {"recipe": recipe.model_dump(mode="json")})

    def _choose(self, system: System, job: Job) -> None:
        """The mean of the systems that did best together on the fold that is not scored."""
        began = time.monotonic()
        recipe = self.study.subset_of(system)
        chooses = {}
        for name in recipe.members:
            member = self.study.systems[name]
            rate = best_rate(rates_of(self.study, member, self.site.out))
            run = self._trained(f"{name}/rates/rate-{rate:g}")
            chooses[name] = held_out(run, split_of(run))
        chosen = best_subset(chooses)
        runs = [self._trained(f"{name}/seed-{job.seed}/{job.part}") for name in chosen]
        predicted = mean_of_members([held_out(run, split_of(run)) for run in runs])
        facts = {"recipe": recipe.model_dump(mode="json"), "chosen": list(chosen)}
        self._write(job, predicted, began, facts)

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
        if self._table is None:
            self._table = read_configured(self.site.data, DataConfig())
        return self._table

    def drawn(self, ground: Ground, fold: int) -> tuple[pd.DataFrame, Split]:
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
        key = f"{recipe.key} {table['image_id'].iloc[0]} {len(table)}"
        if key not in self._features:
            size, root = recipe.cached, self.site.cache
            cache, masks = open_cache(table, size=size, crop="squash", root=root), None
            if recipe.lesion in MASKED:
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

    def with_start(self, recipe: AnyFeatures) -> AnyFeatures:
        """The recipe, its network's start from the folder of starts if there is one."""
        if recipe.features != "backbone":
            return recipe
        for override in start_of(recipe.backbone, self.site.weights):
            key, _, value = override.partition("=")
            if key == "model.weights":
                return recipe.model_copy(update={"weights": value})
        return recipe

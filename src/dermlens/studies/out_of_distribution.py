"""How images of another kind, and of a class left out of training, stand out to a network.

Shapes: N images, S out-of-distribution images.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Unpack, get_args

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_sample_images

from dermlens import metrics
from dermlens.calibration.decision import label_outputs, run_outputs
from dermlens.calibration.out_of_distribution import fit_ood
from dermlens.calibration.probabilities import Labelled, lesion_folds
from dermlens.data.manifest import Split
from dermlens.data.predictions import write_csv
from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured, read_set, table_sha256
from dermlens.errors import UserError, nearest
from dermlens.evaluation.intervals import draw_lesions, estimate
from dermlens.files import atomic_path, write_text
from dermlens.metrics import Floats
from dermlens.predict.decision import Kind, ood_scores
from dermlens.predict.pictures.images import encoded
from dermlens.predict.sources.folders import links_followed
from dermlens.recipe import Recipe, parse_recipe
from dermlens.runs import Run
from dermlens.studies.folds import check_fold, check_sealed, train_fold
from dermlens.studies.reliability import without_metadata
from dermlens.training.machine import Where

KINDS: tuple[Kind, ...] = get_args(Kind)
FITTED = ("train", "selection", "calibration")
"""The roles that a score is fitted on, is judged by, and has its threshold from, in this order."""
REPLICATES = 1000
PHOTOGRAPHS_SET = "photographs"
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "ihc", "moon", "motorcycle_left", "page", "retina", "rocket", "text",
)  # fmt: skip
"""Pictures that scikit-image carries in its package, by the name of their file."""


def out_of_distribution_table(
    train: Labelled, calibration: Labelled, familiar: Labelled, sets: Mapping[str, Labelled]
) -> pd.DataFrame:
    """AUROC of each score for each out-of-distribution set, and what its threshold does to them.

    Args:
        train: the training role, which the scores are fitted on.
        calibration: the calibration role, which fixes the thresholds.
        familiar: images of the known kind that are new to both, such as the selection role.
        sets: outputs by the name of the set; their truth is not looked at.

    Returns:
        A row a set and score: `set`, `score`, `images`, `auroc` with `low` and `high` (95 % intervals over
        lesions), `flagged`, the share of its images above the threshold, and `familiar_flagged`, that of
        the familiar images.
    """
    rows = []
    for kind in KINDS:
        ood, arrays = fit_ood(kind, train, calibration)

        def scores(of: Labelled) -> Floats:
            return ood_scores(ood.kind, of.logits_NC, of.features_ND, arrays, ood.neighbours)  # noqa: B023

        familiar_N = scores(familiar)
        for name, found in sets.items():
            ood_S = scores(found)
            rows.append(
                {"set": name, "score": kind, "images": len(ood_S)}
                | _auroc(familiar_N, familiar.lesion_N, ood_S, found.lesion_N)
                | {
                    "flagged": float((ood_S > ood.threshold).mean()),
                    "familiar_flagged": float((familiar_N > ood.threshold).mean()),
                }
            )
    return pd.DataFrame(rows)


def write_photographs(folder: Path, *, pieces: int = 8) -> pd.DataFrame:
    """Cut ordinary photographs into pieces and make a table of them that a network can be shown.

    Pieces of a picture share its `lesion_id`. The pictures are scikit-image's or, where that is not
    installed, the two of scikit-learn.

    Args:
        folder: to write the pieces to, as PNG.
        pieces: squares from each picture, of a half to the whole of its shorter side.

    Returns:
        A LesionTable whose `dx` is `none`.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, picture in _photographs().items():
        height, width = picture.shape[:2]
        for piece in range(pieces):
            side = int(rng.integers(min(height, width) // 2, min(height, width) + 1))
            top, left = (int(rng.integers(0, length - side + 1)) for length in (height, width))
            image_id = f"{name}_{piece}"
            path = folder / f"{image_id}.png"
            with atomic_path(path) as part:
                cut = Image.fromarray(picture[top : top + side, left : left + side])
                part.write_bytes(encoded(cut, "PNG"))
            rows.append({"image_id": image_id, "lesion_id": name, "path": str(path.resolve())})
    return pd.DataFrame(rows).assign(
        dx="none",
        age=np.nan,
        sex="unknown",
        site="unknown",
        dx_type="unknown",
        source="photographs",
        mask=None,
        aspect=np.nan,
    )


def read_sets(
    folders: Mapping[str, Path],
    maps: Mapping[str, Any],
    photographs: Path | None = None,
    *,
    where_needed: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, pd.DataFrame]:
    """Read labelled folders of pictures to show to a network.

    Args:
        folders: by the name of the set.
        maps: columns, labels and values, as `read_table` takes them.
        photographs: a folder to write pieces of ordinary photographs to, which are then a set as well.
        where_needed: use `maps` only for a folder that cannot be read without.
        say: takes each sentence on how a folder was read.

    Raises:
        UserError: a folder cannot be read, or a set is called as the photographs are.
    """
    if photographs is not None and PHOTOGRAPHS_SET in folders:
        raise UserError(f"--photographs makes a set called {PHOTOGRAPHS_SET}: give yours another name")
    found = {}
    for name, folder in folders.items():
        try:
            read = read_set(folder, **({} if where_needed else maps))
        except UserError:
            if not (where_needed and any(maps.values())):
                raise
            read = read_set(folder, **maps)
        found[name] = read.announced_to(say)
    if photographs is not None:
        found[PHOTOGRAPHS_SET] = write_photographs(photographs)
    return found


def _photographs() -> dict[str, np.ndarray]:
    """Pictures as uint8 RGB, by name."""
    if importlib.util.find_spec("skimage") is None:
        found = load_sample_images()
        return {Path(name).stem: image for name, image in zip(found.filenames, found.images, strict=True)}
    # Read as files: its functions fetch a picture that is not there from the network.
    with as_file(files("skimage") / "data") as folder:
        paths = sorted(path for path in folder.iterdir() if path.stem in PHOTOGRAPHS)
        pictures = {}
        for path in paths:
            with Image.open(path) as picture:
                pictures[path.stem] = np.asarray(picture.convert("RGB"))
        return pictures


def _auroc(familiar_N: Floats, lesion_N: Any, ood_S: Floats, lesion_S: Any) -> dict[str, Any]:
    """AUROC with its interval over lesions."""
    outside = np.concatenate([np.zeros(len(familiar_N), dtype=bool), np.ones(len(ood_S), dtype=bool)])
    score = np.concatenate([familiar_N, ood_S])
    lesions = np.array(
        [*(f"familiar {name}" for name in lesion_N), *(f"outside {name}" for name in lesion_S)]
    )
    resamples = draw_lesions(lesions, outside.astype(np.int64), replicates=REPLICATES, seed=0)
    found = estimate(
        lambda weights: {("auroc",): metrics.ranking(outside, score, weights).auc}, resamples, level=0.95
    )["auroc",]
    return {"auroc": found["value"], "low": found["low"], "high": found["high"]}


def far_ood(
    run: Run,
    sets: Mapping[str, pd.DataFrame],
    path: Path,
    *,
    metadata: bool = True,
    data: Path | None = None,
    say: Callable[[str], None] | None = None,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """Score out-of-distribution sets against images of the run that it was not trained on.

    These are of its selection role. A model that ships has none: then half of the lesions of the calibration
    role are, and the other half has the threshold.

    Args:
        run: a completed run with a train and a calibration role.
        sets: LesionTables by the name of the set; `write_photographs` makes one, and `read_table` one of
            photographs of lesions that no dermatoscope took. Their diagnoses are not looked at.
        path: of the CSV to write.
        metadata: whether the network gets age, sex and site. Sets that have none can stand out by
            that alone; without it the run's own images lose theirs too, those that fit the scores included.
        data: as for `Run.table`.
        say: takes sentences on what was read of the run's own images.
        **where: see `Where`.

    Returns:
        The rows of `out_of_distribution_table`.

    Raises:
        UserError: there is no set, the split lacks a role, or images are not there.
    """
    if not sets:
        raise UserError("no images of another kind: name a folder with --other DIR, or --photographs DIR")
    saved = run.model()
    known = (lambda table: table) if metadata else without_metadata
    roles = FITTED if run.split().ids("selection") else ("train", "calibration")
    own = run_outputs(run, saved, roles, data=data, reduce=known, **where, say=say)
    train, *held_out = (own[role].labelled for role in roles)
    familiar, calibration = held_out if len(held_out) == 2 else _halves(*held_out)
    shown = {name: label_outputs(saved, known(table), **where) for name, table in sets.items()}
    result = out_of_distribution_table(train, calibration, familiar, shown)
    write_csv(path, result)
    return result


def _halves(labelled: Labelled) -> tuple[Labelled, Labelled]:
    """Half of the lesions of each class, and the other half."""
    first, second = next(lesion_folds(labelled.target_N, labelled.lesion_N, folds=2, seed=0))
    return labelled.at(first), labelled.at(second)


# Near out-of-distribution: a class is left out of the training, and its images must stand out to the network.
#
# without-<class>/      a run directory each
# data-without-<class>/, split-without-<class>.csv      what it was trained on
# near_ood.csv          the rows of `out_of_distribution_table`, the class left out as `set`


TABLE = "near_ood.csv"


@dataclass(frozen=True, slots=True)
class _Without:
    """A training without a class.

    Attributes:
        code: the class.
        recipe: of the training.
        folder: for the table of the others, and the images by a link.
        table: of the others.
        split: of the others.
        run: where it is trained.
    """

    code: str
    recipe: Recipe
    folder: Path
    table: pd.DataFrame
    split: Split
    run: Run


def unseen_class(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """Train the recipe without each class in turn and score the images of that class as out-of-distribution.

    Familiar are the images of the selection role. Images of the test role are looked at by nothing.

    Args:
        recipe: with train, selection and calibration roles; one that is quick to train.
        data: the data folder.
        out: a folder for the runs; completed ones of the same recipe and data are not trained again.
        classes: to leave out now; none for all of the recipe's.
        **where: see `Where`.

    Returns:
        The rows of `out_of_distribution_table` for every class that has been left out so far.

    Raises:
        UserError: a class is not of the recipe, the recipe learns from more than the table, the split opens
            sealed test images, `out` holds runs of another recipe or split or rows whose runs are gone, or as
            for `fit`.
    """
    wanted = tuple(classes or recipe.data.classes)
    for code in wanted:
        if code not in recipe.data.classes:
            raise UserError(f"class {code} is not one of the recipe's{nearest(code, recipe.data.classes)}")
    if recipe.data.also_train or recipe.train.distillation is not None:
        raise UserError(
            "further images and soft labels know the class that is left out: leave them out too"
            " (--set data.also_train=[] --set train.distillation=null)"
        )
    table = read_configured(data, recipe.data)
    split = resolve_split(table, recipe.split, siblings=recipe.paper.siblings)
    check_sealed(table, split)
    trainings = {code: _without(code, recipe, table, split, out) for code in recipe.data.classes}
    for one in trainings.values():  # the others too, whose rows stand in the table already
        _check(one)
    rows = _known(out, wanted, recipe.data.classes)
    for code in wanted:
        one = trainings[code]
        _write(one, data)
        with links_followed():
            run = train_fold(one.recipe, one.folder, one.run.path, **where)
        saved = run.model()
        with links_followed():
            found = run_outputs(run, saved, FITTED, **where)
        unsealed = table["image_id"].isin([image for role in FITTED for image in split.ids(role)])
        left_out = table[(table["dx"] == one.code) & unsealed].reset_index(drop=True)
        train, familiar, calibration = (found[role].labelled for role in FITTED)
        sets = {one.code: label_outputs(saved, left_out, of=table, **where)}
        rows.append(out_of_distribution_table(train, calibration, familiar, sets))
        write_csv(out / TABLE, pd.concat(rows, ignore_index=True))
    return pd.concat(rows, ignore_index=True)


def _known(out: Path, wanted: Sequence[str], classes: Sequence[str]) -> list[pd.DataFrame]:
    """The rows of classes that were left out before and are not asked for now; of runs that were checked."""
    if not (out / TABLE).is_file():
        return []
    known = pd.read_csv(out / TABLE)
    known = known[~known["set"].isin(wanted)]
    for code in known["set"].unique():
        run = Run(out / f"without-{code}")
        if code not in classes or not run.is_completed:
            raise UserError(
                f"{out / TABLE} has rows of {code}, of which {run.path} is no completed run of this recipe:"
                " name a new folder with --out"
            )
    return [known]


def _without(code: str, recipe: Recipe, table: pd.DataFrame, split: Split, out: Path) -> _Without:
    """The training without a class; nothing is written."""
    kept = table[table["dx"] != code].reset_index(drop=True)
    roles = split.roles[split.roles["image_id"].isin(kept["image_id"])].reset_index(drop=True)
    manifest = out / f"split-without-{code}.csv"
    own = parse_recipe(_recipe_text(code, recipe, manifest), f"recipe {recipe.name} without {code}")
    return _Without(
        code=code,
        recipe=own,
        folder=out / f"data-without-{code}",
        table=kept,
        split=Split(roles, split.header | {"table-sha256": table_sha256(kept)}),
        run=Run(out / f"without-{code}"),
    )


def _check(one: _Without) -> None:
    """See that a run that is there is of this recipe, table and split, before anything is written."""
    check_fold(one.run, one.recipe, one.split.header["table-sha256"])
    # Recipes of two manifests are one, once each class has a manifest of its own.
    if one.run.split_file.is_file() and one.run.split().roles.to_csv() != one.split.roles.to_csv():
        raise UserError(f"{one.run.path} is of another split: name a new folder with --out")


def _write(one: _Without, data: Path) -> None:
    """Table and split without the class, and a link to the images, which stay where they are."""
    one.folder.mkdir(parents=True, exist_ok=True)
    link = one.folder / "images"
    # The nearest table is the one that a folder is read by.
    link.unlink(missing_ok=True)
    link.symlink_to((data if data.is_dir() else data.parent).resolve(), target_is_directory=True)
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "site", "source"]
    text = one.table[columns].rename(columns={"site": "localization"}).to_csv(index=False)
    write_text(one.folder / "HAM10000_metadata.csv", text)
    one.split.save(Path(str(one.recipe.split.manifest)))


def _recipe_text(code: str, recipe: Recipe, manifest: Path) -> str:
    """The recipe without a class, wherever the class has a number of its own."""
    content: dict[str, Any] = recipe.model_dump(mode="json")
    content["name"] = f"{recipe.name}-without-{code}"
    content["data"] |= {
        "classes": [other for other in recipe.data.classes if other != code],
        "described": {other: facts for other, facts in recipe.data.facts.items() if other != code},
        "columns": {},
        "labels": {},
    }
    content["split"]["manifest"] = str(manifest)
    imbalance = content["imbalance"]
    _drop(code, imbalance["weights"], imbalance["sampler"])
    return json.dumps(content)


def _drop(code: str, *branches: Any) -> None:
    """Take a class out of every mapping of these, at any depth."""
    for branch in branches:
        if isinstance(branch, dict):
            branch.pop(code, None)
            _drop(code, *branch.values())

"""What a report reads of a run: history, counts, people, images, its decision, and scores elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.data.protocols import lesion_groups
from dermlens.data.table import read_configured, read_table, table_sha256
from dermlens.errors import UserError
from dermlens.evaluation.detection import sought_recall
from dermlens.evaluation.ledger import run_openings
from dermlens.evaluation.score import ROLE_ORDER
from dermlens.labels import Vocabulary
from dermlens.predict.sources.vocabulary import group_of
from dermlens.records import RoleScores, ScoredSet
from dermlens.report import interpretation as words
from dermlens.report.tables import count, in_role_order, subgroup_tables
from dermlens.runs import Run

OUT_OF_DISTRIBUTION = "*_ood*.csv"
"""What `analyze out-of-distribution` and `analyze unseen-class` write; cards show those of a run."""

SAME = 5e-4
"""Another machine's forward pass moves a calibration error by less; another decision by far more."""


def read_calibration(run: Run, role: str, scores: Mapping[str, Any]) -> pd.DataFrame | None:
    """calibration.csv of the decision report of a role; none where there is no report.

    Args:
        run: the run.
        role: that it was made of.
        scores: of that role, in metrics.json.

    Raises:
        UserError: the file is no such table, or of a decision that the run has no longer.
    """
    path = run.decision_reports / role / "calibration.csv"
    if not path.is_file():
        return None
    table = _read(path, words=("prior", "stage"), numbers=("ece", "log_loss", "brier"))
    after = table[(table["prior"] == "own") & (table["stage"] == "after")]
    for name in ("ece", "log_loss"):
        if len(after) != 1 or not abs(float(after[name].iloc[0]) - scores["overall"][name]["value"]) < SAME:
            raise UserError(
                f"{path} is of other probabilities than metrics.json: write it again with `dermlens"
                f" analyze reliability {run.path} --role {role} --out {path.parent}`"
            )
    return table


def read_out_of_distribution(run: Run) -> dict[str, pd.DataFrame]:
    """Out-of-distribution tables by the name of their file. Raises: UserError where one is no such table."""
    numbers = ("images", "auroc", "low", "high", "flagged", "familiar_flagged")
    paths = sorted(run.path.glob(OUT_OF_DISTRIBUTION))
    return {path.name: _read(path, words=("set", "score"), numbers=numbers) for path in paths}


def read_dermoscopy(run: Run) -> pd.DataFrame | None:
    """What `calibrate --not-dermoscopy` measured; none where the model cannot tell. Raises: UserError."""
    document = run.document()
    if not run.dermoscopy_file.is_file() or document is None or document.dermoscopy is None:
        return None
    return _read(
        run.dermoscopy_file,
        words=("set", "dermoscopy"),
        numbers=("images", "lesions", "taken", "low", "high", "taken_unseen"),
    )


def read_missing_metadata(run: Run) -> pd.DataFrame | None:
    """Scores with less metadata of the patients; none where it was not measured.

    Raises:
        UserError: the file is no such table, or its first row, where nothing is withheld, is of other scores
            than metrics.json.
    """
    path = run.missing_metadata_file
    if not path.is_file():
        return None
    measures = [f"{name}{end}" for name in METADATA_MEASURES for end in ("", "_low", "_high")]
    table = _read(path, words=("metadata", "role"), numbers=("images", *measures))
    first = table.iloc[0]
    scores = run.metrics.roles.get(first["role"])
    if scores is None:
        raise UserError(f"{path} is of role {first['role']}, which metrics.json next to it has no scores of")
    now = {name: measured(scores, name) for name in METADATA_MEASURES} | {"images": scores["images"]}
    if not all(np.isclose(first[name], now[name], rtol=0, atol=SAME, equal_nan=True) for name in now):
        raise UserError(
            f"{path} is of other predictions than metrics.json: write it again with `dermlens analyze"
            f" missing-metadata {run.path} --role {first['role']} --out {path}`"
        )
    return table


def read_other_sets(run: Run) -> dict[str, RoleScores]:
    """What metrics.json says of the role `external`, by the name of the set that was scored.

    Raises:
        UserError: one has no such role.
    """
    found = {}
    for scored in run.scored_sets:
        roles = scored.metrics.roles
        if "external" not in roles:
            raise UserError(
                f"{scored.metrics_file} has no scores of a role external, which `dermlens evaluate --data`"
                " writes"
            )
        found[scored.path.name] = roles["external"]
    return found


OLDER_COLUMNS = {"told": "metadata"}
"""Columns of tables of earlier versions, by today's names."""


def measured(scores: Mapping[str, Any], name: str, end: str = "value") -> float:
    """One of `METADATA_MEASURES` of a role's scores, or an end of its interval; NaN where undefined."""
    place = METADATA_MEASURES[name]
    found: Any = scores if place else sought_recall(scores)
    for key in (*place, end):
        found = (found or {}).get(key)
    return math.nan if found is None else float(found)


def _read(path: Path, *, words: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """A table with a row or more, its columns `words` text and `numbers` float, NaN where empty."""
    hint = "a file of this name is a table that dermlens wrote"
    try:
        table = pd.read_csv(path).rename(columns=OLDER_COLUMNS)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a CSV table: {' '.join(str(error).split())}; {hint}") from error
    if lacking := [name for name in (*words, *numbers) if name not in table.columns]:
        raise UserError(f"{path} lacks column {lacking[0]}; {hint}")
    if table.empty:
        raise UserError(f"{path} has no row below its header; {hint}")
    for name in numbers:
        column = pd.to_numeric(table[name], errors="coerce")
        if (bad := column.isna() & table[name].notna()).any():
            row = int(np.flatnonzero(bad)[0])
            raise UserError(
                f"{path}, row {row + 2}: {name} is {table[name].iloc[row]!r}; it must be a number"
            )
        table[name] = column
    return table.astype(dict.fromkeys(words, str))


class RunData:
    """A scored run and its data, as the page and the card show them; images are read when asked for.

    Attributes:
        run: the run.
        scored: the folder whose scores are meant, as `find_scored` gives it.
        metrics: of that folder.
        predictions: of that folder.
        record: run.json.
        recipe: of the run; none where that is gone.

    Args:
        run: with metrics.json and predictions.csv.
        data: the folder the user named; none for the one in run.json.

    Raises:
        UserError: the run has no metrics, no scored role or no predictions.
    """

    def __init__(self, run: Run, data: Path | None = None) -> None:
        self.run, self._data = run, data
        self.scored = find_scored(run, data)
        self.metrics = self.scored.metrics
        if not self.metrics.roles:
            raise UserError(
                f"{self.scored.metrics_file} has no scored role: `dermlens evaluate {run.path}` scores the"
                " run again"
            )
        self.predictions = self.scored.predictions()
        self.record = run.read_record()
        self.recipe = run.recipe if run.recipe_file.is_file() else None
        self.classes = list(self.metrics.classes)
        self.vocabulary = Vocabulary(self.classes, self.metrics.described)
        self.roles = in_role_order(self.metrics.roles)
        self.scores = self.metrics.roles[self.roles[0]]
        self.source = words.provenance(self.predictions)
        self.is_decided = self.metrics.decision == "calibrated"
        self.decision = run.decision() if self.is_decided else None
        self.history = run.history()

    @property
    def is_own(self) -> bool:
        """Whether the scores are of the run's own images."""
        return self.scored.path == self.run.path

    def facts(self) -> dict[str, Any]:
        """What page and card have in common, by its name in their templates."""
        return {
            "name": self.recipe.name if self.recipe else self.run.path.resolve().name,
            "notice": words.NOTICE,
            "source": self.source,
            "role": self.roles[0],
            "scores": self.scores,
            "melanoma_words": words.sought_words(self.scores, self.vocabulary),
            "groups": subgroup_tables(self.scores, self.classes),
            "protocol_words": self.protocol_words,
            "limits": self.limits,
        }

    @property
    def protocol_words(self) -> list[str]:
        """The run's protocol and its roles in plain words: one sentence or a few each."""
        leak = measure_leak(self.run, self.predictions, self.roles[0])
        recipes, looks = self.run.recipes(), run_openings(self.run)
        return words.protocol_words(self.record, recipes, self.metrics, self.roles, leak, looks)

    @property
    def limits(self) -> list[str]:
        """What the data cannot show, in sentences."""
        acral = None
        if self.images is not None:
            groups = self.images["site"].map(group_of)
            acral = int((groups == "palms/soles").sum()), len(groups)
        return words.data_limits(self.source, self.classes, acral, words.further_sets(self.record))

    @property
    def ood(self) -> str | None:
        """Kind of the decision's out-of-distribution score; none without one."""
        return self.decision.ood.kind if self.decision is not None and self.decision.ood is not None else None

    @property
    def seconds(self) -> float | None:
        """How long the epochs took together; none where nobody wrote it down."""
        if self.history is None or "seconds" not in self.history:
            return None
        return float(self.history["seconds"].sum()) or None

    @property
    def parameters(self) -> str | None:
        """How many are trained."""
        return count(self.record.trainable_parameters or self.record.parameters)

    @cached_property
    def images(self) -> pd.DataFrame | None:
        """The LesionTable with paths, where the data folder is there.

        Raises:
            UserError: the folder the user named is not a data set, or is another one.
        """
        return self._images[0]

    @property
    def images_note(self) -> str:
        """Why there is no such table."""
        return self._images[1]

    @cached_property
    def _images(self) -> tuple[pd.DataFrame | None, str]:
        data, named = self._data, self.record.data
        folder = data or (Path(named) if named else None)
        if folder is None:
            return None, "No pictures: the run does not say where its images are; name them with --data."
        if data is None and not folder.exists():
            return (
                None,
                "No pictures: the images are no longer where the run found them; name them with --data.",
            )
        try:
            table = self._read(folder)
        except UserError as error:
            if data is not None and self.is_own:
                raise
            return None, f"No pictures: {error}."
        if not self.predictions["image_id"].isin(table["image_id"]).any():
            if data is not None:
                raise UserError(
                    f"--data {folder} holds none of the scored images: name the folder they are in, or score "
                    f"this set first with `dermlens evaluate {self.run.path} --data {folder}`"
                )
            return None, f"No pictures: {folder} holds none of the scored images."
        return table, ""

    def _read(self, folder: Path) -> pd.DataFrame:
        if self.is_own and self.recipe is not None:
            return read_configured(folder, config=self.recipe.data, check_files=False)
        about = (None if self.is_own else self.metrics.data) or ScoredSet()
        return _read_scored(folder, about, self.classes)

    @cached_property
    def _joined(self) -> pd.DataFrame | None:
        """The table of the run's own images with their roles, where all of them are there."""
        if not self.is_own or self.images is None or not self.run.split_file.is_file():
            return None
        roles = self.run.split().roles
        joined = roles[["image_id", "role"]].merge(self.images, on="image_id", validate="one_to_one")
        return joined if len(joined) == len(roles) else None

    @property
    def people(self) -> pd.DataFrame:
        """Role, age, sex, site, one row an image; of the scored roles alone where the table is absent."""
        rows = self.predictions if self._joined is None else self._joined
        return rows[["role", "age", "sex", "site"]].sort_values(
            "role", key=lambda roles: roles.map(_place), kind="stable", ignore_index=True
        )

    @property
    def people_note(self) -> str:
        """What to say of that."""
        if not self.is_own or self._joined is not None:
            return ""
        note = "the table of the other images was not there when the page was written."
        return f"Of the scored roles alone: {note}"

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Role → class → images."""
        found = self.record.counts if self.is_own else {}
        if self._joined is not None:
            found = _counts(self._joined["role"], self._joined["dx"])
        found = found or _counts(self.predictions["role"], self.predictions["target"])
        return dict(sorted(found.items(), key=lambda one: _place(one[0])))


def find_scored(run: Run, data: Path | None) -> Run:
    """The folder whose scores are meant: the run's own, or of another set that the run was evaluated on.

    Args:
        run: the run.
        data: what the user named. A set that `dermlens evaluate RUN --data` has scored has its own folder
            under evaluations/ and is known by its table; by its name alone where it cannot be read.
            Anything else is taken for the run's own images.

    Returns:
        A folder with metrics.json and predictions.csv, the latest where several are of the set.
    """
    if data is None or str(data.resolve()) == run.read_record().data:
        return run
    likeness = {one: _likeness(one, data) for one in run.scored_sets}
    best = max(likeness.values(), default=0)
    alike = [one for one, found in likeness.items() if found == best]
    return max(alike, key=lambda one: one.metrics_file.stat().st_mtime) if best else run


def _likeness(scored: Run, data: Path) -> int:
    """2 where the scored table is that of `data`; 1 where that cannot be read and has its name; else 0."""
    metrics = scored.metrics
    about = metrics.data or ScoredSet()
    try:
        table = _read_scored(data, about, metrics.classes)
    except UserError:
        return int(scored.path.name.rpartition("-")[0] == data.resolve().stem)
    return 2 * (table_sha256(table) == about.table_sha256)


def _read_scored(data: Path, about: ScoredSet, classes: Sequence[str]) -> pd.DataFrame:
    """Read a set with the maps that it was scored with, and without the diagnoses left out."""
    maps: dict[str, Any] = about.model_dump(include={"columns", "labels", "values", "skip"})
    return read_table(data, **maps, classes=classes, check_files=False)


def measure_leak(run: Run, predictions: pd.DataFrame, role: str) -> dict[str, Any] | None:
    """How many images of a role show a lesion that is also trained on, from split.csv and predictions alone.

    Args:
        run: with its split.
        predictions: of at least that role.
        role: the scored one.

    Returns:
        `overall` and `by_class`, shares of the scored images with a sibling in training, by lesion id;
        `by_list`, how many more have one under another id; none where the run has no split.csv.
    """
    if not run.split_file.is_file():
        return None
    roles = run.split().roles
    train = roles[roles["role"] == "train"]
    scored = predictions[predictions["role"] == role]
    sibling = scored["lesion_id"].isin(train["lesion_id"])
    ids = ["image_id", "lesion_id"]
    group = lesion_groups(pd.concat([train[ids], scored[ids]], ignore_index=True))
    listed = group[len(train) :].isin(group[: len(train)]).to_numpy() & ~sibling.to_numpy()
    by_class = sibling.groupby(scored["target"]).mean()
    return {
        "overall": float(sibling.mean()),
        "by_class": {str(code): float(share) for code, share in by_class.items()},
        "by_list": int(listed.sum()),
    }


def _counts(roles: pd.Series, codes: pd.Series) -> dict[str, dict[str, int]]:
    """Role → class → rows."""
    return {
        str(role): {str(code): int(n) for code, n in of_role.value_counts().items()}
        for role, of_role in codes.groupby(roles)
    }


def _place(role: str) -> int:
    return ROLE_ORDER.index(role) if role in ROLE_ORDER else len(ROLE_ORDER)


METADATA_MEASURES = {
    "mean_recall": ("overall", "balanced_accuracy_isic"),
    "melanoma_recall": (),
    "accuracy": ("overall", "accuracy"),
    "mean_auc": ("averages", "macro", "auc"),
    "ece": ("overall", "ece"),
}
"""The columns of the table, and where metrics.json has them. `melanoma_recall` has no one place: it is of the
malignant own classes where there is no `mel`."""

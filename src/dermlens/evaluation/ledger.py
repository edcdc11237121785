"""Who looked at a test role, and when; and what of a run may be published."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dermlens.data.manifest import Split
from dermlens.data.predictions import write_predictions
from dermlens.documents import load_yaml
from dermlens.errors import UserError
from dermlens.evaluation.detection import sought_recall
from dermlens.files import copy_file, exclusive, file_sha256, read_json, write_json, write_text
from dermlens.runs import Run, environment

# The ledger of opened tests: a line each time a test role is scored. Free of pandas.
#
# A test role that is looked at often becomes a selection role. The ledger lies in the run's folder and goes
# with it into reports, cards, pages and comparisons. It makes a look that nobody counts hard to do by
# accident; it stops nobody who deletes the file.
#
# Lines are only ever appended, under a lock, and are on the disk before a number is shown. A ledger may be a
# link: its target is appended to.


SCORES = ("accuracy", "mean_recall", "mean_recall_low", "mean_recall_high", "melanoma_recall")
COLUMNS = (
    "date", "run", "recipe", "recipe_sha256", "manifest", "split_sha256", "code", "how", "images", *SCORES,
)  # fmt: skip
HEADER = ",".join(COLUMNS) + "\n"


@dataclass(frozen=True, slots=True)
class Openings:
    """What is known of the looks at a test role.

    Attributes:
        times: how many the ledger has.
        first, last: when, as ISO 8601; none where the ledger has no line.
        recipes: by which, each once, in the order of their first look.
        unrecorded: the run has scores or predictions of its test role, and its ledger no line: it was opened,
            and nobody wrote down when.
    """

    times: int = 0
    first: str | None = None
    last: str | None = None
    recipes: tuple[str, ...] = ()
    unrecorded: bool = False

    @property
    def opened(self) -> bool:
        """Whether the test role has been looked at."""
        return self.times > 0 or self.unrecorded

    def sentence(self) -> str:
        """When, how often and by which recipe, for people."""
        if not self.opened:
            return "The test role has not been opened."
        if self.unrecorded:
            return (
                "The test role has been opened; its ledger is gone, so nobody can say when, how often or by"
                " which recipe."
            )
        assert self.first is not None
        assert self.last is not None
        often = "once" if self.times == 1 else f"{self.times} times"
        when = f"on {_day(self.first)}"
        if _day(self.last) != _day(self.first):
            when = f"first on {_day(self.first)}, last on {_day(self.last)}"
        by = "recipe" if len(self.recipes) == 1 else "recipes"
        return f"The test role has been opened {often}, {when}, by {by} {', '.join(self.recipes)}."

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self) | {"recipes": list(self.recipes)}


def append_entry(ledger: Path, entry: Mapping[str, object]) -> None:
    """Add one line; the ledger is made, with its header, where there is none.

    Args:
        ledger: the CSV, or a link to it.
        entry: a value for every one of `COLUMNS`; None stays empty.

    Raises:
        UserError: the file is not such a ledger, or cannot be written; it is as it was then.
    """
    assert set(entry) == set(COLUMNS), "an entry names every column"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        ["" if entry[name] is None else entry[name] for name in COLUMNS]
    )
    target = ledger.resolve()
    if target.exists() and not target.is_file():
        raise UserError(f"{ledger} is no ordinary file: name a CSV file for the ledger of opened tests")
    try:
        with exclusive(target):
            _append(target, ledger, line.getvalue())
    except OSError as error:
        raise UserError(f"{ledger} cannot be written: {error.strerror or error}") from error


def read_entries(ledger: Path) -> list[dict[str, str]]:
    """The lines of a ledger, oldest first; none where there is no file.

    Raises:
        UserError: it is not such a ledger.
    """
    if not ledger.is_file():
        return []
    try:
        text = ledger.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(_no_ledger(ledger)) from error
    if not (text + "\n").startswith(HEADER):
        raise UserError(_no_ledger(ledger))
    return [{name: row.get(name) or "" for name in COLUMNS} for row in csv.DictReader(io.StringIO(text))]


def openings(entries: Sequence[Mapping[str, str]], *, unrecorded: bool = False) -> Openings:
    """What the lines of a ledger say together.

    Args:
        entries: of `read_entries`.
        unrecorded: whether the role was opened though the ledger has no line.
    """
    if not entries:
        return Openings(unrecorded=unrecorded)
    dates = sorted(entry["date"] for entry in entries)
    recipes = tuple(dict.fromkeys(entry["recipe"] for entry in entries))
    return Openings(len(entries), dates[0], dates[-1], recipes)


def _append(target: Path, named: Path, line: str) -> None:
    """Write behind what is there and wait for the disk; what was written in part is taken back."""
    new = not target.exists()
    with target.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(len(HEADER.encode()))
        if size and head != HEADER.encode():
            raise UserError(_no_ledger(named))
        ended = True
        if size:
            file.seek(-1, os.SEEK_END)
            ended = file.read(1) == b"\n"
        try:
            file.write(((HEADER if not size else "" if ended else "\n") + line).encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise
    if new and hasattr(os, "O_DIRECTORY"):  # the folder's entry too, where a folder can be opened
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _no_ledger(ledger: Path) -> str:
    return f"{ledger} is not a ledger of opened tests: its first line must be {HEADER.strip()}"


def _day(stamp: str) -> str:
    """The date of a time in ISO 8601, to the minute."""
    return stamp[:16].replace("T", " ") + " UTC"


# Who looked at a run's test role, and when: its ledger read and written with the run at hand.


EVALUATED = "evaluate --open-test"


def seals_test(split: Split) -> bool:
    """Whether the test role waits for `open_test`; only `singletons` has it as the role to look at."""
    return split.protocol != "singletons"


def run_openings(run: Run) -> Openings:
    """Every look at a run's test role that is known of.

    Where the ledger has no line, predictions or scores of a test role that is sealed tell of a look too.

    Raises:
        UserError: the ledger in the run's folder is none.
    """
    entries = read_entries(run.ledger_file)
    if entries:
        return openings(entries)
    sealed = not run.split_file.is_file() or seals_test(run.split())
    return openings(entries, unrecorded=sealed and _has_test(run))


def enter_opening(run: Run, scored: Mapping[str, Any], *, project: Path | None = None) -> None:
    """Enter the scores of a test role that was opened, in the run's ledger and in a project's own.

    Args:
        run: whose test role it is.
        scored: the role's part of metrics.json.
        project: a ledger of several runs; none for the run's alone.

    Raises:
        UserError: a ledger cannot be written.
    """
    mean_recall = scored["overall"]["balanced_accuracy_isic"]
    _enter(
        run,
        project,
        how=EVALUATED,
        images=scored["images"],
        accuracy=_rounded(scored["overall"]["accuracy"]["value"]),
        mean_recall=_rounded(mean_recall["value"]),
        mean_recall_low=_rounded(mean_recall["low"]),
        mean_recall_high=_rounded(mean_recall["high"]),
        melanoma_recall=_rounded(sought_recall(scored).get("value")),
    )


def enter_copies(run: Run, images: int, of: str, *, project: Path | None = None) -> None:
    """Enter that another set held copies of test images under other names, which were not scored.

    Args:
        run: whose test role it is.
        images: how many.
        of: name of the set.
        project: as for `enter_opening`.
    """
    _enter(run, project, how=f"copies in {of}", images=images)


def carry_over(members: list[Run], made: Run) -> None:
    """Enter the looks at the members' test role in the ledger of the run that was made of them."""
    known = [entry for run in members for entry in read_entries(run.ledger_file)]
    for entry in sorted(known, key=lambda entry: entry["date"]):
        append_entry(made.ledger_file, entry)


def _enter(run: Run, project: Path | None, **found: object) -> None:
    recipe = run.recipe
    now = environment()
    code = f"dermlens {now['versions'].get('dermlens', 'of unknown version')}"
    entry: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.path.resolve().name,
        "recipe": recipe.name,
        "recipe_sha256": file_sha256(run.recipe_file),
        "manifest": recipe.split.manifest or recipe.split.protocol,
        "split_sha256": file_sha256(run.split_file),
        "code": f"{code}, commit {now['git_commit']}" if now["git_commit"] else code,
        **dict.fromkeys(SCORES),
    }
    own = run.ledger_file
    ledgers = [own] if project is None or project.resolve() == own.resolve() else [project, own]
    for ledger in ledgers:
        append_entry(ledger, entry | found)


def _has_test(run: Run) -> bool:
    if run.metrics_file.is_file() and "test" in (run.metrics.roles):
        return True
    return run.predictions_file.is_file() and "test" in set(run.predictions()["role"])


def _rounded(number: float | None) -> str | None:
    return None if number is None else f"{number:.4f}"


# What of a run may be published: everything but weights, pictures and the paths of one machine.


RECIPE = "recipe.yaml"
COPIED = ("split.csv", "metrics.json", "model_card.md")
DECIDED = ("decision/*/*.csv", "missing_metadata.csv", "told.csv")
"""Tables of a card that may exist, stale after another decision; `told.csv` is of earlier versions."""
TABLES = (*DECIDED, "*_ood*.csv", "dermoscopy.csv")
"""All further tables of a card."""
_PATH = re.compile(r"(?<![\w.:/~)])/(?:[^\s,;:'\"(){}\[\]/]+/)+([^\s,;:'\"(){}\[\]/]+)")
"""An absolute path of two parts or more within a text, and its last part."""


def publish_run(run: Run, folder: Path) -> Run:
    """Write the record of an evaluated run into a folder that can be committed.

    The folder is itself a run directory: `dermlens evaluate FOLDER` computes its metrics anew from the
    compressed predictions. Weights, checkpoints, report and figures stay behind, since the last two show
    patients' images.

    Args:
        run: an evaluated run.
        folder: to write to, not the run's own; what it holds of the same names is replaced, and tables of a
            decision that the run has no longer are taken away.

    Returns:
        The published run.

    Raises:
        UserError: the run has not been evaluated or reported, or the folder is the run's own.
    """
    if folder.resolve() == run.path.resolve():
        raise UserError(f"{folder} is the run itself; name a folder for what may be published of it")
    for name in (RECIPE, *COPIED):
        if not (run.path / name).is_file():
            raise UserError(f"run {run.path} has no {name}: evaluate and report it first")
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        copy_file(run.path / name, folder / name)
    publish_recipe(run, folder)
    published = Run(folder)
    if run.ledger_file.is_file():
        copy_file(run.ledger_file, published.ledger_file)
    if run.history_file.is_file():
        copy_file(run.history_file, published.history_file)
    for member in run.members:
        copy = Run(published.member_folder / member.path.name)
        copy.path.mkdir(parents=True, exist_ok=True)
        publish_training(member, copy)
    _publish_other_sets(run, published)
    for stale in [file for pattern in DECIDED for file in folder.glob(pattern)]:
        stale.unlink()
    for file in [file for pattern in TABLES for file in sorted(run.path.glob(pattern))]:
        place = folder / file.relative_to(run.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        copy_file(file, place)
    if run.document_file.is_file():  # the decision: the weights that it is of stay behind
        content = json.loads(run.document_file.read_text(encoding="utf-8"))
        write_json(published.document_file, without_paths(content | {"manifest": None}))
    write_predictions(folder / "predictions.csv.gz", run.predictions())
    write_json(published.record_file, without_paths(read_json(run.record_file)))
    return published


def publish_training(run: Run, published: Run) -> None:
    """Write how a run was trained into a folder that is there: its record, recipe and history."""
    write_json(published.record_file, without_paths(read_json(run.record_file)))
    publish_recipe(run, published.path)
    copy_file(run.history_file, published.history_file)


def _publish_other_sets(run: Run, published: Run) -> None:
    """Scores and predictions of the other sets that a run was scored on; older ones are taken away."""
    for old in published.evaluations.glob("*"):
        shutil.rmtree(old)
    for scored in run.scored_sets:
        copy = published.evaluations / scored.path.name
        copy.mkdir(parents=True)
        write_json(Run(copy).metrics_file, without_paths(read_json(scored.metrics_file)))
        write_predictions(copy / "predictions.csv.gz", scored.predictions())


def without_paths(value: Any) -> Any:
    """The same, with the last part alone of every absolute path, which would tell of one machine.

    A text is a path, or has paths among its words, such as `{soft_labels: /mine/soft.csv, weight: 0.5}`.
    """
    if isinstance(value, dict):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    if isinstance(value, str):
        if "\n" not in value and Path(value).is_absolute():
            return Path(value).name
        return _PATH.sub(r"\1", value)
    return value


def publish_recipe(run: Run, folder: Path) -> None:
    """Write a run's recipe as it was resolved then, without the paths of its machine."""
    recipe, _ = load_yaml(run.recipe_file.read_text(encoding="utf-8"), str(run.recipe_file))
    write_text(folder / RECIPE, yaml.safe_dump(without_paths(recipe), sort_keys=False, allow_unicode=True))

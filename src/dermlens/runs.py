"""The run directory: the contract between the verbs.

run.json          status, versions, git commit, seeds, machine, data hash, wall time
recipe.yaml       the resolved recipe
split.csv         the manifest
model.safetensors, model.json   everything needed to rebuild model, preprocessing, metadata encoding
history.csv       one row an epoch
decision.npz      arrays of the decision's out-of-distribution score
predictions.csv   image_id, lesion_id, role, target, p_<class>…, age, sex, site, dx_type
metrics.json      every score, recomputed from predictions.csv
test_ledger.csv   a line for each look at the test role
figures/, report.html, model_card.md
decision/         reports of the decision, a folder a role
evaluations/      other sets that it was scored on
members/          what a soup is made of
checkpoints/      for resume
.lock             held by the process that trains

A run answers for itself: whoever wants its recipe, split, table, predictions, model or scores asks it, and
joins no path. What needs torch or pandas is imported where it is asked for.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from dermlens.errors import UserError
from dermlens.files import read_json, write_json
from dermlens.predict.decision_document import DecisionDocument
from dermlens.predict.document import ModelDocument, read_document
from dermlens.recipe import Recipe, load_recipe
from dermlens.records import Metrics, RunRecord, Status, Stored

if TYPE_CHECKING:
    import pandas as pd

    from dermlens.data.manifest import Split
    from dermlens.data.table import Reading
    from dermlens.models.saved import SavedModel


_VERSIONED = ("dermlens", "torch", "torchvision", "timm", "lightning", "numpy", "pandas", "scikit-learn")

StoredT = TypeVar("StoredT", bound=Stored)


def _read(path: Path, kind: type[StoredT]) -> StoredT:
    """A document of a run. Raises: UserError when it is no JSON object, or a key of it is not valid."""
    content = read_json(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} was not written by dermlens: {key}: {first['msg']}") from error


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file or folder of a run is, by its name."""

    name: str

    def __get__(self, run: Run, kind: type[Run] | None = None) -> Path:
        return run.path / self.name


@dataclass(frozen=True, slots=True)
class Run:
    """One run directory."""

    path: Path

    @classmethod
    def create(cls, folder: Path, recipe: Recipe) -> Run:
        """Make a new run directory and mark it running.

        Args:
            folder: the directory; it must be absent or vacant.
            recipe: the resolved recipe, written after the record: a record alone is of no run.

        Raises:
            UserError: the folder holds something already.
        """
        check_vacant(folder)
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder)
        run.record(status="running", started=_now(), command=sys.argv[1:], **environment())
        recipe.save(run.recipe_file)
        return run

    @classmethod
    def open(cls, folder: Path, *, statuses: tuple[Status, ...] = ("completed",)) -> Run:
        """Open an existing run.

        Args:
            folder: the run directory.
            statuses: what it may have ended as.

        Raises:
            UserError: no run there, or one that ended otherwise.
        """
        run = cls(folder)
        if not run.record_file.is_file():
            raise UserError(f"{folder} is not a run: it has no run.json; `dermlens train` makes one")
        status = run.read_record().status
        if status not in statuses:
            hint = f"continue it with `dermlens train --resume {folder}`"
            raise UserError(f"run {folder} is {status}, not {' or '.join(statuses)}: {hint}")
        return run

    # What is in the folder, and where.

    record_file = _Place("run.json")
    recipe_file = _Place("recipe.yaml")
    split_file = _Place("split.csv")
    model_file = _Place("model.safetensors")
    document_file = _Place("model.json")
    history_file = _Place("history.csv")
    metrics_file = _Place("metrics.json")
    ledger_file = _Place("test_ledger.csv")
    """A line for each look at the test role."""
    report_file = _Place("report.html")
    card_file = _Place("model_card.md")
    dermoscopy_file = _Place("dermoscopy.csv")
    """How well the model tells pictures that are no dermoscopy, where that was measured."""
    figures = _Place("figures")
    checkpoints = _Place("checkpoints")
    decision_reports = _Place("decision")
    """A folder a role that the decision was judged on."""
    evaluations = _Place("evaluations")
    """A folder a set that the run was scored on apart from its own."""
    member_folder = _Place("members")
    """The folder of a soup that says how each of its members was trained."""

    @property
    def predictions_file(self) -> Path:
        """The table of predictions; in a published run it is compressed."""
        plain, packed = self.path / "predictions.csv", self.path / "predictions.csv.gz"
        return packed if packed.is_file() and not plain.is_file() else plain

    @property
    def missing_metadata_file(self) -> Path:
        """Scores with less metadata, where that was measured; `told.csv` in runs of earlier versions."""
        path, older = self.path / "missing_metadata.csv", self.path / "told.csv"
        return older if older.is_file() and not path.is_file() else path

    @property
    def scored_sets(self) -> list[Run]:
        """Those folders, each with scores and predictions as a run has them."""
        return [Run(file.parent) for file in sorted(self.evaluations.glob("*/metrics.json"))]

    @property
    def members(self) -> list[Run]:
        """What a soup was made of, as far as it keeps it: records, recipes and histories."""
        return [Run(folder) for folder in sorted(self.member_folder.glob("*"))]

    # What it says of itself.

    def read_record(self) -> RunRecord:
        """run.json, empty where there is none. Raises: UserError when it is no JSON object."""
        return _read(self.record_file, RunRecord) if self.record_file.is_file() else RunRecord()

    def record(self, **facts: Any) -> None:
        """Add facts to run.json."""
        known = read_json(self.record_file) if self.record_file.is_file() else {}
        write_json(self.record_file, known | facts)

    def end(self, status: Status, **facts: Any) -> None:
        """Write how the run ended, and when."""
        self.record(status=status, ended=_now(), **facts)

    @property
    def is_completed(self) -> bool:
        """Whether the run has ended well."""
        return self.read_record().status == "completed"

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe of the run. Raises: UserError when it is gone or not a recipe."""
        if not self.recipe_file.is_file():
            raise UserError(
                f"{self.recipe_file} does not exist; a run is read with the recipe it was made by"
            )
        return load_recipe(str(self.recipe_file))

    def recipes(self) -> list[Recipe]:
        """Those of the trainings behind the run: a soup's members', else its own; none if it is gone."""
        members = [one for one in self.members if one.recipe_file.is_file()]
        own = [self] if self.recipe_file.is_file() else []
        return [one.recipe for one in members or own]

    @property
    def metrics(self) -> Metrics:
        """The scores. Raises: UserError when the run has not been evaluated, or they are no JSON object."""
        if not self.metrics_file.is_file():
            raise UserError(f"run {self.path} has no metrics yet: `dermlens evaluate {self.path}`")
        return _read(self.metrics_file, Metrics)

    def write_metrics(self, content: Mapping[str, Any]) -> Metrics:
        """Write the scores, as `evaluation.score` makes them, if they are such. Returns: the same, typed."""
        found = Metrics.model_validate(content)
        write_json(self.metrics_file, dict(content))
        return found

    def document(self) -> ModelDocument | None:
        """model.json; none where the run has no model. Raises: UserError when it is damaged."""
        return read_document(self.document_file) if self.document_file.is_file() else None

    def decision(self) -> DecisionDocument | None:
        """The decision in model.json; none where there is no such file, or it has none."""
        document = self.document()
        return document.decision if document is not None else None

    # What needs torch or pandas: imported here and nowhere above.

    def split(self, table: pd.DataFrame | None = None) -> Split:
        """The manifest.

        Args:
            table: the LesionTable that it shall be for; none skips that check.

        Raises:
            UserError: there is none, a row of it is malformed, or it is of another table.
        """
        from dermlens.data.manifest import load_manifest

        return load_manifest(str(self.split_file), table, "name the run's own data by --data")

    def images(self, data: Path | None = None) -> Path:
        """Where the run's images are: in `data`, or where they were when it was trained.

        Raises:
            UserError: they are not there.
        """
        folder = data or Path(self.read_record().data or "")
        if not self.has_images(folder):
            raise UserError(
                f"run {self.path} was trained on {folder}, which is not there: name its folder with --data"
            )
        return folder

    def has_images(self, data: Path | None = None) -> bool:
        """Whether `images` finds them."""
        folder = data or Path(self.read_record().data or "")
        return folder != Path() and folder.exists()

    def reading(self, data: Path | None = None, *, check_files: bool = True) -> Reading:
        """The LesionTable with what was made of its source; as `table` else."""
        from dermlens.data.table import read_configured_set

        return read_configured_set(self.images(data), self.recipe.data, check_files=check_files)

    def table(self, data: Path | None = None, *, check_files: bool = True) -> pd.DataFrame:
        """The LesionTable that the run was trained on, read as its recipe says.

        Args:
            data: where its images are now; none takes the folder that it was trained on.
            check_files: whether every listed image must be there.

        Raises:
            UserError: the folder is not there, or as `read_table`.
        """
        read = self.reading(data, check_files=check_files)
        return read.announced() if check_files else read.table

    def predictions(self) -> pd.DataFrame:
        """predictions.csv. Raises: UserError when it is absent or damaged."""
        from dermlens.data.predictions import read_predictions

        return read_predictions(self.predictions_file)

    def history(self) -> pd.DataFrame | None:
        """history.csv, a row an epoch; none where the run was not trained but made of others."""
        import pandas as pd

        return pd.read_csv(self.history_file) if self.history_file.is_file() else None

    def model(self, *, decision: bool = True) -> SavedModel:
        """The model.

        Args:
            decision: whether its decision too, which whoever is about to replace it does without.

        Raises:
            UserError: a file of it is absent, damaged, or does not belong to the other.
        """
        from dermlens.models.saved import load_model

        return load_model(self.path, decision=decision)


def is_vacant(folder: Path) -> bool:
    """Whether a run may begin in a folder: it holds nothing, or what a command left that was killed at once.

    That is hidden files of locks and half-written ones, and a record without the recipe that follows it.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return True
    names -= {name for name in names if name.startswith(".") and name.endswith((".part", ".lock", ".marker"))}
    return not names or (names == {"run.json"} and Run(folder).read_record().status == "running")


def check_vacant(folder: Path) -> None:
    """Refuse to begin a run among other things. Raises: UserError."""
    if not is_vacant(folder):
        raise UserError(f"{folder} is not empty: name a new folder with --out, or continue it with --resume")


@contextmanager
def taken_back(folder: Path, has_begun: Callable[[], bool]) -> Iterator[None]:
    """Take a new folder away again where the user's mistake ends the block before its work has begun.

    A command that was refused shall not block the corrected one, which names the same folder.

    Args:
        folder: what it held before the block stays, and then all of it does.
        has_begun: whether there is something in it to keep.
    """
    fresh = is_vacant(folder)
    try:
        yield
    except UserError:
        if fresh and not has_begun():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def environment() -> dict[str, Any]:
    """What a number depends on apart from recipe and data: versions, machine, commit."""
    return {
        "python": platform.python_version(),
        "versions": {name: found for name in _VERSIONED if (found := _version(name))},
        "machine": {"system": platform.platform(), "processor": _processor()},
        "git_commit": _commit(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name, from Linux where there is one."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            return match[1]
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of dermlens's own checkout, `-dirty` behind it where files differ; none in an install.

    A checkout of something else, in which an environment with dermlens lies, does not count.
    """
    package = Path(__file__).parent

    def git(*words: str) -> str:
        # optional locks are of git status, which would write the index of somebody's checkout
        command = ["git", "--no-optional-locks", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if not (Path(git("rev-parse", "--show-toplevel")) / "src" / "dermlens").samefile(package):
            return None
        dirty = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return None

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
checkpoints/      for resume
.lock             held by the process that trains
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from dermlens.errors import UserError
from dermlens.files import read_json, write_json
from dermlens.recipe import Recipe, load_recipe

Status = Literal["running", "completed", "failed", "interrupted"]

_VERSIONED = ("dermlens", "torch", "torchvision", "timm", "lightning", "numpy", "pandas", "scikit-learn")

MEMBERS = "members"
"""The folder of a soup that says how each of its members was trained."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run directory."""

    path: Path

    @classmethod
    def create(cls, folder: Path, recipe: Recipe) -> Run:
        """Make a new run directory and mark it running.

        Args:
            folder: the directory; it must be absent or empty.
            recipe: the resolved recipe, written beside the record.

        Raises:
            UserError: the folder holds something already.
        """
        if folder.exists() and any(folder.iterdir()):
            raise UserError(
                f"{folder} is not empty: name a new folder with --out, or continue it with --resume"
            )
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder)
        recipe.save(run.recipe_file)
        run.record(status="running", started=_now(), command=sys.argv[1:], **environment())
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
        status = run.read_record().get("status")
        if status not in statuses:
            hint = f"continue it with `dermlens train --resume {folder}`"
            raise UserError(f"run {folder} is {status}, not {' or '.join(statuses)}: {hint}")
        return run

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def split_file(self) -> Path:
        return self.path / "split.csv"

    @property
    def model_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def history_file(self) -> Path:
        return self.path / "history.csv"

    @property
    def predictions_file(self) -> Path:
        """The table of predictions; in a published run it is compressed."""
        plain, packed = self.path / "predictions.csv", self.path / "predictions.csv.gz"
        return packed if packed.is_file() and not plain.is_file() else plain

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def read_record(self) -> dict[str, Any]:
        """What run.json says. Raises: UserError when it is no JSON object."""
        return read_json(self.record_file)

    def record(self, **facts: Any) -> None:
        """Add facts to run.json."""
        known = self.read_record() if self.record_file.is_file() else {}
        write_json(self.record_file, known | facts)

    def end(self, status: Status, **facts: Any) -> None:
        """Write how the run ended, and when."""
        self.record(status=status, ended=_now(), **facts)

    def recipe(self) -> Recipe:
        """The resolved recipe of the run. Raises: UserError when it is gone or not a recipe."""
        if not self.recipe_file.is_file():
            raise UserError(
                f"{self.recipe_file} does not exist; a run is read with the recipe it was made by"
            )
        return load_recipe(str(self.recipe_file))

    def recipes(self) -> list[Recipe]:
        """Those of the trainings behind the run: a soup's members', else its own; none if it is gone."""
        members = sorted((self.path / MEMBERS).glob("*/recipe.yaml"))
        own = [self.recipe_file] if self.recipe_file.is_file() else []
        return [load_recipe(str(path)) for path in members or own]

    def read_metrics(self) -> dict[str, Any]:
        """The scores. Raises: UserError when the run has not been evaluated, or they are no JSON object."""
        if not self.metrics_file.is_file():
            raise UserError(f"run {self.path} has no metrics yet: `dermlens evaluate {self.path}`")
        return read_json(self.metrics_file)


@contextmanager
def taken_back(folder: Path, has_begun: Callable[[], bool]) -> Iterator[None]:
    """Take a new folder away again where the user's mistake ends the block before its work has begun.

    A command that was refused shall not block the corrected one, which names the same folder.

    Args:
        folder: what it held before the block stays, and then all of it does.
        has_begun: whether there is something in it to keep.
    """
    fresh = not folder.exists() or not any(folder.iterdir())
    try:
        yield
    except UserError:
        if fresh and not has_begun():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def environment() -> dict[str, Any]:
    """What a number depends on besides recipe and data: versions, machine, commit."""
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
        command = ["git", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if not (Path(git("rev-parse", "--show-toplevel")) / "src" / "dermlens").samefile(package):
            return None
        dirty = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return None

"""Who looked at a run's test role, and when: its ledger read and written with the run at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dermlens.atomic import read_json
from dermlens.data.manifest import Split, load_manifest
from dermlens.evaluation.ledger import LEDGER_FILE, Openings, append_entry, openings, read_entries
from dermlens.evaluation.operating_points import sought_recall
from dermlens.evaluation.predictions import read_predictions
from dermlens.runs import Run, environment

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
    entries = read_entries(run.path / LEDGER_FILE)
    if entries:
        return openings(entries)
    sealed = not run.split_file.is_file() or seals_test(load_manifest(str(run.split_file)))
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
    known = [entry for run in members for entry in read_entries(run.path / LEDGER_FILE)]
    for entry in sorted(known, key=lambda entry: entry["date"]):
        append_entry(made.path / LEDGER_FILE, entry)


def _enter(run: Run, project: Path | None, **found: object) -> None:
    recipe = run.recipe()
    now = environment()
    code = f"dermlens {now['versions'].get('dermlens', 'of unknown version')}"
    entry: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run.path.resolve().name,
        "recipe": recipe.name,
        "recipe_sha256": _sha256(run.recipe_file),
        "manifest": recipe.split.manifest or recipe.split.protocol,
        "split_sha256": _sha256(run.split_file),
        "code": f"{code}, commit {now['git_commit']}" if now["git_commit"] else code,
        "accuracy": None,
        "mean_recall": None,
        "mean_recall_low": None,
        "mean_recall_high": None,
        "melanoma_recall": None,
    }
    own = run.path / LEDGER_FILE
    ledgers = [own] if project is None or project.resolve() == own.resolve() else [project, own]
    for ledger in ledgers:
        append_entry(ledger, entry | found)


def _has_test(run: Run) -> bool:
    if run.metrics_file.is_file() and "test" in (read_json(run.metrics_file).get("roles") or {}):
        return True
    return run.predictions_file.is_file() and "test" in set(read_predictions(run.predictions_file)["role"])


def _rounded(number: float | None) -> str | None:
    return None if number is None else f"{number:.4f}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Teach a run's model to tell dermoscopy from other pictures, by pictures of both kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.data.split import load_manifest
from dermlens.data.views import ViewsConfig
from dermlens.decision.fit_dermoscopy import FOLDS, Seen, fit_dermoscopy
from dermlens.errors import UserError
from dermlens.evaluation.calibrate import label_outputs, run_outputs
from dermlens.evaluation.decision_report import write_table
from dermlens.models.saved import load_model, save_dermoscopy
from dermlens.runs import Run

OWN = "own"
"""The set of the run's own images that it was not trained on."""
ROLES = ("selection", "calibration")
DERMOSCOPY = "dermoscopy.csv"
"""What is measured, where cards look for it."""
MOST = 0.5
"""The largest share of a set of other pictures that a boundary of any use takes for dermoscopy."""
STALE = ("model_card.md", "report.html")
"""What tells of the boundary before."""


def learn_dermoscopy(
    run: Run,
    dermoscopic: Mapping[str, pd.DataFrame],
    other: Mapping[str, pd.DataFrame],
    *,
    kept: float,
    data: Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> pd.DataFrame:
    """Fit the boundary, write it into the run's model.json, and what was measured into `DERMOSCOPY`.

    The run's images of the selection and calibration roles stand for dermoscopy, beside the sets that are
    given. Diagnoses, ages, sexes and sites are not looked at.

    Args:
        run: a completed run.
        dermoscopic: LesionTables of dermoscopy from elsewhere, by the name of the set; may be empty.
        other: likewise, of pictures that are none; at least one.
        kept: share of dermoscopic pictures that shall be taken for such.
        data: where the run's own images are now; none takes the folder that it was trained on.
        device: auto, cpu, cuda or mps.
        cache: root of the pixel cache; none for the usual one.

    Returns:
        The rows of `fit_dermoscopy`.

    Raises:
        UserError: no set of other pictures, one with too few, two of one name, one that holds images of the
            run's split, the split lacks a role, images are not there, or the boundary would be of no use; the
            run is as it was then.
    """
    if not other:
        raise UserError(
            "no pictures that are no dermoscopy: name a folder of them with --other NAME=DIR, or"
            " --photographs DIR"
        )
    if twice := {OWN, *dermoscopic} & {*other} or {OWN} & {*dermoscopic}:
        raise UserError(f"two sets are named {min(twice)}; {OWN} is that of the run itself")
    for name, table in {**dermoscopic, **other}.items():
        if table["lesion_id"].nunique() < FOLDS:
            raise UserError(f"set {name} has {table['lesion_id'].nunique()} lesions; {FOLDS} are the fewest")
    split = set(load_manifest(str(run.split_file)).roles["image_id"])
    for name, table in {**dermoscopic, **other}.items():
        if len(shared := sorted(split & {*table["image_id"]})):
            raise UserError(
                f"set {name} holds {len(shared)} images of the run's own split, {shared[0]} first"
            )
    saved = replace(load_model(run.path), views=ViewsConfig())  # features are of the image as it is
    roles = run_outputs(run, saved, ROLES, data=data, device=device, cache=cache).values()
    own = Seen(
        np.concatenate([one.labelled.features_ND for one in roles]),
        np.concatenate([one.labelled.lesion_N for one in roles]),
    )

    def seen(table: pd.DataFrame) -> Seen:
        found = label_outputs(saved, table, device=device, cache=cache)
        return Seen(found.features_ND, found.lesion_N)

    known = {OWN: own} | {name: seen(table) for name, table in dermoscopic.items()}
    found, rows = fit_dermoscopy(known, {name: seen(table) for name, table in other.items()}, kept=kept)
    worst = rows[rows["dermoscopy"] == "no"].sort_values("taken").iloc[-1]
    if worst["taken"] > MOST:
        raise UserError(
            f"nothing was learnt: {100 * worst['taken']:.0f} % of set {worst['set']} would be taken for"
            " dermoscopy. Is it none, and are there enough of such pictures? Or let less dermoscopy be"
            f" kept than {100 * kept:g} %"
        )
    for name in STALE:
        (run.path / name).unlink(missing_ok=True)
    write_table(run.path / DERMOSCOPY, rows)
    save_dermoscopy(run.path, found)
    return rows

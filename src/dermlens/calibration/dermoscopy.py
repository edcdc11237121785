"""Tell dermoscopy from other pictures: fitted and measured on pictures of both kinds.

Shapes: N images, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack, cast

import pandas as pd
import torch
from torch import Tensor, nn

from dermlens.calibration.boundary import FOLDS, GREYSCALE, VARIED, Features, fit_dermoscopy, original
from dermlens.calibration.decision import label_outputs
from dermlens.calibration.variations import varied
from dermlens.data.predictions import write_csv
from dermlens.errors import UserError
from dermlens.models.classifier import LesionClassifier, early_layer
from dermlens.models.saved import SavedModel, save_dermoscopy
from dermlens.predict.pictures.preprocessing import LUMA, ViewsConfig
from dermlens.runs import Run
from dermlens.training.machine import Where

OWN = "own"
"""The set of the run's own images that it was not trained on, where they have one source."""
FEWEST = 50
"""Images that make a set of a source; sources with fewer are one set together."""
ROLES = ("selection", "calibration")
MOST = 0.6
"""The largest share of a set of other pictures that a boundary of any use takes for dermoscopy."""
STALE = ("model_card.md", "report.html")
"""Files that describe the boundary before this one."""


def learn_dermoscopy(
    run: Run,
    dermoscopic: Mapping[str, pd.DataFrame],
    other: Mapping[str, pd.DataFrame],
    *,
    kept: float,
    data: Path | None = None,
    say: Callable[[str], None] | None = None,
    **where: Unpack[Where],
) -> pd.DataFrame:
    """Fit the boundary, write it into the run's model.json, and what was measured into dermoscopy.csv.

    The run's images of the selection and calibration roles stand for dermoscopy, a set for each of their
    sources, together with the sets that are given. All of them are shown without their colours, too: there is
    dermoscopy in greyscale. And all are shown as another clinic might take them (`variations`). Diagnoses,
    ages, sexes and sites are not looked at.

    Args:
        run: a completed run.
        dermoscopic: LesionTables of dermoscopy from elsewhere, by the name of the set; may be empty.
        other: the same of pictures that are none; at least one.
        kept: share of dermoscopic pictures that shall be taken for such.
        data: as for `Run.table`.
        say: takes sentences on what was read of the run's own images.
        **where: see `Where`.

    Returns:
        The rows of `fit_dermoscopy`.

    Raises:
        UserError: no set of other pictures, one with too few, two of one name, one that holds images of the
            run's split, the split lacks a role, images are not there, or the boundary would be of no use; the
            run is as it was then.
    """
    if not other:
        raise UserError(
            "no pictures that are not dermoscopy: name a folder of them with --not-dermoscopy DIR, or"
            " --photographs DIR"
        )
    whole = run.reading(data).announced_to(say)
    split = run.split(whole)
    unseen = [image for role in ROLES for image in split.ids(role)]
    if not unseen:
        raise UserError(f"the split of run {run.path} has none of the roles {', '.join(ROLES)}")
    table = whole[whole["image_id"].isin(unseen)].reset_index(drop=True)
    own = {str(name): rows.reset_index(drop=True) for name, rows in table.groupby(_set_of_image(table))}
    _check_sets(own, dermoscopic, other, set(split.roles["image_id"]))
    # features are of the image as it is, and not cut by what an earlier boundary looked at
    saved = replace(run.model(), views=ViewsConfig(), dermoscopy=None)
    layer = saved.model.watched = early_layer(saved.model.backbone, saved.size)
    known = _seen(saved, own, whole, **where) | _seen(saved, dermoscopic, **where)
    found, rows = fit_dermoscopy(known, _seen(saved, other, **where), kept=kept, layer=layer)
    of_use = rows[(rows["dermoscopy"] == "no") & (rows["set"].map(original) == rows["set"])]
    worst = of_use.sort_values("taken").iloc[-1]
    if worst["taken"] > MOST:
        raise UserError(
            f"nothing was learnt: {100 * worst['taken']:.0f} % of set {worst['set']} would be taken for"
            " dermoscopy. Is it none, and are there enough of such pictures? Or let less dermoscopy be"
            f" kept than {100 * kept:g} %"
        )
    for name in STALE:
        (run.path / name).unlink(missing_ok=True)
    write_csv(run.dermoscopy_file, rows)
    save_dermoscopy(run.path, found)
    return rows


def _check_sets(
    own: Mapping[str, pd.DataFrame],
    dermoscopic: Mapping[str, pd.DataFrame],
    other: Mapping[str, pd.DataFrame],
    ids: set[str],
) -> None:
    """Refuse sets of one name, too few lesions, and images of the run's split, by their `ids`.

    Raises:
        UserError: it names the set.
    """
    if twice := {*own, *dermoscopic} & {*other} or {*own} & {*dermoscopic}:
        raise UserError(f"two sets are named {min(twice)}; the run's own are {', '.join(own)}")
    for name, given in {**dermoscopic, **other}.items():
        if given["lesion_id"].nunique() < FOLDS:
            raise UserError(f"set {name} has {given['lesion_id'].nunique()} lesions; {FOLDS} are the fewest")
        if shared := sorted(ids & {*given["image_id"]}):
            raise UserError(
                f"set {name} holds {len(shared)} images of the run's own split, {shared[0]} first"
            )


def _seen(
    saved: SavedModel,
    sets: Mapping[str, pd.DataFrame],
    of: pd.DataFrame | None = None,
    **where: Unpack[Where],
) -> dict[str, Features]:
    """What a network sees of each set, and of its copies, at the layer that it watches."""
    last = saved.model.head.features if saved.model.watched else 0
    shown = {}
    for name, table in sets.items():
        for ending, change in COPIES.items():
            model = replace(saved, model=cast(LesionClassifier, _Shown(saved.model, change)))
            found = label_outputs(model, table, of=of, **where)
            shown[name + ending] = Features(found.features_ND[:, last:], found.lesion_N)
    return shown


class _Shown(nn.Module):
    """A network that is shown each picture changed."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, x_BCHW: Tensor, meta_BM: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        found: tuple[Tensor, dict[str, Tensor]] = self.network(self.change(x_BCHW), meta_BM)
        return found


def _in_greyscale(x_BCHW: Tensor) -> Tensor:
    luma_C = torch.tensor(LUMA, device=x_BCHW.device)
    luma_BHW = torch.einsum("bchw,c->bhw", x_BCHW.float(), luma_C)
    return luma_BHW.round().to(x_BCHW.dtype)[:, None].expand_as(x_BCHW)


COPIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "": lambda x_BCHW: x_BCHW,
    GREYSCALE: _in_greyscale,
    VARIED: varied,
}
"""How each picture is shown, by the end of the set's name."""


def is_own(name: str) -> bool:
    """Whether a set is of the run's own images."""
    return name.partition(":")[0] == OWN


def _set_of_image(table: pd.DataFrame) -> pd.Series[str]:
    """The set of each of a run's own images, on the table's index: `own:SOURCE`, where there are several.

    Sources with few images are one set together, `own`: of a handful no share can be measured.
    """
    images = table["source"].value_counts()
    few = images.index[images < FEWEST]
    sets = table["source"].map(lambda source: f"{OWN}:{source}").where(~table["source"].isin(few), OWN)
    return sets if len(set(sets)) > 1 else sets.map(lambda _: OWN)

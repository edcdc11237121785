"""A first recipe for somebody's own data, which are verified and can be split; every choice is explained."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pandas as pd

from dermlens.data.config import SplitConfig
from dermlens.data.split import resolve_split
from dermlens.data.table import Maps, read_set
from dermlens.data.verify import Verification, verify
from dermlens.errors import UserError
from dermlens.files import write_text
from dermlens.labels import CLASSES
from dermlens.recipe import parse_recipe

TEMPLATE = """\
# A first training on {folder}: {images:,} images of {lesions:,} lesions.
# A small network from random weights, some minutes to an hour on a CPU: to see the whole path work.
# What it reaches is in its own report; compare later runs with it.
# {command}
name: first
data:
  # Side of the square that the network sees, in pixels. More shows finer structures and takes longer.
  size: 128
{reading}{metadata}split:
  # {why_split}
  protocol: {protocol}
model:
  backbone: mobilenet_v3_small
  cut: full
  # ImageNet weights make a better start where there are few images; they are downloaded:
  # weights: hub
  attention: corrected
  pool: gap
  metadata: {branch}
imbalance:
  # A class with few images counts for more in the loss.
  weights: new
train:
  epochs: 30
  optimizer: {{kind: adamw, lr: 0.001, weight_decay: 0.05}}
  schedule: {{kind: cosine, warmup_epochs: 3}}
  # The epoch with the best mean recall on the selection role is kept.
  keep: val_mean_recall
"""


@dataclass(frozen=True, slots=True)
class Start:
    """What is there to start from.

    Attributes:
        verification: of the data; where it has problems, nothing was written.
        commands: what to run next, in this order.
    """

    verification: Verification
    commands: tuple[str, ...] = ()


def start(data: Path, out: Path, **maps: Unpack[Maps]) -> Start:
    """Verify a data set and write a recipe for it.

    Args:
        data: as for `read_table`.
        out: the recipe to write.
        **maps: as for `read_table`; without classes it takes those of which there are images.

    Raises:
        UserError: there is such a file, the table cannot be read, or the data are too few for a split.
    """
    if out.exists():
        raise UserError(f"{out} is there already: name another file with --out")
    found = verify(data, **maps)
    if found.problems:
        return Start(found)
    read = read_set(data, **maps)
    table = read.table
    roles = set(read.roles.values())
    given = "train" in roles and len(roles) > 1
    resolve_split(table, SplitConfig(protocol="given" if given else "grouped"), read.roles)
    words = table[["sex", "site"]] != "unknown"
    known = bool(table["age"].notna().any() or words.to_numpy().any())
    command = shlex.join(["dermlens", "train", str(out), "--data", str(data)])
    text = TEMPLATE.format(
        folder=json.dumps(data.resolve().name)[1:-1],
        images=len(table),
        lesions=table["lesion_id"].nunique(),
        command=command,
        reading=_reading(table, maps),
        metadata="" if known else "  # No age, sex or site is known.\n  metadata: none\n",
        why_split=(
            "The roles are those that the folders or a column give."
            if given
            else "No lesion, and no patient where they are known, is in two roles."
        ),
        protocol="given" if given else "grouped",
        branch="gessert" if known else "none",
    )
    parse_recipe(text, f"recipe {out}")
    write_text(out, text)
    return Start(
        found,
        (
            f"{command} --out runs/first",
            "dermlens calibrate runs/first",
            "dermlens evaluate runs/first",
            "dermlens report runs/first",
        ),
    )


def _reading(table: pd.DataFrame, maps: Maps) -> str:
    """The lines of section data that say how the source is read."""
    present = set(table["dx"])
    named = list(
        maps.get("classes") or [code for code in CLASSES if code in present] + sorted(present - {*CLASSES})
    )
    lines = []
    if tuple(named) != CLASSES:
        lines += [
            "# The classes, in the order of the probabilities. What they are can be stated as well:",
            "# classes: {Melanom: {malignant: true, name: melanoma}, …}",
            f"classes: {_flow(named)}",
        ]
    mapped = {"columns": maps.get("columns"), "labels": maps.get("labels"), "values": maps.get("values")}
    lines += [f"{key}: {_flow(dict(one))}" for key, one in mapped.items() if one]
    return "".join(f"  {line}\n" for line in lines)


def _flow(value: object) -> str:
    """A value in one line of YAML, of which JSON is a part."""
    return json.dumps(value, ensure_ascii=False)

"""A split of a data set that somebody asks for: read the table, choose the protocol, draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pandas as pd
from pydantic import ValidationError

from dermlens.data.config import DataConfig, SplitConfig
from dermlens.data.manifest import Split
from dermlens.data.readers.account import Account
from dermlens.data.split import absent_classes, leak, make_split
from dermlens.data.table import Maps, read_configured_set, read_set
from dermlens.errors import UserError


@dataclass(frozen=True, slots=True)
class NewSplit:
    """A split that was just drawn.

    Attributes:
        split: the roles.
        table: the LesionTable that they are of.
        account: what was made of the source.
    """

    split: Split
    table: pd.DataFrame
    account: Account

    def files(self) -> list[Path]:
        """All that was read: tables and images."""
        return [*self.account.files(), *map(Path, self.table["path"])]

    def sentences(self) -> list[str]:
        """What was read, which classes a role lacks, and how far the split leaks."""
        return [
            *self.account.sentences(),
            *absent_classes(self.split.counts(self.table)),
            leak(self.split, self.table).sentence(),
        ]


def new_split(
    data: Path,
    settings: Mapping[str, Any],
    *,
    folders: Sequence[str] = (),
    **maps: Unpack[Maps],
) -> NewSplit:
    """Draw a split of a data set.

    Args:
        data: the data folder, or the table itself.
        settings: of `SplitConfig`; None stands for what was not asked for. Where neither a protocol nor
            anything else is asked for, the roles that the source gives are taken.
        folders: data folders within `data` that make one table.
        **maps: as for `read_table`.

    Raises:
        UserError: a setting is out of range, the table cannot be read, or the protocol cannot be drawn.
    """
    asked = {name: value for name, value in settings.items() if value is not None}
    try:
        config = SplitConfig.model_validate(asked)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]} {first['input']}" if first["loc"] else "split"
        raise UserError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from error
    if folders:
        stated = {name: value for name, value in maps.items() if value is not None}
        together = DataConfig.model_validate({"folders": tuple(folders), **stated})
        read = read_configured_set(data, together, check_files=False)
    else:
        read = read_set(data, **maps, check_files=False)
    roles = set(read.roles.values())
    if not asked and "train" in roles and len(roles) > 1:
        config = SplitConfig(protocol="given")  # whoever names shares, folds or a seed wants a draw
    return NewSplit(make_split(read.table, config, read.roles), read.table, read.account)

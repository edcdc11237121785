"""The class shares that probabilities hold for: as a person says them, and as they are printed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dermlens.errors import UserError, nearest
from dermlens.yaml_text import load_yaml

if TYPE_CHECKING:
    from dermlens.deploy.predictor import Predictor

Prior = str | Mapping[str, float] | Sequence[float] | None
"""Class shares in any unit: `natural` or none for the model's own, `equal`, by class, or in their order."""
WORDS = ("natural", "equal")
WANTED = "it is natural, equal, or a mapping such as '{mel: 0.2, nv: 0.8}'"


def parse_prior(text: str, classes: Sequence[str]) -> tuple[float, ...] | None:
    """Class shares from `natural`, `equal` or a mapping such as `{mel: 0.2, nv: 0.5, …}`.

    Returns:
        One number a class, in any unit; none for `natural`, the shares that the model was calibrated for.

    Raises:
        UserError: it is none of the three, or the mapping lacks a class, knows another, or has a share that
            is not a positive number.
    """
    if text in WORDS:
        return read_prior(text, classes)
    shares, _ = load_yaml(text, f"--prior {text}")
    if not isinstance(shares, dict):
        raise UserError(f"--prior {text}: {WANTED}")
    return read_prior(shares, classes, f"--prior {text}")


def read_prior(said: Prior, classes: Sequence[str], where: str = "prior") -> tuple[float, ...] | None:
    """Class shares as a program says them.

    Args:
        said: as `Prior` has it.
        classes: of the model.
        where: what stands before an error.

    Returns:
        One number a class, in any unit; none for the shares that the model was calibrated for.

    Raises:
        UserError: it is nothing of the kind, or lacks a class, knows another, or has a share that is not a
            positive number.
    """
    if said is None or isinstance(said, str):
        if said not in (None, *WORDS):
            raise UserError(f"{where} '{said}': {WANTED}")
        return (1.0,) * len(classes) if said == "equal" else None
    if isinstance(said, Mapping):
        for code in said:
            if code not in classes:
                raise UserError(f"{where}: {code} is not a class{nearest(str(code), classes)}")
        for code, share in said.items():
            _share(share, code, where)
        if lacking := [code for code in classes if code not in said]:
            raise UserError(f"{where}: no share of {', '.join(lacking)}; every class needs one")
        said = [said[code] for code in classes]
    if len(said) != len(classes):
        raise UserError(f"{where}: {len(said)} shares; {', '.join(classes)} need one each")
    return tuple(_share(share, code, where) for share, code in zip(said, classes, strict=True))


def _share(share: Any, code: str, where: str) -> float:
    """A share as a number. Raises: UserError."""
    if isinstance(share, int) and abs(share) > sys.float_info.max:
        raise UserError(f"{where}: the share of {code} is too large; only their ratios count")
    try:
        number = 0.0 if isinstance(share, (bool, str)) else float(share)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise UserError(f"{where}: the share of {code} is {share}; shares are positive numbers")
    return number


def shares_of(predictor: Predictor, prior: Sequence[float] | None) -> dict[str, float] | None:
    """The class shares that probabilities hold for, of sum 1; none where nobody knows."""
    stated = predictor.decision.prior if prior is None else prior
    if stated is None:
        return None
    parts = [share / max(stated) for share in stated]  # of which a sum cannot overflow
    return {code: part / sum(parts) for code, part in zip(predictor.classes, parts, strict=True)}

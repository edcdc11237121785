"""The class shares that probabilities hold for: as a person says them, and as they are printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dermlens.deploy.predictor import Predictor
from dermlens.errors import UserError, nearest
from dermlens.yaml_text import load_yaml


def parse_prior(text: str, classes: Sequence[str]) -> tuple[float, ...] | None:
    """Class shares from `natural`, `equal` or a mapping such as `{mel: 0.2, nv: 0.5, …}`.

    Returns:
        One number a class, in any unit; none for `natural`, the shares that the model was calibrated for.

    Raises:
        UserError: it is none of the three, or the mapping lacks a class, knows another, or has a share that
            is not a positive number.
    """
    if text in ("natural", "equal"):
        return None if text == "natural" else (1.0,) * len(classes)
    shares, _ = load_yaml(text, f"--prior {text}")
    if not isinstance(shares, dict):
        raise UserError(f"--prior {text}: it is natural, equal, or a mapping such as '{{mel: 0.2, nv: 0.8}}'")
    for code, share in shares.items():
        if code not in classes:
            raise UserError(f"--prior {text}: {code} is not a class{nearest(str(code), classes)}")
        if isinstance(share, int) and abs(share) > sys.float_info.max:
            raise UserError(f"--prior {text}: the share of {code} is too large; only their ratios count")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < float("inf"):
            raise UserError(f"--prior {text}: the share of {code} is {share}; shares are positive numbers")
    if lacking := [code for code in classes if code not in shares]:
        raise UserError(f"--prior {text}: no share of {', '.join(lacking)}; every class needs one")
    return tuple(float(shares[code]) for code in classes)


def shares_of(predictor: Predictor, prior: Sequence[float] | None) -> dict[str, float] | None:
    """The class shares that probabilities hold for, of sum 1; none where nobody knows."""
    stated = predictor.decision.prior if prior is None else prior
    if stated is None:
        return None
    parts = [share / max(stated) for share in stated]  # of which a sum cannot overflow
    return {code: part / sum(parts) for code, part in zip(predictor.classes, parts, strict=True)}

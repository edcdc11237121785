"""The class shares that probabilities hold for: a few case mixes by name, or someone's own.

A probability cannot hold everywhere: a class that is rarer in one practice than in another must get less
there. So every answer names the case mix that it holds for. It is the one knob, and it moves the
probabilities alone; suspicion of malignancy is at a reference mix that it never moves.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, PositiveFloat, model_validator

from dermlens.documents import Section
from dermlens.errors import UserError, nearest
from dermlens.labels import CLASSES

HISTOLOGY = {"akiec": 228, "bcc": 327, "bkl": 487, "df": 29, "mel": 614, "nv": 1367, "vasc": 33}
"""HAM10000's lesions whose diagnosis histology confirmed, by class: what was suspicious enough to be
excised."""
HAM10000 = {"akiec": 228, "bcc": 327, "bkl": 727, "df": 73, "mel": 614, "nv": 5403, "vasc": 98}
"""All of HAM10000's lesions, by class."""

EQUAL = "equal"
OWN = "own"
WORDS = {
    "specialist": "a specialist practice that excises what looks suspicious",
    EQUAL: "every diagnosis being equally frequent",
    "ham10000": "all lesions of HAM10000",
    OWN: "class shares of your own",
}
WANTED = "it is specialist, equal, ham10000, or a share for each class, such as mel=0.2,nv=0.8,… or 0.2,0.8,…"

Prior = str | Mapping[str, float] | Sequence[float] | None
"""A case mix as a program gives it: a name, shares by class or in the order of the classes, in any unit; none
for the model's own."""


class ClassPrior(Section):
    """A case mix.

    Attributes:
        name: a key of `WORDS`.
        shares: one a class, in the order of the logits; of sum 1.
    """

    name: Annotated[str, Field(min_length=1)]
    shares: tuple[PositiveFloat, ...]

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"the prior {self.name} does not sum to 1")
        return self

    @property
    def words(self) -> str:
        """Which case mix it is."""
        return WORDS.get(self.name, self.name)

    def written(self, classes: Sequence[str]) -> str:
        """It as `parse_prior` takes it: its name, or the shares where they are someone's own."""
        if self.name != OWN:
            return self.name
        return ",".join(f"{code}={share:.6g}" for code, share in zip(classes, self.shares, strict=True))


def named_prior(name: str, classes: Sequence[str]) -> ClassPrior:
    """A case mix by its name.

    Raises:
        UserError: there is none of that name for these classes.
    """
    counts = {"specialist": HISTOLOGY, "ham10000": HAM10000, EQUAL: dict.fromkeys(classes, 1)}.get(name)
    if counts is None:
        raise UserError(f"prior '{name}': {WANTED}")
    if set(classes) != set(counts):
        raise UserError(
            f"prior {name} is a mix of {', '.join(CLASSES)}, and the model knows {', '.join(classes)}:"
            f" say equal,"
            " or a share for each of them"
        )
    return ClassPrior(name=name, shares=_shares([counts[code] for code in classes]))


def default_prior(classes: Sequence[str]) -> ClassPrior:
    """`specialist` for the seven diagnoses, `equal` for classes of someone's own."""
    return named_prior("specialist" if set(classes) == set(CLASSES) else EQUAL, classes)


def parse_prior(text: str, classes: Sequence[str]) -> ClassPrior:
    """A case mix from the command line: a name, shares by commas, or NAME=SHARE pairs.

    Raises:
        UserError: it is none of them, lacks a class, knows another, or has a share that is no positive
            number.
    """
    if "," not in text and "=" not in text:
        return read_prior(text, classes, "--prior")
    parts = [part.strip() for part in text.strip("{}[] ").split(",") if part.strip()]
    if not any("=" in part for part in parts):
        return read_prior([_number(part, f"--prior {text}") for part in parts], classes, "--prior")
    pairs: dict[str, float] = {}
    for part in parts:
        code, equals, share = (piece.strip() for piece in part.partition("="))
        if not equals or code in pairs:
            raise UserError(f"--prior {text}: '{part}'; each class is given once, as NAME=SHARE")
        pairs[code] = _number(share, f"--prior {text}")
    return read_prior(pairs, classes, "--prior")


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{where}: '{text}' is no number; {WANTED}") from None


def read_prior(
    given: str | Mapping[str, float] | Sequence[float], classes: Sequence[str], where: str
) -> ClassPrior:
    """A case mix as a program gives it.

    Args:
        given: as `Prior` has it.
        classes: of the model.
        where: what stands before an error.

    Raises:
        UserError: it is nothing of the kind, lacks a class, knows another, or has a share that is not a
            positive number.
    """
    if isinstance(given, str):
        if given == "natural":
            raise UserError(
                f"{where} natural is gone: leave it out for the model's own case mix, or name one; {WANTED}"
            )
        return named_prior(given, classes)
    if isinstance(given, Mapping):
        for code in given:
            if code not in classes:
                raise UserError(f"{where}: {code} is not a class{nearest(str(code), classes)}")
        if lacking := [code for code in classes if code not in given]:
            raise UserError(f"{where}: no share of {', '.join(lacking)}; every class needs one")
        given = [given[code] for code in classes]
    if len(given) != len(classes):
        raise UserError(f"{where}: {len(given)} shares; {', '.join(classes)} need one each")
    numbers = [_share(share, code, where) for share, code in zip(given, classes, strict=True)]
    return ClassPrior(name=OWN, shares=_shares(numbers))


def _shares(numbers: Sequence[float]) -> tuple[float, ...]:
    """Of sum 1, though their sum may overflow; a share that is nothing to the others stays above 0."""
    parts = [max(number / max(numbers), sys.float_info.min) for number in numbers]
    return tuple(part / sum(parts) for part in parts)


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


def shares_by_class(prior: ClassPrior | None, classes: Sequence[str]) -> dict[str, float] | None:
    """Class → share; none where nobody knows."""
    return None if prior is None else dict(zip(classes, prior.shares, strict=True))

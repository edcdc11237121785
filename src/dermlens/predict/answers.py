"""What a model says of one image: an object, JSON, a row, or text, for a stated class prior.

Shapes: C classes, K heads, H × W positions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dermlens.documents import load_yaml
from dermlens.errors import UserError, nearest
from dermlens.labels import Vocabulary, full_name
from dermlens.predict.decision import BETWEEN, STRANGE
from dermlens.predict.document import is_dermoscopy
from dermlens.predict.pictures.preprocessing import UNCOLOURED, Numbers

if TYPE_CHECKING:
    from dermlens.predict.predictor import Predictor


# What a model says of one image, and where in the image that comes from.


NOT_DERMOSCOPY = "it does not look like dermoscopy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one image.

    Attributes:
        p: calibrated probability of each class, in the order of the logits; none where it is withheld, which
            is where the picture does not seem to be dermoscopy.
        diagnosis: the class that the decision rule names; likewise.
        set: classes of the conformal set, the named one among them; likewise.
        level: share of images whose class the set is meant to hold; none where the model has no sets.
        ood: out-of-distribution score; none where the model has none.
        dermoscopy: how far the picture is on the side of dermoscopy, below 0 where it is not; none where the
            model cannot tell.
        abstain: whether the model abstains.
        reason: why, in words; empty where it does not.
        faults: of the picture, in words, as `dermlens.predict.pictures.preprocessing` has them.
        model: which model says it.
        image_id: the file's name without its suffix; empty for an image that came without a name. What the
            model says does not depend on it, nor do comparisons.
        called: the diagnosis in words, where it is a class of someone's own; empty for what our names are.
    """

    p: dict[str, float] | None
    diagnosis: str | None
    set: tuple[str, ...] | None
    level: float | None
    ood: float | None
    dermoscopy: float | None
    abstain: bool
    reason: str
    faults: tuple[str, ...]
    model: str
    image_id: str = field(default="", compare=False)
    called: str = field(default="", compare=False)

    @property
    def name(self) -> str | None:
        """The diagnosis in words; none where it is withheld."""
        return None if self.diagnosis is None else (self.called or full_name(self.diagnosis))

    @property
    def strange(self) -> bool:
        """Whether the network found the picture unlike those that it was trained on."""
        return STRANGE in self.reason

    @property
    def withheld(self) -> bool:
        """Whether the picture is none that probabilities mean anything for: it seems to be no dermoscopy."""
        return self.p is None


def doubts(reason: str, dermoscopy: float | None, faults: Sequence[str]) -> tuple[bool, str]:
    """What a picture is answered with: whether nothing of it, and why the model abstains.

    Nothing is said of a picture that does not look like dermoscopy to the network, or is not in the colours
    of skin. A model that was not fitted to tell takes what is unlike its training for such a picture.

    Args:
        reason: of the decision; empty where it does not abstain.
        dermoscopy: as `Answer` has it.
        faults: likewise.

    Returns:
        Whether the answer is withheld, and the reasons joined by `; `, empty for none.
    """
    alien = STRANGE in reason if dermoscopy is None else not is_dermoscopy(np.array(dermoscopy))
    told = NOT_DERMOSCOPY if alien and dermoscopy is not None else ""
    reasons = (told, reason, f"image quality: {', '.join(faults)}" if faults else "")
    return alien or UNCOLOURED in faults, "; ".join(one for one in reasons if one)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where in an image an answer comes from.

    Attributes:
        evidence_CHW: what each position adds to each logit, averaged over the symmetries that the model sees.
        attention_KHW: Soft-Attention, likewise, each head of sum 1; none where the model has none.
    """

    evidence_CHW: Numbers
    attention_KHW: Numbers | None


# The class shares that probabilities hold for: as a person says them, and as they are printed.


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


# An answer as JSON and as a row: what the command line writes and the service sends.


def answer_json(one: Answer) -> dict[str, Any]:
    """An answer; `diagnosis`, `name`, `p` and `set` are null where it is withheld."""
    return {
        "diagnosis": one.diagnosis,
        "name": one.name,
        "p": one.p,
        "set": None if one.set is None else list(one.set),
        "level": one.level,
        "ood": one.ood,
        "dermoscopy": one.dermoscopy,
        "abstain": one.abstain,
        "reason": one.reason,
        "quality": list(one.faults),
        "model": one.model,
    }


def answer_row(one: Answer, classes: Sequence[str]) -> dict[str, Any]:
    """An answer as a row of a table.

    Columns: diagnosis, p_<class> for each class in the order of the logits, set (codes joined by `|`),
    abstain (yes or no), reason: as `dermlens.predict.decision` has them. The first ones are none where the
    answer is withheld.
    """
    return {
        "diagnosis": one.diagnosis,
        **{f"p_{code}": None if one.p is None else float(f"{one.p[code]:.9g}") for code in classes},
        "set": None if one.set is None else BETWEEN.join(one.set),
        "abstain": "yes" if one.abstain else "no",
        "reason": one.reason,
    }


def heading_json(predictor: Predictor, prior: Sequence[float] | None) -> dict[str, Any]:
    """What must stand beside answers: the model, its limits, and the class shares that they hold for."""
    return {
        "model": predictor.id,
        "classes": {code: predictor.vocabulary.name(code) for code in predictor.classes},
        "malignant": list(predictor.vocabulary.malignant),
        "limits": list(predictor.limits),
        "prior": shares_of(predictor, prior),
    }


# Answers as a person reads them on a terminal, their limits beside them.


Found = TypeVar("Found")
WITHHELD = "–"


def progress(found: Iterable[Found], count: int) -> Iterator[Found]:
    """Pass on what is found, with a bar on standard error where that is a terminal and there are several."""
    if count < 2 or not sys.stderr.isatty():
        yield from found
        return
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(found, total=count)


def render_answers(
    predictor: Predictor, answers: Mapping[str, Answer], prior: Sequence[float] | None
) -> RenderableType:
    """One image in full, several in a row each, and what must be known to read them."""
    parts: list[RenderableType] = [_in_rows(answers)]
    if len(answers) == 1:
        ((image_id, one),) = answers.items()
        parts = [] if one.p is None else [_in_full(image_id, one, one.p, predictor.vocabulary)]
        parts += map(Text, _said_of(image_id, one))
    return Group(*parts, *map(Text, notes(predictor, prior)))


def notes(predictor: Predictor, prior: Sequence[float] | None) -> Iterator[str]:
    """What belongs beside every answer."""
    shares = shares_of(predictor, prior)
    if shares is None:
        yield "Nobody has said for which class shares these probabilities hold."
    else:
        told = ", ".join(f"{code} {100 * share:.2g} %" for code, share in shares.items())
        yield f"The probabilities hold where the class shares are {told}."
    yield from predictor.limits


def _in_full(image_id: str, one: Answer, p: Mapping[str, float], names: Vocabulary) -> Table:
    table = Table(title=Text(image_id))
    table.add_column("")
    table.add_column("diagnosis")
    table.add_column("probability", justify="right")
    table.add_column("set")
    for code, share in sorted(p.items(), key=lambda entry: -entry[1]):
        inside = "in the set" if code in (one.set or ()) else ""
        table.add_row(Text(code), Text(names.name(code)), f"{share:.3f}", inside)
    return table


def _said_of(image_id: str, one: Answer) -> Iterator[str]:
    if one.withheld:
        yield f"{image_id}: the model abstains: {one.reason}."
        yield "No probabilities are given for such a picture."
        return
    if one.level is not None:
        yield f"The set is meant to hold the class of {100 * one.level:g} % of images like its training's."
    yield f"The decision rule names {one.name} ({one.diagnosis})."
    yield f"The model abstains: {one.reason}." if one.abstain else "The model does not abstain."


def _in_rows(answers: Mapping[str, Answer]) -> Table:
    table = Table()
    for name in ("image", "the decision rule names", "probability", "set", "abstains"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for image_id, one in answers.items():
        table.add_row(
            Text(image_id),
            Text(one.name or WITHHELD),
            WITHHELD if one.p is None or one.diagnosis is None else f"{one.p[one.diagnosis]:.3f}",
            Text(WITHHELD if one.set is None else " ".join(one.set)),
            Text(one.reason if one.abstain else "no"),
        )
    return table

"""What a model says of one image or lesion: an object, JSON or a row; the same words everywhere.

Two words are kept apart. A *withheld* answer has no numbers: the picture is too poor, or seems to be no
dermoscopy. An *uncertain* one has them all, and says why the model abstains. Either comes first, with
a remedy.

Shapes: C classes, K heads, H × W positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dermlens.labels import Vocabulary, full_name
from dermlens.metrics import Floats
from dermlens.predict.decision import BETWEEN, OUT_OF_DISTRIBUTION, UNSURE, WIDE, Answers, yes_or_no
from dermlens.predict.decision_document import DecisionDocument, Mark
from dermlens.predict.document import is_dermoscopy
from dermlens.predict.pictures.preprocessing import FLAT, SMALL, UNCOLOURED, Numbers
from dermlens.predict.priors import ClassPrior, shares_by_class

if TYPE_CHECKING:
    from dermlens.predict.predictor import Predictor


State = Literal["answered", "uncertain", "withheld"]

NOT_DERMOSCOPY = "it does not look like dermoscopy"
POOR = "image quality"
TOO_POOR = (SMALL, FLAT)
"""Faults of a picture that leave nothing to be answered."""
REMEDIES = {
    NOT_DERMOSCOPY: "Take the picture through a dermatoscope, with the lesion in the middle.",
    UNCOLOURED: "The model learned from colour pictures; one in its own colours may help.",
    POOR: "Take the picture again: sharp, evenly lit, the lesion filling the middle.",
    OUT_OF_DISTRIBUTION: (
        "Check that it shows one lesion through a dermatoscope; another picture of it may do better."
    ),
    UNSURE: "Go by all that cannot be ruled out, not by the first name; more pictures may help.",
    WIDE: "Go by all that cannot be ruled out, not by the first name; more pictures may help.",
}
"""What can be done, by the words of a reason; the first that applies is shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one image, or of one lesion over its images.

    Attributes:
        state: `answered`; `uncertain`, where the model abstains and its numbers stay; `withheld`,
            without any.
        p: probability of each class, in the order of the logits; like all numbers here none where withheld.
        diagnosis: the class of the highest of them.
        set: classes that cannot be ruled out, the named one among them.
        level: share of lesions whose class the set is meant to hold; none where the model has no sets.
        suspicion: probability of any malignant class at the reference prior, which no other prior moves.
        melanoma: of melanoma alone.
        flagged: whether the suspicion reaches the mark; none where the model has no mark.
        ood: out-of-distribution score; none where the model has none.
        dermoscopy: how far the picture is on the side of dermoscopy, below 0 where it is not; none where the
            model cannot tell.
        reason: why it is uncertain or withheld, in words; empty where it is neither.
        remedy: what can be done about that; empty where there is no reason.
        faults: of the picture, in words, as `dermlens.predict.pictures.preprocessing` has them.
        prior: the case mix that the probabilities hold for, as `--prior` takes it: its name, or the shares of
            one's own; empty where nobody has calibrated the model.
        model: which model says it.
        sentences: all of it in sentences, the headline first.
        image_id: the file's name without its suffix; empty for an image that came without a name. What the
            model says does not depend on it, nor do comparisons.
        images: of an answer for a lesion, the ids of its images; else empty.
        called: the diagnosis in words, where it is a class of someone's own; empty for what our names are.
        score: log-probabilities at equal class shares, of which a lesion's answer is made.
    """

    state: State
    p: dict[str, float] | None
    diagnosis: str | None
    set: tuple[str, ...] | None
    level: float | None
    suspicion: float | None
    melanoma: float | None
    flagged: bool | None
    ood: float | None
    dermoscopy: float | None
    reason: str
    remedy: str
    faults: tuple[str, ...]
    prior: str
    model: str
    sentences: tuple[str, ...] = ()
    image_id: str = field(default="", compare=False)
    images: tuple[str, ...] = field(default=(), compare=False)
    called: str = field(default="", compare=False)
    score: tuple[float, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str | None:
        """The diagnosis in words; none where it is withheld."""
        return None if self.diagnosis is None else (self.called or full_name(self.diagnosis))

    @property
    def out_of_distribution(self) -> bool:
        """Whether the network found the picture unlike those that it was trained on."""
        return OUT_OF_DISTRIBUTION in self.reason

    @property
    def withheld(self) -> bool:
        """Whether there are no numbers: the picture is too poor, or seems to be no dermoscopy."""
        return self.state == "withheld"

    @property
    def uncertain(self) -> bool:
        """Whether the model abstains, and its numbers stand under that word."""
        return self.state == "uncertain"


def state_of(reason: str, dermoscopy: float | None, faults: Sequence[str]) -> tuple[State, str, str]:
    """How a picture is answered, why, and what can be done about it.

    A model that was not fitted to tell dermoscopy cannot withhold for that: what is unlike its training's
    images is uncertain.

    Args:
        reason: of the decision; empty where it has none.
        dermoscopy: as `Answer` has it.
        faults: as `Answer` has it.

    Returns:
        The state, the reasons joined by `; ` and one remedy; both empty for what is answered.
    """
    alien = dermoscopy is not None and not is_dermoscopy(np.array(dermoscopy))
    worst = [fault for fault in faults if fault in TOO_POOR]
    poor = f"{POOR}: {', '.join(faults)}" if faults else ""
    if alien or worst:
        found = [NOT_DERMOSCOPY] if alien else []
        reasons = "; ".join([*found, *([poor] if poor else [])])
        return "withheld", reasons, _remedy(reasons)
    reasons = "; ".join(one for one in (reason, poor) if one)
    return "uncertain" if reasons else "answered", reasons, _remedy(reasons)


def _remedy(reasons: str) -> str:
    return next((remedy for words, remedy in REMEDIES.items() if words in reasons), "")


def one_answer(
    found: Answers,
    row: int,
    decision: DecisionDocument,
    vocabulary: Vocabulary,
    *,
    score_C: Floats,
    prior: ClassPrior | None = None,
    dermoscopy: float | None = None,
    faults: Sequence[str] = (),
    model: str = "",
    image_id: str = "",
    images: Sequence[str] = (),
) -> Answer:
    """One of several answers, with what is known of its picture.

    Args:
        found: the answers.
        row: which.
        decision: the model's.
        vocabulary: its classes.
        score_C: log-probabilities of this one at equal class shares.
        prior: the case mix that was asked for; none for the model's own.
        dermoscopy: as `Answer` has it.
        faults: as `Answer` has it.
        model: as `Answer` has it.
        image_id: as `Answer` has it.
        images: as `Answer` has it.
    """
    state, reason, remedy = state_of(found.reason_N[row], dermoscopy, faults)
    shown = prior or decision.prior
    classes, ood = vocabulary.classes, float(found.ood_N[row])
    facts: dict[str, Any] = {
        "ood": None if np.isnan(ood) else ood,
        "dermoscopy": dermoscopy if dermoscopy is not None and np.isfinite(dermoscopy) else None,
        "level": None if decision.sets is None else round(1 - decision.sets.alpha, 10),
        "reason": reason,
        "remedy": remedy,
        "faults": tuple(faults),
        "prior": "" if shown is None else shown.written(classes),
        "model": model,
        "image_id": image_id,
        "images": tuple(images),
    }
    if state == "withheld":
        nothing: dict[str, Any] = dict.fromkeys(("p", "diagnosis", "set", "suspicion", "melanoma", "flagged"))
        why = (f"Withheld: {reason}. {remedy}", "No numbers are given for such a picture.")
        return Answer(state, **nothing, **facts, sentences=why)
    code = classes[found.diagnosis_N[row]]
    p = dict(zip(classes, found.p_NC[row].tolist(), strict=True))
    inside = zip(classes, found.set_NC[row], strict=True)
    numbers: dict[str, Any] = {
        "p": p,
        "diagnosis": code,
        "set": tuple(sorted((one for one, is_in in inside if is_in), key=lambda one: -p[one])),
        "suspicion": _number(found.suspicion_N[row]),
        "melanoma": _number(found.melanoma_N[row]),
        "flagged": None if found.flagged_N is None else bool(found.flagged_N[row]),
    }
    sentences = tuple(_sentences(state, reason, remedy, numbers, decision, vocabulary))
    return Answer(
        state,
        **numbers,
        **facts,
        sentences=sentences,
        called=vocabulary.name(code),
        score=tuple(score_C.tolist()),
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# What an answer says, in sentences: why it is uncertain, the flag, the name, what cannot be ruled out.


def _sentences(
    state: State,
    reason: str,
    remedy: str,
    numbers: Mapping[str, Any],
    decision: DecisionDocument,
    vocabulary: Vocabulary,
) -> Iterator[str]:
    if state == "uncertain":
        yield f"Uncertain: {reason}. {remedy}"
    code, mark = numbers["diagnosis"], decision.suspicion.mark if decision.suspicion else None
    flag = None if mark is None else _flag(numbers, mark)
    if flag is not None and numbers["flagged"]:
        yield flag
    yield f"Most likely: {described(code, vocabulary)}, {percent(numbers['p'][code])}."
    others = [described(one, vocabulary) for one in numbers["set"] if one != code]
    if decision.sets is not None:
        yield (
            f"Cannot be ruled out either: {'; '.join(others)}."
            if others
            else "No other diagnosis is in the set of what cannot be ruled out."
        )
    if flag is not None and not numbers["flagged"]:
        yield flag
    if (suspicion := numbers["suspicion"]) is not None and mark is None:
        yield f"Suspicion of malignancy: {percent(suspicion)}; the model has no mark to flag by."


def _flag(numbers: Mapping[str, Any], mark: Mark) -> str:
    """Whether a lesion is flagged, and what that is worth."""
    caught = f"{100 * mark.catches:.0f} of 100 malignant lesions"
    value, alone, digits = numbers["suspicion"], numbers["melanoma"], 1
    while not numbers["flagged"] and percent(value, digits) == percent(mark.threshold, digits) and digits < 9:
        digits += 1  # rounded, it would seem to reach the mark
    melanoma = "" if alone is None else f", melanoma alone {percent(alone, digits)}"
    suspicion = f"suspicion {percent(value, digits)}{melanoma}, mark {percent(mark.threshold, digits)}"
    if not numbers["flagged"]:
        missed = f"{100 - 100 * mark.catches:.0f} of 100"
        return f"Not flagged at the mark that catches {caught} ({suspicion}); it misses the other {missed}."
    benign = mark.benign_flagged
    too = "" if benign is None else f"; {100 * benign:.0f} of 100 benign ones are flagged too"
    return f"Flagged at the mark that catches {caught} ({suspicion}{too})."


def described(code: str, vocabulary: Vocabulary) -> str:
    """A class as a person reads it: its name, its code, and whether it is malignant or pre-malignant."""
    kind = vocabulary.kind(code)
    return f"{vocabulary.name(code)} ({code}{f', {kind}' if kind else ''})"


def percent(share: float, digits: int = 1) -> str:
    """A share in percent; one that is nearly 0 or 1 is not rounded to it."""
    least = 10.0**-digits
    if 0 < share < least / 100:
        return f"< {least:.{digits}f} %"
    if 1 - least / 100 < share < 1:
        return f"> {100 - least:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where in an image an answer comes from.

    Attributes:
        evidence_CHW: what each position adds to each logit, averaged over the symmetries that the model sees.
        attention_KHW: Soft-Attention, averaged as well, each head of sum 1; none where the model has none.
    """

    evidence_CHW: Numbers
    attention_KHW: Numbers | None


# An answer as JSON and as a row: what the command line writes and the service sends.


def answer_json(one: Answer) -> dict[str, Any]:
    """An answer, the headline first; every number but scores of the picture is null where it is withheld."""
    return {
        "state": one.state,
        "sentences": list(one.sentences),
        "flagged": one.flagged,
        "diagnosis": one.diagnosis,
        "name": one.name,
        "p": one.p,
        "set": None if one.set is None else list(one.set),
        "level": one.level,
        "suspicion": one.suspicion,
        "melanoma": one.melanoma,
        "ood": one.ood,
        "dermoscopy": one.dermoscopy,
        "reason": one.reason,
        "remedy": one.remedy,
        "quality": list(one.faults),
        "prior": one.prior,
        "model": one.model,
    } | ({"images": list(one.images)} if one.images else {})


def answer_of_json(content: Mapping[str, Any], score: Sequence[float] | None, image_id: str) -> Answer:
    """The answer that `answer_json` wrote, with its score and its image."""
    same = ("state", "flagged", "diagnosis", "p", "level", "suspicion", "melanoma", "ood", "dermoscopy")
    words = ("reason", "remedy", "prior", "model")
    return Answer(
        **{name: content[name] for name in (*same, *words)},
        set=None if content["set"] is None else tuple(content["set"]),
        faults=tuple(content["quality"]),
        sentences=tuple(content.get("sentences") or content["said"]),
        called=content["name"] or "",
        image_id=image_id,
        score=None if score is None else tuple(score),
    )


def answer_row(one: Answer, classes: Sequence[str]) -> dict[str, Any]:
    """An answer as a row of a table.

    Columns: state, flagged (yes or no), diagnosis, p_<class> for each class in the order of the logits, which
    sum to 1, set (codes joined by `|`), suspicion, melanoma, ood, reason, remedy, prior, model; before them
    images (ids joined by `|`) of an answer for a lesion. Numbers are none where the answer is withheld.
    """
    return ({"images": BETWEEN.join(one.images)} if one.images else {}) | {
        "state": one.state,
        "flagged": yes_or_no(one.flagged),
        "diagnosis": one.diagnosis,
        **{f"p_{code}": None if one.p is None else _short(one.p[code]) for code in classes},
        "set": None if one.set is None else BETWEEN.join(code for code in classes if code in one.set),
        "suspicion": _short(one.suspicion),
        "melanoma": _short(one.melanoma),
        "ood": _short(one.ood),
        "reason": one.reason,
        "remedy": one.remedy,
        "prior": one.prior,
        "model": one.model,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.9g}")


def heading_json(predictor: Predictor, prior: ClassPrior | None) -> dict[str, Any]:
    """What must accompany answers: the model, its limits, the case mix and the marks that they hold
    for.
    """
    shown, suspicion = prior or predictor.decision.prior, predictor.decision.suspicion
    return {
        "model": predictor.id,
        "classes": {code: predictor.vocabulary.name(code) for code in predictor.classes},
        "malignant": list(predictor.vocabulary.malignant),
        "premalignant": list(predictor.vocabulary.premalignant),
        "limits": list(predictor.limits),
        "prior": None
        if shown is None
        else {"name": shown.name, "words": shown.words, "shares": shares_by_class(shown, predictor.classes)},
        "marks": []
        if suspicion is None
        else [mark.model_dump(mode="json", exclude={"by_source"}) for mark in suspicion.marks],
    }


def by_lesion(
    predictor: Predictor,
    answers: Iterable[tuple[str, Answer]],
    lesion_of: Mapping[str, str],
    prior: ClassPrior | None,
) -> dict[str, Answer]:
    """One answer a lesion, in the order of their first images; an image without a lesion is one by itself."""
    found: dict[str, list[Answer]] = {}
    for image_id, one in answers:
        found.setdefault(lesion_of.get(image_id, image_id), []).append(one)
    return {name: predictor.lesion(images, name, prior) for name, images in found.items()}

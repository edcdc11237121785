"""An explained image in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from dermlens.explain.explained import Explained


def answer_words(explained: Explained) -> str:
    """What the model answers; of a picture that seems no dermoscopy it names nothing."""
    named = explained.classes[explained.named]
    name = explained.vocabulary.name(named)
    said = [] if explained.withheld else [f"the decision rule names {named} ({name})"]
    if explained.reason:
        said.append(f"the model abstains: {explained.reason}")
    return "; ".join(said)


def sentences(explained: Explained) -> Iterator[str]:
    """What the figure says, for who cannot see it."""
    code = explained.classes[explained.target]
    yield answer_words(explained)
    yield f"explained: {code} ({explained.vocabulary.name(code)})"
    if not explained.withheld:
        yield f"probability of {code}: {explained.p_C[explained.target]:.3f}"
    for name, heat in explained.heats.items():
        if heat.patient:
            parts = ", ".join(f"{field} {value:+.2f}" for field, value in heat.patient.items())
            yield f"{name}: to the score of {code} are added by {parts}, each against its being missing"
    for case in explained.cases:
        yield f"near: {case.dx} {case.image_id}, distance {case.distance:.3f}"
    yield from explained.notes

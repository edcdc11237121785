"""An explained image in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from dermlens.explain.explained import Explained
from dermlens.labels import full_name


def sentences(explained: Explained) -> Iterator[str]:
    """What the figure says, for who cannot see it."""
    named, code = explained.classes[explained.named], explained.classes[explained.target]
    yield f"the decision rule names {named} ({full_name(named)}); explained: {code} ({full_name(code)})"
    if explained.reason:
        yield f"the model abstains: {explained.reason}"
    if not explained.withheld:
        yield f"probability of {code}: {explained.p_C[explained.target]:.3f}"
    for name, heat in explained.heats.items():
        if heat.patient:
            parts = ", ".join(f"{field} {value:+.2f}" for field, value in heat.patient.items())
            yield f"{name}: to the score of {code} are added by {parts}, each against its being missing"
    for case in explained.cases:
        yield f"near: {case.dx} {case.image_id}, distance {case.distance:.3f}"
    yield from explained.notes

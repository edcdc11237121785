"""Sentences about nested, listed, keyed and kinded parts; recipes and matrices have their own tests."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from dermlens.documents import Section, load_yaml, sentence


class Round(Section):
    kind: Literal["round"] = "round"
    radius: int


class Square(Section):
    kind: Literal["square"] = "square"
    side: int = 1


Shape = Annotated[Round | Square, Field(discriminator="kind")]


class Drawing(Section):
    shape: Shape | None = None
    row: tuple[Shape, ...] = ()
    named: dict[str, Square] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shap: 1", "line 1: shap"),
        (
            "shape: {kind: round, radios: 1}",
            "line 1: shape.radios",
        ),
        ("shape: {kind: round}", "line 1: shape.radius"),
        ("shape:\n  kind: sqare", "line 1: shape.kind 'sqare'"),
        ("row:\n- {kind: square}\n- {side: 1}", "line 3: row.1.kind"),
        ("row:\n- kind: round\n  radius: x", "line 3: row.0.radius 'x'"),
        (
            "named:\n  side:\n    sides: 1",
            "line 3: named.side.sides",
        ),
        ("[]", "Input should be"),
    ],
)
def test_the_first_thing_wrong(text, expected):
    document, places = load_yaml(text, "here")
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(document)
    message = sentence(caught.value, Drawing, "a drawing", "here", document, places)
    assert message.startswith((f"here, {expected}", f"here: {expected}"))

from __future__ import annotations

import json

import pytest

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.predict.decision_document import plain_decision
from dermlens.predict.document import read_document
from dermlens.predict.metadata import make_encoder

ENCODER = make_encoder("paper").fit([30.0, 50.0], ["male", "female"], ["back", "face"])


def written(folder, **changes):
    """A document as dermlens 0.1.0 wrote it, but for the changes."""
    content = {
        "format": "dermlens model 2",
        "dermlens": "0.1.0",
        "model": {},
        "classes": list(CLASSES),
        "size": 64,
        "crop": "center",
        "encoder": ENCODER.to_json(),
        "meta_width": ENCODER.width,
        "sha256": "0" * 64,
        "temperature": 1.5,
    }
    (folder / "model.json").write_text(json.dumps(content | changes))
    return folder / "model.json"


def test_a_bare_temperature_is_a_decision(tmp_path):
    assert read_document(written(tmp_path)).decision == plain_decision(CLASSES, 1.5)
    assert read_document(written(tmp_path, temperature=1.0)).decision is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": 5}, "model: classes: "),
        ({"classes": "mel"}, "model: classes: "),
        ({"classes": [1, 2]}, r"model: classes\.0: "),
        ({"classes": []}, "model: classes: "),
        ({"temperature": None}, r"model: decision\.scaling\.temperature: "),
        ({"temperature": -1}, r"model: decision\.scaling\.temperature: "),
        ({"meta_width": 20}, "meta_width is 20.*21"),
        ({"encoder": {}}, "'None'"),
        ({"encoder": ENCODER.to_json() | {"age_std": True}}, "age_std True"),
        ({"encoder": ENCODER.to_json() | {"age_mean": None}}, "paper encoder"),
    ],
    ids=str,
)
def test_a_document_that_was_edited_is_refused_by_name(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        read_document(written(tmp_path, **changes))
    assert str(caught.value).startswith(str(tmp_path / "model.json"))
    assert "\n" not in str(caught.value)

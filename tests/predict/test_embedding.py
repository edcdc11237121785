"""`dermlens embed`: features of images, the same that the answers' scores are computed from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.predict.patients import Patient
from dermlens.predict.picture import Picture
from dermlens.predict.predictor import Predictor

EXAMPLES = Path(str(files("dermlens.serve.page"))) / "examples"


def test_features_are_those_of_the_network(dermlens, tmp_path):
    picture = tmp_path / "a.jpg"
    picture.write_bytes((EXAMPLES / "a.jpg").read_bytes())
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    code, _, output = dermlens("embed", picture, tmp_path / "no.jpg", "--out", tmp_path / "f.npz")
    assert code == 2
    assert "no.jpg" in output
    with np.load(tmp_path / "f.npz") as written:
        assert written["image_id"].tolist() == ["a"]
        features_ND = written["features"]
    predictor = Predictor.open()
    _, expected_ND = predictor.outputs([Picture(picture)], predictor.encode([Patient()]))
    np.testing.assert_array_equal(features_ND, expected_ND[:, :1280])  # those of the last layer
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    assert dermlens("embed", picture, "--out", tmp_path / "f.parquet").code == 0
    table = pd.read_parquet(tmp_path / "f.parquet")
    assert table["image_id"].tolist() == ["a"]
    np.testing.assert_array_equal(table.filter(like="feature_").to_numpy(), features_ND)


@pytest.mark.parametrize(
    ("words", "name"),
    [(("a.jpg", "--out", "f.csv"), "--out f.csv"), (("gone.jpg", "--out", "f.npz"), "gone.jpg")],
)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(dermlens, tmp_path, monkeypatch, words, name):
    monkeypatch.chdir(tmp_path)
    code, _, output = dermlens("embed", *words)
    assert code == 2
    assert name in output
    assert list(tmp_path.iterdir()) == []

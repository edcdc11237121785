from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from dermlens.errors import UserError
from dermlens.predict.decision import DECISION_FILE, arrays_sha256, pack_arrays, read_arrays, write_arrays
from dermlens.predict.decision_document import DecisionDocument, Ood

ARRAYS = {
    "center_D": np.arange(4, dtype=np.float32),
    "project_DK": np.ones((4, 2), np.float32),
    "points_MK": np.ones((3, 2), np.float32),
}


def document(sha256, kind="knn", neighbours=3):
    ood = Ood(kind=kind, threshold=1.0, kept=0.95, neighbours=neighbours, sha256=sha256)
    return DecisionDocument(classes=("a", "b"), ood=ood)


def test_round_trip(tmp_path):
    write_arrays(tmp_path, ARRAYS)
    found = read_arrays(tmp_path, document(arrays_sha256(ARRAYS)))
    assert all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)
    with np.load(tmp_path / DECISION_FILE, allow_pickle=False) as theirs:  # it is what NumPy calls an npz
        assert np.array_equal(theirs["center_D"], ARRAYS["center_D"])


def test_equal_arrays_give_equal_bytes():
    assert pack_arrays(ARRAYS) == pack_arrays(dict(reversed(ARRAYS.items())))


def test_none_where_none_is_needed(tmp_path):
    write_arrays(tmp_path, ARRAYS)
    assert read_arrays(tmp_path, None) == {}
    assert read_arrays(tmp_path, document(None, "energy", None)) == {}
    write_arrays(tmp_path, {})
    assert not (tmp_path / DECISION_FILE).exists()


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def packed(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **(ARRAYS | arrays))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no archive", "does not hold the arrays"),
        (packed(points_MK=np.array([Trap()], dtype=object)), "does not hold the arrays"),
        (packed(points_MK=np.ones((3, 5), np.float32)), "do not fit each other"),
        (packed(points_MK=np.ones((2, 2), np.float32)), "do not fit each other"),
        (packed(center_D=np.full(4, np.nan, np.float32)), "do not fit each other"),
        (packed(center_D=np.ones(5, np.float32)), "do not fit each other"),
        (pickle.dumps(Trap()), "does not hold the arrays"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, content, sentence):
    import hashlib

    (tmp_path / DECISION_FILE).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_arrays(tmp_path, document(hashlib.sha256(content).hexdigest()))


def test_absent_or_another_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_arrays(tmp_path, document("0" * 64))
    write_arrays(tmp_path, ARRAYS)
    with pytest.raises(UserError, match="not the file"):
        read_arrays(tmp_path, document("0" * 64))

"""Every test that slow.txt names is there: a name that has changed would silently be quick again."""

from __future__ import annotations

from conftest import SLOW

ROOT = SLOW.parents[1]


def test_every_slow_test_is_there():
    named = SLOW.read_text(encoding="utf-8").splitlines()
    assert named
    assert len(named) == len(set(named))
    for one in named:
        file, _, test = one.partition("::")
        assert f"def {test.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), one

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from steps import lines_run

from dermlens.documents import load_yaml
from dermlens.errors import UserError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("abcé -:#", max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_pyyaml_writes_is_read_back(value):
    assert load_yaml(yaml.safe_dump(value, allow_unicode=True), "here")[0] == value


@pytest.mark.parametrize("number", ["1e-3", "1E+3", "-2e5", "+.5e1", "1.5e-8", "1.e2"])
def test_powers_of_ten_are_numbers(number):
    """As YAML 1.2 has them; Python agrees on what they are."""
    assert load_yaml(f"a: {number}", "here")[0] == {"a": float(number)}


@pytest.mark.parametrize("text", ["2024-01-01", "1e", "e5", "1e5m", "'1e-3'"])
def test_dates_and_words_are_text(text):
    assert load_yaml(text, "here")[0] == text.strip("'")


def test_places_of_keys_and_of_entries():
    _, places = load_yaml("a: 1\nb:\n  - c: 2\n    d:\n      e: 3\n  - [4,\n     5]\n", "here")
    assert places == {
        ("a",): "line 1",
        ("b",): "line 2",
        ("b", "0"): "line 3",
        ("b", "0", "c"): "line 3",
        ("b", "0", "d"): "line 4",
        ("b", "0", "d", "e"): "line 5",
        ("b", "1"): "line 6",
        ("b", "1", "0"): "line 6",
        ("b", "1", "1"): "line 7",
    }


@pytest.mark.parametrize("text", ["", "# a head\n"])
def test_nothing_is_nothing(text):
    assert load_yaml(text, "here") == (None, {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3", "here, line 3: a stands on line 1"),
        ("- {a: 1, a: 2}", "here, line 1: a stands on line 1"),
        ("a: {1: x}", "here, line 1: key a.1"),
        ("a: [1", "here: not YAML"),
        ("a: !!python/object/apply:os.system [x]", "here: not YAML"),
        ("--- 1\n--- 2", "here: not YAML"),
        ("[" * 200_000, "here, line 1: more than 100 lists"),
        ("a: " + "x" * 2**20, "here: 1,048,579 characters"),
    ],
)
def test_a_mistake_is_one_sentence(text, sentence):
    with pytest.raises(UserError) as error:
        load_yaml(text, "here")
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: &x 1\nb: *x", "here, line 1: &x"),
        ("a: 1\nb: *x", r"here, line 2: \*x"),
        ("a: 1:30", "here, line 1: 1:30"),
        ("a: 1\nb: [2, 190:20:30.15]", "here, line 2: 190:20:30.15"),
        ("a: -1:30", "here, line 1: -1:30"),
        ("seed: 010", "here, line 1: 010"),
        ("seed: 1_0", "here, line 1: 1_0"),
        ("rate: 1_0.5", "here, line 1: 1_0.5"),
        ("seed: 0b11", "here, line 1: 0b11"),
        ("<<: {a: 1}", "here, line 1: key <<"),
    ],
)
def test_what_readers_of_yaml_do_not_agree_on_is_refused(text, sentence):
    with pytest.raises(UserError, match=sentence):
        load_yaml(text, "here")


@pytest.mark.parametrize(
    "text", ["a: '1:30'", "a: '&x *y'", "a: 12:ab", "a: mel:nv", "a: 0", "a: 0.5", "a: 08", "a: _", "a: a_1"]
)
def test_what_only_looks_like_it_is_read(text):
    assert load_yaml(text, "here")[0]


def test_a_bomb_of_aliases_is_refused_at_once():
    """Nine lines that stand for ten to the ninth entries."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(UserError, match=r"line 1.*&a"):
        load_yaml("\n".join(lines), "here")
    assert lines_run(lambda: load_yaml("\n".join(lines), "here")) < 10_000

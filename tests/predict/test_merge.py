"""Parts of a job are joined to what the whole job writes; parts that disagree are refused."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_parts_are_joined_to_the_whole(dermlens, exported, lesions, tmp_path, kind):
    files = sorted(path for path in lesions.iterdir() if path.stem in ("a", "b", "c"))
    whole, *parts = (tmp_path / f"{name}.{kind}" for name in ("whole", "one", "two"))
    for out, some in ((whole, files), (parts[0], files[:2]), (parts[1], files[1:])):
        assert dermlens("predict", *some, "--model", exported, "--out", out)[0] == 0
    assert dermlens("merge", *parts, "--out", tmp_path / f"all.{kind}")[0] == 0
    joined, expected = ((tmp_path / name).read_text() for name in (f"all.{kind}", whole.name))
    assert (json.loads(joined) == json.loads(expected)) if kind == "json" else joined == expected


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_parts_of_two_case_mixes_of_ones_own_are_refused(dermlens, exported, lesions, tmp_path, kind):
    for name, mix in (("a", "1,1,1,1,4,1,1"), ("b", "1,1,1,1,1,4,1")):
        image, out = next(lesions.glob(f"{name}.*")), tmp_path / f"{name}.{kind}"
        assert dermlens("predict", image, "--model", exported, "--prior", mix, "--out", out)[0] == 0
    parts = (tmp_path / f"{name}.{kind}" for name in "ab")
    code, _, error = dermlens("merge", *parts, "--out", tmp_path / f"all.{kind}")
    assert (code, f"b.{kind}" in error, "case mix" in " ".join(error.split())) == (2, True, True)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ("image_id,state,prior,p_a\nx,answered,equal,0.2\n", "answers x otherwise"),
        ("image_id,state,prior,p_a\ny,answered,specialist,0.1\n", "case mix"),
        ("image_id,state,prior,p_b\ny,answered,equal,0.1\n", "columns"),
        ("image_id,state,prior,p_a\n=x,answered,equal,0.1\n", "line 2"),
        ("image_id,state,prior,p_a\ny,answered\n", "line 2"),
        ("name\n", "no file of answers"),
        ("", "no file of answers"),
    ],
)
def test_parts_that_do_not_fit_are_refused(dermlens, tmp_path, other, named):
    (tmp_path / "a.csv").write_text("image_id,state,prior,p_a\nx,answered,equal,0.1\n")
    (tmp_path / "b.csv").write_text(other)
    code, _, error = dermlens("merge", tmp_path / "a.csv", tmp_path / "b.csv", "--out", tmp_path / "c.csv")
    assert code == 2
    assert named in " ".join(error.split())
    assert not (tmp_path / "c.csv").exists()


def test_parts_of_two_models_are_refused(dermlens, tmp_path):
    for name, model in (("a", "m-1"), ("b", "m-2")):
        (tmp_path / f"{name}.csv").write_text(f"image_id,state,prior,model\n{name},answered,equal,{model}\n")
    code, _, error = dermlens("merge", tmp_path / "a.csv", tmp_path / "b.csv", "--out", tmp_path / "c.csv")
    assert (code, "b.csv" in error) == (2, True)


def test_a_part_that_is_not_there_is_named(dermlens, tmp_path):
    code, _, error = dermlens("merge", tmp_path / "no.csv", "--out", tmp_path / "c.csv")
    assert (code, "no.csv" in error) == (2, True)

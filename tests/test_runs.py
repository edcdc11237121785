from __future__ import annotations

import pytest

from dermlens.errors import UserError
from dermlens.recipe import Recipe
from dermlens.runs import Run


def test_a_run_records_what_it_depends_on(tmp_path):
    run = Run.create(tmp_path / "run", Recipe(name="x", seed=5))
    record = run.read_record()
    assert record.status == "running"
    assert record.versions["dermlens"]
    assert record.machine["processor"]
    assert run.recipe == Recipe(name="x", seed=5)
    run.end("completed", seconds_per_epoch=3.5)
    assert Run.open(run.path).read_record().seconds_per_epoch == 3.5


def test_a_folder_in_use_is_not_overwritten(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        Run.create(tmp_path, Recipe())


def test_what_a_command_leaves_that_was_killed_at_once_blocks_no_other(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.part").touch()
    run = Run.create(tmp_path, Recipe(name="killed"))
    run.recipe_file.unlink()  # which is written after the record
    assert Run.create(tmp_path, Recipe(name="again")).recipe.name == "again"
    with pytest.raises(UserError, match="not empty"):
        Run.create(tmp_path, Recipe())
    run.recipe_file.unlink()
    run.end("completed")  # somebody's, of which the recipe is lost
    with pytest.raises(UserError, match="not empty"):
        Run.create(tmp_path, Recipe())


def test_only_a_completed_run_opens(tmp_path):
    run = Run.create(tmp_path / "run", Recipe())
    run.end("failed")
    with pytest.raises(UserError, match=r"failed.*--resume"):
        Run.open(run.path)
    assert Run.open(run.path, statuses=("failed",)).path == run.path


def test_a_folder_without_a_record_is_not_a_run(tmp_path):
    with pytest.raises(UserError, match=r"run\.json"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        Run.open(tmp_path)


def test_a_run_without_metrics_says_how_to_get_them(tmp_path):
    run = Run.create(tmp_path / "run", Recipe())
    with pytest.raises(UserError, match="dermlens evaluate"):
        run.metrics  # noqa: B018


@pytest.mark.parametrize("content", [b"[1]", b"null", b"\xff\xd8", b"{"])
def test_records_that_are_no_json_objects_are_named(tmp_path, content):
    run = Run.create(tmp_path / "run", Recipe())
    for file, read in ((run.metrics_file, lambda: run.metrics), (run.record_file, run.read_record)):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"{file}.*JSON"):
            read()


def test_a_run_without_a_readable_recipe_says_so(tmp_path):
    run = Run.create(tmp_path / "run", Recipe())
    run.recipe_file.write_bytes(b"\xff\xd8")
    with pytest.raises(UserError, match=rf"{run.recipe_file}.*UTF-8"):
        run.recipe  # noqa: B018
    run.recipe_file.unlink()
    with pytest.raises(UserError, match=rf"{run.recipe_file}"):
        run.recipe  # noqa: B018

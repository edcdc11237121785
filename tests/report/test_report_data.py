"""Which scores a named folder means, and what the split says of them."""

from __future__ import annotations

import shutil

import pandas as pd

from dermlens.data.manifest import Split
from dermlens.data.predictions import write_predictions
from dermlens.data.table import read_table, table_sha256
from dermlens.files import write_json
from dermlens.labels import CLASSES
from dermlens.report.run_data import RunData, find_scored, measure_leak


def test_another_set_is_found_by_its_table(new_run, drawn, tmp_path):
    """Two sets of one name: each has its own scores, and its pictures by the maps it was scored with."""
    run = new_run(tmp_path / "run", images=60, bootstrap=0)
    maps = {"columns": {"image_id": "img", "dx": "diag"}, "labels": {"NEV": "nv"}}
    folders = []
    for place in ("a", "b", "c"):
        rows = drawn(40, ("external",), prefix=place.upper())
        data = tmp_path / place / "clinic"
        data.mkdir(parents=True)
        diag = rows["target"].replace("nv", "NEV")
        pd.DataFrame({"img": rows["image_id"], "diag": diag}).to_csv(data / "table.csv", index=False)
        sha256 = table_sha256(read_table(data, **maps, check_files=False))
        folder = run.path / "evaluations" / f"clinic-{sha256[:8]}"
        folder.mkdir(parents=True)
        about = {"name": folder.name, "table_sha256": sha256, **maps}
        write_json(
            folder / "metrics.json", {"classes": list(CLASSES), "data": about, "roles": {"external": {}}}
        )
        write_predictions(folder / "predictions.csv", rows)
        folders.append((data, folder, rows))
    shutil.rmtree(folders.pop()[1])  # the third was never scored
    for data, folder, rows in folders:
        found = RunData(run, data)
        assert found.scored.path == folder
        images = found.images
        assert images is not None
        assert images["dx"].tolist() == rows["target"].tolist()
    assert find_scored(run, tmp_path / "c" / "clinic") == run
    latest = max(
        (folder for _, folder, _ in folders), key=lambda path: (path / "metrics.json").stat().st_mtime
    )
    assert find_scored(run, tmp_path / "gone" / "clinic").path == latest


def test_the_leak_by_the_list_of_lesions_is_measured_too(new_run, drawn, tmp_path):
    """HAM_0000140 and HAM_0004919 are one lesion by the shipped list."""
    rows = drawn(60, ("test",)).assign(lesion_id=lambda frame: "X" + frame["image_id"])
    rows.loc[:1, "lesion_id"] = "HAM_0004919"
    run = new_run(tmp_path / "run", predictions=rows, bootstrap=0)
    train = pd.DataFrame({"image_id": ["T"], "lesion_id": ["HAM_0000140"], "role": ["train"]})
    Split(pd.concat([rows[train.columns], train]), {"protocol": "singletons"}).save(run.split_file)
    found = measure_leak(run, rows, "test")
    assert found is not None
    assert (found["overall"], found["by_list"]) == (0, 2)

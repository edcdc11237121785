"""A run with images to be judged on, and an engine whose answers the test chooses."""

from __future__ import annotations

import json

import pytest
from saved_models import save_tiny

from dermlens.data.config import SplitConfig
from dermlens.data.split import make_split
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_table
from dermlens.export.engines import ENGINES, Engine
from dermlens.export.onnx_export import as_network
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.recipe import parse_recipe
from dermlens.runs import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Run:
    """Of synthetic images, with two roles to be judged on."""
    folder = tmp_path_factory.mktemp("held")
    data = write_synthetic(folder / "data", lesions=56, seed=3, size=(48, 64))
    run = Run.create(folder / "run", parse_recipe("name: a", "here"))
    save_tiny(run.path, views=ViewsConfig(symmetries=2))
    document = json.loads((run.path / "model.json").read_text())
    (run.path / "model.json").write_text(json.dumps(document | {"size": 64, "manifest": None}))
    make_split(read_table(data), SplitConfig()).save(run.split_file)
    run.end("completed", data=str(data))
    return run


@pytest.fixture
def fake(monkeypatch, run):
    """An engine whose file is the network's name, and whose logits and features can be made to differ."""
    changes = {"by": lambda logits_BC: logits_BC, "features": lambda features_BD: features_BD}
    network = as_network(run.model())

    def write(saved, folder):
        (folder / "model.fake").write_text(saved.config.backbone)
        return folder / "model.fake"

    def load(path):
        def opened(x_BSSC, meta_BM):
            logits_BC, features_BD = network(x_BSSC, meta_BM)
            return changes["by"](logits_BC.copy()), changes["features"](features_BD.copy())

        return opened

    row = Engine(("model.fake",), "export", ("numpy",), write, load, reads_onnx=True)
    monkeypatch.setitem(ENGINES, "fake", row)
    return changes

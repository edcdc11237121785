from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.models.classifier import build_classifier
from dermlens.models.saved import SavedModel, load_model, save_decision, save_model
from dermlens.predict.decision import arrays_sha256
from dermlens.predict.decision_document import Ood, plain_decision
from dermlens.predict.document import read_document, write_document
from dermlens.predict.metadata import make_encoder

from .conftest import EVERY_CUT, SMALLEST, config_of


def encoder():
    return make_encoder("paper").fit([30.0, 50.0], ["male", "female"], ["back", "face"])


def save(folder, name="mobilenet_v3_small", cut="paper", size=64, **settings):
    config = config_of(name, cut, **settings)
    fitted = encoder()
    model = build_classifier(config, num_classes=7, meta_width=fitted.width, size=size)
    for module in model.modules():  # statistics that differ from a new network's
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    save_model(folder, SavedModel(model, config, CLASSES, size, "squash", fitted))
    return model, fitted


@pytest.mark.parametrize(
    ("name", "cut"),
    [case for case in EVERY_CUT if case[0] in ("mobilenet_v3_small", "mobilenet_v2", "mobilenet")]
    + [("nasnet_mobile", "paper"), ("inception_resnet_v2", "paper"), ("resnet50", "full")],
)
def test_round_trip(tmp_path, name, cut):
    size = SMALLEST.get(name, 64)
    model, fitted = save(tmp_path, name, cut, size=size)
    saved = load_model(tmp_path)
    assert (saved.classes, saved.size, saved.crop, saved.decision) == (CLASSES, size, "squash", None)
    assert saved.config == config_of(name, cut)
    assert saved.encoder == fitted
    state, before = saved.model.state_dict(), model.state_dict()
    assert list(state) == list(before)
    assert all(torch.equal(state[key], before[key]) for key in before)
    assert [n for n, p in saved.model.named_parameters() if p.requires_grad] == [
        n for n, p in model.named_parameters() if p.requires_grad
    ]
    x_BCHW = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    meta_BM = torch.from_numpy(fitted.encode([40.0, 60.0], ["male", "female"], ["back", "face"]))
    model.eval()
    assert not saved.model.training
    torch.testing.assert_close(saved.model(x_BCHW, meta_BM)[0], model(x_BCHW, meta_BM)[0], atol=0, rtol=0)


def test_a_model_started_from_the_hub_loads_without_it(tmp_path):
    save(tmp_path, "mobilenet_v2", "full", form="library")
    document = json.loads((tmp_path / "model.json").read_text())
    document["model"] |= {"weights": "hub", "form": None}
    (tmp_path / "model.json").write_text(json.dumps(document | {"manifest": None}))
    saved = load_model(tmp_path)
    assert saved.config.weights == "hub"
    assert saved.model.normalize.mean.flatten()[0] == pytest.approx(123.675)
    assert next(m.eps for m in saved.model.modules() if isinstance(m, torch.nn.BatchNorm2d)) == 1e-5


def test_saving_twice_keeps_the_last(tmp_path):
    save(tmp_path)
    model, _ = save(tmp_path)
    kept = load_model(tmp_path).model.head.linear.weight
    assert torch.equal(kept, model.head.linear.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"manifest": None} | changes))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda d: (d / "model.json").unlink(), r"model\.json"),
        (lambda d: (d / "model.safetensors").unlink(), r"model\.safetensors"),
        (lambda d: (d / "model.json").write_text("{"), r"model\.json .*JSON"),
        (lambda d: (d / "model.json").write_bytes(b"\xff\xfe"), r"model\.json .*JSON"),
        (lambda d: (d / "model.json").write_text("[1]"), "dermlens model"),
        (lambda d: edit(d / "model.json", size=-1), "dermlens model: size"),
        (
            lambda d: edit(d / "model.json", model={"backbone": "x"}),
            r"model: model\.backbone: .*not a backbone",
        ),
        (lambda d: edit(d / "model.json", extra=1), "dermlens model: extra"),
        (lambda d: edit(d / "model.json", classes=["a", "b"]), "does not fit the network"),
        (lambda d: (d / "model.safetensors").write_bytes(b"not weights"), "safetensors"),
        (
            lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:-5]),
            "safetensors",
        ),
        (lambda d: flip(d / "model.safetensors"), r"is not the file that .*model\.json was written for"),
    ],
)
def test_damage_is_one_sentence(tmp_path, harm, sentence):
    save(tmp_path)
    harm(tmp_path)
    with pytest.raises(UserError, match=sentence) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


ARRAYS = {
    "center_D": np.zeros(4, np.float32),
    "project_DK": np.ones((4, 2), np.float32),
    "points_MK": np.ones((3, 2), np.float32),
}


def decision(**parts):
    ood = Ood(kind="mahalanobis", threshold=1.0, kept=0.95, sha256=arrays_sha256(ARRAYS))
    return plain_decision(CLASSES, 2.0).model_copy(update={"ood": ood} | parts)


def test_a_decision_travels_with_the_model(tmp_path):
    save(tmp_path)
    save_decision(tmp_path, decision(), ARRAYS)
    saved = load_model(tmp_path)
    assert saved.decision == decision()
    assert all(np.array_equal(saved.arrays[name], ARRAYS[name]) for name in ARRAYS)
    save_decision(tmp_path, decision(ood=None), {})
    assert load_model(tmp_path).decision == decision(ood=None)
    assert not (tmp_path / "decision.npz").exists()


def test_new_weights_have_no_decision_yet(tmp_path):
    save(tmp_path)
    save_decision(tmp_path, decision(), ARRAYS)
    save(tmp_path)
    assert load_model(tmp_path).decision is None
    assert not (tmp_path / "decision.npz").exists()


def test_a_decision_of_other_classes_is_refused(tmp_path):
    save(tmp_path)
    with pytest.raises(ValueError, match="in this order"):
        save_decision(tmp_path, plain_decision(tuple(reversed(CLASSES))), {})


def test_a_decision_without_its_arrays(tmp_path):
    save(tmp_path)
    save_decision(tmp_path, decision(), ARRAYS)
    (tmp_path / "decision.npz").unlink()
    with pytest.raises(UserError, match=r"decision\.npz"):
        load_model(tmp_path)


def test_the_bare_temperature_of_older_documents(tmp_path):
    """1 says nothing; any other scales, and the prior stays unknown."""
    save(tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    del document["decision"]
    (tmp_path / "model.json").write_text(json.dumps(document | {"temperature": 1.0, "manifest": None}))
    assert load_model(tmp_path).decision is None
    (tmp_path / "model.json").write_text(json.dumps(document | {"temperature": 1.5, "manifest": None}))
    assert load_model(tmp_path).decision == plain_decision(CLASSES, 1.5)
    assert load_model(tmp_path).decision.prior is None
    (tmp_path / "model.json").write_text(json.dumps(document | {"temperature": -1, "manifest": None}))
    with pytest.raises(UserError, match=r"decision\.scaling\.temperature"):
        load_model(tmp_path)


def test_every_file_of_the_manifest_counts_but_those_that_are_made_anew(tmp_path):
    save(tmp_path)
    save_decision(tmp_path, decision(), ARRAYS)
    for name in ("LICENSE", "model.onnx"):
        (tmp_path / name).write_text("as it was exported")
    write_document(tmp_path, read_document(tmp_path / "model.json"))
    load_model(tmp_path)
    (tmp_path / "LICENSE").write_text("do what you like")
    with pytest.raises(UserError, match="LICENSE is not the file"):
        load_model(tmp_path)
    load_model(tmp_path, exports=False)
    (tmp_path / "LICENSE").write_text("as it was exported")
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(UserError, match=r"model\.onnx is gone"):
        load_model(tmp_path)
    load_model(tmp_path, exports=False)
    (tmp_path / "model.onnx").write_text("as it was exported")
    (tmp_path / "decision.npz").unlink()  # as a killed calibration leaves it
    with pytest.raises(UserError, match=r"decision\.npz"):
        load_model(tmp_path)
    load_model(tmp_path, decision=False)

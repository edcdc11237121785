from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from saved_models import DECISION, PRIOR, SIZE, draw

import dermlens
from dermlens.errors import UserError
from dermlens.labels import CLASSES, DIAGNOSES
from dermlens.predict.answers import Answer, state_of
from dermlens.predict.document import read_document
from dermlens.predict.metadata import make_encoder
from dermlens.predict.patients import Patient
from dermlens.predict.picture import Picture
from dermlens.predict.pictures import preprocessing
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.pictures.preprocessing import constant_colours, read_square
from dermlens.predict.predictor import Predictor, shipped_folder


@pytest.fixture(scope="module")
def predictor(exported) -> Predictor:
    return Predictor.open(exported)


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def test_an_answer_by_hand(predictor, lesions):
    """Temperature, bias, case mix, thresholds of the set, reference mix of the suspicion: from the logits."""
    for name in ("a.jpg", "b.png", "c.JPG"):
        meta_1M = predictor._encoder.encode([40.0], ["female"], ["back"])
        logits_C = predictor.outputs([Picture(lesions / name)], meta_1M)[0][0]
        (one,) = predictor.predict([lesions / name], [40.0], ["female"], ["back"])
        score_C = softmax(logits_C / 1.5 + np.array(DECISION.scaling.bias))
        p_C = score_C * np.array(PRIOR) / (score_C @ np.array(PRIOR))
        np.testing.assert_allclose(list(one.p.values()), p_C, rtol=1e-9)
        assert list(one.p) == list(CLASSES)
        named = int(np.argmax(p_C))
        assert one.diagnosis == CLASSES[named]
        inside = score_C >= np.array(DECISION.sets.thresholds)
        inside[named] = True
        inside |= p_C >= p_C[inside].min()
        assert set(one.set) == set(np.array(CLASSES)[inside])
        assert [one.p[code] for code in one.set] == sorted((one.p[code] for code in one.set), reverse=True)
        reference_C = np.array(DECISION.suspicion.reference.shares)
        q_C = score_C * reference_C / (score_C @ reference_C)
        assert one.suspicion == pytest.approx(q_C[1] + q_C[4])
        assert one.melanoma == pytest.approx(q_C[4])
        assert one.flagged == (q_C[1] + q_C[4] >= 0.3)
        assert one.uncertain == bool(one.reason)
        energy = -np.log(np.exp(logits_C).sum())
        assert one.ood == pytest.approx(energy)


def test_bytes_files_order_and_company_do_not_matter(predictor, lesions):
    files = [lesions / "a.jpg", lesions / "b.png", lesions / "more" / "d.jpeg"]
    together = predictor.predict(files)
    assert together == predictor.predict([file.read_bytes() for file in files])
    assert together[::-1] == predictor.predict(files[::-1])
    assert together == [predictor.predict([file])[0] for file in files]
    assert len({one.p["mel"] for one in together}) == 3, "three images must not look alike to the network"
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda file: predictor.predict([file])[0], files * 3)) == together * 3


def test_metadata_reaches_the_network_and_what_is_missing_is_missing(predictor, lesions):
    image = lesions / "a.jpg"
    (without,) = predictor.predict([image])
    (empty,) = predictor.predict([image], [float("nan")], ["unknown"], [None])
    (known,) = predictor.predict([image], [80.0], ["male"], ["face"])
    assert without == empty
    assert known.p["mel"] != pytest.approx(without.p["mel"], rel=1e-3)
    (isic,) = predictor.predict([image], [80.0], ["male"], ["head/neck"])
    assert isic == known


def test_a_prior_never_moves_suspicion(predictor, lesions):
    """p' ∝ p · given / stated, by Bayes' rule."""
    (stated,) = predictor.predict([lesions / "a.jpg"])
    (same,) = predictor.predict([lesions / "a.jpg"], prior=[100 * share for share in PRIOR])
    (equal,) = predictor.predict([lesions / "a.jpg"], prior=[1] * 7)
    assert same.p == pytest.approx(stated.p)
    expected = np.array(list(stated.p.values())) / np.array(PRIOR)
    np.testing.assert_allclose(list(equal.p.values()), expected / expected.sum(), rtol=1e-9)
    assert equal.diagnosis == max(equal.p, key=equal.p.get)
    for other in (same, equal):
        assert (other.suspicion, other.melanoma, other.flagged) == (
            stated.suspicion, stated.melanoma, stated.flagged,
        )  # fmt: skip


def test_no_decision_is_softmax_and_its_highest_class(exported, lesions, tmp_path):
    shutil.copytree(exported, tmp_path / "model")
    edit(tmp_path / "model", decision=None)
    plain = Predictor.open(tmp_path / "model")
    logits_1C, _ = plain.outputs([Picture(lesions / "a.jpg")], plain._encoder.encode([None], [None], [None]))
    (one,) = plain.predict([lesions / "a.jpg"])
    np.testing.assert_allclose(list(one.p.values()), softmax(logits_1C[0]), rtol=1e-9)
    assert one.diagnosis == max(one.p, key=one.p.get)
    assert (one.set, one.ood, one.state, one.reason) == ((one.diagnosis,), None, "answered", "")
    assert (one.suspicion, one.flagged, one.prior) == (None, None, "")
    with pytest.raises(UserError, match="has not been calibrated"):
        plain.predict([lesions / "a.jpg"], prior=[1] * 7)


def test_the_light_is_taken_out_where_training_took_it_out(predictor, exported, lesions, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    edit(folder, colour_constancy="shades_of_gray", views={})
    white = Predictor.open(folder)
    meta_1M = white._encoder.encode([None], [None], [None])
    for name in ("a.jpg", "b.png"):
        square = constant_colours(read_square(lesions / name, SIZE, "center"), "shades_of_gray")
        logits_1C, _ = white._network(square[None], meta_1M)
        np.testing.assert_array_equal(white.outputs([Picture(lesions / name)], meta_1M)[0], logits_1C)
        assert not np.array_equal(square, read_square(lesions / name, SIZE, "center"))


OTHER_BOUNDARY = {
    "weights": [1.0, 2.0], "bias": 0.0, "kept": 0.98, "dermoscopic": {"own": 9}, "other": {"telephone": 9},
}  # fmt: skip


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"manifest": None} | changes))


def other_onnx(folder):
    (folder / "model.onnx").write_bytes(b"not a network")


def blessed_onnx(folder):
    import hashlib

    other_onnx(folder)
    onnx = json.loads((folder / "model.json").read_text())["onnx"]
    edit(folder, onnx=onnx | {"sha256": hashlib.sha256(b"not a network").hexdigest()})


def edit_encoder(folder, **changes):
    encoder = json.loads((folder / "model.json").read_text())["encoder"]
    edit(folder, encoder=encoder | changes)


def other_encoder(folder):
    encoder = make_encoder("paper").fit([30.0, 50.0], ["male", "female"], ["back", "face"])
    edit(folder, encoder=encoder.to_json(), meta_width=encoder.width)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda d: (d / "model.json").unlink(), r"model\.json does not exist"),
        (lambda d: (d / "model.onnx").unlink(), r"has no model\.onnx, which predicts: `dermlens export"),
        (lambda d: edit(d, onnx=None), r"has no model\.onnx"),
        (other_onnx, r"model\.onnx is not the file that model\.json"),
        (blessed_onnx, r"is not an ONNX network that can be run"),
        (lambda d: (d / "model.json").write_text("[]"), "does not describe a dermlens model"),
        (lambda d: edit(d, views={"symmetries": 3}), r"views\.symmetries"),
        (lambda d: edit(d, classes=["a", "b"]), "not of these classes"),
        (lambda d: edit(d, classes=["a", "b"], decision=None), "names 2 classes, and model.onnx .* knows 7"),
        (lambda d: edit(d, meta_width=3), "meta_width is 3, and the encoder makes 14"),
        (other_encoder, "has metadata of 21 numbers, and model.onnx next to it takes 14"),
        (lambda d: edit_encoder(d, age_mean=None), "default encoder encodes once it is fitted"),
        (lambda d: edit_encoder(d, age_mean="old"), "age_mean 'old'; it is a number of years"),
        (lambda d: edit_encoder(d, age_std=float("nan")), "age_std nan; it is a number of years"),
        (lambda d: edit_encoder(d, names=None), "has other features"),
        (lambda d: edit_encoder(d, kind="defualt"), "'defualt' is not known; nearest: default"),
        (lambda d: edit(d, dermoscopy={"weights": [1.0]}), r"dermoscopy\.bias: Field required"),
        (
            lambda d: edit(d, dermoscopy=OTHER_BOUNDARY),
            "what tells dermoscopy in model.json has 2 weights, and the network ",
        ),
    ],
    ids=[
        "no json", "no onnx", "no entry", "other onnx", "no network", "a list", "views", "classes",
        "fewer classes", "meta width", "other encoder", "no mean", "mean in words", "nan", "no names", "kind",
        "half a boundary", "other boundary",
    ],
)  # fmt: skip
def test_a_harmed_folder_is_refused(exported, tmp_path, harm, sentence):
    folder = shutil.copytree(exported, tmp_path / "model")
    harm(folder)
    with pytest.raises(UserError, match=sentence) as caught:
        Predictor.open(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_an_image_that_is_none_and_a_wrong_number_of_patients(predictor, lesions, tmp_path):
    with pytest.raises(ImageError, match="not a JPEG"):
        predictor.predict([b"rubbish"])
    with pytest.raises(ImageError, match=r"nowhere\.jpg"):
        predictor.predict([tmp_path / "nowhere.jpg"])
    with pytest.raises(UserError, match="ages are 0 to 120"):
        predictor.predict([lesions / "a.jpg"], [400.0])
    with pytest.raises(ValueError, match="1 images and metadata of 2"):
        predictor.predict([lesions / "a.jpg"], [40.0, 50.0])


def test_a_phone_held_sideways_sees_the_same_lesion(predictor, tmp_path):
    """EXIF orientation 6 is a quarter turn; the eight views are not asked to undo it."""
    from PIL import Image

    upright = draw(tmp_path / "upright.png", 5, (64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(upright) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.tiff", exif=exif)
    assert predictor.predict([upright]) == predictor.predict([tmp_path / "turned.tiff"])


def test_it_needs_neither_torch_nor_pandas(exported, lesions):
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['torch', 'pandas', 'sklearn', 'matplotlib', 'timm', 'simplejpeg'])\n"
        "from pathlib import Path\n"
        "from dermlens.predict.predictor import Predictor\n"
        f"predictor = Predictor.open(Path({str(exported)!r}))\n"
        f"print(predictor.predict([Path({str(lesions / 'b.png')!r})])[0].diagnosis)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Predictor.open(exported).predict([lesions / "b.png"])[0].diagnosis


def test_the_shipped_model_answers(lesions):
    try:
        folder = shipped_folder()
    except UserError:
        pytest.skip("this tree ships no model yet (src/dermlens/shipped/)")
    for name in ("model.onnx", "model.safetensors"):
        assert (folder / name).stat().st_size <= 16 * 2**20
    assert {"LICENSE", "MODEL_CARD.md"} <= {path.name for path in folder.iterdir()}
    example = Path(str(files("dermlens.serve.page"))) / "examples" / "a.jpg"
    (one,) = Predictor.open().predict(example)
    assert tuple(one.p) == CLASSES
    assert sum(one.p.values()) == pytest.approx(1)
    document = read_document(folder / "model.json")
    assert document.decision is not None
    assert document.onnx.limits


def test_pictures_come_in_many_forms(predictor, lesions):
    """A PNG is the same picture as a file, a string, bytes, Pillow's, or an array; one patient is for all."""
    file = lesions / "b.png"
    with Image.open(file) as picture:
        array = np.asarray(picture)
        (expected,) = predictor.predict(file, 40, "male", "back")
        content = file.read_bytes()
        forms = (str(file), content, bytearray(content), memoryview(content), io.BytesIO(content))
        for form in (*forms, picture, array, [array], array[None], iter([array])):
            assert predictor.predict(form, 40, "male", "back") == [expected]
    with file.open("rb") as first, file.open("rb") as second:
        assert predictor.predict(first, 40, "male", "back") == [expected]
        assert predictor.predict([second], 40, "male", "back") == [expected]
    assert predictor.predict([file, array], 40, "male", "back") == [expected, expected]


@pytest.mark.parametrize(
    ("rubbish", "sentence"),
    [
        (np.zeros((8, 8), np.uint8), r"an array of uint8, \(8, 8\), is no picture"),
        (np.zeros((8, 8, 3)), "an array of float64"),
        ([np.zeros((0, 8, 3), np.uint8)], r"\(0, 8, 3\), is no picture"),
        ([7], "an object of type int is no picture"),
        (7, "an object of type int is no picture"),
        ([None], "an object of type NoneType is no picture"),
        (io.StringIO("text"), "gives text: open it in binary mode"),
        ("", "an empty path names no image"),
    ],
)
def test_what_is_no_picture_is_said(predictor, rubbish, sentence):
    with pytest.raises(ImageError, match=sentence):
        predictor.predict(rubbish)


def test_a_picture_at_fault_is_uncertain_or_withheld(predictor, lesions):
    with Image.open(lesions / "b.png") as picture:
        array = np.asarray(picture)
    (fit,) = predictor.predict(array)
    (dark,) = predictor.predict((array * 0.5).astype(np.uint8))
    (black,) = predictor.predict((array * 0.1).astype(np.uint8))
    grey = np.repeat(array.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    (uncoloured,) = predictor.predict(grey)
    assert (fit.faults, fit.withheld) == ((), False)
    assert dark.uncertain
    assert black.withheld
    assert sum(dark.p.values()) == pytest.approx(1)
    assert dark.sentences[0].startswith("Uncertain: ")
    assert dark.remedy in dark.sentences[0]
    assert "image quality: too dark" in dark.reason
    assert uncoloured.uncertain, "there is dermoscopy in greyscale"
    assert uncoloured.diagnosis in uncoloured.set
    assert "not in the colours of skin" in uncoloured.reason


@pytest.mark.parametrize(("size", "crop"), [(192, "center"), (192, "squash"), (64, "center")])
@pytest.mark.parametrize("colours", ["none", "shades_of_gray"])
def test_faults_do_not_depend_on_what_the_network_was_shown(lesions, monkeypatch, size, crop, colours):
    """The square that is measured is the network's where that is the same, and no other."""
    monkeypatch.setattr(
        preprocessing, "LIMITS", tuple(replace(one, value=0.5) for one in preprocessing.LIMITS)
    )
    for name in ("a.jpg", "b.png"):
        shown = Picture(lesions / name)
        shown.square(size, crop, colours)
        assert shown.faults() == Picture(lesions / name).faults() != ()


def telling(exported, folder, weight: float, bias: float):
    """The exported model, able to tell dermoscopy: by the first feature, or by the bias alone."""
    shutil.copytree(exported, folder)
    width = Predictor.open(folder)._network.features
    boundary = {"weights": [weight, *[0.0] * (width - 1)], "bias": bias, "kept": 0.98}
    edit(folder, dermoscopy=boundary | {"dermoscopic": {"own": 9}, "other": {"telephone": 9}})
    return Predictor.open(folder)


def test_what_does_not_look_like_dermoscopy_is_withheld(exported, lesions, tmp_path):
    image = lesions / "b.png"
    none, one = telling(exported, tmp_path / "none", 0.0, -1.5), telling(exported, tmp_path / "one", 0.0, 2.5)
    (alien,), (familiar,) = none.predict(image), one.predict(image)
    assert (alien.dermoscopy, familiar.dermoscopy) == (-1.5, 2.5)
    assert alien.withheld
    assert not alien.uncertain
    assert alien.sentences[0].startswith("Withheld: ")
    assert alien.reason.startswith("it does not look like dermoscopy")
    (plain,) = Predictor.open(exported).predict(image)
    assert plain.dermoscopy is None
    assert (familiar.p, familiar.diagnosis, familiar.set, familiar.reason) == (
        plain.p, plain.diagnosis, plain.set, plain.reason,
    )  # fmt: skip


def test_dermoscopy_is_told_by_the_features_of_the_image(exported, lesions, tmp_path):
    found = telling(exported, tmp_path / "model", 3.0, 0.25)
    picture = Picture(lesions / "b.png")
    meta_1M = found.encode([Patient()])
    _, features_1D = found.outputs([picture], meta_1M)
    (answer,) = found.answers([picture], [Patient()])
    assert answer.dermoscopy == pytest.approx(3.0 * float(features_1D[0, 0]) + 0.25)


def test_dermoscopy_that_is_unlike_the_training_is_answered_where_the_model_can_tell(
    exported, lesions, tmp_path
):
    """Another clinic's pictures are uncertain, with their numbers, whether or not the model can tell."""
    strange = DECISION.model_dump(mode="json")
    strange["ood"]["threshold"] = -1e6
    able = telling(exported, tmp_path / "able", 0.0, 1.0)
    edit(able.folder, decision=strange)
    (answer,) = Predictor.open(able.folder).predict(lesions / "b.png")
    assert answer.out_of_distribution
    assert answer.uncertain
    assert sum(answer.p.values()) == pytest.approx(1)
    edit(able.folder, dermoscopy=None)
    (unsure,) = Predictor.open(able.folder).predict(lesions / "b.png")
    assert unsure.out_of_distribution
    assert unsure.uncertain


def test_a_score_that_is_no_number_is_no_dermoscopy():
    for score in ("nan", "inf", "-inf"):
        assert state_of("", float(score), ())[0] == "withheld"
    state, reason, _ = state_of("no diagnosis stands out", 0.0, ("too dark",))
    assert (state, reason) == ("uncertain", "no diagnosis stands out; image quality: too dark")


def test_every_answer_says_whose_it_is(predictor, exported, lesions):
    (one,) = predictor.predict(lesions / "a.jpg")
    own = json.loads((exported / "model.json").read_text())["manifest"]["model.json"]
    assert one.model == predictor.id == f"mobilenet_v3_small-32-{own[:12]}"
    assert one.level == pytest.approx(1 - DECISION.sets.alpha)
    assert one.name in {diagnosis.name for diagnosis in DIAGNOSES}


def test_evidence_is_that_of_the_image_whatever_way_it_lies(predictor, lesions):
    """Averaged over a group, a map turns with its image."""
    with Image.open(lesions / "b.png") as picture:
        square = np.asarray(picture.convert("RGB").resize((SIZE, SIZE)))
    patient = Patient(40, "male", "back")
    found = predictor.evidence(Picture(square), patient)
    mirrored = predictor.evidence(Picture(np.ascontiguousarray(square[:, ::-1])), patient)
    np.testing.assert_allclose(mirrored.evidence_CHW, found.evidence_CHW[:, :, ::-1], atol=1e-4)
    np.testing.assert_allclose(found.attention_KHW.sum(axis=(1, 2)), 1, atol=1e-4)


def test_a_folder_by_its_table(predictor, lesions, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age,sex,site\na,80,male,face\n")
    with pytest.warns(UserWarning, match="no row for 3 of 4 images"):
        found = dict(predictor.predict_folder(lesions, table))
    assert list(found) == ["a", "b", "c", "d"]
    assert [found["a"]] == predictor.predict(lesions / "a.jpg", 80, "male", "face")
    assert [found["b"]] == predictor.predict(lesions / "b.png")
    with pytest.warns(UserWarning, match="no row for 3 of 4 images"):
        together = predictor.predict(lesions, table=table)
    assert together == list(found.values())
    assert [one.image_id for one in together] == list(found)


def test_a_folder_of_one_patient(predictor, lesions, tmp_path):
    found = predictor.predict(lesions, 80, "M", "face", prior="equal")
    files = [lesions / name for name in ("a.jpg", "b.png", "c.JPG", "more/d.jpeg")]
    expected = predictor.predict(files, 80, "male", "face", prior="equal")
    assert found == expected
    assert [one.image_id for one in expected] == ["a", "b", "c", "d"]
    for name in ("a.jpg", "b.png"):
        shutil.copy(lesions / name, tmp_path)
    (tmp_path / "b.png").write_bytes(b"no")
    with pytest.warns(UserWarning, match=r"b\.png: not a JPEG"):
        assert predictor.predict(str(tmp_path), 80, "M", "face", prior="equal") == found[:1]


def test_what_is_wrong_with_a_folder_is_said_at_the_call(predictor, lesions, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("image_id,site\na,nowhere\n")
    with pytest.raises(UserError, match="nowhere is no folder of images"):
        predictor.predict_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no images"):
        predictor.predict_folder(tmp_path)
    with pytest.raises(UserError, match="leave age, sex and site out"):
        predictor.predict(lesions, 40, table=table)
    with pytest.raises(UserError, match="a table is for the images of a folder"):
        predictor.predict(lesions / "a.jpg", table=table)
    with pytest.warns(UserWarning, match="no row for"), pytest.warns(UserWarning, match="site 'nowhere' is"):
        predictor.predict_folder(lesions, table)


@pytest.mark.parametrize(
    ("same", "as_known"),
    [
        ({"age": np.int64(55)}, {"age": 55.0}),
        ({"age": np.float32(55)}, {"age": 55.0}),
        ({"age": np.array([55])}, {"age": 55.0}),
        ({"age": "55"}, {"age": 55.0}),
        ({"age": pd.NA, "sex": pd.NA, "site": pd.NA}, {}),
        ({"age": [pd.NA], "sex": [np.nan], "site": [""]}, {}),
        ({"age": pd.Series([55.0], index=["x"])}, {"age": 55.0}),
        ({"sex": "M"}, {"sex": "male"}),
        ({"sex": np.str_(" Female ")}, {"sex": "female"}),
        ({"site": "Lower  Extremity"}, {"site": "foot"}),
    ],
    ids=str,
)
def test_a_patient_is_read_whoever_says_it(predictor, lesions, same, as_known):
    image = lesions / "a.jpg"
    assert predictor.predict(image, **same) == predictor.predict(image, **as_known)


@pytest.mark.parametrize(
    ("patient", "sentence"),
    [
        ({"age": 121}, "^age is 121; ages are 0 to 120"),
        ({"age": "old"}, "^age is 'old'"),
        ({"age": True}, "^age is 'True'"),
        ({"sex": "x"}, "^sex is 'x'; it is female or male"),
        ({"sex": ["robot"]}, "^sex is 'robot'"),
        ({"site": "bak"}, "^site 'bak' is not known; nearest: back"),
        ({"prior": "eqal"}, "^prior 'eqal': it is specialist, equal"),
        ({"prior": [1, 2]}, "^prior: 2 shares; akiec, bcc"),
        ({"prior": ["a"] * 7}, "^prior: the share of akiec is a; shares are positive"),
        ({"prior": {"mle": 1}}, "^prior: mle is not a class; nearest: mel"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused(predictor, lesions, patient, sentence):
    with pytest.raises(UserError, match=sentence):
        predictor.predict(lesions / "a.jpg", **patient)


def test_pictures_that_are_answered_are_let_go(predictor, lesions, monkeypatch):
    living, most = weakref.WeakSet(), []

    class Watched(Picture):
        def __init__(self, source):
            super().__init__(source)
            living.add(self)
            most.append(len(living))

    monkeypatch.setattr("dermlens.predict.predictor.Picture", Watched)
    predictor.predict([lesions / "a.jpg"] * 6)
    assert len(most) == 6
    assert max(most) <= 2


def test_a_pipe_is_not_waited_for(predictor, lesions, tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "without")
    shutil.copy(lesions / "b.png", tmp_path)
    found = dict(predictor.predict_folder(tmp_path))
    assert list(found) == ["a", "b"]
    assert "a.jpg: the image cannot be read (it is a folder, a pipe or a device)" in found["a"]
    with pytest.raises(ImageError, match="it is a folder, a pipe or a device"):
        predictor.predict(tmp_path / "a.jpg")


def test_dicom_files_without_a_suffix(predictor, lesions, tmp_path, monkeypatch):
    for name in ("IM0001", "1.2.840.5", "DICOMDIR"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "README").write_text("no picture" * 20)
    shutil.copy(lesions / "b.png", tmp_path)
    found = dict(predictor.predict_folder(tmp_path))
    assert list(found) == ["b", "1.2.840.5", "IM0001"]
    assert isinstance(found["b"], Answer)
    assert "IM0001: " in found["IM0001"]
    blocked = tmp_path.parent / "blocked"
    blocked.mkdir()
    (blocked / "pydicom.py").write_text("raise ModuleNotFoundError(name='pydicom')")
    monkeypatch.syspath_prepend(blocked)  # which the process that decodes is given
    without = dict(predictor.predict_folder(tmp_path))
    assert without["IM0001"].startswith(f"{tmp_path / 'IM0001'}: this needs pydicom")
    assert without["b"] == found["b"]


def test_load_names_a_model(exported, tmp_path):
    assert dermlens.load(exported).id == dermlens.load(str(exported)).id
    assert dermlens.load().id == dermlens.load("shipped").id
    with pytest.raises(UserError, match=r"model\.json does not exist"):
        dermlens.load(tmp_path)

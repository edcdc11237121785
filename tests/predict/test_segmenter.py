"""A network whose masks are known exactly: geometry, orientation, forms of pictures, wrong folders."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from segmenters import SIDE, dark_segmenter, graph

from dermlens.errors import UserError
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.segmenter import Segmenter, place


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenters")
    return {shape: Segmenter.load(dark_segmenter(folder / shape, shape)) for shape in ("squash", "pad")}


def picture(high, wide, inside):
    """Light skin with dark pixels where `inside` is."""
    pixels = np.full((high, wide, 3), 220, np.uint8)
    pixels[inside] = (90, 40, 30)
    return pixels


def block(high, wide, top, bottom, left, right):
    inside = np.zeros((high, wide), bool)
    inside[top:bottom, left:right] = True
    return inside


@pytest.mark.parametrize("shape", ["squash", "pad"])
def test_of_the_networks_own_size_the_mask_is_the_oracle_pixel_by_pixel(segmenters, shape):
    inside = np.random.default_rng(0).random((SIDE, SIDE)) < 0.4
    mask = segmenters[shape](picture(SIDE, SIDE, inside))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.where(inside, 255, 0))


@pytest.mark.parametrize("shape", ["squash", "pad"])
@pytest.mark.parametrize(("high", "wide"), [(64, 128), (128, 64), (96, 96), (16, 32), (20, 8)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_band_comes_back_where_it_was(segmenters, shape, high, wide, axis):
    """Edges at a half and a quarter of a side fall between the network's pixels, at all these sizes."""
    inside = block(high, wide, high // 4, high // 2, 0, wide)
    if axis:
        inside = block(high, wide, 0, high, wide // 4, wide // 2)
    mask = segmenters[shape](picture(high, wide, inside))
    np.testing.assert_array_equal(mask, np.where(inside, 255, 0))


@pytest.mark.parametrize("shape", ["squash", "pad"])
def test_a_disc_comes_back_round(segmenters, shape):
    """450 × 600 as HAM10000, 13 of the network's pixels across; the black bars of padding are in no mask."""
    rows, columns = np.mgrid[:450, :600]
    inside = (rows - 200) ** 2 + (columns - 350) ** 2 < 120**2
    found = segmenters[shape](picture(450, 600, inside)) > 0
    assert (found & inside).sum() / (found | inside).sum() > 0.93
    assert found.sum() == pytest.approx(inside.sum(), rel=0.02)
    assert segmenters[shape](picture(450, 600, np.zeros_like(inside))).max() == 0


def test_padding_keeps_proportions_and_squashing_fills_the_square():
    assert place(450, 600, 32, "squash") == (0, 0, 32, 32)
    assert place(450, 600, 32, "pad") == (4, 0, 24, 32)
    assert place(600, 450, 32, "pad") == (0, 4, 32, 24)
    assert place(1, 4000, 32, "pad") == (15, 0, 1, 32)


def test_a_huge_jpeg_has_a_mask_of_its_whole_size(segmenters):
    """The decoder halves it three times on the way to the network; the mask has the file's own size."""
    inside = block(800, 1600, 200, 400, 400, 800)
    file = io.BytesIO()
    Image.fromarray(picture(800, 1600, inside)).save(file, "JPEG", quality=95)
    found = segmenters["squash"](file.getvalue()) > 0
    assert found.shape == (800, 1600)
    assert (found & inside).sum() / (found | inside).sum() > 0.97


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_mask_lies_on_the_upright_picture(segmenters, orientation):
    """Pillow's own transposition says how a file of that orientation is seen."""
    from PIL import ImageOps

    lying = Image.fromarray(picture(64, 128, block(64, 128, 0, 32, 0, 32)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    lying.save(file, "PNG", exif=exif)
    with Image.open(file) as opened:
        seen = np.asarray(ImageOps.exif_transpose(opened))
    expected = np.where(seen.mean(axis=2) < 128, 255, 0)
    mask = segmenters["squash"](file.getvalue())
    assert mask.shape == expected.shape
    assert (mask != expected).mean() < 0.001  # the corner of a block is rounded


def test_every_form_of_a_picture_has_the_same_mask(segmenters, tmp_path):
    pixels = picture(64, 96, block(64, 96, 16, 48, 24, 48))
    path = tmp_path / "one.png"
    Image.fromarray(pixels).save(path)
    with path.open("rb") as file, Image.open(path) as opened:
        forms = (path, str(path), path.read_bytes(), file, opened, pixels)
        masks = [segmenters["pad"](form) for form in forms]
    assert masks[0].any()
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def test_what_is_no_picture_is_refused(segmenters, tmp_path):
    for wrong in (tmp_path / "absent.png", b"no picture", np.zeros((4, 4), np.uint8)):
        with pytest.raises(ImageError):
            segmenters["squash"](wrong)


def test_loading_needs_neither_torch_nor_pandas(loaded, tmp_path):
    folder = dark_segmenter(tmp_path / "dark")
    statement = (
        "import numpy as np; from dermlens.predict.segmenter import Segmenter; import dermlens.predict.masks;"
        f" Segmenter.load({str(folder)!r})(np.zeros((8, 8, 3), np.uint8))"
    )
    assert loaded(statement, "torch", "pandas", "onnxruntime") == {"onnxruntime"}


def test_a_folder_of_another_model_is_refused_by_name(tmp_path):
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "model.json").write_text("{}")
    with pytest.raises(UserError, match=r"classifier has no segmenter\.json \(it has a classifier's"):
        Segmenter.load(tmp_path / "classifier")
    with pytest.raises(UserError, match=r"absent has no segmenter\.json: "):
        Segmenter.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"shape": "center"}, "shape"),
        ({"size": 0}, "size"),
        ({"format": "dermlens model 2"}, "format"),
        ({"further": 1}, "further"),
        ({"sha256": "0" * 64}, r"segmenter\.onnx is not the file"),
    ],
)
def test_a_document_that_is_wrong_is_refused_by_its_key(tmp_path, keys, named):
    with pytest.raises(UserError, match=named):
        Segmenter.load(dark_segmenter(tmp_path / "dark", **keys))


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_document_that_is_no_object_is_refused(tmp_path, text):
    folder = dark_segmenter(tmp_path / "dark")
    (folder / "segmenter.json").write_text(text)
    with pytest.raises(UserError, match=r"segmenter\.json"):
        Segmenter.load(folder)


def test_a_network_that_is_no_segmenter_is_refused(tmp_path):
    for name, content in (
        ("text", b"no network"),
        ("gives", graph(gives="logits")),
        ("takes", graph(takes="pixels")),
    ):
        with pytest.raises(UserError, match=r"segmenter\.onnx"):
            Segmenter.load(dark_segmenter(tmp_path / name, content=content))
    folder = dark_segmenter(tmp_path / "gone")
    (folder / "segmenter.onnx").unlink()
    with pytest.raises(UserError, match=r"has no segmenter\.onnx"):
        Segmenter.load(folder)


def test_a_network_of_another_size_or_another_answer_is_refused(tmp_path):
    x = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(UserError, match="does not take images of 64 pixels"):
        Segmenter.load(dark_segmenter(tmp_path / "size", size=64))(x)
    one_number = Segmenter.load(dark_segmenter(tmp_path / "one", content=graph(mean_axes=(1, 2, 3))))
    with pytest.raises(UserError, match="a probability for each pixel"):
        one_number(x)


def test_the_document_says_what_was_measured(tmp_path):
    measured = {
        "jaccard": {"value": 0.8, "low": 0.7, "high": 0.9},
        "thresholded": {"value": 0.7, "low": None, "high": None},
        "images": 3,
        "lesions": 2,
    }
    found = Segmenter.load(dark_segmenter(tmp_path / "dark", measured=measured))
    assert json.loads(found.document.model_dump_json())["measured"] == measured
    assert found.id == f"dark-squash-32-{found.document.sha256[:12]}"

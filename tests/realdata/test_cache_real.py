"""Decoding and caching the real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.data.cache import open_cache
from dermlens.predict.pictures import images
from dermlens.predict.pictures.preprocessing import crop_resize, read_image, read_square

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def table(ham10000: Path) -> pd.DataFrame:
    files = sorted((ham10000 / "images").glob("*.jpg"))
    return pd.DataFrame(
        {
            "image_id": [file.stem for file in files],
            "path": [str(file) for file in files],
            "mask": [str(ham10000 / "masks" / f"{file.stem}_segmentation.png") for file in files],
        }
    )


@pytest.mark.parametrize("size", [128, 224])
def test_rows_are_what_the_predictor_sees(table, tmp_path, size):
    """Training decodes with simplejpeg and resizes with torch, the base install does both with Pillow."""
    sample = table.iloc[::100].reset_index(drop=True)
    cache = open_cache(sample, size=size, crop="center", root=tmp_path)
    differences = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "simplejpeg", None)
        for row, path in enumerate(sample["path"]):
            theirs = read_square(Path(path), size, "center").astype(int)
            differences.append(np.abs(cache.pixels[row] - theirs))
    assert np.max(differences) <= 2
    assert np.mean(differences) < 0.01


def test_scaled_decoding_keeps_the_picture(table):
    """At 128 pixels the files are decoded at half scale: 39.6 dB from the whole decode."""
    errors = []
    for path in table["path"].iloc[::200]:
        whole_HWC = crop_resize(read_image(Path(path)), 128, "center").astype(float)
        errors.append(((read_square(Path(path), 128, "center") - whole_HWC) ** 2).mean())
    assert 10 * np.log10(255**2 / np.mean(errors)) > 37


def test_all_images_are_cached_and_found_again_at_once(table, tmp_path, monkeypatch):
    built = open_cache(table, size=64, crop="center", root=tmp_path)
    assert built.pixels.shape == (10_015, 64, 64, 3)
    monkeypatch.setattr("dermlens.data.cache.read_image", lambda *given, **named: pytest.fail("decoded anew"))
    cache = open_cache(table, size=64, crop="center", root=tmp_path)
    means_N = cache.pixels[::50].mean((1, 2, 3))
    assert means_N.min() > 20  # no row was left out
    # Exact duplicates of the data set (its README) are equal rows, and another image is not.
    for one, other in [("ISIC_0024366", "ISIC_0029861"), ("ISIC_0024777", "ISIC_0029938")]:
        np.testing.assert_array_equal(cache.pixels[cache.index[one]], cache.pixels[cache.index[other]])
        assert not np.array_equal(cache.pixels[cache.index[one]], cache.pixels[cache.index[one] + 1])


def test_masks_lie_on_the_lesions(table, tmp_path):
    """Lesions are darker than the skin around them, in nearly all images."""
    sample = table.iloc[::100].reset_index(drop=True)
    pixels = open_cache(sample, size=64, crop="center", root=tmp_path).pixels
    masks = open_cache(sample, size=64, crop="center", root=tmp_path, what="mask")
    assert masks.present.all()
    inside_NHW = masks.pixels[..., 0] > 127
    darker = [
        grey[inside].mean() < grey[~inside].mean()
        for grey, inside in zip(pixels.mean(-1), inside_NHW, strict=True)
        if 0.02 < inside.mean() < 0.9
    ]
    assert len(darker) > 80
    assert np.mean(darker) > 0.9

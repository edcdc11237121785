"""Copies keep their fingerprint however they were made; other pictures have another."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from dermlens.data.duplicates import BLOCK, BYTES, THRESHOLD, distances, fingerprint, matches

SIZE = (360, 270)


@cache
def skin(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Blotches of every size on brown, as lesions have."""
    draw = np.random.default_rng(seed)
    sheet = np.zeros((size[1], size[0], 3))
    for places in (4, 9, 20, 45):
        noise = Image.fromarray(draw.integers(0, 256, (places, places, 3), dtype=np.uint8))
        sheet += np.asarray(noise.resize(size, Image.Resampling.BICUBIC)) / places
    return Image.fromarray((90 + 60 * (sheet - sheet.mean()) / sheet.std()).clip(0, 255).astype(np.uint8))


def mark(picture: Image.Image) -> bytes:
    return fingerprint(np.asarray(picture))


def saved(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def scaled(width: int, height: int):
    return lambda picture: picture.resize((width, height), Image.Resampling.LANCZOS)


def cropped(picture: Image.Image) -> Image.Image:
    """Two in a hundred of each side, from one corner."""
    return picture.crop((7, 5, picture.width, picture.height))


COPIES = {
    "itself": lambda picture: picture,
    "quality 50": lambda picture: saved(picture, 50),
    "quality 95": lambda picture: saved(picture, 95),
    "larger": scaled(600, 450),
    "squashed": scaled(256, 256),
    "cropped": cropped,
    "brighter": lambda picture: picture.point(lambda value: min(255, value + 20)),
    "less contrast": lambda picture: picture.point(lambda value: int(40 + 0.7 * value)),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "out of focus": lambda picture: picture.filter(ImageFilter.GaussianBlur(1.5)),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("turn", [None, *Image.Transpose], ids=str)
def test_a_copy_is_the_same_picture_however_it_is_turned(change, turn):
    copy = change(skin(0) if turn is None else skin(0).transpose(turn))
    assert list(matches([mark(skin(0))], [mark(copy)]))
    assert not list(matches([mark(skin(1))], [mark(copy)]))


def test_the_distance_is_the_least_of_eight_turned_pictures():
    """The oracle turns pixels, the code coefficients. On a square of whole places both are exact."""
    one, other = skin(2, (192, 192)), skin(3, (192, 192))

    def bits(first: Image.Image, second: Image.Image) -> int:
        packed = np.frombuffer(mark(first), np.uint8) ^ np.frombuffer(mark(second), np.uint8)
        differ = np.unpackbits(packed).reshape(24, 24)
        # The nine lowest coefficients are kept in no comparison.
        differ[:3, :3] = 0
        return int(differ.sum())

    turned = [other, *(other.transpose(turn) for turn in Image.Transpose)]
    assert distances([mark(one)], [mark(other)])[0, 0] == pytest.approx(
        min(bits(one, each) for each in turned), abs=1
    )


bytes_ = st.binary(min_size=BYTES, max_size=BYTES)


@settings(deadline=None, max_examples=30)
@given(st.lists(bytes_, min_size=1, max_size=5), st.lists(bytes_, min_size=1, max_size=5))
def test_distances_are_symmetric_and_none_to_oneself(ours, theirs):
    np.testing.assert_array_equal(distances(ours, theirs), distances(theirs, ours).T)
    itself = np.diag(distances(ours, ours))
    assert all(far == 0 for far, one in zip(itself, ours, strict=True) if any(one))


def test_an_even_picture_is_like_no_other_and_not_like_itself():
    even = [mark(Image.new("RGB", SIZE, (shade, shade, shade))) for shade in (0, 100, 101, 255)]
    assert set(even) == {bytes(BYTES)}
    assert (distances(even, [*even, mark(skin(0))]) > THRESHOLD).all()


def test_many_against_many_are_found_across_blocks():
    draw = np.random.default_rng(0)
    among = [draw.bytes(BYTES) for _ in range(2 * BLOCK + 5)]
    queries = [among[row] for row in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 4)] + [draw.bytes(BYTES)]
    assert sorted(matches(queries, among)) == [
        (0, 0, 0),
        (1, BLOCK - 1, 0),
        (2, BLOCK, 0),
        (3, 2 * BLOCK + 4, 0),
    ]
    assert list(matches([], among)) == list(matches(queries, [])) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (40, 30), (97, 95)])
def test_any_size_has_a_fingerprint(size):
    assert len(mark(skin(4).resize(size))) == BYTES

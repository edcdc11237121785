"""Announced sizes: what is refused by its headers costs nothing, and what programs really write passes."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
from functools import partial
from types import SimpleNamespace

import hostile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile
from steps import lines_run

from dermlens.predict.pictures import images
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.pictures.preprocessing import read_image
from dermlens.predict.pictures.structure import check_structure
from dermlens.serve.bodies import QUICK_WORK, work

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
WRITTEN = {
    "jpeg": ("JPEG", "RGB", {}),
    "progressive": ("JPEG", "RGB", {"progressive": True}),
    "with segments": ("JPEG", "RGB", {"comment": b"x" * 60_000, "icc_profile": bytes(200_000)}),
    "png": ("PNG", "RGB", {}),
    "png with an alpha": ("PNG", "RGBA", {}),
    "palette": ("PNG", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "bmp of a palette": ("BMP", "P", {}),
    "bmp of bits": ("BMP", "1", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "tiff jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "tiff cmyk": ("TIFF", "CMYK", {}),
    "tiff of strips": ("TIFF", "RGB", {"strip_size": 400}),
    "tiff of bits": ("TIFF", "1", {"compression": "group4"}),
    "big tiff": ("TIFF", "RGB", {"big_tiff": True}),
}  # fmt: skip


def written(name: str) -> bytes:
    kind, mode, options = WRITTEN[name]
    stream = io.BytesIO()
    PICTURE.convert(mode).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("name", WRITTEN)
def test_what_programs_write_passes_with_its_size(name):
    found = check_structure(written(name))
    assert (found.width, found.height) == PICTURE.size
    assert found.work > 0


@pytest.mark.parametrize("name", hostile.SMALL_FILES)
def test_what_announces_too_much_is_refused_before_a_decoder_is_asked(name, monkeypatch):
    """In little memory and few steps, whatever it says."""
    content = hostile.SMALL_FILES[name]
    if content[128:132] == b"DICM":
        pytest.importorskip("pydicom.pixels")
        monkeypatch.setattr("pydicom.pixels.pixel_array", forbidden)
        with pytest.raises(ImageError):
            read_image(content)  # its first use loads pydicom
    monkeypatch.setattr(ImageFile.ImageFile, "load", forbidden)
    monkeypatch.setattr(images, "simplejpeg", SimpleNamespace(decode_jpeg=forbidden))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError) as caught:
            read_image(content)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(content) + 5_000_000
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 300
    assert lines_run(partial(read_image, content)) < 1_000_000


def forbidden(*given, **named):
    pytest.fail("a decoder was asked")


def test_a_frame_is_weighed_by_what_it_announces_and_not_by_the_header_around_it():
    pytest.importorskip("pydicom")
    frame = hostile.jpeg_scans(2000, 90)
    frame += b"\0" * (len(frame) % 2)
    assert work(hostile.dicom(64, 64, [frame], b"1.2.840.10008.1.2.4.50")) > QUICK_WORK


def test_no_entry_of_a_directory_is_spoken_of_by_itself():
    """Pillow warns of each that it skips, with another number: a file of 8 MB wrote 60,000 lines."""
    entries = b"".join(struct.pack("<HHII", 1 + n, 5, 2**28, 8) for n in range(2000))
    exif = hostile.chunk(b"eXIf", b"II*\0" + struct.pack("<IH", 8, 2000) + entries + bytes(4))
    code = (
        "import sys; from dermlens.predict.pictures.preprocessing import read_image;"
        "read_image(sys.stdin.buffer.read())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=hostile.png(16, 16, exif), capture_output=True, check=True
    )
    assert ran.stderr == b""


def test_the_overlapping_segments_do_overlap():
    assert hostile.overlaps(hostile.SMALL_FILES["overlapping"])


@pytest.mark.parametrize("bits", [4, 8])
def test_run_lengths_of_an_ordinary_size_are_read(bits):
    assert read_image(hostile.bmp_runs(40, 30, 200, bits)).shape == (30, 40, 3)


CHANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6)


@given(st.sampled_from(sorted(WRITTEN)), CHANGES, st.integers(0, 400))
def test_damaged_headers_end_in_a_size_or_a_sentence(name, changes, cut):
    content = bytearray(written(name))
    for at, value in changes:
        content[at % len(content)] = value
    for one in (bytes(content), bytes(content[: len(content) - cut])):
        sentence = "a size instead"
        try:
            check_structure(one)
        except ValueError as error:
            sentence = str(error)
        assert 10 < len(sentence) < 300

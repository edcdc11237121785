"""DICOM photographs, written by pydicom: pixels, patient, and rubbish."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    DermoscopicPhotographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    VLEndoscopicImageStorage,
    VLPhotographicImageStorage,
)

from dermlens.errors import UserError
from dermlens.predict.pictures.dicom import dicom_patient
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.pictures.preprocessing import read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def written(
    syntax=ExplicitVRLittleEndian, kind=DermoscopicPhotographyImageStorage, pixels=PIXELS, **header
) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, kind
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    found = pydicom.Dataset()
    found.file_meta = meta
    found.SOPClassUID, found.SOPInstanceUID = kind, "1.2.3"
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel, found.BitsAllocated, found.BitsStored, found.HighBit = 3, 8, 8, 7
    found.PixelRepresentation, found.PlanarConfiguration = 0, 0
    found.PhotometricInterpretation = "RGB"
    content = pixels.tobytes()
    if syntax == JPEGBaseline8Bit:
        found.PhotometricInterpretation = "YBR_FULL_422"
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=95)
        content = encapsulate([stream.getvalue()])
    elif syntax == JPEG2000:
        content = encapsulate([b"no matter"])
    found.PixelData = content
    found["PixelData"].VR = "OB"
    for name, value in header.items():
        setattr(found, name, value)
    if syntax == RLELossless:
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.compress(RLELossless)
    stream = io.BytesIO()
    found.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("kind", [DermoscopicPhotographyImageStorage, VLPhotographicImageStorage])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_pixels_without_loss_are_the_pixels(kind, syntax):
    np.testing.assert_array_equal(read_image(written(syntax, kind)), PIXELS)


def test_a_jpeg_inside_is_that_jpeg():
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", quality=95)
    np.testing.assert_array_equal(read_image(written(JPEGBaseline8Bit)), read_image(stream.getvalue()))


def test_of_several_frames_the_first_counts():
    two = np.concatenate([PIXELS, 255 - PIXELS])
    content = written(pixels=two, Rows=30, NumberOfFrames=2)
    np.testing.assert_array_equal(read_image(content), PIXELS)


@pytest.mark.parametrize(
    ("age", "sex", "expected"),
    [
        ("045Y", "F", (45, "female")),
        ("006M", "M", (0.5, "male")),
        ("", "O", (None, None)),
        ("old", "", (None, None)),
        ("900Y", "M", (None, "male")),
        (None, None, (None, None)),
    ],
)
def test_the_patient_in_the_header(age, sex, expected):
    tags = {
        name: value for name, value in {"PatientAge": age, "PatientSex": sex}.items() if value is not None
    }
    content = written(**{name: value for name, value in tags.items() if value != "old"})
    if age == "old":
        content = written(PatientAge="045Y").replace(b"045Y", b"old ")
    assert dicom_patient("x.dcm", content) == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (written(kind=VLEndoscopicImageStorage), "DICOM object of another kind"),
        (written(JPEG2000), "transfer syntax .* is not read"),
        (written()[:300], "truncated or damaged|of another kind"),
        (written()[:-900], "truncated or damaged"),
        (written(JPEGBaseline8Bit)[:-900], "truncated or damaged"),
        (written(Rows=60_000, Columns=60_000), "60000 × 60000 pixels.*64 million"),
        (written(BitsAllocated=16), "three colours of 8 bits"),
        (written(SamplesPerPixel=1), "three colours of 8 bits"),
        (bytes(128) + b"DICM", "truncated or damaged|another kind"),
    ],
    ids=["endoscope", "jpeg 2000", "header", "pixels", "jpeg", "bomb", "16 bits", "grey", "nothing"],
)
def test_rubbish_gets_a_sentence(tmp_path, content, sentence):
    file = tmp_path / "x.dcm"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=sentence) as caught:
        read_image(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_without_pydicom_it_says_what_to_install(monkeypatch):
    content = written()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"dermlens\[dicom\]"):
        read_image(content)


@pytest.mark.parametrize("tag", [b"\x08\x00\x16\x00", b"\x28\x00\x10\x00", b"\x10\x00\x40\x00"])
def test_an_element_of_no_known_kind_is_damage(tag):
    whole = written(PatientSex="F")
    begin = whole.index(tag, 132) + len(tag)
    damaged = whole[:begin] + b"MI" + whole[begin + 2 :]
    for read in (lambda: read_image(damaged), lambda: dicom_patient("a.dcm", damaged)):
        with pytest.raises(ImageError, match=r"damaged.*DICOM header"):
            read()


def deflated(megabytes: int) -> bytes:
    """Zeros in a private element, which deflate to a thousandth."""
    content = written()
    meta, body = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"), io.BytesIO()
    begin = meta.index(b"\x08\0\x16\0UI")
    length = meta.index(b"1.2.840.10008.1.2.1.99") - 2
    meta = meta[:length] + b"\x16\0" + meta[length + 2 :]
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body.write(squeeze.compress(element(0x0009, 0x1000, b"OB", b"", 2**20 * megabytes)))
    for _ in range(megabytes):
        body.write(squeeze.compress(bytes(2**20)))
    body.write(squeeze.compress(meta[begin:]) + squeeze.flush())
    return meta[:begin] + body.getvalue()


def element(group: int, number: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    """In explicit VR of four bytes of length."""
    return struct.pack("<HH2sHI", group, number, kind, 0, len(value) if length is None else length) + value


def before_the_header(*elements: bytes) -> bytes:
    content = written()
    begin = content.index(b"\x08\0\x16\0UI")
    return content[:begin] + b"".join(elements) + content[begin:]


def bombs():
    item, ends = struct.pack("<HHI", 0xFFFE, 0xE000, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    yield "deflated", deflated(300), "deflated DICOM files are not read"
    many = [struct.pack("<HH2sH", 0x0001 + 2 * (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(100_000)]
    yield "elements", before_the_header(*many), "longer than that of any photograph"
    sequence = element(0x0009, 0x1000, b"SQ", item * 500_000 + ends, 0xFFFFFFFF)
    yield "items", before_the_header(sequence), "longer than that of any photograph"
    sequence = element(0x0008, 0x0005, b"UT", b"\\" * 2**20)
    yield "words", before_the_header(sequence), "longer than that of any photograph"
    beyond = element(0x0009, 0x1000, b"OB", b"", 0xFFFFFFF0)
    yield "length", before_the_header(beyond), "announces more than the file has"
    run = bytes([129, 0]) * 2**20
    frame = struct.pack("<16I", 3, 64, 64 + len(run), 66 + len(run), *[0] * 12) + run + bytes(4)
    yield "run lengths", encapsulated(RLELossless, [frame]), "pixels cannot be decoded"
    yield "fragments", encapsulated(JPEGBaseline8Bit, [b"xy"] * 200_000), "longer than that of any photograph"
    yield "offsets", encapsulated(JPEGBaseline8Bit, [b"xy"], bytes(2**23)), "pixels cannot be decoded"


def encapsulated(syntax, fragments: list[bytes], offsets: bytes = b"") -> bytes:
    """A picture whose pixels are what one likes."""
    content = pydicom.dcmread(io.BytesIO(written(JPEGBaseline8Bit)))
    content.file_meta.TransferSyntaxUID = syntax
    pieces = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(one)) + one for one in [offsets, *fragments])
    content.PixelData = pieces + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    stream = io.BytesIO()
    content.save_as(stream)
    return stream.getvalue()


BOMBS = list(bombs())


@pytest.mark.parametrize(
    ("content", "sentence"), [one[1:] for one in BOMBS], ids=[name for name, *_ in BOMBS]
)
def test_a_bomb_is_refused_before_it_is_unpacked(content, sentence):
    for read in (read_image, lambda data: dicom_patient("the image", data)):
        tracemalloc.start()
        try:
            if read is read_image:
                with pytest.raises(ImageError, match=sentence):
                    read(content)
            else:  # the header of a picture may be sound
                with contextlib.suppress(ImageError):
                    read(content)
            assert tracemalloc.get_traced_memory()[1] < 30 * 2**20 + 4 * len(content)
        finally:
            tracemalloc.stop()


def test_a_sequence_of_unknown_length_before_the_picture_is_stepped_over():
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + element(0x0009, 0x1001, b"OB", b"ab")
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    content = before_the_header(element(0x0009, 0x1000, b"SQ", item + ends, 0xFFFFFFFF))
    np.testing.assert_array_equal(read_image(content), PIXELS)

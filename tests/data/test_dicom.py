"""DICOM photographs, written by pydicom: pixels, patient, and rubbish."""

from __future__ import annotations

import io
import sys

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

from dermlens.data.dicom import dicom_patient
from dermlens.data.images import ImageError, read_image
from dermlens.errors import UserError

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
    told = {
        name: value for name, value in {"PatientAge": age, "PatientSex": sex}.items() if value is not None
    }
    content = written(**{name: value for name, value in told.items() if value != "old"})
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
        (written(Rows=60_000, Columns=60_000), "60000 × 60000 pixels; the most allowed is 64 million"),
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

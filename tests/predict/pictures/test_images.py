"""Decoding: what is refused and how it is said; that both decoders give one and the same pixels."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from dermlens.errors import UserError
from dermlens.predict.pictures import images
from dermlens.predict.pictures.images import FORMATS, MAX_PIXELS, ImageError
from dermlens.predict.pictures.preprocessing import read_image
from dermlens.predict.pictures.structure import MOST_SCANS

FAST = images.simplejpeg


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request, monkeypatch):
    """Both ways of the pixels of a JPEG; the second is the base install's."""
    if request.param == "simplejpeg" and FAST is None:
        pytest.skip("simplejpeg is not installed")
    monkeypatch.setattr(images, "simplejpeg", FAST if request.param == "simplejpeg" else None)
    return request.param


def picture(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    """Smooth colours with some detail, so that a JPEG of it resembles it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A valid PNG header that announces any size, with hardly a pixel behind it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def scanned(scans: int, side: int = 64) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = encoded(picture(side, side), progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    more = scans - content.count(b"\xff\xda")
    return content[:-2] + last * more + content[-2:]


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PPM", "ICO"])
def test_a_format_off_the_list_is_refused_whatever_its_suffix(tmp_path, form):
    file = tmp_path / "lesion.jpg"
    file.write_bytes(encoded(picture(), form))
    with pytest.raises(ImageError, match=r"lesion\.jpg.*JPEG, PNG, TIFF or BMP"):
        read_image(file)


@pytest.mark.parametrize("form", FORMATS)
def test_content_counts_and_not_the_suffix(tmp_path, form):
    file = tmp_path / "lesion.gif"
    file.write_bytes(encoded(picture(), form))
    np.testing.assert_allclose(read_image(file), np.asarray(picture()), atol=60 if form == "JPEG" else 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"Dear colleague, please find attached", "not a JPEG"),
        (b"\xff\xd8\xff\xe0", "not a JPEG"),
        (png_header(50_000, 50_000), "64 million"),  # Pillow raises
        (png_header(12_000, 12_000), "64 million"),  # Pillow warns
        (png_header(9_000, 9_000), "9000 × 9000 pixels"),  # Pillow is content
    ],
    ids=["empty", "text", "first bytes", "bomb", "large", "above our own limit"],
)
def test_bad_files_get_one_sentence_with_their_name(tmp_path, content, words):
    file = tmp_path / "ISIC_0000001.jpg"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_image(file)
    sentence = str(caught.value)
    assert str(file) in sentence
    assert words in sentence
    assert "\n" not in sentence


def test_the_pixel_limit_itself_is_allowed():
    side = int(MAX_PIXELS**0.5)
    with pytest.raises(ImageError, match="truncated or damaged"):  # it got as far as decoding
        read_image(png_header(side, side))


def test_a_jpeg_has_a_limited_number_of_scans(decoder):
    read_image(scanned(MOST_SCANS))
    many = scanned(MOST_SCANS + 1)
    for bomb in (many, many.replace(b"\xff\xda", b"\xff\xff\xda")):
        with pytest.raises(ImageError, match=r"JPEG.*100 scans"):
            read_image(bomb)


def test_what_looks_like_scans_outside_the_picture_is_not_counted(decoder):
    """In what cameras write before a picture, and in the film that telephones put behind it."""
    content, many = encoded(picture()), b"\xff\xda\x00\x02" * 1000
    comment = b"\xff\xfe" + struct.pack(">H", len(many) + 2) + many
    whole = content[:2] + comment + content[2:] + many + b"\xff\xd9"
    np.testing.assert_array_equal(read_image(whole), read_image(content))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_strips_are_not_seen(mode, monkeypatch):
    image = picture().convert("L" if mode == "I;16" else mode).convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    content = encoded(image, form, **({"transparency": 3} if mode == "P" else {}))
    whole = read_image(content)
    monkeypatch.setattr(images, "STRIP", 1000)
    np.testing.assert_array_equal(read_image(content), whole)


def test_unpacking_holds_little_more_than_the_pixels(tmp_path):
    """In a process of its own, as Pillow's memory counts too; of one that is transparent."""
    file = tmp_path / "large.png"
    Image.new("RGBA", (6000, 6000), (9, 8, 7, 200)).save(file)
    code = (
        "import sys, resource; from dermlens.predict.pictures.preprocessing import read_image; "
        "from PIL import ImageCms;"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; before = most();"
        "read_image(open(sys.argv[1], 'rb').read(), 192); print(most() - before)"
    )
    output = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert float(output.stdout) < 1.5 * 7 * 36, "4 bytes a pixel of Pillow's, 3 of the answer"


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.jpg.*No such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match=r"cannot be read"):
        read_image(tmp_path)


def test_more_bytes_than_allowed_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    file = tmp_path / "a.bmp"
    file.write_bytes(encoded(picture(), "BMP"))
    with pytest.raises(ImageError, match=r"a\.bmp.*MB"):
        read_image(file)
    with pytest.raises(ImageError, match="the most"):
        read_image(file.read_bytes())


JPEGS = {
    "plain": {},
    "whole colour": {"subsampling": 0},
    "halved colour": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "red green blue": {"keep_rgb": True},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_cut_anywhere_is_refused(decoder, options):
    data = encoded(picture(), **options)
    for cut in [*range(1, 40), *range(40, len(data), 37)]:
        with pytest.raises(ImageError):
            read_image(data[:-cut])


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {})]
)
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
def test_other_files_cut_anywhere_are_refused(form, options):
    data = encoded(picture(88), form, **options)  # a width that BMP needs not pad
    for cut in [*range(1, 40), *range(40, len(data), 211)]:
        with pytest.raises(ImageError):
            read_image(data[:-cut])


@pytest.mark.skipif(FAST is None, reason="Pillow alone does not notice it")
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_that_ends_early_but_tidily_is_refused(options):
    data = encoded(picture(), **options)
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_image(data[: len(data) * 3 // 4] + b"\xff\xd9")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_bytes_give_pixels_or_our_own_error(data):
    """Whatever the decoders raise on broken files, a user sees an ImageError."""
    form = data.draw(st.sampled_from(FORMATS))
    raw = bytearray(encoded(picture(24, 16), form))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels_HWC = read_image(bytes(raw))
    except ImageError:
        return
    assert pixels_HWC.dtype == np.uint8
    assert pixels_HWC.ndim == 3


# --- what comes out ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    min_side=st.none() | st.integers(1, 300),
    options=st.sampled_from(list(JPEGS.values())),
    quality=st.integers(30, 100),
)
@example(width=1, height=1, min_side=1, options={}, quality=30)
@pytest.mark.skipif(FAST is None, reason="simplejpeg is not installed")
def test_both_decoders_give_the_same_pixels(width, height, min_side, options, quality):
    """Training decodes with one and the base install's predictor with the other."""
    data = encoded(picture(width, height), quality=quality, **options)
    fast = read_image(data, min_side)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "simplejpeg", None)
        slow = read_image(data, min_side)
    np.testing.assert_array_equal(fast, slow)
    assert fast.flags.writeable
    assert slow.flags.writeable


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 500), height=st.integers(1, 500), min_side=st.integers(1, 300))
def test_the_short_side_never_falls_below_the_one_asked_for(width, height, min_side):
    decoded = read_image(encoded(picture(width, height)), min_side)
    short, whole = min(decoded.shape[:2]), min(width, height)
    assert short >= min(min_side, whole)
    # and it is the smallest of the scales that the format offers
    assert short < 2 * min_side or short in (whole, -(-whole // 8))


def test_scaled_pixels_are_means_of_the_whole_ones():
    """A quarter-size decode resembles the mean over 4×4 pixels, so it is neither shifted nor turned."""
    whole_HWC = read_image(encoded(picture(160, 120), quality=95, subsampling=0)).astype(float)
    quarter_HWC = read_image(encoded(picture(160, 120), quality=95, subsampling=0), min_side=30)
    means_HWC = whole_HWC.reshape(30, 4, 40, 4, 3).mean((1, 3))
    assert quarter_HWC.shape == means_HWC.shape
    assert np.abs(quarter_HWC - means_HWC).mean() < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_orientation_is_applied(decoder, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(read_image(data), expected)
    assert (expected.shape[0] > expected.shape[1]) == (orientation >= 5)


def test_orientation_is_applied_to_scaled_pixels(decoder):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(160, 120), exif=exif)
    upright = read_image(encoded(picture(160, 120)), min_side=60)
    np.testing.assert_array_equal(read_image(data, min_side=60), np.rot90(upright, -1))


def test_exif_that_nobody_can_read_turns_nothing(decoder):
    data = encoded(picture(), exif=b"Exif\0\0" + b"garbage that is no TIFF header")
    np.testing.assert_array_equal(read_image(data), read_image(encoded(picture())))


def test_bytes_and_file_agree(tmp_path):
    data = encoded(picture())
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(data))


def test_16_bit_grey_keeps_its_range():
    ramp_HW = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    decoded = read_image(encoded(Image.fromarray(ramp_HW), "PNG"))
    np.testing.assert_array_equal(decoded[..., 0], np.rint(ramp_HW / 257).astype(np.uint8))
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_other_modes_are_what_a_viewer_shows(mode):
    image = picture().convert(mode)
    np.testing.assert_array_equal(read_image(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    image = Image.new("RGBA", (4, 4), (200, 10, 10, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 4))
    options = {}
    if mode == "P":
        image = image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
        options = {"transparency": image.getpixel((3, 0))}
    decoded = read_image(encoded(image if mode == "P" else image.convert(mode), "PNG", **options))
    assert (decoded[:, 2:] == 255).all()
    assert (decoded[:, :2] <= 1).all()


def test_cmyk_is_read_as_pillow_reads_it(decoder):
    data = encoded(picture().convert("CMYK"))
    np.testing.assert_array_equal(read_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_a_mode_without_a_sure_way_to_rgb_is_refused(mode):
    image = picture().convert("L").convert(mode) if mode != "LAB" else Image.new("LAB", (4, 4))
    with pytest.raises(ImageError, match=f"colour mode {mode}"):
        read_image(encoded(image, "TIFF"))


# --- colour profiles ---------------------------------------------------------------------------------------


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """SRGB with the primaries of red and blue exchanged, under another name."""
    profile = srgb_profile().replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    return profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_an_embedded_profile_is_converted_to_srgb(decoder, form):
    """Under primaries exchanged, what the file calls red is blue."""
    options = {"subsampling": 0, "quality": 100} if form == "JPEG" else {}
    data = encoded(picture(), form, icc_profile=swapped_profile(), **options)
    np.testing.assert_allclose(read_image(data).astype(int), np.asarray(picture())[..., ::-1], atol=6)


def test_an_srgb_profile_changes_nothing(decoder):
    data = encoded(picture(), icc_profile=srgb_profile())
    np.testing.assert_array_equal(read_image(data), read_image(encoded(picture())))


def test_grey_with_an_rgb_profile_is_read(decoder):
    grey = picture().convert("L")
    decoded = read_image(encoded(grey, "PNG", icc_profile=swapped_profile()))
    np.testing.assert_allclose(decoded[..., 1].astype(int), np.asarray(grey), atol=6)


@pytest.mark.parametrize("profile", [b"nonsense", srgb_profile()[:200]], ids=["nonsense", "cut"])
def test_a_profile_that_cannot_be_used_is_refused(decoder, profile):
    with pytest.raises(ImageError, match=r"colour profile.*sRGB"):
        read_image(encoded(picture(), icc_profile=profile))


# --- what it stands on -------------------------------------------------------------------------------------


def test_reading_images_needs_no_torch_and_no_pandas(loaded):
    statement = "import dermlens.predict.pictures.images, dermlens.predict.pictures.preprocessing"
    assert loaded(statement, "dermlens.predict.pictures.images", "torch", "pandas") == {
        "dermlens.predict.pictures.images"
    }


def test_the_file_may_be_anywhere(tmp_path):
    file = Path(tmp_path) / "Läsion 1.jpg"
    file.write_bytes(encoded(picture()))
    assert read_image(file).shape == (60, 90, 3)

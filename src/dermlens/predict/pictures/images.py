"""Safe decoding: someone's file in, RGB pixels or one clear sentence out."""

from __future__ import annotations

import io
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from dermlens.errors import UserError
from dermlens.predict.pictures.structure import LONGEST_SIDE, check_structure

# Shapes: H height, W width; 3 is red, green, blue, 0 … 255.
#
# Pillow reads every header, behind an allow-list of formats and before any pixel is unpacked. The pixels of
# plain JPEGs then come from simplejpeg where it is installed: it is a little faster, and it also notices
# damage in the middle of a file. Without it Pillow gives the same pixels, bit for bit.


try:
    import simplejpeg
except ImportError:  # the base install leaves it out
    simplejpeg = None

FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 2**20

ENDS = {"JPEG": (b"\xff\xda", b"\xff\xd9"), "PNG": (b"IDAT", b"IEND\xaeB`\x82")}
"""How the pixels begin, and what must come after them."""
ORIENTATION = 0x0112
TURNS = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
"""By EXIF orientation: whether rows become columns, then the directions of rows and of columns."""
STRIP = 2**22
"""Pixels that are taken to RGB at a time: each step of the way makes a copy."""

# What libjpeg says of pixels that are lost, as opposed to harmless oddities such as padding between markers.
DAMAGE = ("remature end", "bad Huffman code", "bad arithmetic code", "instead of RST")

# Pillow warns of a bomb between its own limit and twice that, which is refused below anyway. Set once and not
# around each call: `catch_warnings` is not safe in threads.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# And of each entry of a directory that it skips, and of other oddities: a file may have tens of thousands.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.\w+ImagePlugin")


class ImageError(UserError):
    """An image that cannot or must not be decoded."""


def decode_image(
    name: str, data: bytes, min_side: int | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Decode the bytes of an image that is no DICOM photograph; as `read_image`.

    Args:
        name: of the file, for errors.
        data: its bytes.
        min_side: as `read_image` has it.
        max_pixels: as `read_image` has it.

    Returns:
        uint8 (H, W, 3), writable.

    Raises:
        ImageError: as `read_image`.
    """
    try:
        check_structure(data)
    except ValueError as error:
        raise ImageError(f"{name}: {error}") from error
    image = _open(name, data, min(MAX_PIXELS, max_pixels or MAX_PIXELS))
    factor = _factor(image, min_side)
    try:
        pixels_HWC = _plain_jpeg(name, data, image, factor)
        if pixels_HWC is None:
            if factor > 1:
                image.draft(None, (image.width // factor, image.height // factor))
            image.load()
            # Pillow is content once it has the last row, but a file without its end mark was cut short.
            begin, end = ENDS.get(image.format or "", (b"", b""))
            if data.find(end, data.find(begin)) < 0:
                raise ImageError(f"{name}: truncated, the end mark of a {image.format} is missing")
            pixels_HWC = _rgb_pixels(name, image)
    except (ImageError, MemoryError):
        raise
    # Hostile bytes make the decoders raise nearly anything: OSError, SyntaxError, struct.error, EOFError, …
    except Exception as error:
        raise ImageError(f"{name}: truncated or damaged, it cannot be decoded ({error})") from error
    return _upright(pixels_HWC, image)


def from_pillow(image: Image.Image) -> np.ndarray:
    """Upright sRGB pixels of a picture that Pillow holds; as `read_image`.

    Raises:
        ImageError: over MAX_PIXELS, or with a colour mode or profile that has no sure way to RGB.
    """
    name = "the image"
    if image.width * image.height > MAX_PIXELS or max(image.size) > LONGEST_SIDE:
        size = f"{image.width} × {image.height} pixels"
        raise ImageError(
            f"{name}: {size}; the most allowed is {MAX_PIXELS // 10**6} million, {LONGEST_SIDE} a side"
        )
    return _upright(_rgb_pixels(name, image), image)


def decoded_size(name: str, data: bytes) -> tuple[int, int]:
    """Width and height of an upright picture that is no DICOM photograph, in pixels; as `image_size`."""
    image = _open(name, data, MAX_PIXELS)
    turn = TURNS.get(_orientation(image))
    return (image.height, image.width) if turn is not None and turn[0] else image.size


def in_srgb(name: str, pixels_HW3: np.ndarray, profile: bytes) -> np.ndarray:
    """Pixels in sRGB by the colour profile that comes with them, in a DICOM header.

    Args:
        name: of the file, for errors.
        pixels_HW3: uint8, in the profile's colours.
        profile: ICC.

    Raises:
        ImageError: the profile cannot be used.
    """
    image = Image.fromarray(pixels_HW3)
    image.info["icc_profile"] = profile
    return _rgb_pixels(name, image)


def has_profile(data: bytes) -> bool:
    """Whether an image file has a colour profile of its own."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return bool(image.info.get("icc_profile"))


def named_bytes(source: Path | bytes) -> tuple[str, bytes]:
    """A name for errors, and the bytes of a file. Raises: ImageError, as `read_image`."""
    if isinstance(source, bytes):
        name, data = "the image", source
        bytes_ = len(source)
    else:
        name, data = str(source), b""
        try:
            status = source.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{name}: the image cannot be read (it is a folder, a pipe or a device)")
            bytes_ = status.st_size
            if bytes_ <= MAX_BYTES:
                data = source.read_bytes()
        except OSError as error:
            raise ImageError(f"{name}: the image cannot be read ({error.strerror})") from error
    if bytes_ > MAX_BYTES:
        raise ImageError(
            f"{name}: {bytes_ / 2**20:.0f} MB; the most an image may have is {MAX_BYTES // 2**20}"
        )
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes), not an image")
    return name, data


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as the bytes of a file.

    Pillow takes a file that a full disk cut short for a whole one when it writes there itself.
    """
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _open(name: str, data: bytes, most: int) -> ImageFile.ImageFile:
    """Read the header alone, and refuse what it announces before anything is unpacked."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: more than {most // 10**6} million pixels, the most allowed") from error
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(
            f"{name}: not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, whatever its name says; save a"
            " picture as JPEG or PNG"
        ) from error
    if image.width * image.height > most:
        size = f"{image.width} × {image.height} pixels"
        raise ImageError(f"{name}: {size}; the most allowed is {most // 10**6} million")
    return image


def _factor(image: ImageFile.ImageFile, min_side: int | None) -> int:
    """The largest of 8, 4, 2, 1 by which a JPEG can shrink and keep `min_side` pixels on the short side."""
    if min_side is None or image.format not in ("JPEG", "MPO"):
        return 1
    short = min(image.size)
    # Pillow asks for whole pixels rounded down, so a side shorter than the factor cannot shrink by it.
    return next((factor for factor in (8, 4, 2) if factor <= short and -(-short // factor) >= min_side), 1)


def _plain_jpeg(name: str, data: bytes, image: ImageFile.ImageFile, factor: int) -> np.ndarray | None:
    """Pixels of a three-component JPEG without a colour profile by simplejpeg; None leaves it to Pillow."""
    if simplejpeg is None or image.format != "JPEG" or image.mode != "RGB" or "icc_profile" in image.info:
        return None
    height, width = -(-image.height // factor), -(-image.width // factor)
    try:
        # The limit was checked on what Pillow read of the header: the other reader must agree.
        if simplejpeg.decode_jpeg_header(data)[:2] != (image.height, image.width):
            return None
        pixels_HWC: np.ndarray = simplejpeg.decode_jpeg(
            data, min_height=height, min_width=width, min_factor=factor
        )
    except ValueError as error:
        if any(words in str(error) for words in DAMAGE):
            raise ImageError(f"{name}: truncated or damaged, it cannot be decoded ({error})") from error
        return None
    # On images of a few pixels it may find another scale that fits as well.
    return pixels_HWC if pixels_HWC.shape == (height, width, 3) else None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF that no reader understands turns the image in no viewer
        return 1


def _upright(pixels_HWC: np.ndarray, image: Image.Image) -> np.ndarray:
    """Pixels turned as the EXIF of their file says."""
    turn = TURNS.get(_orientation(image))
    if turn is None:
        return pixels_HWC
    transposed, down, right = turn
    turned_HWC = pixels_HWC.swapaxes(0, 1) if transposed else pixels_HWC
    return turned_HWC[::down, ::right].copy()


def _rgb_pixels(name: str, image: Image.Image) -> np.ndarray:
    """8-bit sRGB of what Pillow has decoded, strip by strip."""
    width, height = image.size
    pixels_HWC = np.empty((height, width, 3), dtype=np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels_HWC[top : top + rows] = np.asarray(_to_rgb(name, strip))
    return pixels_HWC


def _to_rgb(name: str, image: Image.Image) -> Image.Image:
    """8-bit sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = Image.fromarray(((np.asarray(image, np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("1", "L", "P", "PA", "LA", "La", "RGBa", "RGBA", "RGBX"):
        image = _opaque(image)
    elif image.mode not in ("RGB", "CMYK", "YCbCr"):
        raise ImageError(f"{name}: colour mode {image.mode} has no sure way to RGB; save it as 8-bit RGB")
    if profile:
        image = _to_srgb(name, image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _opaque(image: Image.Image) -> Image.Image:
    """Lay what is transparent over white, as a viewer does; grey stays grey for its profile's sake."""
    if not image.has_transparency_data:
        return image.convert("L" if image.mode in ("1", "L") else "RGB")
    above = image.convert("RGBA")
    white = Image.new("RGBA", above.size, "white")
    return Image.alpha_composite(white, above).convert("RGB")


def _to_srgb(name: str, image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the embedded profile; where it cannot be used the colours are unknown: refused."""
    from PIL import ImageCms

    try:
        embedded: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(embedded).lower():
            return image
        mode = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}[embedded.profile.xcolor_space]
        # Grey may be read as RGB or as grey; CMYK only as itself.
        if mode != image.mode and "CMYK" not in (mode, image.mode):
            image = image.convert(mode)
        converted = ImageCms.profileToProfile(
            image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except Exception as error:
        raise ImageError(
            f"{name}: its embedded colour profile cannot be used; save it as sRGB, or without a profile"
        ) from error
    assert converted is not None  # None is for in-place conversion only
    return converted

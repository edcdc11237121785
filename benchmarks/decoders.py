"""What JPEG decoders there are for the pixel cache, and how long each takes, on one core.

    OMP_NUM_THREADS=1 DERMLENS_DATA=… [TURBOJPEG=libturbojpeg.so] python benchmarks/decoders.py

The candidates are no dependencies of ours; those that are not installed are left out. All decode the same
bytes in memory, in blocks that alternate; a number is the median over blocks of processor time per image.
TURBOJPEG names a libjpeg-turbo ≥ 3 for the rows that use its cropping. The findings are in
docs/results/cache_decoders.md.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cache_build import keep_freed_memory, machine, made_files, real_files
from PIL import Image

BLOCKS = 9
WIDTH, HEIGHT = 600, 450

Decode = Callable[[bytes], Any]


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        sets = {k: [f.read_bytes() for f in v] for k, v in made_files(Path(name), real_files()).items()}
    first = next(iter(sets.values()))[0]
    ways = {name: way for name, way in candidates().items() if works(name, way, first)}
    times: dict[tuple[str, str], list[float]] = {(way, kind): [] for way in ways for kind in sets}
    for block in range(BLOCKS + 1):
        for kind, images in sets.items():
            for name, way in ways.items():
                began = time.process_time()
                for data in images:
                    way(data)
                if block > 0:  # the first one warms up
                    times[name, kind].append((time.process_time() - began) / len(images) * 1000)
    print(machine())
    print(f"\n| decoder | {' | '.join(sets)} | off | cut file |\n|---|{'---|' * (len(sets) + 2)}")
    for name, way in ways.items():
        row = " | ".join(f"{statistics.median(times[name, kind]):.2f}" for kind in sets)
        print(f"| {name} | {row} | {off(way, first)} | {of_a_cut_file(way, first)} |")


def works(name: str, way: Decode, data: bytes) -> bool:
    try:
        way(data)
    except Exception as error:
        print(f"{name}: left out, {type(error).__name__}: {error}")
        return False
    return True


def off(way: Decode, data: bytes) -> str:
    """Largest difference from Pillow's whole decode, where the shapes agree."""
    pixels = way(data)
    whole_HWC = pillow(data)
    if not isinstance(pixels, np.ndarray) or pixels.shape != whole_HWC.shape:
        return "–"
    return str(np.abs(pixels.astype(int) - whole_HWC).max())


def of_a_cut_file(way: Decode, data: bytes) -> str:
    """What becomes of a file that lost its last quarter and has an end mark."""
    try:
        way(data[: len(data) * 3 // 4] + b"\xff\xd9")
    except Exception:
        return "refused"
    return "**passes**"


def pillow(data: bytes, factor: int = 1) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
    return np.asarray(image)


def candidates() -> dict[str, Decode]:
    """Those that are installed, by name."""
    found: dict[str, Decode] = {"Pillow": pillow, "Pillow, 1/2": lambda data: pillow(data, 2)}
    turbo = (simplejpeg, torchvision, opencv, imagecodecs, vips)
    for maker in (*turbo, kornia, imgread, edgefirst, jpegli, ffmpeg):
        try:
            found |= maker()
        except ImportError as error:
            print(f"{maker.__name__}: not installed ({error})")
    if os.environ.get("TURBOJPEG"):
        found |= turbojpeg(os.environ["TURBOJPEG"])
    return found


def simplejpeg() -> dict[str, Decode]:
    decode = importlib.import_module("simplejpeg").decode_jpeg
    half = {"min_height": HEIGHT // 2, "min_width": WIDTH // 2, "min_factor": 2}
    eighth = {"min_height": HEIGHT // 8, "min_width": WIDTH // 8, "min_factor": 8}
    return {
        "simplejpeg": decode,
        "**simplejpeg, 1/2 (ours)**": lambda data: decode(data, **half),
        "simplejpeg, 1/2, fast DCT and upsampling": lambda data: decode(
            data, fastdct=True, fastupsample=True, **half
        ),
        "simplejpeg, 3/8": lambda data: decode(data, min_height=169, min_width=225, min_factor=1),
        "simplejpeg, 1/8, grey: hardly more than Huffman": lambda data: decode(data, "GRAY", **eighth),
    }


def torchvision() -> dict[str, Decode]:
    read = importlib.import_module("torchvision.io").decode_jpeg
    return {
        "torchvision": lambda data: (
            read(torch.frombuffer(bytearray(data), dtype=torch.uint8)).permute(1, 2, 0).numpy()
        )
    }


def opencv() -> dict[str, Decode]:
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    return {
        "OpenCV": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB),
        "OpenCV, 1/2": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2),
    }


def imagecodecs() -> dict[str, Decode]:
    return {"imagecodecs": importlib.import_module("imagecodecs").jpeg8_decode}


def kornia() -> dict[str, Decode]:
    read = importlib.import_module("kornia_rs.io")
    return {
        "kornia-rs (zune-jpeg)": read.decode_image_jpeg,
        "kornia-rs (turbojpeg)": lambda data: read.decode_image_jpegturbo(data, "rgb"),
    }


def imgread() -> dict[str, Decode]:
    read = importlib.import_module("imgread").load_numpy_from_bytes
    return {"imgread": read, "imgread (zune-jpeg)": lambda data: read(data, backend="image")}


def edgefirst() -> dict[str, Decode]:
    """Its output format and its DCT are set for the thread, so each call sets them."""
    codec = importlib.import_module("edgefirst.codec")
    tensor = codec.Tensor.image(WIDTH, HEIGHT, codec.PixelFormat.Rgb)

    def decode(data: bytes, method: Any) -> np.ndarray:
        codec.set_dct_method(method)
        codec.set_output_format(codec.PixelFormat.Rgb)
        tensor.decode_image(data)
        with tensor.map() as view:
            flat: np.ndarray = np.frombuffer(view, np.uint8)
            stride = tensor.row_stride or WIDTH * 3
            return flat[: HEIGHT * stride].reshape(HEIGHT, stride)[:, : WIDTH * 3].reshape(HEIGHT, WIDTH, 3)

    return {
        "edgefirst-codec": lambda data: decode(data, codec.DctMethod.Accurate),
        "edgefirst-codec, fast DCT": lambda data: decode(data, codec.DctMethod.Fast),
    }


def jpegli() -> dict[str, Decode]:
    return {"ajpegli (jpegli)": importlib.import_module("ajpegli").decode}


def vips() -> dict[str, Decode]:
    image = importlib.import_module("pyvips").Image
    return {
        "libvips": lambda data: image.jpegload_buffer(data).numpy(),
        "libvips, 1/2": lambda data: image.jpegload_buffer(data, shrink=2).numpy(),
    }


def ffmpeg() -> dict[str, Decode]:
    av = importlib.import_module("av")

    def decode(data: bytes, halvings: int) -> Any:
        codec = av.CodecContext.create("mjpeg", "r")
        codec.thread_count = 1
        codec.options = {"lowres": str(halvings)}
        return (codec.decode(av.Packet(data)) or codec.decode(None))[0]

    return {
        "FFmpeg, to YCbCr": lambda data: decode(data, 0),
        "FFmpeg, to YCbCr, 1/2": lambda data: decode(data, 1),
    }


class Fraction(ctypes.Structure):
    """`tjscalingfactor`."""

    _fields_ = (("num", ctypes.c_int), ("denom", ctypes.c_int))


class Region(ctypes.Structure):
    """`tjregion`."""

    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


def turbojpeg(library: str) -> dict[str, Decode]:
    """The columns around the centre square alone: what lies outside is read, but not transformed."""
    lib = ctypes.CDLL(library)
    lib.tj3Init.restype = ctypes.c_void_p
    lib.tj3DecompressHeader.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
    lib.tj3SetScalingFactor.argtypes = (ctypes.c_void_p, Fraction)
    lib.tj3SetCroppingRegion.argtypes = (ctypes.c_void_p, Region)
    lib.tj3Decompress8.argtypes = (
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
    )

    def decoder(num: int, denom: int, left: int, width: int) -> Decode:
        handle, height = lib.tj3Init(1), -(-HEIGHT * num // denom)

        def decode(data: bytes) -> np.ndarray:
            pixels_HWC = np.empty((height, width, 3), np.uint8)
            at = pixels_HWC.ctypes.data
            if (
                lib.tj3DecompressHeader(handle, data, len(data))
                or lib.tj3SetScalingFactor(handle, Fraction(num, denom))
                or lib.tj3SetCroppingRegion(handle, Region(left, 0, width, height))
                or lib.tj3Decompress8(handle, data, len(data), at, 0, 0)
            ):
                raise ValueError("it does not decode")
            return pixels_HWC

        return decode

    return {
        "TurboJPEG 3, cropped": decoder(1, 1, 64, 464),
        "TurboJPEG 3, 1/2, cropped": decoder(1, 2, 32, 232),
        "TurboJPEG 3, 3/8, cropped": decoder(3, 8, 24, 177),
    }


if __name__ == "__main__":
    main()

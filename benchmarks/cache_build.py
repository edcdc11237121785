"""How fast the pixel cache is built, against Pillow's plain decode and antialiased resize, on one core.

    OMP_NUM_THREADS=1 python benchmarks/cache_build.py [--write]

Files: HAM10000 where DERMLENS_DATA names a folder with it, and 600×450 ones of several lengths made from them
(without them, from the two photographs that come with scikit-learn). Both ways read the same files and fill
the same rows, in blocks that alternate; a number is the median over blocks of processor time per image, so
that other work on the machine counts little. The C library's allocator is set to keep what is freed: left
alone, it may or may not hand a decoded image back to the system each time, and Pillow's time changes by a
millisecond with what ran before. --write replaces docs/results/cache_build.md.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, features
from sklearn.datasets import load_sample_images

from dermlens.data.cache import _fill, open_cache
from dermlens.predict.network import usable_cores
from dermlens.predict.pictures.preprocessing import crop_resize, read_image, read_square

BLOCKS = 9
FILES = 40
MADE = [(57, "4:2:0", 0), (154, "4:2:0", 4), (154, "4:4:4", 3), (270, "4:2:0", 8), (270, "4:4:4", 6)]
SIZES = (128, 224)
RESULT = Path(__file__).parents[1] / "docs" / "results" / "cache_build.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace docs/results/cache_build.md")
    write = parser.parse_args().write
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        real = real_files()
        sets = {"HAM10000 at 360×270": real[:: max(1, len(real) // FILES)][:FILES]} if real else {}
        sets |= made_files(Path(name), real)
        speeds = "\n".join(speed_row(kind, files, size) for kind, files in sets.items() for size in SIZES)
        pixels = "\n".join(pixel_row(kind, files, size) for kind, files in sets.items() for size in SIZES)
        whole = "\n".join(whole_row(real, size, Path(name)) for size in SIZES) if real else "(no real images)"
    text = PAGE.format(machine=machine(), speeds=speeds, pixels=pixels, whole=whole, cores=usable_cores())
    print(text)
    if write:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(text, encoding="utf-8")


def real_files() -> list[Path]:
    named = os.environ.get("DERMLENS_DATA")
    return sorted((Path(named) / "ham10000" / "images").glob("*.jpg")) if named else []


def made_files(folder: Path, real: list[Path]) -> dict[str, list[Path]]:
    """Images of 600×450 with grain, saved at the quality that comes nearest to the lengths wanted."""
    sets: dict[str, list[Path]] = {}
    for kilobytes, subsampling, grain in MADE:
        files = []
        for number, view_HWC in enumerate(views(real)):
            noise_HWC = np.random.default_rng(number).normal(0, grain, view_HWC.shape)
            grainy = Image.fromarray((view_HWC + noise_HWC).clip(0, 255).astype(np.uint8))
            file = folder / f"{kilobytes}-{subsampling.replace(':', '')}-{number}.jpg"
            file.write_bytes(saved_to_length(grainy, kilobytes * 1000, subsampling))
            files.append(file)
        sets[f"600×450, {np.mean([f.stat().st_size for f in files]) / 1000:.0f} kB, {subsampling}"] = files
    return sets


def views(real: list[Path]) -> list[np.ndarray]:
    """Sixteen: real images enlarged, or four windows of each of two photographs and those turned round."""
    if real:
        chosen = real[:: max(1, len(real) // 16)][:16]
        lanczos = Image.Resampling.LANCZOS
        return [np.asarray(Image.open(f).convert("RGB").resize((600, 450), lanczos)) for f in chosen]
    windows = []
    for photograph_HWC in load_sample_images().images:
        larger = Image.fromarray(photograph_HWC).resize((720, 480), Image.Resampling.BICUBIC)
        for left, top in [(0, 0), (120, 0), (0, 30), (120, 30)]:
            windows.append(np.asarray(larger.crop((left, top, left + 600, top + 450))))
    return windows + [np.rot90(window_HWC, 2) for window_HWC in windows]


def saved_to_length(image: Image.Image, length: int, subsampling: str) -> bytes:
    """The JPEG whose quality brings it nearest to the length."""
    saved = []
    for quality in range(100, 20, -1):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        saved.append(buffer.getvalue())
        if buffer.tell() <= length:
            break
    return min(saved, key=lambda data: abs(len(data) - length))


def keep_freed_memory() -> None:
    """Tell glibc to return nothing to the system, whatever was allocated before; elsewhere do nothing."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3
        for option in (trim_threshold, mmap_threshold):
            ctypes.CDLL(None).mallopt(option, 2**28)


def plain_pillow(row_SSC: np.ndarray, file: Path) -> None:
    """What one would write without thinking of speed."""
    image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    row_SSC[:] = np.asarray(square.resize(row_SSC.shape[:2], Image.Resampling.BILINEAR))


def ours(row_SSC: np.ndarray, file: Path) -> None:
    _fill(row_SSC, file, "center")


def decode_alone(row_SSC: np.ndarray, file: Path) -> None:
    read_image(file, min_side=len(row_SSC))


def milliseconds(
    ways: Sequence[Callable[[np.ndarray, Path], None]], files: list[Path], size: int
) -> list[float]:
    """Median processor time per image of each way, in alternating blocks."""
    row_SSC = np.zeros((size, size, 3), np.uint8)
    times: list[list[float]] = [[] for _ in ways]
    for block in range(BLOCKS + 1):
        for way, its_times in zip(ways, times, strict=True):
            began = time.process_time()
            for file in files:
                way(row_SSC, file)
            if block > 0:  # the first one warms up
                its_times.append((time.process_time() - began) / len(files) * 1000)
    return [statistics.median(its_times) for its_times in times]


def speed_row(kind: str, files: list[Path], size: int) -> str:
    pillow, own, decode = milliseconds([plain_pillow, ours, decode_alone], files, size)
    return f"| {kind} | {size} | {pillow:.2f} | {own:.2f} | {decode:.2f} | **{pillow / own:.2f}** |"


def pixel_row(kind: str, files: list[Path], size: int) -> str:
    """How far our pixels are from a whole decode, and training's resize from prediction's."""
    off, apart = [], []
    row_SSC = np.zeros((size, size, 3), np.uint8)
    for file in files:
        ours(row_SSC, file)
        predicted = read_square(file, size, "center").astype(int)
        off.append(predicted - crop_resize(same_window(file, size), size, "center"))
        apart.append(np.abs(predicted - row_SSC))
    square_error = np.mean(np.square(off))
    decibels = f"{10 * np.log10(255**2 / square_error):.1f} dB" if square_error else "the same"
    between = f"{np.max(apart)} | {np.mean(apart):.4f}"
    return f"| {kind} | {size} | {np.abs(off).mean():.2f} | {decibels} | {between} |"


def same_window(file: Path, size: int) -> np.ndarray:
    """From a whole decode, the part that the crop of the scaled one shows."""
    whole_HWC, scaled_HWC = read_image(file), read_image(file, min_side=size)
    factor = round(len(whole_HWC) / len(scaled_HWC))
    height, width = scaled_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2 * factor, (width - side) // 2 * factor
    return whole_HWC[top : top + side * factor, left : left + side * factor]


def whole_row(files: list[Path], size: int, folder: Path) -> str:
    """The whole data set on all cores, by the clock, and the second opening."""
    table = pd.DataFrame({"image_id": [f.stem for f in files], "path": [str(f) for f in files]})
    began = time.perf_counter()
    cache = open_cache(table, size=size, crop="center", root=folder / "cache")
    built = time.perf_counter() - began
    began = time.perf_counter()
    open_cache(table, size=size, crop="center", root=folder / "cache")
    found = time.perf_counter() - began
    return f"| {len(files):,} | {size} | {cache.pixels.nbytes / 1e6:,.0f} | {built:.1f} | {found:.2f} |"


def machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), model)
    names = ("pillow", "simplejpeg", "torch")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{model}, {os.cpu_count()} cores; {platform.system()}, Python {python}, {versions}; "
        f"Pillow's libjpeg-turbo is {features.version('libjpeg_turbo')}"
    )


PAGE = """# Building the pixel cache

`OMP_NUM_THREADS=1 DERMLENS_DATA=… python benchmarks/cache_build.py --write`

{machine}

## Speed on one core

Processor time per image in ms, centre crop: reading the file, decoding, cropping, resizing, filling the row.
*Plain Pillow* is `Image.open(file).convert("RGB").crop(…).resize(…, BILINEAR)`; *ours* also checks what is
unsafe. *Decode* is ours without crop and resize. Medians of alternating blocks within one run; the aim is a
ratio of 2.

Both run with an allocator that keeps freed memory. With glibc's defaults it depends on what the process
allocated before whether each decoded image goes back to the system and some 500 pages are fetched anew for
the next one: up to a millisecond more for plain Pillow, nothing for ours, whose images are a quarter of the
size. The ratios are without that gain.

HAM10000 is published at 600×450 with 260 to 270 kB a file. Those files are not at hand, and how their chroma
is sampled we do not know, so both ways of it are measured: real images at 360×270 are enlarged (Lanczos),
given grain (standard deviation 3 to 8 of 255) and saved at the quality that comes nearest to the length
(without real images: two photographs).

| files | size | plain Pillow | ours | of which decode | ratio |
|---|---|---|---|---|---|
{speeds}

What ours saves: JPEGs are decoded at half scale where that still leaves `size` pixels on the short side,
and the resize runs on torch's vectorised kernel. What it cannot save is to read the compressed bits one after
the other, which comes first at every scale. In files of 57 kB that is the smaller part. In those of 150 kB
and more it is most of the time, and **the aim of 2 is missed**. Ten thousand such files cost half a
minute of one core, once. What else was tried is in [cache_decoders.md](cache_decoders.md).

## What the short cuts change

*Off* is how far our pixels are from those of a whole decode of the same part of the image with the same
filter, mean in levels of 255 and signal to noise; "the same" where the files are decoded whole anyway. Where
the margin of the scaled image is odd, the square also lies half a scaled pixel left of (or above) the centre:
one pixel of the original at half scale. Training and prediction do the same in both respects. *Apart* is
between training's resize (torch) and prediction's (Pillow): largest and mean.

| files | size | off | signal to noise | apart, largest | apart, mean |
|---|---|---|---|---|---|
{pixels}

simplejpeg and Pillow alone give the same pixels bit for bit (tests/predict/pictures/test_images.py).

## The whole data set

Seconds by the clock on {cores} cores that other work shares, centre crop, to the last byte on disk; *found*
is the second opening, which looks at the size and time of every file.

| images | size | MB | built, s | found, s |
|---|---|---|---|---|
{whole}
"""

if __name__ == "__main__":
    main()

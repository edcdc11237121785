"""A folder of lesion masks: what a mask shows, and a job that writes one for each of many images.

Shapes: H height, W width.
"""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from dermlens import __version__
from dermlens.errors import UserError
from dermlens.files import atomic_path, file_sha256
from dermlens.predict.decoding import PICTURE_MEMORY, Worker
from dermlens.predict.jobfile import JobFile
from dermlens.predict.picture import Needs
from dermlens.predict.pictures.preprocessing import Pixels
from dermlens.predict.segmenter import LIMITS, Framed, Segmenter
from dermlens.predict.sources.folders import MASK_ENDING
from dermlens.predict.sources.tables import is_formula

TABLE = "masks.csv"
COLUMNS = (
    "image_id", "mask", "width", "height", "lesion_share", "empty", "touches_border", "left", "top", "right",
    "bottom",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LesionMask:
    """What a mask shows.

    Attributes:
        image_id: of the image.
        mask: the file, below the folder of masks, with forward slashes.
        width, height: of both, in pixels.
        lesion_share: share of the image that is lesion, 0 to 1.
        touches_border: whether the lesion reaches an edge of the image, and so may go on beyond it.
        box: left, top, right, bottom in pixels, the latter two behind the last one; none where it is empty.
    """

    image_id: str
    mask: str
    width: int
    height: int
    lesion_share: float
    touches_border: bool
    box: tuple[int, int, int, int] | None

    @property
    def empty(self) -> bool:
        """Whether no lesion was found."""
        return self.box is None

    def to_json(self) -> dict[str, Any]:
        """As `dermlens segment --json` gives it."""
        return asdict(self) | {"empty": self.empty}

    def row(self) -> dict[str, Any]:
        """As the table has it."""
        sides = dict(zip(("left", "top", "right", "bottom"), self.box or ("",) * 4, strict=True))
        answers = {"empty": self.empty, "touches_border": self.touches_border}
        words = {name: "yes" if one else "no" for name, one in answers.items()}
        found = self.to_json() | sides | words | {"lesion_share": f"{self.lesion_share:.6f}"}
        return {name: found[name] for name in COLUMNS}


def mask_name(image_id: str) -> str:
    """The file of an image's mask below its folder, named as HAM10000's are: `<image>_segmentation.png`."""
    return f"{image_id}{MASK_ENDING}.png"


def described(image_id: str, mask_HW: Pixels) -> LesionMask:
    """What a mask shows: share, box, and whether it reaches the edge."""
    inside_HW = mask_HW > 0
    rows, columns = np.flatnonzero(inside_HW.any(axis=1)), np.flatnonzero(inside_HW.any(axis=0))
    high, wide = inside_HW.shape
    box = None
    if len(rows):
        box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    touches = box is not None and (box[0] == 0 or box[1] == 0 or box[2] == wide or box[3] == high)
    return LesionMask(image_id, mask_name(image_id), wide, high, float(inside_HW.mean()), touches, box)


class MaskFolder:
    """The masks of a job, and the table of what they show, which is written at the end.

    What is done stands in `masks.csv.partial` in the folder, a line an image, written before its mask. A
    later process with the same segmenter goes on with it: images that could not be read, whose bytes have
    changed or whose mask is gone are looked at again. A mask that is there and is not of this job is never
    written over. One process at a time writes a folder.

    Attributes:
        done: by image id, earlier processes' too.
        journal: the file of what is done.

    Args:
        folder: to write to.
        segmenter: the model.
        images: files by image id.

    Raises:
        UserError: a mask or a table is there already that is not of this job, an image would be written over,
            an id is one that a spreadsheet would run, the journal is damaged or of another job, or another
            process is writing.
    """

    def __init__(self, folder: Path, segmenter: Segmenter, images: Mapping[str, Path]) -> None:
        if (run := next(filter(is_formula, images), None)) is not None:
            raise UserError(
                f"--out {folder}: a spreadsheet would run the id {run!r} in {TABLE} as a formula: rename"
                f" {images[run]}"
            )
        self.folder, self.journal = folder, folder / f"{TABLE}.partial"
        self.done: dict[str, LesionMask] = {}
        self._images, self._ours = images, set[str]()
        job = {"job": segmenter.id, "segmenter": segmenter.document.sha256, "dermlens": __version__}
        self._made = not folder.exists()
        self._file = JobFile(self.journal, job, "segmenter or dermlens")
        try:
            for number, line in self._file.read():
                self._resume_line(number, line)
            self._check_free()
            self._file.begin()
        except BaseException:
            if self._file.is_new:
                self._remove()
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not (self.done or self._ours):
            self._remove()  # there is nothing to go on with
        self._file.close()

    @property
    def masks(self) -> list[LesionMask]:
        """Those that are there, in the order of the images."""
        return [self.done[one] for one in self._images if one in self.done]

    def add(self, image_id: str, mask_HW: Pixels) -> LesionMask:
        """Write the mask of an image.

        Args:
            image_id: of the image.
            mask_HW: 0 or 255.
        """
        found = described(image_id, mask_HW)
        line = {"image_id": image_id, "sha256": _sha256(self._images[image_id]), "mask": asdict(found)}
        self._file.write(line)  # first: what is there without a line counts as somebody else's
        with atomic_path(self.folder / found.mask) as part:
            Image.fromarray(mask_HW).save(part, format="PNG")
        self.done[image_id] = found
        return found

    def finish(self) -> None:
        """Write the table, in the order of the images, and take the journal away.

        Without one mask there is no table.
        """
        if self.done:
            with (
                atomic_path(self.folder / TABLE) as part,
                part.open("w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(one.row() for one in self.masks)
        self._remove()

    def _remove(self) -> None:
        """Take the journal away, and a folder of ours that has nothing else."""
        self._file.remove()
        if self._made and not self.done:
            with suppress(OSError):  # somebody else has put something into it
                self.folder.rmdir()

    def _resume_line(self, number: int, line: Mapping[str, Any]) -> None:
        try:
            content = dict(line["mask"])
            found = LesionMask(**content | {"box": content["box"] and tuple(content["box"])})
            image_id, before = found.image_id, str(line["sha256"])
        except (ValueError, TypeError, KeyError) as error:
            raise self._file.damaged(number) from error
        if image_id not in self._images:
            raise UserError(
                f"{self.journal} is of another job: it has image {image_id}, which is none of these; finish"
                " that one, or name another --out"
            )
        self._ours.add(found.mask)
        self.done.pop(image_id, None)
        if (self.folder / found.mask).is_file() and before and _sha256(self._images[image_id]) == before:
            self.done[image_id] = found

    def _check_free(self) -> None:
        """Refuse, before any work, to write over what is not of this job. Raises: UserError."""
        if os.path.lexists(self.folder / TABLE):
            raise UserError(
                f"{self.folder / TABLE} is there already, so this folder's masks are done: name another --out"
            )
        inputs: set[Path] | None = None
        for image_id in self._images:
            name = mask_name(image_id)
            if not os.path.lexists(target := self.folder / name):
                continue
            if name not in self._ours:
                raise UserError(
                    f"{target} is there already, and is not of this job: masks are not written over; name"
                    " another --out"
                )
            inputs = {one.resolve() for one in self._images.values()} if inputs is None else inputs
            if target.resolve() in inputs:
                raise UserError(
                    f"{target} is read by this command, and would be written over: name another --out"
                )


def write_masks(
    segmenter: Segmenter, images: Mapping[str, Path], folder: MaskFolder
) -> Iterator[tuple[str, LesionMask | str]]:
    """Write the mask of each image that has none yet; one that cannot be read or named stops no other.

    Images are decoded in a process of their own, behind limits of memory and time.

    Args:
        segmenter: the model.
        images: files by image id.
        folder: to write to.

    Yields:
        Image id, and what its mask shows, or the sentence that says why there is none.

    Raises:
        UserError: the network does not take its own size.
    """
    document = segmenter.document
    left = [image_id for image_id in images if image_id not in folder.done]
    if not left:
        return
    worker = Worker(
        Needs((document.size,), "squash", "none"), PICTURE_MEMORY, program="dermlens.predict.segmenter"
    )
    try:
        for image_id in left:
            path = images[image_id]
            one = _decoded(worker, path, segmenter)
            found = one if isinstance(one, str) else _written(folder, image_id, path, segmenter.mask(one))
            yield image_id, found
    finally:
        worker.close()


def _decoded(worker: Worker, path: Path, segmenter: Segmenter) -> Framed | str:
    """A file as the segmenter sees it, or the sentence why it cannot be read."""
    size = segmenter.document.size
    found = worker.ask_file("square", path, shape=segmenter.document.shape)
    if isinstance(found, str):
        return found
    content, pixels = found
    high, wide = content["own"]
    return Framed(np.frombuffer(pixels, np.uint8).reshape(size, size, 3), (high, wide))


def _written(folder: MaskFolder, image_id: str, path: Path, mask_HW: Pixels) -> LesionMask | str:
    """What a mask shows once it is written, or the sentence why its file can have no such name."""
    try:
        return folder.add(image_id, mask_HW)
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR):
            raise
        return f"{path}: its mask cannot be {folder.folder / mask_name(image_id)} ({error.strerror})"


def job_json(segmenter: Segmenter, folder: MaskFolder, unreadable: Mapping[str, str]) -> dict[str, Any]:
    """A job as `dermlens segment --json` prints it."""
    return {
        "segmenter": segmenter.id,
        "licence": segmenter.document.licence,
        "limits": list(LIMITS),
        "masks": [one.to_json() for one in folder.masks],
        "unreadable": dict(unreadable),
    }


def _sha256(path: Path) -> str:
    """Of a file; empty where it is gone: reading it gives the error."""
    try:
        return file_sha256(path)
    except OSError:
        return ""

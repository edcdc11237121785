"""A network that finds the lesion in a picture: its document, its input, the mask it gives. Free of torch.

Shapes: H height and W width of the picture, S side of the network's square.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, NonNegativeFloat, PositiveInt

from dermlens.documents import Section
from dermlens.errors import UserError
from dermlens.predict.decision_document import Sha256, Share
from dermlens.predict.decoding import Handler, Message, file_handler, prepare, run
from dermlens.predict.document import read_described
from dermlens.predict.model_files import DOCUMENT_FILE, checked_bytes
from dermlens.predict.network import IMAGE, first_line, open_session
from dermlens.predict.picture import Needs, Picture, Source
from dermlens.predict.pictures.preprocessing import Pixels, crop_resize

# What a segmenter is: segmenter.json next to segmenter.onnx.


SEGMENTER_FILE, SEGMENTER_ONNX = "segmenter.json", "segmenter.onnx"
LESION = "lesion"
"""The network's output: the probability of lesion, float32 (B, S, S), of uint8 `image` (B, S, S, 3)."""
LIMITS = (
    "Research software, not a medical device: a mask is what a network takes for the lesion, and says nothing"
    " of what the lesion is.",
)

Shape = Literal["squash", "pad"]
"""How a picture becomes the network's square: out of proportion, or in proportion with black bars."""


class Interval(Section):
    """A score of 0 to 1 with its 95 % interval over lesions."""

    value: Share
    low: Share | None = None
    high: Share | None = None


class Agreement(Section):
    """How well masks agree with those of held-out images, at the network's size.

    Attributes:
        jaccard: index, mean over lesions of the mean over their images.
        thresholded: the same, where an index below 0.65 counts as 0.
        images, lesions: how many were scored.
    """

    jaccard: Interval
    thresholded: Interval
    images: PositiveInt
    lesions: PositiveInt


class SegmenterDocument(Section):
    """segmenter.json: what a segmenter's ONNX file is.

    Attributes:
        format: of this file.
        dermlens: version that wrote it.
        name: of the recipe.
        encoder: timm's name of the network's encoder.
        size: side of the square input in pixels.
        shape: how a picture becomes that square.
        licence: of the weights.
        trained_on: the images that it was trained on, and for how long, in words.
        measured: on images that it was not trained on; none where there were none.
        sha256: of segmenter.onnx.
        largest_difference: of a probability from the network that it was exported from, on the images that
            the export looked at.
    """

    format: Literal["dermlens segmenter 1"] = "dermlens segmenter 1"
    dermlens: str
    name: Annotated[str, Field(min_length=1)]
    encoder: str
    size: Annotated[int, Field(ge=8, le=1024)]
    shape: Shape
    licence: Annotated[str, Field(min_length=1)]
    trained_on: Annotated[str, Field(min_length=1)]
    measured: Agreement | None = None
    sha256: Sha256
    largest_difference: NonNegativeFloat


# From a picture to the network's square, and from the square back to the picture.


class Place(NamedTuple):
    """Where a picture lies in the square, in its pixels; the rest of the square is black."""

    top: int
    left: int
    rows: int
    columns: int


def place(high: int, wide: int, size: int, shape: Shape) -> Place:
    """Where a picture of H × W pixels lies in a square of S."""
    if shape == "squash":
        return Place(0, 0, size, size)
    longest = max(high, wide)
    rows, columns = max(1, round(high * size / longest)), max(1, round(wide * size / longest))
    return Place((size - rows) // 2, (size - columns) // 2, rows, columns)


def to_square(image_HW3: Pixels, own: tuple[int, int], size: int, shape: Shape) -> Pixels:
    """A picture as the network sees it.

    Args:
        image_HW3: its pixels, or a smaller version of it.
        own: its height and width in the file.
        size: S.
        shape: how it becomes square.

    Returns:
        uint8 (S, S, 3).
    """
    if shape == "squash":
        return crop_resize(image_HW3, size, "squash")
    top, left, rows, columns = place(*own, size, shape)
    square_SS3 = np.zeros((size, size, 3), np.uint8)
    small = Image.fromarray(image_HW3).resize((columns, rows), Image.Resampling.BILINEAR)
    square_SS3[top : top + rows, left : left + columns] = np.asarray(small)
    return square_SS3


def from_square(lesion_SS: NDArray[np.floating], own: tuple[int, int], shape: Shape) -> Pixels:
    """Probabilities of a square as a mask of its picture: 255 where they are above one half, else 0.

    They are interpolated before they are cut, so that the outline has no steps of the network's pixels.

    Args:
        lesion_SS: probabilities.
        own: height and width of the picture.
        shape: how the picture became square.

    Returns:
        uint8 (H, W).
    """
    high, wide = own
    top, left, rows, columns = place(high, wide, len(lesion_SS), shape)
    inner = lesion_SS[top : top + rows, left : left + columns]
    levels = Image.fromarray(np.rint(255 * inner).astype(np.uint8))
    found_HW = np.asarray(levels.resize((wide, high), Image.Resampling.BILINEAR))
    return np.where(found_HW > 127, np.uint8(255), np.uint8(0))


class Framed(NamedTuple):
    """A picture as the network sees it, and its height and width in the file."""

    square_SS3: Pixels
    own: tuple[int, int]


def framed(picture: Picture, size: int, shape: Shape) -> Framed:
    """Decode a picture for a segmenter. Raises: ImageError: it cannot or must not be decoded."""
    pixels, own = picture.pixels(size), picture.own_size()
    return Framed(to_square(pixels, own, size, shape), own)


class Segmenter:
    """A network that finds the lesion; threads may share it.

        segmenter = Segmenter.load("models/segmenter")
        mask_HW = segmenter("photo.jpg")    # uint8, 255 inside the lesion, in the picture's own size

    Attributes:
        document: what it is.
        id: name, size and the beginning of its ONNX file's check sum.

    Args:
        content: of segmenter.onnx.
        document: of the same file.
        name: of the file, for errors.
        threads: of the network; none for as many as the process has cores.

    Raises:
        UserError: it is no ONNX network of a segmenter.
    """

    def __init__(
        self, content: bytes, document: SegmenterDocument, name: str, threads: int | None = None
    ) -> None:
        self.document, self._name = document, name
        self.id = f"{document.name}-{document.size}-{document.sha256[:12]}"
        self._session = open_session(content, name, threads)
        taken = [entry.name for entry in self._session.get_inputs()]
        if taken != [IMAGE] or LESION not in [entry.name for entry in self._session.get_outputs()]:
            raise UserError(
                f"{name} is no network of a segmenter: it takes {', '.join(taken) or 'nothing'}, and a"
                f" segmenter takes {IMAGE} and gives {LESION}"
            )

    @classmethod
    def load(cls, folder: Path | str, threads: int | None = None) -> Self:
        """Read a segmenter's folder, which `python -m related train-unet` writes.

        Args:
            folder: with segmenter.json and segmenter.onnx.
            threads: of the network; none for as many as the process has cores.

        Raises:
            UserError: a file is absent or damaged, or the folder is of another model.
        """
        folder = Path(folder)
        path, onnx = folder / SEGMENTER_FILE, folder / SEGMENTER_ONNX
        if not path.is_file():
            other = " (it has a classifier's model.json)" if (folder / DOCUMENT_FILE).is_file() else ""
            raise UserError(
                f"{folder} has no {SEGMENTER_FILE}{other}: name the folder of a segmenter, such as"
                " models/segmenter of the repository"
            )
        _, document = read_described(path, SegmenterDocument, "segmenter")
        if not onnx.is_file():
            raise UserError(f"{folder} has no {SEGMENTER_ONNX}, which {SEGMENTER_FILE} next to it is of")
        return cls(checked_bytes(onnx, document.sha256, SEGMENTER_FILE), document, str(onnx), threads)

    def __call__(self, image: Source) -> Pixels:
        """The mask of a picture.

        Args:
            image: a file by its path or opened in binary mode, its bytes, a picture of Pillow, or uint8 RGB
                (H, W, 3). Pictures of files are upright by their EXIF.

        Returns:
            uint8 (H, W): 255 inside the lesion, else 0.

        Raises:
            ImageError: the picture cannot be decoded.
            UserError: the network does not take squares of its document's size.
        """
        return self.mask(framed(Picture(image), self.document.size, self.document.shape))

    def mask(self, one: Framed) -> Pixels:
        """The mask of a picture that was decoded already; as calling the segmenter."""
        return from_square(self.probabilities(one.square_SS3[None])[0], one.own, self.document.shape)

    def probabilities(self, x_BSS3: Pixels) -> NDArray[np.floating]:
        """Of lesion, float32 (B, S, S). Raises: UserError: the network does not take such squares."""
        try:
            (found_BSS,) = self._session.run([LESION], {IMAGE: x_BSS3})
        except Exception as error:  # what the runtime raises has no common class but this
            raise UserError(
                f"{self._name} does not take images of {x_BSS3.shape[1]} pixels: {first_line(error)}"
            ) from error
        if found_BSS.shape != x_BSS3.shape[:3]:
            raise UserError(
                f"{self._name} gives {LESION} of shape {found_BSS.shape} for squares of {x_BSS3.shape[1]}"
                " pixels; a segmenter gives a probability for each pixel"
            )
        return np.asarray(found_BSS)


# The process that decodes pictures for a segmenter, behind the limits of `dermlens.predict.decoding`.


def _handlers(needs: Needs) -> dict[str, Handler]:
    def square(path: Path, header: dict[str, Any]) -> Message:
        square_SS3, own = framed(Picture(path), needs.sizes[0], header["shape"])
        return {"own": own}, square_SS3.tobytes()

    return {"square": file_handler(square)}


def main() -> None:
    """Decode files by their paths."""
    prepare()
    run(_handlers)

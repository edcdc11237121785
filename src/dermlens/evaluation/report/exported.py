"""The files of an exported folder, as its card lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermlens.evaluation.report.numbers import NONE, number, percent
from dermlens.evaluation.report.tables import Table
from dermlens.models.document import ModelDocument, read_document


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that `dermlens export` made.

    Attributes:
        folder: where it is.
        document: its model.json.
    """

    folder: Path
    document: ModelDocument

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Read the folder's document. Raises: UserError where it has none."""
        return cls(folder, read_document(folder / "model.json"))

    @property
    def tried_int8(self) -> bool:
        """Whether int8 was tried, kept or not."""
        return self.document.onnx is not None and self.document.onnx.quantisation is not None

    @property
    def table(self) -> Table:
        """Size and check sum of each file that predicts."""
        onnx, decision = self.document.onnx, self.document.decision
        ood = decision.ood if decision is not None else None
        sums = {
            "model.onnx": (
                f"network, {onnx.precision}" if onnx else "network",
                onnx.sha256 if onnx else None,
            ),
            "model.safetensors": ("weights, fp32", self.document.sha256),
            "decision.npz": ("arrays of the out-of-distribution score", ood.sha256 if ood else None),
        }
        rows = [
            (f"`{name}`", what, f"{(self.folder / name).stat().st_size / 1e6:.1f} MB", f"`{digest or NONE}`")
            for name, (what, digest) in sums.items()
            if (self.folder / name).is_file()
        ]
        return Table("", ("file", "what", "size", "SHA-256"), rows, words=(0, 1, 3))

    @property
    def words(self) -> list[str]:
        """How near the ONNX file is to the network whose scores the card has."""
        onnx = self.document.onnx
        if onnx is None:
            return []
        said = [
            "The scores of this card are of the fp32 network in PyTorch; exported, its logits differ by at"
            f" most {onnx.largest_difference:.1e}."
        ]
        if (found := onnx.quantisation) is not None:
            said.append(_int8(found))
        return said


def _int8(found: dict[str, Any]) -> str:
    """What the int8 network loses, or would have lost."""
    stays = "int8 took the place of fp32" if found["accepted"] else "int8 was tried and refused"
    losses = [
        f"{words} from {number(found[name]['before'], 3)} to {number(found[name]['after'], 3)}, with 95 %"
        f" confidence by no more than {number(100 * found[name]['lost_at_most'], 1)} points"
        for name, words in _watched(found).items()
    ]
    return (
        f"{stays}: {found['why']}. On {found['images']:,} images of the selection and calibration roles it"
        f" names {percent(found['changed'])} otherwise; {'; '.join(losses)}."
    )


def _watched(found: dict[str, Any]) -> dict[str, str]:
    """The recalls that the gate looked at, in words."""
    names = [name for name in found if name.endswith("_recall")]
    known = {"mean_recall": "mean recall", "mel_recall": "melanoma recall"}
    return {name: known.get(name, f"recall of {name.removesuffix('_recall')}") for name in names}

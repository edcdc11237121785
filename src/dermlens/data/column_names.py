"""What columns are called: ours by the names that HAM10000, ISIC, MILK10k, PAD-UFES-20, Derm7pt and BCN20000
use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dermlens.data.vocabulary import plain
from dermlens.errors import UserError, nearest

NAMES = {
    # ours        HAM10000, the ISIC archive and its challenges, then others; the first that is there is taken
    "image_id": (
        "image_id", "isic_id", "image", "image_name", "img_id", "bcn_filename", "derm", "filename",
        "file_name",
        "image_file", "image_path", "filepath", "file",
    ),
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id", "patient", "subject_id", "participant_id"),
    "dx": ("dx", "diagnosis", "diagnosis_3", "diagnostic", "iddx_3", "diagnosis_full"),
    "age": ("age", "age_approx", "age_approximate", "patient_age"),
    "sex": ("sex", "gender", "patient_sex"),
    "site": (
        "localization", "site", "anatom_site_general", "anatom_site_general_challenge", "region", "location",
        "anatom_site", "anatom_site_1", "body_site", "localisation",
    ),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
    "source": ("source", "dataset"),
}  # fmt: skip
FURTHER = {
    "diagnosis": ("benign_malignant",),
    "diagnosis_3": ("diagnosis_4", "diagnosis_5", "diagnosis_2", "diagnosis_1"),
    "iddx_3": ("iddx_4", "iddx_5", "iddx_2", "iddx_1"),
    "anatom_site_general": ("anatom_site_special",),
}
"""Where else a source says the same, more or less finely: asked in this order where the first says nothing
that is understood."""
NEEDED = ("image_id", "dx")
JOINT = "+"

TELLING = re.compile(
    r"biopsed|biopsied|biopsy|concomitant_biopsy|excised|excision|histology|histopathology|pathology|management"
    r"|dx|dx_.*|diagnos.*|iddx_.*|benign_malignant|malignant|benign|target|melanocytic|mel_.*|nevus_type"
    r"|invasion_thickness.*|breslow.*|seven_point_score|tbp_lv_dnn_lesion_confidence|.*ground_?truth|label|class"
)
"""Columns that come of the diagnosis, or of the doubt of whoever made it: lesions that look malignant are
those that are biopsied."""


def theirs(header: Sequence[str], ours: str, columns: Mapping[str, str] | None = None) -> str | None:
    """The column of a source that holds one of ours, whatever its case and spaces, or None."""
    if columns and ours in columns:
        return columns[ours]
    if ours == "image_id" and "derm" in header and "clinic" not in header:  # Derm7pt has the two side by side
        header = [name for name in header if name != "derm"]
    return next((name for known in NAMES[ours] for name in header if _same(name, known)), None)


def is_answers(header: Sequence[str]) -> bool:
    """Whether a file holds what a model says: probabilities p_<class>, as dermlens writes them."""
    return sum(name.startswith("p_") for name in header) >= 2 and any(
        name in header for name in ("image_id", "target", "set", "abstain", "reason")
    )


def check_map(columns: Mapping[str, str] | None) -> None:
    """Raises: UserError when a column map has a key that is not ours, or feeds a network with the answer."""
    for ours, name in (columns or {}).items():
        if ours not in NAMES:
            raise UserError(f"column map: '{ours}' is not a column of the table{nearest(ours, NAMES)}")
        if ours in ("age", "sex", "site") and any(is_telling(part) for part in name.split(JOINT)):
            raise UserError(
                f"column map: {ours}={name} would tell the network the answer: {name} comes of the "
                "diagnosis, or "
                "of the doubt of whoever made it"
            )


def is_telling(name: str) -> bool:
    """Whether a column tells the answer, by its name."""
    return TELLING.fullmatch(plain(name).replace(" ", "_")) is not None


def _same(name: str, known: str) -> bool:
    return name == known or plain(name).replace(" ", "_") == known


def further(header: Sequence[str], name: str | None) -> list[str]:
    """The further columns that a source has, of one that was found."""
    known = FURTHER.get(plain(name or "").replace(" ", "_"), ())
    return [column for other in known for column in header if _same(column, other)]


def parts(header: Sequence[str], name: str) -> list[str]:
    """The columns that a name stands for: itself, or those it joins."""
    return [name] if name in header else [part.strip() for part in name.split(JOINT)]

"""The figures that show patients' images, on a page of their own that is not published.

Figure 1: an image of each class. Figure 18: nevi and melanomas that the best network trained here tells
apart, and such as it takes for each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment

from dermlens.atomic import write_text
from dermlens.data.crops import crop_window
from dermlens.data.images import read_image
from dermlens.data.table import read_table
from dermlens.evaluation.figures.gallery import thumbnail
from dermlens.evaluation.figures.style import data_uri
from dermlens.evaluation.predictions import arrays, classes_of
from dermlens.labels import CLASSES, full_name
from dermlens.studies.paper.report.ours import Measured, Training

SIDE = 224
EACH = 3
PAIR = ("nv", "mel")


def write_annex(path: Path, measured: Measured, data: Path, environment: Environment) -> None:
    """Write the page.

    Args:
        path: of it.
        measured: for the best network; without one Figure 18 is left out.
        data: the folder of HAM10000.
        environment: of the templates.

    Raises:
        UserError: the folder is none of labelled images, or an image cannot be read.
    """
    table = read_table(data).set_index("image_id", drop=False)
    examples = [
        _picture(table, str(table.index[table["dx"] == code][0]), full_name(code))
        for code in CLASSES
        if (table["dx"] == code).any()
    ]
    best = _best(measured)
    groups = [] if best is None else _told_apart(best[1], table)
    name = None if best is None else measured.systems[best[0]].about
    page = environment.get_template("annex.html.j2").render(examples=examples, groups=groups, network=name)
    write_text(path, page)


def _best(measured: Measured) -> tuple[str, Training] | None:
    """The training of the highest mean recall, and its system."""
    found = [(system, one) for system, trainings in measured.trainings.items() for one in trainings[:1]]
    return max(
        found, key=lambda pair: pair[1].scores["overall"]["balanced_accuracy_isic"]["value"], default=None
    )


def _told_apart(training: Training, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The surest right and wrong answers on nevi and melanomas."""
    rows = training.predictions[training.predictions["image_id"].isin(table.index)]
    classes = classes_of(rows)
    _, p_NC = arrays(rows, classes)
    named = np.array(classes)[p_NC.argmax(axis=1)]
    groups = []
    for true in PAIR:
        for said in PAIR:
            own = rows[(rows["target"] == true) & (named == said)].nlargest(EACH, f"p_{said}")
            words = f"{full_name(true)}, named {full_name(said)}"
            pictures = [
                _picture(table, row["image_id"], f"{row[f'p_{said}']:.2f}") for _, row in own.iterrows()
            ]
            groups.append({"words": words, "pictures": pictures})
    return groups


def _picture(table: pd.DataFrame, image: str, words: str) -> dict[str, str]:
    pixels = crop_window(read_image(Path(str(table.loc[image, "path"]))), "center")
    return {"uri": data_uri(thumbnail(pixels, SIDE), "jpeg"), "alt": f"{image}: {words}", "words": words}

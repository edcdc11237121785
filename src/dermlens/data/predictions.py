"""predictions.csv: one row an image, from which every score can be recomputed without the images.

Columns: image_id, lesion_id, role, target (a class code), p_<class> for every class in the order of the
logits, where the model is calibrated what it answers (`dermlens.predict.decision`), age, sex, site, dx_type,
source and, where the data grade it, skin_tone. Probabilities keep nine significant digits, enough to restore
a float32, so that rounding makes no ties (a tie for the maximum counts as wrong in the ISIC's metric).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.errors import UserError
from dermlens.files import atomic_path
from dermlens.metrics import Floats, Ints
from dermlens.predict.decision import ANSWERED, BETWEEN, answer_columns, at_equal, decide
from dermlens.predict.decision_document import DecisionDocument
from dermlens.predict.priors import ClassPrior
from dermlens.predict.sources.values import DARKEST, LIGHTEST

BEFORE = ("image_id", "lesion_id", "role", "target")
AFTER = ("age", "sex", "site", "dx_type")
SOURCE = "source"
"""A column that tables of 0.1.0 lack."""
SKIN_TONE = "skin_tone"
"""The last column, 0 (darkest) to 5 (lightest) or empty; only tables of data that grade it have it."""
SUM_TOLERANCE = 1e-4


def classes_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The classes, from the columns p_<class>, in their order."""
    return tuple(name.removeprefix("p_") for name in predictions.columns if name.startswith("p_"))


def arrays(predictions: pd.DataFrame, classes: tuple[str, ...]) -> tuple[Ints, Floats]:
    """Truth and probabilities as numbers: target_N in 0 … C−1 and p_NC."""
    index = {code: number for number, code in enumerate(classes)}
    target_N = np.array([index[code] for code in predictions["target"].tolist()], dtype=np.int64)
    p_NC = np.asarray(predictions[[f"p_{code}" for code in classes]], dtype=np.float64)
    return target_N, p_NC


def is_answered(predictions: pd.DataFrame) -> bool:
    """Whether the table holds the answers of a decision along with the probabilities."""
    return set(ANSWERED) <= set(predictions.columns)


def diagnoses(predictions: pd.DataFrame, classes: tuple[str, ...]) -> Ints | None:
    """The class that is named, in 0 … C−1; none where the model was not calibrated."""
    if not is_answered(predictions):
        return None
    index = {code: number for number, code in enumerate(classes)}
    return np.array([index[code] for code in predictions["diagnosis"]], dtype=np.int64)


def holds_answers(path: Path) -> bool:
    """Whether a table is of a calibrated model, of 0.1.0 too, by its columns alone."""
    return {"diagnosis", "confidence"} <= set(pd.read_csv(path, nrows=0).columns)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read and check a predictions table.

    Args:
        path: the CSV.

    Returns:
        The table: text columns as str (an empty lesion_id becomes the image_id, other empty text
        `unknown`), age and skin_tone as float with NaN where missing, probabilities as float64; the answers
        where all of their columns are there. Answers that 0.1.0 wrote are left out: they came of a rule that
        is gone.

    Raises:
        UserError: no such file, a missing column, a probability that is none, a sum that is not 1, a target
            that is not a class, a skin tone that is none, an image given twice.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; `dermlens train` writes the predictions of a run")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (
        gzip.BadGzipFile,
        EOFError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
    ) as error:
        raise UserError(f"{path} is not a CSV table: {error}") from error
    classes = classes_of(table)
    missing = [name for name in (*BEFORE, *AFTER) if name not in table.columns]
    if missing or len(classes) < 2:
        raise UserError(
            f"{path}: it lacks column {missing[0] if missing else 'p_<class>, one for each class'}"
        )
    may_lack = ("age", *([SKIN_TONE] if SKIN_TONE in table else ()))
    for name in (*may_lack, *(f"p_{code}" for code in classes)):
        table[name] = _numbers(table[name], path, empty_is_missing=name in may_lack)
    if is_answered(table):
        for name in ("confidence", "suspicion", "ood"):
            table[name] = _numbers(table[name], path, empty_is_missing=name != "confidence")
    for name in ("sex", "site", "dx_type", *([SOURCE] if SOURCE in table else ())):
        table[name] = table[name].where(table[name] != "", "unknown")
    table["lesion_id"] = table["lesion_id"].where(table["lesion_id"] != "", table["image_id"])
    _check(table, classes, path)
    return table[_columns(table)]


def shown_at(predictions: pd.DataFrame, document: DecisionDocument, prior: ClassPrior) -> pd.DataFrame:
    """The rows as the same model answers them in another case mix than its own.

    Args:
        predictions: answered by the model in its own.
        document: its decision.
        prior: the case mix.
    """
    classes = document.classes
    _, p_NC = arrays(predictions, classes)
    score_NC = at_equal(p_NC, document.prior)
    found = decide(score_NC, predictions["ood"].to_numpy(dtype=np.float64), document, prior)
    p = {f"p_{code}": found.p_NC[:, index] for index, code in enumerate(classes)}
    columns = answer_columns(found, classes)
    kept = {name: column for name, column in columns.items() if name not in ("suspicion", "flagged")}
    return predictions.assign(**p, **kept)


def write_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write a predictions table, whole or not at all; compressed where its name ends in `.gz`."""
    write_csv(path, predictions[_columns(predictions)], digits=9)


def write_csv(path: Path, table: pd.DataFrame, *, digits: int = 6) -> None:
    """Write a table, whole or not at all, to so many significant digits; compressed where it ends in `.gz`.

    The same table gives the same bytes: neither the time nor a file's name is in them.
    """
    content = table.to_csv(index=False, float_format=f"%.{digits}g", lineterminator="\n").encode()
    with atomic_path(path) as part:
        part.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _columns(table: pd.DataFrame) -> list[str]:
    answered = ANSWERED if is_answered(table) else ()
    optional = [name for name in (SOURCE, SKIN_TONE) if name in table]
    return [*BEFORE, *(f"p_{code}" for code in classes_of(table)), *answered, *AFTER, *optional]


def _numbers(column: pd.Series[Any], path: Path, *, empty_is_missing: bool) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = numbers.isna() & ~((column == "") & empty_is_missing)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise UserError(f"{path}, row {row + 2}: {column.name} is {column.iloc[row]!r}; it must be a number")
    return numbers.astype(np.float64)


def _check(table: pd.DataFrame, classes: tuple[str, ...], path: Path) -> None:
    p_NC = table[[f"p_{code}" for code in classes]].to_numpy(dtype=np.float64)
    outside = ~((p_NC >= 0) & (p_NC <= 1)).all(axis=1)
    _refuse(outside, path, "a probability lies outside 0 … 1")
    _refuse(np.abs(p_NC.sum(axis=1) - 1) > SUM_TOLERANCE, path, "the probabilities do not sum to 1")
    if SKIN_TONE in table:
        tone_N = table[SKIN_TONE]
        strange = tone_N.notna() & ~tone_N.isin(range(DARKEST, LIGHTEST + 1))
        _refuse(strange.to_numpy(), path, f"skin_tone is a whole number, {DARKEST} to {LIGHTEST}, or empty")
    unknown = ~table["target"].isin(classes).to_numpy()
    _refuse(unknown, path, f"the target is not one of {', '.join(classes)}")
    _refuse(
        table["image_id"].duplicated().to_numpy(), path, "the image has a row above; an image has one role"
    )
    if is_answered(table):
        unknown = ~table["diagnosis"].isin(classes).to_numpy()
        _refuse(unknown, path, f"the diagnosis is not one of {', '.join(classes)}")
        _refuse(~table["uncertain"].isin(["yes", "no"]).to_numpy(), path, "uncertain must be yes or no")
        _refuse(
            ~table["flagged"].isin(["yes", "no", ""]).to_numpy(), path, "flagged must be yes, no or empty"
        )
        known = [set(cell.split(BETWEEN)) <= set(classes) for cell in table["set"]]
        _refuse(~np.array(known, dtype=bool), path, f"the set is not codes joined by {BETWEEN}")


def _refuse(bad_N: Any, path: Path, why: str) -> None:
    """Name the first bad row as a spreadsheet shows it: the header is row 1."""
    if bad_N.any():
        raise UserError(f"{path}, row {int(np.flatnonzero(bad_N)[0]) + 2}: {why}")

"""What the columns of tables are called, and all that is wrong with a table in one list."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from dermlens.errors import UserError, nearest
from dermlens.predict.sources.vocabulary import plain

# Cells that a spreadsheet would run: a table that is opened in one must hold none.


FORMULA = re.compile(r"(?:^|[,;\t])[=+\-@\t\r＝＋－＠]")
"""As OWASP lists them under CSV injection: a cell begins with the text, or where a spreadsheet cuts it."""


def is_formula(cell: str) -> bool:
    """Whether Excel, LibreOffice or Google Sheets takes a cell of a CSV file for a formula."""
    return FORMULA.search(cell) is not None


UNFIT = ("Cc", "Zl", "Zp")
"""Unicode's categories of characters that no id may hold: controls, and ends of lines."""


def is_unfit(text: str) -> bool:
    """Whether an id holds a control character or a line break."""
    return not text.isprintable() and any(unicodedata.category(character) in UNFIT for character in text)


# What columns are called: ours by the names that HAM10000, ISIC, MILK10k, PAD-UFES-20, Derm7pt and
# BCN20000 use.


NAMES = {
    # ours        HAM10000, the ISIC archive and its challenges, then others; the first that is there is taken
    "image_id": (
        "image_id", "isic_id", "image", "image_name", "img_id", "bcn_filename", "derm", "filename",
        "file_name",
        "image_file", "image_path", "filepath", "file",
    ),
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id",),
    "dx": ("dx", "diagnosis", "diagnosis_3", "diagnostic", "iddx_3", "diagnosis_full", "iddx_full",
           "diagnosis_2", "diagnosis_1", "benign_malignant"),
    "age": ("age", "age_approx", "age_approximate", "patient_age"),
    "sex": ("sex", "gender", "patient_sex"),
    "site": (
        "localization", "site", "anatom_site_general", "anatom_site_general_challenge", "region", "location",
        "anatom_site", "anatom_site_1", "body_site", "localisation",
    ),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
    "source": ("source", "dataset"),
    "skin_tone": ("skin_tone_class",),  # no other name: the scales of other sources run the other way round
}  # fmt: skip
FURTHER = {
    "diagnosis": ("benign_malignant",),
    "diagnosis_3": ("diagnosis_4", "diagnosis_5", "diagnosis_2", "diagnosis_1"),
    "diagnosis_2": ("diagnosis_1",),
    "iddx_3": ("iddx_4", "iddx_5", "iddx_2", "iddx_1"),
    "anatom_site_general": ("anatom_site_special", "anatom_site_2", "anatom_site_1"),
    "anatom_site_1": ("anatom_site_2",),
}
"""Where else a source says the same, more or less finely: asked in this order where the first says nothing
that is understood."""
NEEDED = ("image_id", "dx")
JOINT = "+"

_PERSON = (
    "patients?|patient(?:en|in|innen)|pat|pt|pid|mrn|subject|subj|participant|proband|probandin|person|client"
    "|paciente|paziente|malade|hasta|individual"
)
_NUMBER = (
    "id|ids|no|nr|num|number|nummer|numero|numara|code|kod|key|uid|uuid|guid|hash|name|identifier|identifiant"
    "|pseudonym|kennung|schluessel"
)
_LESION = "lesion|lasion|laesion|lesao|lesione|lezyon|mole|naevus|navus|nevus|nevo|lunar|grainde?beaute"
OWNERS = {
    "patient_id": re.compile(rf"(?:{_NUMBER}|anon)?(?:{_PERSON})(?:{_NUMBER})*"),
    "lesion_id": re.compile(rf"(?:{_NUMBER})(?:{_LESION})|(?:{_LESION})s?(?:{_NUMBER})+"),
}
"""Other names of the columns that say which images belong together: of small letters and digits alone."""

TELLING = re.compile(
    r"management|dx|dx_.*|iddx_.*|malignant|benign|target|melanocytic|mel_.*|nevus_type|invasion_thickness.*"
    r"|seven_point_score|tbp_lv_dnn_lesion_confidence|label|class|stage|risk|risk_score|referral"
    r"|.*(biops|histo(?!r[yi])|patholog|excis|exzis|exeres|escis|breslow|malign|diagno[sz]|befund|icd_?\d|icd_?code|icdo"
    r"|melanom|verdacht|suspi[ck]|suspect|confirm|opinion|ground_?truth|predict|therap|treatment).*"
)
"""Columns that come of the diagnosis, or of the doubt of whoever made it: lesions that look malignant are
those that are biopsied."""
HISTORY = re.compile(r".*(history|family|personal|anamnes|(?:^|_)hx(?:_|$)|antecedent).*")
"""What a patient had before does not tell of this lesion."""
GUESSED = re.compile(
    r".*(predict|vorhersage|prognose|inferred|classifier).*|pred|preds|y_pred|y_hat|pred_.*|.*_pred|top_?1.*|ai|ai_.*|.*_ai"
    r"|model_.*|.*_model|probability|confidence|score"
)
"""Columns that a model may have written: never proposed as the diagnosis."""

SHARE = re.compile(r"(?:p|prob|proba|probability|softmax|logit)_")
"""Begins a column of a class's probability."""
OF_ANSWERS = frozenset(
    {"state", "flagged", "abstain", "set", "suspicion", "ood", "reason", "remedy", "prior"}
)
"""Other columns of answers."""


def theirs(header: Sequence[str], ours: str, columns: Mapping[str, str] | None = None) -> str | None:
    """The column of a source that holds one of ours, whatever its case, spaces and underscores, or None.

    A map to nothing, `{"age": ""}`, leaves a column unread.
    """
    if columns and ours in columns:
        return columns[ours] or None
    if ours == "image_id" and "derm" in header and "clinic" not in header:  # Derm7pt has the two side by side
        header = [name for name in header if name != "derm"]
    for known in NAMES[ours]:
        if known in header:
            return known
        if same := next((name for name in header if _same(name, known)), None):
            return same
    owner = OWNERS.get(ours)
    return next((name for name in header if owner and owner.fullmatch(_compact(name))), None)


def is_answers(header: Sequence[str]) -> bool:
    """Whether a file holds what a model says: answers as dermlens writes them, in part too, or another's."""
    names = {plain(name).replace(" ", "_") for name in header}
    shares = sum(SHARE.match(name) is not None for name in names)
    named = bool(names & {"diagnosis", "dx"})
    return (
        (shares >= 2 and bool(names & {"image_id", "lesion_id", "target", *OF_ANSWERS}))
        or (shares >= 1 and named)
        or (named and bool(names & {"abstain", "flagged", "ood", "remedy"}))
        or (named and len(names & OF_ANSWERS) >= 2)
        or names >= {"set", "reason"}
    )


def check_map(columns: Mapping[str, str] | None) -> None:
    """Raises: UserError when a column map has a key that is not ours, or feeds a network with the answer."""
    for ours, name in (columns or {}).items():
        if ours not in NAMES:
            raise UserError(f"column map: '{ours}' is not a column of the table{nearest(ours, NAMES)}")
        if ours in NEEDED and not name:
            raise UserError(f"column map: {ours}= names no column; every table needs one")
        if ours in ("age", "sex", "site") and any(
            is_telling(part) or is_guessed(part) for part in name.split(JOINT)
        ):
            raise UserError(
                f"column map: {ours}={name} would tell the network the answer: {name} comes of the "
                "diagnosis, or "
                "of the doubt of whoever made it"
            )


def is_telling(name: str) -> bool:
    """Whether a column tells the answer, by its name."""
    term = plain(name).replace(" ", "_")
    return TELLING.fullmatch(term) is not None and HISTORY.fullmatch(term) is None


def is_guessed(name: str) -> bool:
    """Whether a model may have written a column, by its name."""
    return GUESSED.fullmatch(plain(name).replace(" ", "_")) is not None


def _same(name: str, known: str) -> bool:
    return _compact(name) == known.replace("_", "")


def _compact(name: str) -> str:
    """A column's name without case, accents and signs: `Patienten-ID` is `patientenid`."""
    return re.sub(r"[^a-z0-9]", "", plain(name))


def further(header: Sequence[str], name: str | None) -> list[str]:
    """The further columns that a source has, of one that was found."""
    known = next((more for first, more in FURTHER.items() if _same(name or "", first)), ())
    return [column for other in known for column in header if _same(column, other)]


def parts(header: Sequence[str], name: str) -> list[str]:
    """The columns that a name stands for: itself, or those it joins."""
    return [name] if name in header else [part.strip() for part in name.split(JOINT)]


# Everything that is wrong with a table, gathered, so that it is reported in one list with the options that
# mend it.


MOST = 20
"""Problems in one list; how many more there are is counted."""


@dataclass
class _Problem:
    """One thing that is wrong, in one or more rows."""

    sentence: str
    options: list[str]
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        first, others = self.places[0] if self.places else "", len(self.places) - 1
        where = f"{first} and {others:,} more row{'s' if others > 1 else ''}" if others > 0 else first
        return f"{where}: {self.sentence}" if where else self.sentence


class Problems:
    """What is wrong with a table; equal sentences about several rows are one problem."""

    def __init__(self) -> None:
        self._found: dict[str, _Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, sentence: str, where: str = "", option: str = "", *, kind: str = "") -> None:
        """Note a problem.

        Args:
            sentence: what is wrong, and what would be right.
            where: file and row; none where the sentence says it.
            option: of the command line, that mends it: `--label mel=mell`; none where no option does.
            kind: problems of one kind are one, with the sentence and the option of the first; none for a
                problem of its own.
        """
        problem = self._found.setdefault(kind or sentence, _Problem(sentence, [option] if option else []))
        if where:
            problem.places.append(where)

    def join(self, other: Problems) -> None:
        """Take in those of a further table."""
        for key, problem in other._found.items():
            self._found.setdefault(key, _Problem(problem.sentence, problem.options)).places.extend(
                problem.places
            )

    def refuse(self) -> None:
        """Raises: UserError when there is any problem: the one, or all of them in a list."""
        if self._found:
            self._refuse()

    def _refuse(self) -> NoReturn:
        problems = list(self._found.values())
        options = list(dict.fromkeys(one for problem in problems for one in problem.options))
        whole = all(problem.options for problem in problems) and len(options) <= MOST
        begin = "this goes through with" if whole else "options that mend some of it:"
        mended = f"{begin} {' '.join(options[:MOST])}" if options else ""
        if len(options) > MOST:
            mended += f" and {len(options) - MOST:,} more of the kind; --column OURS= leaves a column unread"
        if len(problems) == 1:
            raise UserError("; ".join(filter(None, (str(problems[0]), mended))))
        lines = [f"  {problem}" for problem in problems[:MOST]]
        if len(problems) > MOST:
            lines.append(f"  and {len(problems) - MOST:,} further problems")
        raise UserError("\n".join([f"{len(problems):,} problems", *lines, *filter(None, [mended])]))


def option(name: str, ours: str, theirs: str) -> str:
    """An option as a shell takes it: `--column 'image_id=File name'`."""
    return f"{name} {shlex.quote(f'{ours}={theirs}')}"

"""Roles that a source gives its images: by folders train/, val/ and test/, tables so named, or a column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dermlens.predict.sources.sheets import Sheet
from dermlens.predict.sources.vocabulary import plain

_WORDS = {
    "train": "train training trn trainset entrainement apprentissage entrenamiento treino treinamento"
    " addestramento egitim lernen",
    "selection": "val valid validation validate validierung validacion validacao validazione dogrulama"
    " gecerleme dev development tuning selection valset",
    "calibration": "calibration kalibrierung calib",
    "test": "test tst testing testset holdout eval evaluation prueba pruebas teste testes essai",
}
ROLE_OF_WORD = {word: role for role, words in _WORDS.items() for word in words.split()}
COLUMN = re.compile(
    r"(.*_)?(split|role|subset|partition|set|fold|phase|group|usage|aufteilung|datensatz|rolle|teil|jeu|conjunto|particion"
    r"|is_(?:train|test|val|valid))"
)
FOLD = re.compile(r"(?:fold|cv|kfold|part(?:ition)?|split)[ _-]*\d+", re.IGNORECASE)


def role_of_word(word: str) -> str:
    """The role that a cell gives; empty where it gives none."""
    return ROLE_OF_WORD.get(plain(word), "")


def role_of_name(name: str) -> str:
    """The role whose word is in a name, `bcn_20k_train`; empty where none is, or several are."""
    roles = {ROLE_OF_WORD[word] for word in re.split(r"[ .]+", plain(name)) if word in ROLE_OF_WORD}
    return roles.pop() if len(roles) == 1 else ""


def role_of_folders(folders: Sequence[str]) -> str:
    """The role that the nearest folder with a role's word in its name gives; empty where none does."""
    return next(filter(None, map(role_of_name, reversed(folders))), "")


def role_column(sheet: Sheet) -> str | None:
    """The column whose cells are all words for roles, or empty."""
    for name in _columns(sheet):
        words = {plain(cell) for cell in sheet.column(name)} - {""}
        if words <= set(ROLE_OF_WORD):
            return name
    return None


def unused_column(sheet: Sheet) -> str | None:
    """A sentence on a column that may give roles in words that are none."""
    for name in _columns(sheet):
        words = list(dict.fromkeys(filter(None, sheet.column(name))))
        strange = [word for word in words if plain(word) not in ROLE_OF_WORD]
        if strange and len(words) <= 20:
            return (
                f"roles: column {name} may give them, and is not used: '{strange[0]}' is no word for a"
                " role (train,"
                " val, calibration, test)"
            )
    return None


def _columns(sheet: Sheet) -> list[str]:
    named = [name for name in sheet.header if COLUMN.fullmatch(plain(name).replace(" ", "_"))]
    return [name for name in named if any(sheet.column(name))]


def unused_folders(folders: Iterable[str]) -> list[str]:
    """The folders whose names are those of folds or parts."""
    return sorted({name for name in folders if FOLD.fullmatch(name)})

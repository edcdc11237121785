"""Roles that a source gives its images: by folders train/, val/ and test/, tables so named, or a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from dermlens.data.readers.account import Account
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
    r"(.*_)?(split|role|subset|partition|set|fold|phase|usage|aufteilung|datensatz|rolle|teil|jeu|conjunto|particion"
    r"|is_(?:train|test|val|valid))|group"
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
    """The column whose cells are all words for roles, or empty; of any name where it gives several roles."""
    for name in (*_columns(sheet), *filter(None, sheet.header)):
        cells = {*sheet.column(name)}
        if len(cells) > len(ROLE_OF_WORD):
            continue
        words = {*map(plain, cells)} - {""}
        roles = {ROLE_OF_WORD.get(word) for word in words}
        if roles and None not in roles and (len(roles) > 1 or name in _columns(sheet)):
            return name
    return None


def unused_column(sheet: Sheet) -> str | None:
    """A sentence on a column that may give roles in words that are none."""
    for name in _columns(sheet):
        words = list(dict.fromkeys(filter(None, sheet.column(name))))
        strange = [word for word in words if plain(word) not in ROLE_OF_WORD]
        if strange and len(words) <= 20:
            return (
                f"roles: column {name} may give them, and is not used: '{strange[0]}' is no word for a role "
                "(train, val, calibration, test)"
            )
    return None


def _columns(sheet: Sheet) -> list[str]:
    named = [name for name in sheet.header if COLUMN.fullmatch(plain(name).replace(" ", "_"))]
    return [name for name in named if any(sheet.column(name))]


def unused_folders(folders: Iterable[str]) -> list[str]:
    """The folders whose names are those of folds or parts."""
    return sorted({name for name in folders if FOLD.fullmatch(name)})


def source_roles(
    given: Sequence[str] | None,
    folders: Sequence[Sequence[str]],
    ids: Sequence[str],
    account: Account,
) -> dict[str, str]:
    """The roles that a source gives, by image id, and in the account what to do with them.

    Args:
        given: by a column of the table or the names of tables, for each image; none where neither gives any.
        folders: that each image lies in.
        ids: of the images.
        account: takes the sentences.
    """
    by, of_folders = "the table gives", [role_of_folders(names) for names in folders]
    if given is not None:
        pairs = zip(given, of_folders, strict=True)
        contrary = sum(one != two for one, two in pairs if one and two)
        if contrary:
            account.notes.append(
                f"roles: {contrary:,} images lie in folders of another role than the table's, which counts"
            )
    else:
        given, by = of_folders, "the folders give"
        if unused := unused_folders(name for names in folders for name in names):
            account.notes.append(
                f"roles: the folders {', '.join(unused[:5])} may be folds; they are not used, and images of"
                " all of them are split anew"
            )
    counts = Counter(role for role in given if role)
    if len(counts) < 2:
        return {}
    named = ", ".join(
        f"{role} {counts[role]:,}" for role in ("train", "selection", "calibration", "test") if counts[role]
    )
    without = len(given) - counts.total()
    account.notes.append(
        f"roles: {by} {named}; `dermlens data split --protocol given` makes a manifest of them, and without"
        " one roles are drawn anew"
        + (f"; {without:,} images have none, and take part in nothing then" if without else "")
    )
    return {image_id: role for image_id, role in zip(ids, given, strict=True) if role}

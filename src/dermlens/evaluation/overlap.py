"""What another set has in common with a run's split: names, copies, lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from dermlens.data.duplicates import SIDE, fingerprint, matches
from dermlens.data.manifest import shipped_rows
from dermlens.data.protocols import contents, lesion_groups, of_shared_lesions
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.evaluation.ledger import enter_copies
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.pictures.preprocessing import read_image
from dermlens.runs import Run

NO_FILES = pd.DataFrame(
    {"image_id": pd.Series(dtype=str), "path": pd.Series(dtype=str), "patient_id": pd.Series(dtype=object)}
)


def without_own(
    run: Run, data: Path, table: pd.DataFrame, *, ledger: Path | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The images that the run neither trained on nor holds out.

    An image of the run, of its split or of `data.also_train`, is known by its id, or by its file's bytes
    where the run's own file is still there. An image of the test role is known by how it looks too: saved
    anew under another name, at another size or quality, it is still left out. Test images under other names
    are entered in the ledger of the run, as a look at its test role.
    Lesion ids alone are not grounds to leave an image out: two sources may both count from 1.

    Args:
        run: with its split.
        data: the other set, for messages.
        table: its LesionTable.
        ledger: a project's own, to enter copies of test images in as well as in the run's.

    Returns:
        The rest of the table, index 0 … N−1, and in words what was left out, what could not be checked and
        which lesions both have.

    Raises:
        UserError: nothing is left.
    """
    roles = run.split().roles
    further, gone = _further(run)
    named_N = table["image_id"].isin([*roles["image_id"], *further["image_id"]])
    own = _own_files(run, roles["image_id"]) if not named_N.all() else NO_FILES
    own_files = [*own["path"], *(path for path in further["path"] if Path(path).is_file())]
    digests = contents([*own_files, *table["path"]])
    own_digests = {digests[path] for path in own_files if path in digests}
    copied_N = ~named_N & table["path"].map(digests).isin(own_digests)
    test_ids = roles.loc[roles["role"] == "test", "image_id"].tolist()
    of_test = own.loc[own["image_id"].isin(test_ids)]
    same_N = copied_N & table["path"].map(digests).isin({digests.get(path) for path in of_test["path"]})
    alike = find_copies(
        test_ids,
        dict(zip(of_test["image_id"], of_test["path"], strict=True)),
        table.loc[~named_N & ~copied_N, "path"].tolist(),
    )
    of_test_N = same_N | table["path"].isin(alike)
    copied_N |= of_test_N
    if of_test_N.any():
        enter_copies(run, int(of_test_N.sum()), data.resolve().name, project=ledger)
    if (named_N | copied_N).all():
        raise UserError(
            f"{data} holds only images of the run's own split or of data.also_train; `dermlens evaluate"
            f" {run.path}` scores the former, with --open-test the test role too"
        )
    warnings = []
    for found_N, what in ((named_N, "are"), (copied_N, "are, under other names, copies of files")):
        if found_N.any():
            warnings.append(
                f"external: {int(found_N.sum())} of {len(table)} images {what} in the run's own split "
                f"{'or its further training images ' if len(further) else ''}and were left out"
            )
    if of_test_N.any():
        warnings.append(
            f"external: {int(of_test_N.sum())} of them are images of the test role, which the ledger has"
            " as a look"
        )
    if gone:
        warnings.append(
            f"external: the run also trained on {', '.join(gone)}, which is not there, so it could not be"
            " checked whether the set holds images that were trained on"
        )
    unchecked = len({*roles["image_id"]} - {*own["image_id"]} - ({*test_ids} & {*shipped_fingerprints()}))
    if unchecked:
        warnings.append(
            f"external: {unchecked} of the {len(roles)} images of the run's own split are not where the run "
            "found them, so it could not be checked whether the set holds copies of them under other names"
        )
    kept = table[~(named_N | copied_N)].reset_index(drop=True)
    ids = ["image_id", "lesion_id"]
    group_N = lesion_groups(pd.concat([roles[ids], kept[ids]], ignore_index=True))
    listed = of_shared_lesions(kept["image_id"], roles["image_id"])
    shared_N = group_N[len(roles) :].isin(group_N[: len(roles)]).to_numpy() | kept["image_id"].isin(listed)
    shared = int(shared_N.sum())
    if shared:
        warnings.append(
            f"external: {shared} images show, by their lesion ids or the lists of lesions with several ids, "
            "a lesion of the run's own split; if that is so, the scores flatter the model"
        )
    return kept, [*warnings, *_shared_patients(kept, pd.concat([own, further], ignore_index=True))]


def _shared_patients(kept: pd.DataFrame, own: pd.DataFrame) -> list[str]:
    """A sentence on images of patients whom the run has too, by their ids."""
    known = kept["patient_id"].notna()
    ours = set(own["patient_id"].dropna())
    if not known.any():
        return []
    if not ours:
        return [
            f"external: {int(known.sum())} images are of known patients; it could not be checked whether the "
            "run's own images are of the same ones, since of those no patient is known"
        ]
    shared = int(kept["patient_id"].isin(ours).sum())
    if not shared:
        return []
    return [
        f"external: {shared} images are, by patient id, of patients of the run's own split; if the ids mean "
        "the same people, the scores flatter the model"
    ]


def _further(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """Ids and paths of the images of `data.also_train`, and which of its folders are not there any more."""
    data = Path(run.read_record().data or "")
    home = (data if data.is_dir() else data.parent).resolve().parent
    tables = [NO_FILES]
    gone = []
    for recipe in run.recipes():
        for folder in recipe.data.also_train:
            try:
                tables.append(read_table(home / folder, classes=recipe.data.classes, check_files=False))
            except UserError:
                gone.append(folder)
    return pd.concat([table[["image_id", "path", "patient_id"]] for table in tables], ignore_index=True), gone


def _own_files(run: Run, image_ids: pd.Series[str]) -> pd.DataFrame:
    """`image_id` and `path` of the split's images, those still in the folder that run.json names."""
    named = run.read_record().data
    if not named or not Path(named).is_absolute():  # a published run names no place
        return NO_FILES
    try:
        table = run.table(check_files=False)
    except UserError:
        return NO_FILES
    there_N = table["image_id"].isin(image_ids) & table["path"].map(lambda path: Path(path).is_file())
    return table.loc[there_N, ["image_id", "path", "patient_id"]]


# Images of a run's test role under other names: pictures that were saved, scaled or cropped anew.
#
# What a picture looks like is known by its fingerprint. Those of the test role of `grouped-v1` come with
# dermlens, since a fingerprint is a number and no picture; those of another run's are taken of its own
# images, where they still are.


SHIPPED = "grouped-v1-test-fingerprints.csv"
COLUMNS = ("image_id", "fingerprint")


def find_copies(test_ids: Sequence[str], own: Mapping[str, str], paths: Sequence[str]) -> set[str]:
    """Which files show a picture of the test role.

    Args:
        test_ids: of the test role.
        own: path by image id, of those of the run's own images that are still there; the others are known
            where their fingerprints come with dermlens.
        paths: of the other set. A file that cannot be read shows nothing; whoever predicts it says so.
    """
    if not paths:
        return set()
    shipped = shipped_fingerprints()
    known = [shipped[image_id] for image_id in test_ids if image_id in shipped]
    read = _fingerprints([own[one] for one in test_ids if one not in shipped and one in own])
    prints = _fingerprints(paths)
    seen = list(prints)
    found = matches([prints[path] for path in seen], [*known, *read.values()])
    return {seen[row] for row, _, _ in found}


@cache
def shipped_fingerprints() -> dict[str, bytes]:
    """The fingerprints of the test role of `grouped-v1`, by image id."""
    return {row["image_id"]: bytes.fromhex(row["fingerprint"]) for row in shipped_rows(SHIPPED)}


def _fingerprints(paths: Sequence[str]) -> dict[str, bytes]:
    """Path to fingerprint, of the files that hold a picture."""
    found = {}
    for path in paths:
        try:
            found[path] = fingerprint(read_image(Path(path), min_side=SIDE))
        except ImageError:
            continue
    return found

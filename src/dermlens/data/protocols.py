"""How images are drawn into roles: by image (`paper`), by lesion (`grouped`), by single lesion, by source."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

from dermlens.data.manifest import Split, shipped_rows
from dermlens.errors import UserError, nearest
from dermlens.files import file_sha256

# Which images show one lesion: same lesion id, a known second id, or the very same file.
#
# HAM10000 gives some lesions two or three ids, and data sets share lesions. Lists of those found so far
# (image features matched under a geometric check, then looked at: a lower bound) ship next to this file; they
# also name images of the official ISIC 2018 test and validation sets which show a lesion of HAM10000.


def lesion_groups(table: pd.DataFrame) -> pd.Series[str]:
    """The group of every image: two images of one lesion are in one group, whatever their ids.

    Lesion ids are joined where the shipped list says that they are one lesion, and where two images hold the
    same bytes. Joins are transitive.

    Args:
        table: with `image_id` and `lesion_id`, and `path` where files shall be compared.

    Returns:
        The group's name (the least of its lesion ids) for each row, on the table's index.
    """
    lesion_of_image = dict(zip(table["image_id"], table["lesion_id"], strict=True))
    joins = [*_known_joins(lesion_of_image), *_content_joins(table)]
    return table["lesion_id"].map(_joined(table["lesion_id"], joins)).rename("group")


def patient_groups(table: pd.DataFrame) -> pd.Series[str]:
    """The group of every image that no split may part: all lesions of a known patient.

    Args:
        table: as for `lesion_groups`, with `patient_id` where patients are known.

    Returns:
        The group's name (the least of its lesion ids) for each row, on the table's index; those of
        `lesion_groups` where no patient is known.
    """
    groups = lesion_groups(table)
    if "patient_id" not in table:
        return groups
    patients = table["patient_id"].dropna()
    joins = [set(members) for _, members in groups[patients.index].groupby(patients)]
    return groups.map(_joined(groups, joins)).rename("group")


def contents(paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files that might equal another of them.

    A file whose size no other file has cannot have a copy, so it is not read. Absent files are left out:
    they are for the reader of the table to report.

    Args:
        paths: of the images.

    Returns:
        Path to digest, for every file that shares its size with another; kept in memory between calls.
    """
    stats = {path: Path(path).stat() for path in paths if Path(path).is_file()}
    sizes = pd.Series([stat.st_size for stat in stats.values()], dtype="int64").value_counts()
    return {
        path: _digest(path, stat.st_size, stat.st_mtime_ns)
        for path, stat in stats.items()
        if sizes[stat.st_size] > 1
    }


def _joined(names: Iterable[str], joins: Iterable[set[str]]) -> dict[str, str]:
    """The least name that each name is joined with, directly or by others."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for joined in joins:
        roots = {root(name) for name in joined if name in parent}
        for other in roots:
            parent[other] = min(roots)
    return {name: root(name) for name in parent}


GROUP_LISTS = ("same_lesion_other_id.csv", "shared_lesions.csv")
"""Shipped lists of lesions with several ids: `lesion_group`, `image_id`, `lesion_id`. A group's name is its
list's own."""


@cache
def same_lesion_list() -> tuple[tuple[str, str, str], ...]:
    """The shipped lists as one: rows of (group, image id, lesion id)."""
    rows = []
    for name in GROUP_LISTS:
        rows += [
            (f"{name}/{row['lesion_group']}", row["image_id"], row["lesion_id"]) for row in shipped_rows(name)
        ]
    return tuple(rows)


@cache
def found_later() -> dict[str, str]:
    """Group by image id of lesions of HAM10000 that were found to be one after `grouped-v1` was drawn."""
    return {row["image_id"]: row["lesion_group"] for row in shipped_rows("same_lesion_found_later.csv")}


def of_shared_lesions(image_ids: Iterable[str], others: Iterable[str]) -> set[str]:
    """Which images show a lesion that another data set has a picture of, by the shipped list.

    The list holds lesions that HAM10000, ISIC 2017 and MILK10k share, or have under two ids; each pair was
    looked at. It is a lower bound.

    Args:
        image_ids: of one set.
        others: of the other.
    """
    rows, theirs = shipped_rows("shared_lesions.csv"), set(others)
    groups = {row["lesion_group"] for row in rows if row["image_id"] in theirs}
    return {row["image_id"] for row in rows if row["lesion_group"] in groups} & set(image_ids)


def _known_joins(lesion_of_image: dict[str, str]) -> list[set[str]]:
    """Lesion ids of each listed group, both as listed and as this table names the listed images."""
    joins: dict[str, set[str]] = {}
    for group, image, lesion in same_lesion_list():
        joins.setdefault(group, set()).update({lesion, lesion_of_image.get(image, lesion)})
    return list(joins.values())


def _content_joins(table: pd.DataFrame) -> list[set[str]]:
    """Sets of lesion ids that share an image byte for byte."""
    if "path" not in table:
        return []
    digests = contents(table["path"])
    joins: dict[str, set[str]] = {}
    for path, lesion in zip(table["path"], table["lesion_id"], strict=True):
        if path in digests:
            joins.setdefault(digests[path], set()).add(lesion)
    return [lesions for lesions in joins.values() if len(lesions) > 1]


@lru_cache(maxsize=200_000)
def _digest(path: str, _size: int, _modified_ns: int) -> str:
    """SHA-256 of a file; size and time of change are there so that a changed file is read again."""
    return file_sha256(Path(path))


# The grouped draws order lesions by a hash of seed and id, not by a random-number generator: the same lesions
# fall to the same roles whatever the order of the rows and the versions of NumPy and scikit-learn, so that a
# committed manifest can be made again byte for byte.


def draw_paper(table: pd.DataFrame, holdout: float, seed: int) -> dict[str, str]:
    """The published protocol: rows without age dropped, then a stratified draw of images.

    Images of one lesion fall on both sides: it leaks. The held-out images are `selection`: the authors chose
    the epoch on the images that they report.

    Args:
        table: a LesionTable.
        holdout: share of the images held out.
        seed: of scikit-learn's draw; the authors set none.

    Returns:
        Role by image id: train or selection; rows without age have none.
    """
    known = table[table["age"].notna()].sort_values("image_id")
    return _stratified_images(known, holdout, seed, "paper", held_out="selection")


def draw_singletons(table: pd.DataFrame, holdout: float, seed: int) -> dict[str, str]:
    """The protocol of the paper's reference [14]: test on lesions with one image, train on the rest.

    Args:
        table: a LesionTable.
        holdout: share of the single-image lesions that are tested on.
        seed: of scikit-learn's draw.

    Returns:
        Role by image id: train or test. No lesion id is on both sides; a lesion with two ids may be.
    """
    single = table[~table["lesion_id"].duplicated(keep=False)].sort_values("image_id")
    drawn = _stratified_images(single, holdout, seed, "singletons", held_out="test")
    return {image: drawn.get(image, "train") for image in table["image_id"]}


def draw_grouped(table: pd.DataFrame, shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Lesions to roles, all of a known patient together, stratified by class and by number of images.

    Of each class every role gets its share of the lesions, or patients, to within one. The test
    lesions depend on the seed and on the share of `test` alone, so that other shares, and folds, leave them
    as they are.

    Args:
        table: a LesionTable.
        shares: of selection, calibration and test; the rest trains.
        seed: of the draw.

    Returns:
        Role by image id.
    """
    strata, members = _strata(table, seed)
    role_of_group = _draw_test(strata, shares["test"], seed)
    for dx, groups in strata.items():
        rest = [group for group in groups if group not in role_of_group]
        quotas = {role: shares[role] * len(groups) for role in ("selection", "calibration")}
        quotas["train"] = len(groups) - sum(quotas.values()) - shares["test"] * len(groups)
        counts = _apportion(quotas, len(rest))
        role_of_group |= _spread(rest, counts, f"{seed}/{dx}/roles")
    return {image: role_of_group[group] for image, group in members.items()}


def take_given(given: Mapping[str, str]) -> dict[str, str]:
    """The roles that the source gives its images: its folders train/, val/ and test/, or a column.

    Args:
        given: train, selection, calibration or test by image id; images without a role have none.

    Raises:
        UserError: nothing to train on, or nothing else.
    """
    roles = set(given.values())
    if "train" not in roles or len(roles) < 2:
        raise UserError(
            "protocol given takes the roles of the source's folders (train, val, test) or of a column; "
            f"found: {', '.join(sorted(roles)) or 'none'}; another protocol draws them"
        )
    return dict(given)


def draw_folds(table: pd.DataFrame, test: float, folds: int, seed: int) -> dict[str, str]:
    """The test lesions of `draw_grouped`, and all others in folds.

    Args:
        table: a LesionTable.
        test: share of the lesions for `test`.
        folds: how many.
        seed: of the draw.

    Returns:
        `test` or `fold-<n>` by image id.
    """
    strata, members = _strata(table, seed)
    role_of_group = _draw_test(strata, test, seed)
    start = 0
    for dx, groups in strata.items():
        rest = [group for group in groups if group not in role_of_group]
        # What does not divide goes to the next folds in turn, so that no fold collects it from every class.
        extra = {(start + step) % folds for step in range(len(rest) % folds)}
        counts = {f"fold-{fold}": len(rest) // folds + (fold in extra) for fold in range(folds)}
        role_of_group |= _spread(rest, counts, f"{seed}/{dx}/folds")
        start += len(extra)
    return {image: role_of_group[group] for image, group in members.items()}


def _stratified_images(
    table: pd.DataFrame, holdout: float, seed: int, protocol: str, held_out: str
) -> dict[str, str]:
    images, labels = table["image_id"].tolist(), table["dx"].tolist()
    lonely = [dx for dx in sorted(set(labels)) if labels.count(dx) == 1]
    if lonely:
        raise UserError(
            f"protocol {protocol} draws by class and needs two images of each class; {lonely[0]} has one"
        )
    try:
        train, held = train_test_split(images, test_size=holdout, stratify=labels, random_state=seed)
    except ValueError as error:
        raise UserError(
            f"protocol {protocol} has {len(images)} images to draw from, and a share of {holdout:g} does not "
            f"put one of each of the {len(set(labels))} classes on both sides; change split.holdout"
        ) from error
    return dict.fromkeys(train, "train") | dict.fromkeys(held, held_out)


def _strata(table: pd.DataFrame, seed: int) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Groups by class, those with as many images together and in random order there; and each image's group.

    A group whose images disagree counts under the rarest of its classes, which can spare it least.
    """
    rarity = table["dx"].value_counts().to_dict()
    rows = table.assign(group=patient_groups(table)).sort_values("image_id")
    strata: dict[str, list[str]] = {dx: [] for dx in sorted(map(str, rarity))}
    for group, labels in rows.groupby("group")["dx"]:
        strata[min(map(str, labels), key=lambda dx: (rarity[dx], dx))].append(str(group))
    sizes = rows["group"].value_counts().to_dict()
    for groups in strata.values():
        groups.sort(key=lambda group: (sizes[group], _random(f"{seed}/{group}")))
    return strata, dict(zip(rows["image_id"], rows["group"], strict=True))


def _draw_test(strata: Mapping[str, Sequence[str]], test: float, seed: int) -> dict[str, str]:
    """The groups of the test role, each mapped to `test`."""
    drawn: dict[str, str] = {}
    for dx, groups in strata.items():
        number = math.floor(test * len(groups) + 0.5)
        roles = _spread(groups, {"test": number, "other": len(groups) - number}, f"{seed}/{dx}/test")
        drawn |= {group: role for group, role in roles.items() if role == "test"}
    return drawn


def _apportion(quotas: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers next to the quotas that add up to the total: the largest remainders are rounded up."""
    counts = {role: math.floor(quota) for role, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda role: counts[role] - quotas[role])
    extra = total - sum(counts.values())
    assert 0 <= extra <= len(counts), f"quotas {dict(quotas)} are too far from a total of {total}"
    return counts | {role: counts[role] + 1 for role in by_remainder[:extra]}


def _spread(groups: Sequence[str], counts: Mapping[str, int], salt: str) -> dict[str, str]:
    """Give each role its count of the groups, evenly along their order, from a random start.

    The order is by number of images, so the roles get their share of single and of many-image lesions too.
    """
    places = [
        ((turn + _random(f"{salt}/{role}")) / count, role)
        for role, count in counts.items()
        for turn in range(count)
    ]
    return {group: role for group, (_, role) in zip(groups, sorted(places), strict=True)}


def _random(salt: str) -> float:
    """A number in 0 … 1 that looks random and is the same everywhere."""
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:6], "big") / 2**48


# Roles over several sources: drawn by lesion within each source, and one source left out of training.
#
# HAM10000's lesions keep the role that they have in `grouped-v1`, so that one test role serves every model;
# the other sources get train, selection and calibration. A lesion that several sources show is one lesion.


HELD_OUT_FIRST = ("test", "calibration", "selection", "train")


def draw_sources(
    table: pd.DataFrame, home: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Roles by lesion within each source, stratified by class as `draw_grouped` does it.

    Args:
        table: a LesionTable of several sources.
        home: role by image id of those that have one already, HAM10000's in `grouped-v1`; it may name others.
        shares: of selection and calibration among the other sources' lesions; the rest trains.
        seed: of the draw.

    Returns:
        Role by image id. An image that shows a lesion of `home` gets that lesion's most held-out role; where
        that is test it gets none, because the test role is home's alone.
    """
    group_of = dict(zip(table["image_id"], patient_groups(table), strict=True))
    drawn = {image: home[image] for image in group_of if image in home}
    home_roles: dict[str, set[str]] = {}
    for image, role in drawn.items():
        home_roles.setdefault(group_of[image], set()).add(role)
    free = []
    for image, group in group_of.items():
        if image not in home and group in home_roles:
            role = next(role for role in HELD_OUT_FIRST if role in home_roles[group])
            drawn |= {} if role == "test" else {image: role}
        elif image not in home:
            free.append(image)
    rest = table[table["image_id"].isin(free)]
    return drawn | draw_grouped(_by_source(rest), {**shares, "test": 0.0}, seed)


def draw_source_folds(table: pd.DataFrame, folds: int, seed: int) -> dict[str, str]:
    """Folds by lesion, each with its share of every class of every source.

    Args:
        table: a LesionTable, the images of the test role taken out.
        folds: how many.
        seed: of the draw.

    Returns:
        `fold-<n>` by image id.
    """
    return draw_folds(_by_source(table), 0.0, folds, seed)


def _by_source(table: pd.DataFrame) -> pd.DataFrame:
    """The table with classes of each source's own, so that a draw that is stratified by class is by both."""
    return table.assign(dx=table["dx"] + "/" + table["source"])


def without_source(split: Split, table: pd.DataFrame, source: str) -> Split:
    """Leave a source out: its images are `selection`, and all others outside the test role train.

    Args:
        split: with final roles; what has none in it stays without.
        table: the LesionTable that it was made for.
        source: whose images are scored.

    Returns:
        The split. Images of other sources that show a lesion of the source are left out of it, whatever their
        role.

    Raises:
        UserError: no image of the source has a role other than test, or no other image has.
    """
    sources = sorted(set(table["source"]))
    if source not in sources:
        raise UserError(f"split.left_out: {source} is no source of the table{nearest(source, sources)}")
    known = table[["image_id", "source"]].assign(group=patient_groups(table))
    rows = split.roles.merge(known, on="image_id", validate="one_to_one")
    is_test, is_source = rows["role"] == "test", rows["source"] == source
    shown = set(known.loc[known["source"] == source, "group"])
    rows["role"] = is_source.map({True: "selection", False: "train"}).where(~is_test, "test")
    kept = rows[is_test | is_source | ~rows["group"].isin(shown)]
    for role in ("selection", "train"):
        if role not in set(kept["role"]):
            whose = "of" if role == "selection" else "outside of"
            raise UserError(f"split.left_out: no image {whose} {source} has a role other than test")
    roles = kept[["image_id", "lesion_id", "role"]].reset_index(drop=True)
    return Split(roles, split.header | {"left-out": source})

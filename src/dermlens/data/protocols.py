"""How images are drawn into roles: by image (`paper`), by lesion (`grouped`), by single-image lesion.

The grouped draws order lesions by a hash of seed and id, not by a random-number generator: the same lesions
fall to the same roles whatever the order of the rows and the versions of NumPy and scikit-learn, so that a
committed manifest can be made again byte for byte.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import pandas as pd
from sklearn.model_selection import train_test_split

from dermlens.data.lesion_groups import patient_groups
from dermlens.errors import UserError


def draw_paper(table: pd.DataFrame, holdout: float, seed: int) -> dict[str, str]:
    """The published protocol: rows without age dropped, then a stratified draw of images (P§1.2–1.3).

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
    """The protocol of the paper's reference [14]: test on lesions with one image, train on the rest (P§1.4).

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
            f"protocol given takes the roles of the source's folders (train, val, test) or of a column; "
            "found: "
            f"{', '.join(sorted(roles)) or 'none'}; another protocol draws them"
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

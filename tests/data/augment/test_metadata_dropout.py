"""Dropped metadata: the encoder's own missing values, at the rates asked for, whatever the class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dermlens.data.augment.augmentation import MetadataDropout
from dermlens.data.config import MetadataDropoutConfig
from dermlens.predict.metadata import ENCODERS, MetadataEncoder, make_encoder

every_encoder = pytest.mark.parametrize("kind", sorted(ENCODERS))


def fitted(kind: str) -> MetadataEncoder:
    return make_encoder(kind).fit([20, 80], ["male"] * 2, ["back"] * 2)


def dropout(kind: str, **rates: float) -> Callable[[torch.Tensor, torch.Generator], torch.Tensor]:
    """Of one source."""
    drop = MetadataDropout(MetadataDropoutConfig(**rates), fitted(kind), ["clinic"])
    return lambda meta_BM, generator: drop(meta_BM, torch.zeros(len(meta_BM), dtype=torch.int64), generator)


def patients(kind: str, count: int) -> torch.Tensor:
    """Men of thirty with a lesion on the back."""
    return torch.from_numpy(fitted(kind).encode([30] * count, ["male"] * count, ["back"] * count))


@every_encoder
@pytest.mark.parametrize("rates", [{"all": 1.0}, {"each": 1.0}])
def test_all_gone_is_the_encoding_of_a_patient_unknown(kind, rates, seeded):
    out_BM = dropout(kind, **rates)(patients(kind, 3), seeded())
    assert torch.equal(out_BM, torch.from_numpy(fitted(kind).encode([None] * 3, [None] * 3, [None] * 3)))


@every_encoder
def test_no_rate_is_no_change(kind, seeded):
    assert torch.equal(dropout(kind)(patients(kind, 20), seeded()), patients(kind, 20))


@pytest.mark.parametrize("kind", ["default", "paper"])
def test_a_row_is_always_that_of_a_patient_who_lacks_some_fields(kind, seeded):
    """No mixture that the encoder would never make; each of the eight comes as often as it should."""
    encoder = fitted(kind)
    rows = {
        (a, s, t): encoder.encode([a], [s], [t])[0].tobytes()
        for a in (30, None)
        for s in ("male", None)
        for t in ("back", None)
    }
    out_BM = dropout(kind, each=0.3, all=0.1)(patients(kind, 4000), seeded()).numpy()
    seen = [row.tobytes() for row in out_BM]
    for (age, sex, site), row in rows.items():
        gone = [value is None for value in (age, sex, site)]
        expected = 0.9 * float(np.prod([0.3 if g else 0.7 for g in gone])) + 0.1 * all(gone)
        assert seen.count(row) / 4000 == pytest.approx(expected, abs=0.03)
    assert set(seen) == set(rows.values())


def test_what_is_missing_hardly_tells_the_class_any_more(seeded):
    """HAM10000: 6,705 of 10,015 are nevi, but 45 of the 57 without an age."""
    nevus_N = np.arange(10_015) < 6_705
    known_N = np.ones(10_015, bool)
    known_N[:45] = known_N[-12:] = False
    age = [40.0 if known else None for known in known_N]
    meta_NM = torch.from_numpy(fitted("default").encode(age, ["male"] * 10_015, ["back"] * 10_015))
    column = fitted("default").names.index("age_missing")

    def nevi_among_missing(meta_NM: torch.Tensor) -> float:
        return float(nevus_N[meta_NM[:, column].numpy() == 1].mean())

    out_NM = dropout("default", all=0.2, each=0.3)(meta_NM, seeded())
    assert nevi_among_missing(meta_NM) == pytest.approx(45 / 57)
    assert nevi_among_missing(out_NM) == pytest.approx(6_705 / 10_015, abs=0.015)
    rates = [float((out_NM[rows, column][known_N[rows]] == 1).float().mean()) for rows in (nevus_N, ~nevus_N)]
    assert rates[0] == pytest.approx(rates[1], abs=0.03)


def test_what_goes_depends_on_the_seed_and_the_place_alone(seeded):
    """Patients in another order lose the same places: neither they nor their class were looked at."""
    drop = dropout("default", all=0.1, each=0.4)
    ages = list(range(20, 80))
    meta_BM = torch.from_numpy(fitted("default").encode(ages, ["male"] * 60, ["back"] * 60))
    out_BM, turned_BM = drop(meta_BM, seeded(1)), drop(meta_BM.flip(0), seeded(1))
    assert torch.equal(out_BM[:, 1], turned_BM[:, 1])  # age_missing
    assert not torch.equal(out_BM, drop(meta_BM, seeded(2)))


def test_a_source_may_have_rates_of_its_own(seeded):
    """One source loses everything, another nothing, the third a half, wherever they stand in the batch."""
    config = MetadataDropoutConfig(all=0.5, by_source={"a": {"all": 1.0}, "c": {}})
    source_B = torch.arange(3000) % 3
    out_BM = MetadataDropout(config, fitted("default"), ["a", "b", "c"])(
        patients("default", 3000), source_B, seeded()
    )
    gone_B = out_BM[:, 1] == 1  # age_missing
    rates = [float(gone_B[source_B == source].float().mean()) for source in range(3)]
    assert rates == [1.0, pytest.approx(0.5, abs=0.05), 0.0]

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermlens.calibration.decision import fit_decision
from dermlens.calibration.probabilities import Labelled
from dermlens.errors import UserError
from dermlens.labels import Vocabulary
from dermlens.predict.decision import answer
from dermlens.predict.decision_document import plain_decision
from dermlens.predict.priors import ClassPrior, named_prior
from dermlens.studies.reliability import (
    as_answered,
    calibration_table,
    risk_coverage,
    set_table,
    write_decision_report,
)

CLASSES = ("bcc", "mel", "nv")
PRIOR = np.array([0.1, 0.2, 0.7])
MEANS = np.array([[1.5, 0.0], [0.0, 1.5], [-0.8, -0.8]])


def draw(images: int, seed: int) -> Labelled:
    """Exact posteriors, made three times too sure."""
    rng = np.random.default_rng(seed)
    lesion_N = np.sort(rng.integers(0, int(images / 1.3), images))
    target_N = rng.choice(3, lesion_N.max() + 1, p=PRIOR)[lesion_N]
    x_ND = MEANS[target_N] + rng.normal(size=(images, 2))
    logits_NC = np.log(PRIOR) - ((x_ND[:, None] - MEANS) ** 2).sum(axis=2) / 2
    return Labelled(3 * logits_NC, x_ND.astype(np.float32), target_N, lesion_N.astype(str))


@pytest.fixture(scope="module")
def fitted():
    clinic = ClassPrior(name="clinic", shares=tuple(PRIOR))
    return fit_decision(Vocabulary(CLASSES), calibration=draw(500, 2), prior=clinic)


@pytest.fixture(scope="module")
def fresh() -> Labelled:
    return draw(2500, 3)


def weighted_ece(target_N, p_NC, weight_N):
    """As netcal writes it: Σ over bins of the weight in the bin · |accuracy − confidence|, bin by bin."""
    confidence_N, right_N = p_NC.max(axis=1), p_NC.argmax(axis=1) == target_N
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence_N > low) & (confidence_N <= low + 1 / 15)
        if inside.any():
            w = weight_N[inside]
            gap = abs(np.average(right_N[inside], weights=w) - np.average(confidence_N[inside], weights=w))
            total += w.sum() / weight_N.sum() * gap
    return total


def test_calibration_in_the_own_mix_and_at_equal_shares(fitted, fresh):
    document, arrays = fitted
    table = calibration_table(fresh, document).set_index(["prior", "stage"])
    output = answer(fresh.logits_NC, fresh.features_ND, document, arrays)
    own = weighted_ece(fresh.target_N, output.p_NC, np.ones(2500))
    assert table.loc[("own", "after"), "ece"] == pytest.approx(own)
    even = answer(fresh.logits_NC, fresh.features_ND, document, arrays, prior=named_prior("equal", CLASSES))
    weight_N = 1 / np.bincount(fresh.target_N)[fresh.target_N]
    equal = weighted_ece(fresh.target_N, even.p_NC, weight_N)
    assert table.loc[("equal", "after"), "ece"] == pytest.approx(equal)
    assert own < 0.04
    assert equal < 0.06
    assert table.loc[("equal", "before"), "log_loss"] > table.loc[("equal", "after"), "log_loss"]
    with pytest.raises(UserError, match="class shares"):
        calibration_table(fresh, plain_decision(CLASSES))


def test_sets_class_by_class(fitted, fresh):
    document, arrays = fitted
    output = answer(fresh.logits_NC, fresh.features_ND, document, arrays)
    table = set_table(fresh, output, document, replicates=50).set_index("class")
    covered_N = output.set_NC[np.arange(2500), fresh.target_N]
    for index, code in enumerate(CLASSES):
        of_class = fresh.target_N == index
        assert table.loc[code, "coverage"] == pytest.approx(covered_N[of_class].mean())
        assert table.loc[code, "low"] <= table.loc[code, "coverage"] <= table.loc[code, "high"]
        assert table.loc[code, "coverage"] > 0.82
        assert table.loc[code, "set_size"] == pytest.approx(output.set_NC[of_class].sum(axis=1).mean())
    assert table.loc["all", "coverage"] == pytest.approx(covered_N.mean())
    assert table.loc["all", "calibration_lesions"] == sum(document.sets.lesions)
    assert table["guaranteed"].all()
    with pytest.raises(UserError, match="no sets"):
        set_table(fresh, output, plain_decision(CLASSES))


def test_answering_less_errs_less(fitted, fresh):
    document, arrays = fitted
    output = answer(fresh.logits_NC, fresh.features_ND, document, arrays)
    curve = risk_coverage(fresh, output, Vocabulary(CLASSES))
    np.testing.assert_allclose(curve["answered"], np.linspace(0.5, 1, 51), atol=1e-3)
    everything = curve.iloc[-1]
    assert everything["error"] == pytest.approx((output.diagnosis_N != fresh.target_N).mean())
    assert curve["error"].iloc[0] < everything["error"] - 0.05
    assert (curve["mel_missed"].diff().dropna() >= 0).all()  # who is answered more misses more
    melanomas = (fresh.target_N == 1).sum()
    fates = curve[["mel_named", "mel_in_set", "mel_abstained", "mel_missed"]].sum(axis=1)
    assert (fates == melanomas).all()
    outside_N = (fresh.target_N == 1) & ~output.set_NC[:, 1]
    assert everything["mel_missed"] == outside_N.sum()
    row = as_answered(fresh, output, Vocabulary(CLASSES))
    assert row["answered"] == pytest.approx(1 - output.uncertain_N.mean())
    assert row["mel_missed"] == (outside_N & ~output.uncertain_N).sum()


def test_tables_and_figures_are_written(fitted, fresh, tmp_path):
    tables = write_decision_report(tmp_path / "shown", fresh, *fitted, replicates=20)
    names = {path.name for path in (tmp_path / "shown").iterdir()}
    assert names == {
        "calibration.csv", "sets.csv", "risk_coverage.csv", "answered.csv",
        "coverage.png", "risk_coverage.png", "reliability_before.png", "reliability_after.png",
    }  # fmt: skip
    again = pd.read_csv(tmp_path / "shown" / "sets.csv")
    pd.testing.assert_frame_equal(again, tables["sets"], rtol=1e-5, check_dtype=False)
    for path in (tmp_path / "shown").glob("*.png"):
        with Image.open(path) as figure:
            assert figure.size[0] > 500


def test_figures_show_what_the_tables_hold(fitted, fresh):
    from dermlens.report.curves import coverage_bars, risk_coverage_curve

    document, arrays = fitted
    output = answer(fresh.logits_NC, fresh.features_ND, document, arrays)
    sets = set_table(fresh, output, document, replicates=20)
    above, below = coverage_bars(sets, 0.9).axes
    drawn = {line.get_gid(): line for line in above.lines}
    assert drawn["coverage mel"].get_ydata()[0] == sets.set_index("class").loc["mel", "coverage"]
    assert [bar.get_height() for bar in below.patches] == sets["set_size"].tolist()
    pooled = sets.assign(guaranteed=False)
    hollow = [line for line in coverage_bars(pooled, 0.9).axes[0].lines if line.get_marker() == "o"]
    assert all(line.get_markerfacecolor() == "white" for line in hollow)
    curve, row = (
        risk_coverage(fresh, output, Vocabulary(CLASSES)),
        as_answered(fresh, output, Vocabulary(CLASSES)),
    )
    lines = {line.get_gid(): line for axis in risk_coverage_curve(curve, row).axes for line in axis.lines}
    assert lines["error"].get_ydata().tolist() == curve["error"].tolist()
    assert lines["mel_missed"].get_ydata().tolist() == curve["mel_missed"].tolist()
    assert lines["answered"].get_xdata() == [row["answered"]]
    without = curve.drop(columns=[name for name in curve if name.startswith("mel_")])
    assert len(risk_coverage_curve(without, row).axes) == 1

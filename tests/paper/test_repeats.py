"""Contrasts of repeated trainings: the plan, both parts of the variance, and the four verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.studies.folds import fold_recipes, write_arm, write_images
from paper.repeats import (
    draw_differences,
    folder_of,
    load_repeated_matrix,
    load_repeats,
    measure_folds,
    measure_repeats,
    planned_seeds,
    repeated_matrices,
)
from paper.report.page import write_report

from .tiny_study import out_of_fold

FOLDS = 5


def publish(results, matrix, shares, seeds=(0, 1, 2)):
    """Arms of a matrix with the share that each names right; the same images are hard for all seeds."""
    for seed in seeds:
        folder = results / folder_of(matrix, seed)
        for number, (arm, share) in enumerate(shares.items()):
            table = out_of_fold(share, 10 * number + seed, FOLDS)
            write_images(folder, table)
            write_arm(folder, arm, table)


def test_the_plan_has_at_most_eight_contrasts_of_arms_that_exist_with_a_margin():
    planned = load_repeats()
    assert len(planned) <= 8
    assert len(planned_seeds()) >= 3
    for one in planned:
        arms = load_repeated_matrix(one.matrix).arms
        assert {one.arm, one.reference} <= set(arms)
        assert 0 < one.expected < one.margin


@pytest.mark.parametrize("name", repeated_matrices())
def test_seeds_train_on_the_same_folds_from_layers_started_as_keras_does(name):
    recipes = [load_repeated_matrix(name, [f"seed={seed}"]).recipe_of for seed in planned_seeds()]
    matrix = load_repeated_matrix(name)
    for arm in matrix.arms:
        folds = [fold_recipes(recipe(arm), matrix.folds)[0] for recipe in recipes]
        assert len({one.split.model_dump_json() for one in folds}) == 1
        assert [one.seed for one in folds] == list(planned_seeds())
        assert {one.model.conventions for one in folds} == {"keras"}


@pytest.mark.parametrize(
    ("measure", "oracle"), [("accuracy", accuracy_score), ("mean_recall", balanced_accuracy_score)]
)
def test_a_fold_is_measured_as_scikit_learn_does(measure, oracle):
    tables = [out_of_fold(share, seed, FOLDS) for seed, share in enumerate((0.3, 0.6))]
    target_N = tables[0]["target"].map(CLASSES.index).to_numpy()
    fold_N = tables[0]["fold"].to_numpy()
    named_SN = [table[[f"p_{code}" for code in CLASSES]].to_numpy().argmax(axis=1) for table in tables]
    right_SN = np.stack([named == target_N for named in named_SN]) * 1.0
    found_FS = measure_folds(right_SN, target_N, fold_N, measure)
    for fold in range(FOLDS):
        own = fold_N == fold
        expected = [oracle(target_N[own], named[own]) for named in named_SN]
        np.testing.assert_allclose(found_FS[fold], expected)


def test_draws_of_lesions_vary_as_the_formula_of_stratified_means_says():
    draw = np.random.default_rng(0)
    target_N = np.repeat([0, 1], [200, 50])
    fold_N = np.tile([0, 1], 125)
    gain_N = draw.choice([-1.0, 0.0, 1.0], size=250, p=[0.2, 0.5, 0.3])
    lesion_N = np.array([f"L{index}" for index in range(250)])
    cells = [(fold_N == f) & (target_N == c) for f in (0, 1) for c in (0, 1)]
    variance = [gain_N[cell].var() / cell.sum() for cell in cells]
    expected = {
        "mean_recall": sum(variance) / 4 / 4,
        "accuracy": sum(v * (cell.sum() / 125) ** 2 for v, cell in zip(variance, cells, strict=True)) / 4,
    }
    for measure, var in expected.items():
        drawn_R = draw_differences(gain_N, target_N, fold_N, lesion_N, measure, replicates=20_000, seed=1)
        assert drawn_R.var() == pytest.approx(var, rel=0.05)


def test_images_of_a_lesion_are_drawn_together():
    gain_N, same_N = np.repeat(np.tile([1.0, 0.0], 50), 2), np.zeros(200, dtype=int)
    alone, paired = (
        draw_differences(gain_N, same_N, same_N, lesion_N.astype(str), "accuracy", replicates=9000, seed=0)
        for lesion_N in (np.arange(200), np.repeat(np.arange(100), 2))
    )
    assert paired.var() == pytest.approx(2 * alone.var(), rel=0.1)


def test_a_row_has_both_parts_of_the_variance_and_holms_correction_within_its_claim(tmp_path):
    publish(tmp_path, "map_224", {"corrected": 0.6, "no_attention": 0.55, "uniform": 0.6})
    rows = measure_repeats(tmp_path, replicates=4000).set_index(["arm", "reference"])
    assert list(rows.index) == [("corrected", "no_attention"), ("corrected", "uniform")]
    row = rows.loc[("corrected", "no_attention")]
    d_FS = []
    for seed in range(3):
        tables = [out_of_fold(0.6, seed, FOLDS), out_of_fold(0.55, 10 + seed, FOLDS)]
        target_N = tables[0]["target"].map(CLASSES.index).to_numpy()
        right = [t[[f"p_{c}" for c in CLASSES]].to_numpy().argmax(axis=1) == target_N for t in tables]
        d_FS.append([(right[0][f] * 1.0).mean() - right[1][f].mean() for f in np.split(np.arange(1400), 5)])
    d_FS = np.array(d_FS).T  # classes are of one size, so accuracy and mean recall are one
    assert row["difference"] == pytest.approx(d_FS.mean())
    assert row["se_trainings"] == pytest.approx(np.sqrt(d_FS.var(axis=1, ddof=1).mean() / 15))
    assert row["se"] == pytest.approx(np.hypot(row["se_lesions"], row["se_trainings"]))
    t = stats.t(10)
    assert row["freedom"] == 10
    assert row["high"] - row["low"] == pytest.approx(2 * t.ppf(0.975) * row["se"])
    raw = [2 * t.sf(abs(rows["difference"].iloc[k]) / rows["se"].iloc[k]) for k in (0, 1)]
    assert min(rows["p_holm"]) == pytest.approx(min(1, 2 * min(raw)))
    width = stats.t.ppf(0.975, 14) * np.sqrt((1 / 15 + 1 / 4) * d_FS.var(ddof=1))
    assert row["high_nadeau_bengio"] == pytest.approx(row["difference"] + width)
    assert row["can_see"] == pytest.approx((t.ppf(1 - 0.025 / 2) + t.ppf(0.8)) * row["se"])


def test_the_four_verdicts(tmp_path):
    publish(tmp_path / "helps", "parts_128", {"base": 0.7, "no_weights": 0.4, "no_metadata": 0.95})
    found = measure_repeats(tmp_path / "helps", replicates=500).set_index("reference")["verdict"]
    assert found.to_dict() == {"no_weights": "helps", "no_metadata": "hurts"}
    same = out_of_fold(0.6, 0, FOLDS)
    for seed in (0, 1):
        folder = tmp_path / "same" / folder_of("parts_128", seed)
        write_images(folder, same)
        for arm in ("base", "no_weights"):
            write_arm(folder, arm, same)
    [row] = measure_repeats(tmp_path / "same", replicates=500).to_dict("records")
    assert (row["verdict"], row["difference"], row["seeds"]) == ("equivalent", 0.0, 2)
    publish(tmp_path / "open", "parts_128", {"base": 0.61, "no_weights": 0.6})
    assert measure_repeats(tmp_path / "open", replicates=500)["verdict"].tolist() == ["undecided"]


def test_the_report_shows_what_is_there_and_names_what_is_missing(tmp_path):
    publish(tmp_path, "map_224", {"corrected": 0.9, "no_attention": 0.4})
    page = write_report(tmp_path, tmp_path / "report").read_text(encoding="utf-8")
    part = page[page.index('id="repeats"') : page.index('id="read"')]
    assert '<td class="verdict">helps</td>' in part
    assert part.count("Planned and not run") == 4
    assert (tmp_path / "report" / "figures" / "repeats_map_224_attention.svg").is_file()


def test_one_seed_says_nothing_and_seeds_of_other_images_are_refused(tmp_path):
    publish(tmp_path, "parts_128", {"base": 0.7, "no_weights": 0.4}, seeds=(0,))
    assert measure_repeats(tmp_path).empty
    folder = tmp_path / folder_of("parts_128", 1)
    table = out_of_fold(0.5, 0, FOLDS).iloc[:-1]
    write_images(folder, table)
    for arm in ("base", "no_weights"):
        write_arm(folder, arm, table)
    with pytest.raises(UserError, match="seed-1"):
        measure_repeats(tmp_path)


def test_no_published_verdict_hangs_on_the_draws():
    results = Path(__file__).parents[2] / "docs/results/paper"
    verdicts = [measure_repeats(results, seed=seed)["verdict"].tolist() for seed in (0, 1)]
    assert verdicts[0] == verdicts[1]

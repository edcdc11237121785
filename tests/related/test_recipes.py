"""What recipes of the comparison say is what their articles' code computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dermlens.data.augment.augmentation import MetadataDropout
from dermlens.labels import CLASSES
from dermlens.models.metadata_branch import build_branch
from dermlens.predict.metadata import make_encoder
from dermlens.testing import check_metric
from dermlens.training.losses import make_loss
from dermlens.training.sampling import class_weights
from related.study import load_study
from related.table import mean_real_cost


@pytest.fixture(scope="module")
def study():
    return load_study()


def test_the_mean_real_cost_is_a_metric_of_any_report():
    check_metric("related.table:mean_real_cost")
    p_NC = np.eye(7)[[CLASSES.index(code) for code in ("nv", "mel", "bkl", "nv")]]
    target_N = np.array([CLASSES.index(code) for code in ("mel", "nv", "nv", "nv")])
    assert mean_real_cost(target_N, p_NC, CLASSES) == pytest.approx((10 + 1 + 1 + 0) / 4)


@pytest.mark.parametrize("name", ["crckd-mt", "crckd-mt-ccd", "crckd"])
def test_labels_weigh_as_much_as_in_the_code_of_crckd(study, name):
    """It calls PyTorch's cross-entropy with weights N/n_c; in a batch of the data's shares both are equal.

    KL, CCD and CRP are added as they are: labels that weigh seven times as much would drown them.
    """
    imbalance = study.recipe_of(study.systems[name]).imbalance
    counts_C = np.array([1, 2, 4, 1, 5, 26, 1])
    target_B = torch.from_numpy(np.repeat(np.arange(7), counts_C))
    logits_BC = torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight_C = torch.from_numpy(class_weights(imbalance.weights, counts_C, CLASSES))
    theirs = F.cross_entropy(logits_BC, target_B, weight=torch.from_numpy(40 / counts_C))
    torch.testing.assert_close(make_loss(imbalance.loss, weight_C)(logits_BC, target_B), theirs)


def test_metadata_are_blanked_with_the_probability_of_gessert(study):
    """0.1, by whatever parts of the recipe do it together."""
    recipe = study.recipe_of(study.systems["gessert-metadata"])
    encoder = make_encoder(recipe.data.metadata).fit([40, 60], ["male"] * 2, ["back"] * 2)
    meta_BM = torch.from_numpy(np.repeat(encoder.encode([60], ["male"], ["back"]), 20_000, axis=0))
    torch.manual_seed(0)
    if (dropout := recipe.augment.metadata_dropout) is not None:
        meta_BM = MetadataDropout(dropout, encoder, ["ham10000"])(meta_BM, torch.zeros(20_000).long())
    branch = build_branch(recipe.model.metadata, encoder.width, 8)
    assert branch is not None
    seen = []
    branch.get_submodule("layers").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    branch.train()(meta_BM)
    for name in ("age_z", "sex_male"):
        gone = (seen[0][:, encoder.names.index(name)] == 0).float().mean().item()
        assert gone == pytest.approx(0.1, abs=0.01), name


def test_a_field_is_blanked_whole_and_a_missing_age_is_what_the_code_or_the_article_says(study):
    encoder = make_encoder("default").fit([40, 60], ["male"] * 2, ["back"] * 2)
    known, unknown = torch.from_numpy(encoder.encode([60, None], ["male", "unknown"], ["back", None]))
    none, all_of_it = torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    for name, missing_age in (("gessert-metadata-minus-five", -5.0), ("gessert-metadata-zero", 0.0)):
        model = study.recipe_of(study.systems[name]).model
        head = build_branch(model.metadata, encoder.width, 8, model.metadata_settings)
        assert head.missing_age == missing_age
        seen = head.inputs(known[None], none)[0]
        assert len(seen) == 1 + 2 + 8
        assert seen[0] == 1.0  # 60 is one deviation above 50
        assert seen[1:].sum() == 2
        blank = [missing_age, *[0.0] * 10]
        assert head.inputs(unknown[None], none)[0].tolist() == blank
        assert head.inputs(known[None], all_of_it)[0].tolist() == blank
        without_sex = head.inputs(known[None], torch.tensor([[False, True, False]]))[0]
        assert without_sex[1:3].tolist() == [0.0, 0.0]
        assert torch.equal(without_sex[3:], seen[3:])


def test_the_head_blanks_each_field_with_probability_a_tenth(study):
    model = study.recipe_of(study.systems["gessert-metadata-minus-five"]).model
    encoder = make_encoder("default").fit([40, 60], ["male"] * 2, ["back"] * 2)
    meta_BM = torch.from_numpy(np.repeat(encoder.encode([60], ["male"], ["back"]), 20_000, axis=0))
    head = build_branch(model.metadata, encoder.width, 8, model.metadata_settings)
    seen = []
    head.layers.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    torch.manual_seed(0)
    features_BD = head.train()(meta_BM)
    assert features_BD.shape == (20_000, 256)
    for gone_B in (seen[0][:, 0] == -5, seen[0][:, 1:3].sum(1) == 0, seen[0][:, 3:].sum(1) == 0):
        assert gone_B.float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(head.eval()(meta_BM[:1]), head(meta_BM[:1]))

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
from dermlens.training.losses import make_loss
from dermlens.training.sampling import class_weights
from related.study import load_study


@pytest.fixture(scope="module")
def study():
    return load_study()


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

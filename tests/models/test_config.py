from __future__ import annotations

import pytest
from pydantic import ValidationError

from dermlens.models.config import ModelConfig
from dermlens.models.metadata_branch import BRANCHES
from dermlens.models.table import METADATA_BRANCHES


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"backbone": "mobilenetv3"}, "nearest: .*mobilenet_v3_small"),
        ({"metadata": "metablok"}, "nearest: metablock"),
        ({"backbone": "mobilenet", "cut": "paper"}, "mobilenet .*cut paper.* plain"),
        ({"backbone": "vgg16", "cut": "plain"}, "vgg16 .*cut plain.* paper, full"),
        ({"backbone": "nasnet_mobile", "weights": "hub"}, "hub .*nasnet_mobile"),
        ({"cut": "plain"}, "attention=none and metadata=none"),
        ({"cut": "plain", "attention": "none"}, "attention=none and metadata=none"),
        ({"attention": "none", "gamma": True}, "gamma .*Soft-Attention"),
        ({"heads": 0}, "greater than 0"),
        ({"heads": 1025}, "less than or equal to 1024"),
        ({"attention": "none", "heads": 4}, "heads .*Soft-Attention"),
        ({"cut": "plain", "attention": "none", "metadata": "none", "pool": "gap"}, "pool"),
        ({"cut": "plain", "attention": "none", "metadata": "none", "dropout": 0.1}, "dropout"),
        ({"backbone": "vgg16", "cut": "paper", "pool": "gap"}, "vgg16 .*pool"),
        ({"cut": "half"}, "'paper', 'full' or 'plain'"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, sentence):
    with pytest.raises(ValidationError, match=sentence):
        ModelConfig(**settings)


def test_hub_weights_bring_their_own_form():
    assert ModelConfig().resolved_form == "keras"
    assert ModelConfig(weights="hub").resolved_form == "library"
    assert ModelConfig(weights="hub", form="keras").resolved_form == "keras"


def test_table_and_registry_name_the_same_branches():
    assert set(METADATA_BRANCHES) == {"none", *BRANCHES}


def test_configuration_is_free_of_torch(loaded):
    statement = "import dermlens.models.config, dermlens.predict.document"
    assert loaded(statement, "dermlens.predict.document", "torch", "pandas", "timm") == {
        "dermlens.predict.document"
    }

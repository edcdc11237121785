"""On HAM10000 no study looks at the sealed test role, however its folds are asked for."""

from __future__ import annotations

import pytest

from dermlens.data.manifest import HOME, load_manifest
from dermlens.errors import UserError
from dermlens.recipe import parse_recipe
from dermlens.studies.folds import draw, fold_recipes

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize("split", ["manifest: grouped-v1", "protocol: grouped"])
def test_folds_are_all_but_the_sealed_images(split, ham10000):
    recipe = parse_recipe(f"split: {{{split}}}", "here")
    table, splits = draw(fold_recipes(recipe, 5), ham10000)
    sealed = set(load_manifest(HOME).ids("test"))
    scored = [image for one in splits for image in one.ids("selection")]
    assert len(scored) == len(set(scored)) == 10015 - len(sealed)
    assert set(scored) == set(table["image_id"]) - sealed
    lesions = table.set_index("image_id")["lesion_id"]
    of_folds = [set(lesions[one.ids("selection")]) for one in splits]
    assert sum(map(len, of_folds)) == len(set.union(*of_folds))
    assert not set.union(*of_folds) & set(lesions[list(sealed)])


def test_another_draw_would_open_it(ham10000):
    recipe = parse_recipe("split: {protocol: grouped, seed: 1}", "here")
    with pytest.raises(UserError, match="grouped-v1"):
        draw(fold_recipes(recipe, 5), ham10000)

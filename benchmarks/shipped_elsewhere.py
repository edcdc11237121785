"""What the model that ships says of the sources that it was not trained on, at equal class shares.

    OMP_NUM_THREADS=1 python benchmarks/shipped_elsewhere.py DATA

writes docs/results/travel/shipped as a cross-fit by source is published, so that `dermlens compare
docs/results/travel/shipped docs/results/travel/base` pairs a new recipe with it lesion by lesion. DATA holds
ham10000, isic2017 and milk10k. HAM10000, which the model was trained on, is not scored; images that show a
lesion of its test role take no part.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.data.manifest import load_manifest
from dermlens.data.predictions import write_predictions
from dermlens.data.table import read_configured
from dermlens.evaluation.transfer import score_source
from dermlens.files import write_json
from dermlens.models.saved import SavedModel, load_model
from dermlens.predict.predictor import shipped_folder
from dermlens.recipe import load_recipe
from dermlens.studies.by_source import RECORD
from dermlens.training.predict import CARRIED, logits_table

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "travel" / "shipped"
RECIPE, MANIFEST = "sources/efficientnet_lite0", "sources-v1"
SOURCES = ("isic2017", "milk10k")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    recipe, model = load_recipe(RECIPE), load_model(shipped_folder())
    table = read_configured(parser.parse_args().data, recipe.data)
    roles = load_manifest(MANIFEST, table).roles
    kept = table[table["image_id"].isin(roles.loc[roles["role"] != "test", "image_id"])]
    scored = {}
    for source in SOURCES:
        predictions = predicted(model, kept[kept["source"] == source].reset_index(drop=True))
        write_predictions(RESULTS / f"without-{source}" / "predictions.csv.gz", predictions)
        scored[source] = score_source(predictions, recipe.evaluation)
    write_json(RESULTS / RECORD, {"model": model.config.backbone, "sources": scored})


def predicted(model: SavedModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Probabilities at equal class shares: those of the logits, which a balanced softmax trained."""
    logits_NC = logits_table(model, rows).logits_NC
    p_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    p_NC /= p_NC.sum(axis=1, keepdims=True)
    frame = rows[["image_id", "lesion_id", *CARRIED]].assign(role="selection", target=rows["dx"])
    return frame.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(model.classes)})


if __name__ == "__main__":
    main()

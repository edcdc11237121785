"""A run that was never trained but calibrated for good: logits from a generator, everything else as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.calibration.decision import fit_decision
from dermlens.calibration.probabilities import Labelled
from dermlens.data.predictions import write_csv, write_predictions
from dermlens.evaluation.score import score
from dermlens.files import write_json
from dermlens.labels import CLASSES, Vocabulary
from dermlens.models.config import ModelConfig
from dermlens.predict.decision import answer, answer_columns, write_arrays
from dermlens.predict.document import ModelDocument
from dermlens.predict.metadata import make_encoder
from dermlens.recipe import parse_recipe
from dermlens.runs import Run
from dermlens.studies.reliability import calibration_table

MIXTURE = np.array([0.06, 0.08, 0.12, 0.03, 0.14, 0.54, 0.03])
LESIONS = {"train": 500, "selection": 420, "calibration": 400, "test": 450}
SITES = ("back", "trunk", "lower extremity", "face", "foot", "acral", "unknown")


def draw_role(role: str, rng: np.random.Generator) -> tuple[pd.DataFrame, Labelled]:
    """Who is in a role, and what a network says that leans to the truth and is too sure of it."""
    target_L = rng.choice(len(CLASSES), LESIONS[role], p=MIXTURE)
    lesion_N = np.repeat(np.arange(LESIONS[role]), rng.integers(1, 3, LESIONS[role]))
    target_N, count = target_L[lesion_N], len(lesion_N)
    logits_NC = rng.normal(size=(count, len(CLASSES))) * 2
    logits_NC[np.arange(count), target_N] += rng.uniform(0, 8, count)
    names = np.array([f"HAM_{role}_{number}" for number in lesion_N])
    table = pd.DataFrame(
        {
            "image_id": [f"ISIC_{role}_{number}" for number in range(count)],
            "lesion_id": names,
            "role": role,
            "target": [CLASSES[index] for index in target_N],
            "age": np.where(rng.random(count) < 0.03, np.nan, 5.0 * rng.integers(1, 18, count)),
            "sex": rng.choice(["female", "male", "unknown"], count, p=[0.45, 0.53, 0.02]),
            "site": rng.choice(SITES, count),
            "dx_type": rng.choice(["histo", "follow_up"], count),
        }
    )
    features_ND = rng.normal(size=(count, 5)) + target_N[:, None]
    return table, Labelled(logits_NC, features_ND, target_N, names)


def make_calibrated_run(
    folder: Path,
    *,
    roles: Sequence[str] = ("selection", "calibration", "test"),
    reported: Sequence[str] = ("selection", "calibration", "test"),
    bootstrap: int = 25,
    recipe: str = "",
    toned: bool = False,
    **facts: object,
) -> Run:
    """Write an evaluated run with a fitted decision.

    Args:
        folder: of the run, absent or empty.
        roles: that were scored.
        reported: of these, the roles that a decision report was made of.
        bootstrap: resamples.
        recipe: more YAML for it.
        toned: whether the skin tone of most images is known, and their two sources.
        facts: more for run.json.
    """
    rng = np.random.default_rng(4)
    drawn = {role: draw_role(role, rng) for role in LESIONS}
    document, arrays = fit_decision(Vocabulary(CLASSES), calibration=drawn["calibration"][1])
    encoder = make_encoder("default").fit([30.0, 50.0], ["male", "female"], ["back", "face"])
    base = f"name: {folder.name}\nevaluation: {{bootstrap: {bootstrap}}}\n{recipe}"
    run = Run.create(folder, parse_recipe(base, "here"))
    model = ModelDocument(
        dermlens="0.1.0",
        model=ModelConfig().model_dump(mode="json"),
        classes=CLASSES,
        size=224,
        crop="center",
        encoder=encoder.to_json(),
        meta_width=encoder.width,
        decision=document,
        sha256="0" * 64,
    )
    write_json(folder / "model.json", model.model_dump(mode="json"))
    write_arrays(folder, arrays)
    frames = []
    for role in roles:
        table, labelled = drawn[role]
        answers = answer(labelled.logits_NC, labelled.features_ND, document, arrays)
        p = {f"p_{code}": answers.p_NC[:, index] for index, code in enumerate(CLASSES)}
        frames.append(table.assign(**p, **answer_columns(answers, CLASSES)))
        if role in reported:
            path = folder / "decision" / role / "calibration.csv"
            write_csv(path, calibration_table(labelled, document))
    predictions = pd.concat(frames, ignore_index=True)
    if toned:
        share = [0.05, 0.05, 0.1, 0.4, 0.2, 0.1, 0.1]
        predictions["source"] = rng.choice(["north", "south"], len(predictions), p=[0.6, 0.4])
        predictions["skin_tone"] = rng.choice([*np.arange(6.0), np.nan], len(predictions), p=share)
    write_predictions(run.predictions_file, predictions)
    metrics = score(predictions, CLASSES, run.recipe.evaluation, decision=document)
    write_json(run.metrics_file, metrics)
    counts = {role: table["target"].value_counts().to_dict() for role, (table, _) in drawn.items()}
    split = {"protocol": "grouped", "seed": "0"}
    run.end("completed", **({"split": split, "counts": counts, "trainable_parameters": 1_234_567} | facts))
    return run

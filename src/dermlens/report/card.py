"""model_card.md: what the model is, how well it does and what it is not for (Mitchell et al. 2019).

A section whose facts the run does not have is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermlens.evaluation.ledger import without_paths
from dermlens.files import write_text
from dermlens.records import RunRecord
from dermlens.records import estimate_text as estimate
from dermlens.report import decision_tables, detection_tables, provenance, run_data, tables
from dermlens.report import interpretation as words
from dermlens.report.checklists import checklist_section
from dermlens.report.provenance import Exported
from dermlens.report.run_data import RunData
from dermlens.report.tables import duration, environment
from dermlens.runs import Run

USES = (
    "Research on classifiers of dermoscopic images: comparing methods, protocols and data.",
    "Teaching what such a classifier does, and where it fails.",
)
NO_USES = (
    "Deciding anything about a person: whether to see a physician, to biopsy, to treat or to wait.",
    "Screening, and images that were not taken with a dermatoscope.",
    "Any commercial use that the licence of the images does not allow.",
)
UNMEASURED = "Before scaling: not measured, there being no decision report."


def write_card(run: Run, *, found: RunData | None = None, exported: Exported | None = None) -> Path:
    """Write the model card of an evaluated run.

    Args:
        run: with metrics.json and predictions.csv.
        found: its data; none reads them.
        exported: a folder that was exported from it, where the card then goes, as MODEL_CARD.md.

    Returns:
        The card's path.

    Raises:
        UserError: the run has not been evaluated, or a table next to it is of another decision.
    """
    path = run.card_file if exported is None else exported.folder / "MODEL_CARD.md"
    write_text(path, card_text(found or RunData(run), exported))
    return path


def card_text(found: RunData, exported: Exported | None = None) -> str:
    """The text of the card; arguments and errors are those of `write_card`."""
    run, record, recipe, scores = found.run, found.record, found.recipe, found.scores
    classes, vocabulary = found.classes, found.vocabulary
    recipe_text = provenance.recipe_text(recipe).rstrip() if recipe else ""
    int8 = exported is not None and exported.tried_int8
    commands = provenance.commands(run, found.roles, ood=found.ood, decided=found.is_decided, int8=int8)
    facts: dict[str, Any] = found.facts() | {
        "recipe": recipe,
        "start": without_paths(recipe.model.weights) if recipe else None,
        "record": record,
        "members": len(record.soup),
        "joined": record.joined,
        "parameters": found.parameters,
        "seconds": duration(found.seconds) if found.seconds else None,
        "classes": [(code, vocabulary.name(code), scores["per_class"][code]) for code in classes],
        "failures": tables.present(
            tables.confusions_table(scores, classes),
            tables.classes_table(scores, classes),
            tables.groups_table(scores),
        ),
        "missing_metadata": decision_tables.missing_metadata_table(run_data.read_missing_metadata(run)),
        "dermoscopy": decision_tables.dermoscopy_table(run_data.read_dermoscopy(run)),
        "out_of_distribution": decision_tables.out_of_distribution_table(
            run_data.read_out_of_distribution(run), found.ood
        ),
        "other_sets": decision_tables.other_sets_table(
            run_data.read_other_sets(run), vocabulary.sought_name if vocabulary.sought else "melanoma"
        ),
        "also_train": _also_train(record),
        "people": _people(found),
        "further": [provenance.CREDITS.get(name, name) for name in words.further_sets(record)],
        "uses": USES,
        "no_uses": NO_USES,
        "files": exported,
        "recipe_text": _Verbatim(recipe_text),
        "fence": "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", recipe_text))]),
        "commands": _Verbatim("\n".join(commands)),
        "estimate": estimate,
    }
    facts |= _decision_facts(found)
    text = environment(finalize=_markdown).get_template("model_card.md.j2").render(facts)
    return text + (checklist_section(text) if found.source == "ham10000" and found.is_decided else "")


@dataclass(frozen=True, slots=True)
class _Verbatim:
    """Lines that stand in the card as they are, inside a fence."""

    text: str

    def __str__(self) -> str:
        return self.text


def _decision_facts(found: RunData) -> dict[str, Any]:
    """The sections on calibration, operating points, sets and abstention."""
    roles, decision, decided = found.roles, found.decision, found.is_decided
    judging = decision_tables.judging_role(roles, decided=decided)
    scores = found.metrics.roles[judging]
    marks = words.role_marks(roles, found.run.recipes(), decided=decided)
    calibration = sets = None
    if decision is not None:
        measured = run_data.read_calibration(found.run, judging, scores)
        calibration = {
            "words": [
                *decision_tables.scaling_words(decision),
                *decision_tables.chance_words(scores),
                *([] if measured is not None else [UNMEASURED]),
            ],
            "tables": tables.present(
                decision_tables.calibration_table(scores["overall"], measured),
                decision_tables.equal_table(scores),
            ),
        }
    if "answers" in scores:
        promise = decision_tables.sets_words(decision) if decision is not None else []
        sets = {
            "words": [*promise, *decision_tables.abstention_words(scores)],
            "table": decision_tables.sets_table(scores, decision),
        }
    return {
        "judging": judging,
        "calibration": calibration,
        "decisions": decision_tables.decision_table(found.metrics, roles, marks),
        "points": tables.present(
            detection_tables.suspicion_table(scores),
            *detection_tables.suspicion_by_group(scores),
            detection_tables.probability_table(scores),
            detection_tables.operating_table(scores),
            detection_tables.card_net_benefit_table(scores),
        ),
        "sets": sets,
    }


def _people(found: RunData) -> list[tables.Table]:
    """Who and what the images are of."""
    people = tables.people_table(found.people)
    note = found.people_note or people.note
    return [
        tables.counts_table(found.counts, found.classes),
        tables.Table(people.caption, people.columns, people.rows, note),
    ]


def _also_train(record: RunRecord) -> str | None:
    """What was trained on in addition to the split's images."""
    also = record.also_train or {}
    if not also.get("images"):
        return None
    names = ", ".join(Path(folder).name for folder in also["folders"])
    return (
        f"Trained on {also['images']:,} more images, of {names}, which play no other role; their own licence"
        " holds for the weights too."
    )


def _markdown(value: object) -> object:
    """Text from a run as text: no HTML, no table cell of its own making."""
    if not isinstance(value, str):
        return value
    return " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")

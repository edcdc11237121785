"""What a run's numbers mean, in plain words: the split and its leak, the roles, the limits of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dermlens.evaluation.evaluate import distilled, epoch_roles
from dermlens.evaluation.ledger import Openings
from dermlens.labels import Vocabulary
from dermlens.recipe import Recipe
from dermlens.records import Metrics, RunRecord
from dermlens.report.tables import ROLE_ORDER, percent

if TYPE_CHECKING:
    import pandas as pd


NOTICE = (
    "Research software, not a medical device: nothing here is a diagnosis of anyone or a reason to act or "
    "not to act."
)
MONITORS = {
    "val_loss": "the lowest loss",
    "val_accuracy": "the highest accuracy",
    "val_mean_recall": "the highest mean recall",
}


def split_protocol(record: RunRecord, recipe: Recipe | None) -> str | None:
    """The protocol of the run's split, from its record or else its recipe."""
    return record.split.get("protocol") or (recipe.split.protocol if recipe else None)


def protocol_words(
    record: RunRecord,
    recipes: Sequence[Recipe],
    metrics: Metrics,
    roles: Sequence[str],
    leak: Mapping[str, Any] | None,
    looks: Openings | None = None,
) -> list[str]:
    """The protocol, its leak and what each scored role had to do with training.

    Args:
        record: run.json.
        recipes: of the trainings behind the run: its own, or those of a soup's members.
        metrics: metrics.json.
        roles: the scored ones, the headline role first.
        leak: of the headline role, as `measure_leak` gives it; none where it could not be measured.
        looks: at the run's test role; none where nobody asked.

    Returns:
        Sentences, a paragraph each.
    """
    protocol = split_protocol(record, recipes[0] if recipes else None)
    sentences = []
    if protocol and any(role in ROLE_ORDER for role in roles):  # another set was not split
        sentences.append(_protocol(protocol))
        if leak is not None and leak["overall"]:
            sentences.append(_leak(leak))
        if leak is not None and leak["by_list"]:
            sentences.append(
                f"Beyond lesion ids, {leak['by_list']} of the scored images show a trained lesion under "
                "another id, by the list of lesions with several ids."
            )
        elif leak is None and protocol == "paper":
            sentences.append(
                "How many of the scored images have such a sibling cannot be known without split.csv."
            )
    decided = metrics.decision == "calibrated"
    sentences += [_role(role, recipes, protocol, decided=decided) for role in roles]
    if distilled(recipes) and any(role in ("selection", "calibration") for role in roles):
        sentences.append(_taught(recipes))
    held = sum((record.counts.get("test", {})).values())
    opened = looks is not None and looks.opened
    if looks is not None and looks.opened:
        sentences.append(looks.sentence())
    if "test" not in roles and held:
        sentences.append(
            f"No number here is of the {held} images of the test role."
            if opened
            else f"The test role ({held} images) has not been opened: nothing here was measured on it."
        )
    boot = metrics.bootstrap
    if boot.get("replicates"):
        sentences.append(
            f"Brackets are {percent(boot.get('level'))} intervals from {boot['replicates']} resamples of "
            f"{boot.get('unit', 'image')}s. They say how far a number could move with other "
            f"{boot.get('unit', 'image')}s from the same source; not with another training seed, and not "
            "with another clinic. Those of a class's recall are Clopper and Pearson's, of the effective "
            "number of images; those of the mean over classes are corrected for bias and skewness (BCa)."
        )
    else:
        sentences.append(
            "No intervals were asked for, so small differences cannot be distinguished from chance."
        )
    if metrics.decision == "argmax":
        sentences.append("The class the model names is the one with the highest probability.")
    if metrics.decision == "calibrated":
        sentences.append(
            f"The class the model names is the most probable one in the case mix {_mix(metrics)}; every "
            "number is of those probabilities, but for what is marked as being at equal class shares and for "
            "suspicion, which no case mix moves."
        )
    return sentences


def _mix(metrics: Metrics) -> str:
    """The case mix of the scores, in words."""
    prior = metrics.prior
    return f"`{prior['name']}` ({prior['words']})" if prior else "of the calibration"


def role_marks(roles: Sequence[str], recipes: Sequence[Recipe], *, decided: bool = False) -> dict[str, str]:
    """What each role was used for, in a few words; `decided` where the run has a fitted decision."""
    known = {"test": "nothing else", "calibration": "nothing yet", "selection": "nothing else"}
    if decided:
        known |= {"calibration": "fitted scaling, marks and sets"}
    for role in epoch_roles(recipes):
        known[role] = "chose the epoch"
    return {role: known.get(role, "from outside the split") for role in roles}


def sought_words(scores: Mapping[str, Any], vocabulary: Vocabulary) -> str | None:
    """What became of the melanomas, or of each malignant own class, counted; none where there are none."""
    classes = vocabulary.classes
    sentences = []
    for code in vocabulary.sought:
        name = vocabulary.name(code)
        counts = dict(zip(classes, scores["confusion"][classes.index(code)], strict=True))
        total = sum(counts.values())
        if not total:
            sentences.append(f"No {name} is among the scored images.")
            continue
        wrong = sorted(((n, other) for other, n in counts.items() if other != code and n), reverse=True)
        others = ", ".join(f"{n} {vocabulary.name(other)}" for n, other in wrong)
        rest = f"; the others were named {others}" if others else ""
        sentences.append(f"Of {total} images of {name}, the model named {counts[code]} {name}{rest}.")
    return " ".join(sentences) or None


def provenance(predictions: pd.DataFrame) -> str:
    """Where the scored images come from, as their ids tell: synthetic, ham10000 or other."""
    if predictions["image_id"].str.startswith("SYN").any():
        return "synthetic"
    return "ham10000" if predictions["lesion_id"].str.startswith("HAM_").any() else "other"


def further_sets(record: RunRecord) -> list[str]:
    """The data folders that a run was trained on next to HAM10000, in the recipe's order."""
    return [name for name in record.folders if name in record.sources and name != "ham10000"]


def data_limits(
    source: str,
    classes: Sequence[str],
    acral: tuple[int, int] | None = None,
    further: Sequence[str] = (),
) -> list[str]:
    """What the data cannot show.

    Args:
        source: as `provenance` gives it.
        classes: the codes the model knows.
        acral: how many images are of palms or soles, and of how many; none where nobody counted.
        further: the data sets that were trained on besides, by their folders' names.
    """
    known = len(classes)
    closed = (
        f"The model knows {known} classes and names one of them for whatever it takes for dermoscopy."
        " Healthy skin, inflamed skin, any other disease, and photographs without a dermatoscope where it"
        " does not tell them, get one of the same names, often with confidence."
    )
    if source == "synthetic":
        return [
            "The images are synthetic drawings, made to try the software out. Every number here says "
            "whether the software works and nothing about skin.",
            closed,
        ]
    if source == "ham10000":
        return [
            *(_of_several(further) if further else _of_two_clinics()),
            *_acral(acral),
            "Lesions came to the collection because someone found them worth recording, and each class in "
            "the share in which it was collected: precision and calibration hold for that mixture and not "
            "for a practice or for screening.",
            "A little more than half of the diagnoses rest on histology, melanomas always; most nevi were "
            "confirmed by follow-up. How a diagnosis was confirmed goes with how the lesion looked.",
            "All images are dermoscopic, centred on one lesion and chosen for quality; other cameras and "
            "other habits of taking pictures are not among them.",
            closed,
        ]
    return [
        "Nothing is known to this page of how the images were collected: which skin tones, ages, devices and "
        "clinics they hold, and how the diagnoses were confirmed, is for the owner of the data to state.",
        "Precision and calibration hold for the shares of the classes in these images.",
        closed,
    ]


def _of_two_clinics() -> list[str]:
    return [
        "HAM10000 was collected at two places, in Vienna and in Queensland, and carries no label of skin "
        "tone. How the model does on skin tones that are rare there cannot be measured here and must be "
        "assumed to be worse.",
        "It holds pigmented lesions of these two clinics alone, gathered in retrospect over some twenty "
        "years: nothing was measured on patients as they came.",
    ]


def _of_several(further: Sequence[str]) -> list[str]:
    return [
        "HAM10000, of Vienna and Queensland, carries no label of skin tone, and where another data set"
        " does, few images show dark skin. How the model does there is hardly measured and must be assumed to"
        " be worse.",
        f"It was trained on {', '.join(further)} as well. All of these were gathered in retrospect: nothing"
        " was measured on patients as they came. A clinic that is none of them may fare"
        " worse than any of them.",
    ]


def _acral(counted: tuple[int, int] | None) -> list[str]:
    """What is known of palms and soles."""
    if counted is None:
        return []
    few, of = counted
    return [
        f"Of {of:,} images, {few} show palms or soles (site “acral”): how well the model does "
        "there, where melanomas in dark skin often are, is not known. Nails are not among the sites."
    ]


def _protocol(protocol: str) -> str:
    words = {
        "grouped": "The split is by lesion (protocol “grouped”): all images of one lesion have the same "
        "role, so no lesion is both trained on and scored.",
        "sources": "The split is by lesion within each source (protocol “sources”): all images of one lesion "
        "have the same role, whatever source shows it, so no lesion is both trained on and scored.",
        "paper": "The split follows the paper (protocol “paper”): single images, not lesions, were drawn at "
        "random, so images of one lesion can lie on both sides.",
        "singletons": "The split follows reference [14] of the paper (protocol “singletons”): only lesions "
        "with exactly one image are scored, so none has a sibling in training; lesions that were "
        "photographed more than once are not among them.",
    }
    return words.get(protocol, f"The split's protocol is “{protocol}”.")


def _leak(leak: Mapping[str, Any]) -> str:
    melanoma = leak["by_class"].get("mel")
    among = f" (of the melanomas {percent(melanoma)})" if melanoma is not None else ""
    return (
        f"It leaks: {percent(leak['overall'])} of the scored images{among} show a lesion that has another "
        "image in training, so part of what is scored was in effect seen before."
    )


def _taught(recipes: Sequence[Recipe]) -> str:
    number = distilled(recipes)
    who = f"{number} of the {len(recipes)} trainings" if len(recipes) > 1 else "The training"
    return (
        f"{who} had soft labels for a teacher. Those of an image come from networks that never saw its "
        "lesion, but these may have been trained on images of the selection and calibration roles, whose "
        "labels have reached the model that way: what is scored there may be flattered, and what was fitted "
        "there, the sets above all, keeps its promise only as far as the test role shows it."
    )


def _role(role: str, recipes: Sequence[Recipe], protocol: str | None, *, decided: bool) -> str:
    if (chooser := epoch_roles(recipes).get(role)) is not None:
        rule = MONITORS.get(chooser.train.keep)
        what = f"the epoch that became the model ({rule})" if rule else "when the training stopped"
        also = ", as in the paper" if protocol == "paper" else ""
        return f"Role {role}: the same images chose {what}{also}. Its scores are therefore optimistic."
    clean = ""
    if not distilled(recipes):
        clean = ", so its scores are as good as a test's, as long as no one chooses between runs by them"
    if role == "calibration" and decided:
        return (
            "Role calibration: no image of it was trained on. Scaling, marks, sets and abstention were "
            "fitted on it: calibration error, log loss, what is flagged and coverage are flattered, and "
            "recall a little."
        )
    if role == "calibration":
        return (
            "Role calibration: no image of it was trained on or chose anything. Nothing has been calibrated "
            f"on it in this run{clean}."
        )
    if role == "test":
        return "Role test: held out from training and from every choice that this run knows of."
    if role == "selection":
        return f"Role selection: held out; no epoch was chosen on it in this run{clean}."
    return (
        f"Role {role}: another set than the one the run was split from. No image of the run's own split is "
        "scored; whether the two share lesions or patients under other ids is not known."
    )

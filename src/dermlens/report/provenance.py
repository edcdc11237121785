"""Where a model comes from: how its run was made, its exported files, its licence."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dermlens.calibration.dermoscopy import is_own
from dermlens.data.fetch import HAM10000
from dermlens.documents import flow
from dermlens.evaluation.ledger import without_paths
from dermlens.models.config import ModelConfig
from dermlens.models.pretrained.registry import HUB, PACKAGES
from dermlens.predict.document import Dermoscopy, ModelDocument, read_document
from dermlens.recipe import Recipe
from dermlens.records import NONE, RunRecord, number
from dermlens.report.run_data import read_missing_metadata
from dermlens.report.tables import Table, percent
from dermlens.runs import Run

# How a run was made, in a form that can be read anywhere: recipe and commands without a machine's paths.


FAR = "dermlens analyze out-of-distribution RUN --photographs FOLDER --other NAME=FOLDER"
OUT_OF_DISTRIBUTION_COMMANDS = {
    "far_ood.csv": f"{FAR} --out RUN/far_ood.csv",
    "far_ood_without_metadata.csv": f"{FAR} --no-metadata --out RUN/far_ood_without_metadata.csv",
    "near_ood.csv": (
        "dermlens analyze unseen-class QUICK.yaml --data DIR --out OUT && cp OUT/near_ood.csv RUN"
    ),
}
"""What makes the out-of-distribution tables of a run; of other tables that a card shows, nothing is known."""


def recipe_text(recipe: Recipe) -> str:
    """The whole recipe as YAML; of absolute paths the last part."""
    return yaml.safe_dump(_settings(recipe), sort_keys=False, allow_unicode=True)


def commands(
    run: Run,
    roles: Sequence[str],
    *,
    ood: str | None,
    decided: bool,
    int8: bool | None,
) -> list[str]:
    """The commands that lead from the recipe to the exported folder.

    Args:
        run: the run; one that was averaged has a folder for each member, whose settings are given as
            differences from the recipe.
        roles: the scored ones.
        ood: kind of the decision's out-of-distribution score; none without one.
        decided: whether the run was calibrated.
        int8: whether the export was quantised, or tried to be; none for a run that is not exported.

    Raises:
        UserError: missing_metadata.csv is not of the run's scores.
    """
    lines = [*_teaching(run), *_training(run)]
    if decided:
        lines.append("dermlens calibrate RUN" + (f" --ood {ood}" if ood else ""))
    lines += _dermoscopy(run)
    lines.append("dermlens evaluate RUN" + (" --open-test" if "test" in roles else ""))
    lines += [
        f"dermlens analyze reliability RUN --role {role} --out RUN/{run.decision_reports.name}/{role}"
        for role in roles
        if (run.decision_reports / role).is_dir()
    ]
    if (withheld := read_missing_metadata(run)) is not None:
        role, output = withheld["role"].iloc[0], f"RUN/{run.missing_metadata_file.name}"
        lines.append(f"dermlens analyze missing-metadata RUN --role {role} --out {output}")
    lines += [
        command for name, command in OUT_OF_DISTRIBUTION_COMMANDS.items() if (run.path / name).is_file()
    ]
    lines.append("dermlens report RUN")
    if int8 is None:
        return lines
    return [*lines, "dermlens export RUN --out FOLDER" + (" --format onnx-int8" if int8 else "")]


def differences(first: Recipe, other: Recipe) -> list[str]:
    """`section.key=value` for every setting but the name in which another recipe differs, as --set has it."""
    return list(_changed(_settings(first), _settings(other), ()))


def _dermoscopy(run: Run) -> list[str]:
    """The command that fitted the boundary of dermoscopy; options on how folders were read are not known."""
    document = run.document()
    if document is None or document.dermoscopy is None:
        return []
    found = document.dermoscopy
    words = [f"--dermoscopy {name}=FOLDER" for name in found.dermoscopic if not is_own(name)]
    words += [
        "--photographs FOLDER" if name == "photographs" else f"--not-dermoscopy {name}=FOLDER"
        for name in found.other
    ]
    return [f"dermlens calibrate RUN {' '.join(words)} --dermoscopy-kept {found.kept:g}"]


def _members(run: Run) -> list[Run]:
    found = [one for one in run.members if one.recipe_file.is_file()]
    return sorted(found, key=lambda one: (len(one.path.name), one.path.name))


def _teaching(run: Run) -> list[str]:
    """The commands that wrote the soft labels; the recipe does not name the cross-fit of the teacher."""
    taught = [one.recipe.train.distillation for one in _members(run) or [run]]
    lines = []
    for name in sorted({Path(config.soft_labels).name for config in taught if config is not None}):
        lines += [
            "dermlens study crossfit TEACHER.yaml --data DIR --out TEACHER",
            shlex.join(["dermlens", "study", "soft-labels", "TEACHER", "--out", name]),
        ]
    return lines


def _training(run: Run, out: str = "RUN", before: Recipe | None = None) -> list[str]:
    """The commands that made the run's weights.

    Args:
        run: whose record and recipe there are.
        out: what the commands call it.
        before: what recipe.yaml holds; none for the run's own recipe.
    """
    members, before = _members(run), before or run.recipe
    if not members:
        settings = [word for setting in differences(before, run.recipe) for word in ("--set", setting)]
        return [shlex.join(["dermlens", "train", "recipe.yaml", "--data", "DIR", *settings, "--out", out])]
    names = [f"{'MEMBER' if out == 'RUN' else out}-{member.path.name}" for member in members]
    lines = [
        line for name, member in zip(names, members, strict=True) for line in _training(member, name, before)
    ]
    if run.read_record().joined:
        return [*lines, shlex.join(["dermlens", "study", "ensemble", *names, "--network", "--out", out])]
    return [*lines, shlex.join(["dermlens", "study", "soup", *names, "--out", out])]


def _settings(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = without_paths(recipe.model_dump(mode="json"))
    return found


def _changed(before: Any, after: Any, at: tuple[str, ...]) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict) and set(before) == set(after):
        for key in before:
            yield from _changed(before[key], after[key], (*at, key))
    elif before != after and at != ("name",):
        yield f"{'.'.join(at)}={flow(after)}"


@dataclass(frozen=True, slots=True)
class Exported:
    """A folder that `dermlens export` made.

    Attributes:
        folder: where it is.
        document: its model.json.
    """

    folder: Path
    document: ModelDocument

    @classmethod
    def read(cls, folder: Path) -> Exported:
        """Read the folder's document. Raises: UserError where it has none."""
        return cls(folder, read_document(folder / "model.json"))

    @property
    def tried_int8(self) -> bool:
        """Whether int8 was tried, kept or not."""
        return self.document.onnx is not None and self.document.onnx.quantisation is not None

    @property
    def table(self) -> Table:
        """Size and check sum of each file that predicts."""
        onnx, decision = self.document.onnx, self.document.decision
        ood = decision.ood if decision is not None else None
        sums = {
            "model.onnx": (
                f"network, {onnx.precision}" if onnx else "network",
                onnx.sha256 if onnx else None,
            ),
            "model.safetensors": ("weights, fp32", self.document.sha256),
            "decision.npz": ("arrays of the out-of-distribution score", ood.sha256 if ood else None),
        }
        rows = [
            (f"`{name}`", what, f"{(self.folder / name).stat().st_size / 1e6:.1f} MB", f"`{digest or NONE}`")
            for name, (what, digest) in sums.items()
            if (self.folder / name).is_file()
        ]
        return Table("", ("file", "what", "size", "SHA-256"), rows, words=(0, 1, 3))

    @property
    def words(self) -> list[str]:
        """How near the ONNX file is to the network whose scores the card has."""
        onnx = self.document.onnx
        if onnx is None:
            return []
        lines = [
            "The scores of this card are of the fp32 network in PyTorch; exported, its logits differ by at"
            f" most {onnx.largest_difference:.1e}."
        ]
        if (found := onnx.quantisation) is not None:
            lines.append(_int8(found))
        return lines


def _int8(found: dict[str, Any]) -> str:
    """What the int8 network loses, or would have lost."""
    stays = "int8 took the place of fp32" if found["accepted"] else "int8 was tried and refused"
    known = {"mean_recall": "mean recall", "mel_recall": "melanoma recall"}
    watched = {
        name: known.get(name, f"recall of {name.removesuffix('_recall')}")
        for name in found
        if name.endswith("_recall")
    }
    losses = [
        f"{words} from {number(found[name]['before'], 3)} to {number(found[name]['after'], 3)}, with 95 %"
        f" confidence by no more than {number(100 * found[name]['lost_at_most'], 1)} points"
        for name, words in watched.items()
    ]
    return (
        f"{stays}: {found['why']}. On {found['images']:,} images of the selection and calibration roles it"
        f" names {percent(found['changed'])} otherwise; {'; '.join(losses)}."
    )


LEGAL_CODE = "legalcode"


def licence_text(model: ModelConfig, record: RunRecord, boundary: Dermoscopy | None = None) -> str:
    """The terms of the weights, whom to credit, and where training began.

    Args:
        model: of the recipe.
        record: run.json, which says what else was trained on.
        boundary: what tells dermoscopy, where the model has that.
    """
    licence = HAM10000.licence
    images = (
        f"{HAM10000.citation[0]}. Images: ViDIR Group, Department of Dermatology, Medical University of"
        f" Vienna, doi:10.7910/DVN/DBW86T, {licence.name}."
    )
    parts = [
        _filled(
            "The files in this folder are the weights of a trained model and what belongs to them: its"
            " description, its calibration and its card. They are licensed under"
        ),
        "    Creative Commons Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)\n"
        f"    {licence.address}{LEGAL_CODE}",
        _filled(
            "because the images that the model was trained on are. The code of dermlens is licensed under"
            " Apache-2.0, which does not extend to this folder."
        ),
        "Give credit to",
        _filled("the dermlens developers, for the model;", indent="    ")
        + "\n"
        + _filled(images, indent="    ")
        + _also(record)
        + _shown(boundary),
        _start(model, record.start),
        "The model comes without any warranty. It is research software and not a medical device.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


CREDITS = {
    "isic2017": "ISIC 2017: Codella N C F et al. Skin lesion analysis toward melanoma detection: a challenge"
    " at ISBI 2017. arXiv:1710.05006. CC BY-NC 4.0 in the release of ISIC 2019",
    "milk10k": "MILK10k, ISIC archive, 2025. CC BY-NC 4.0",
}
"""Of data sets that are known by their folder's name."""


def _also(record: RunRecord) -> str:
    """The owners of other data sets: of `data.folders` whose sources trained, and of `data.also_train`."""
    trained = record.sources
    owed = {folder: trained[folder] for folder in record.folders if folder in trained}
    also = record.also_train or {}
    if also.get("images"):
        owed[", ".join(Path(folder).name for folder in also["folders"])] = also["images"]
    return "".join(
        "\n"
        + _filled(
            f"the owners of {names}, whose {images:,} images it was trained on as well, on their terms."
            + (f" {CREDITS[names]}." if names in CREDITS else ""),
            indent="    ",
        )
        for names, images in owed.items()
    )


def _shown(boundary: Dermoscopy | None) -> str:
    """Whose pictures taught the model what dermoscopy is, but for the run's own."""
    if boundary is None:
        return ""
    sets = {
        name: count for name, count in (boundary.dermoscopic | boundary.other).items() if not is_own(name)
    }
    names = ", ".join(f"{name} ({count:,} pictures)" for name, count in sets.items())
    return "\n" + _filled(
        f"the owners of {names}, which taught it what dermoscopy is, on their terms.", indent="    "
    )


def _start(model: ModelConfig, note: str | None) -> str:
    """Where the first weights come from; nothing for random ones.

    Args:
        model: of the recipe.
        note: what the file of weights says of itself.
    """
    began = "The ImageNet weights from which training began come from"
    if model.weights == "package":
        package = PACKAGES[model.backbone]
        return _filled(f"{began} {package.distribution} {package.version} ({package.licence}).")
    if model.weights == "hub":
        if model.backbone not in HUB:
            return _filled(f"{began} timm's hub, {model.backbone}, on the terms that its page there states.")
        hub = HUB[model.backbone]
        return _filled(f"{began} timm's {hub.model} ({hub.licence}).")
    if model.weights == "none":
        return ""
    if note:
        return _filled(f"Training began at {note}.")
    return _filled(f"{began} the file {Path(model.weights).name}, whose licence its owner states.")


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text,
        width=115,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )

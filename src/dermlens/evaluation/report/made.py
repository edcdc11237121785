"""How a run was made, in a form that can be read anywhere: recipe and commands without a machine's paths."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dermlens.evaluation.dermoscopy import OWN
from dermlens.evaluation.publish import without_paths
from dermlens.evaluation.report.beside import DECISION_REPORTS, TOLD, read_told
from dermlens.models.document import read_document
from dermlens.recipe import Recipe
from dermlens.runs import MEMBERS, Run

FAR = "dermlens far-ood RUN --photographs FOLDER --set NAME=FOLDER"
STRANGERS = {
    "far_ood.csv": f"{FAR} --output RUN/far_ood.csv",
    "far_ood_untold.csv": f"{FAR} --no-metadata --output RUN/far_ood_untold.csv",
    "near_ood.csv": "dermlens near-ood QUICK.yaml --data DIR --out OUT && cp OUT/near_ood.csv RUN",
}
"""What makes the tables of strangers beside a run; how others that a card shows were made, it cannot say."""


def recipe_text(recipe: Recipe) -> str:
    """The whole recipe as YAML; of absolute paths the last part."""
    return yaml.safe_dump(_settings(recipe), sort_keys=False, allow_unicode=True)


def commands(
    run: Run,
    record: Mapping[str, Any],
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
        record: run.json.
        roles: the scored ones.
        ood: kind of the decision's out-of-distribution score; none without one.
        decided: whether the run was calibrated.
        int8: whether the export was quantised, or tried to be; none for a run that is not exported.

    Raises:
        UserError: told.csv is not of the run's scores.
    """
    said = [*_teaching(run), *_training(run, record)]
    if decided:
        said.append("dermlens calibrate RUN" + (f" --ood {ood}" if ood else ""))
    said += _dermoscopy(run)
    said.append("dermlens evaluate RUN" + (" --open-test" if "test" in roles else ""))
    said += [
        f"dermlens decision-report RUN --role {role} --out RUN/{DECISION_REPORTS}/{role}"
        for role in roles
        if (run.path / DECISION_REPORTS / role).is_dir()
    ]
    if (told := read_told(run)) is not None:
        said.append(f"dermlens told-less RUN --role {told['role'].iloc[0]} --output RUN/{TOLD}")
    said += [command for name, command in STRANGERS.items() if (run.path / name).is_file()]
    said.append("dermlens report RUN")
    if int8 is None:
        return said
    return [*said, "dermlens export RUN FOLDER" + (" --to onnx-int8" if int8 else "")]


def differences(first: Recipe, other: Recipe) -> list[str]:
    """`section.key=value` for every setting but the name in which another recipe differs, as --set has it."""
    return list(_changed(_settings(first), _settings(other), ()))


def _dermoscopy(run: Run) -> list[str]:
    """The command that taught the model what dermoscopy is; how folders were read, it does not know."""
    document = run.path / "model.json"
    found = read_document(document).dermoscopy if document.is_file() else None
    if found is None:
        return []
    words = [f"--dermoscopic {name}=FOLDER" for name in found.dermoscopic if name != OWN]
    words += [
        "--photographs FOLDER" if name == "photographs" else f"--other {name}=FOLDER" for name in found.other
    ]
    return [f"dermlens learn-dermoscopy RUN {' '.join(words)} --kept {found.kept:g}"]


def _members(run: Run) -> list[Run]:
    folders = [path for path in (run.path / MEMBERS).glob("*") if (path / "recipe.yaml").is_file()]
    return [Run(path) for path in sorted(folders, key=lambda path: (len(path.name), path.name))]


def _teaching(run: Run) -> list[str]:
    """The commands that wrote the soft labels; whose cross-fit they are of, the recipe does not know."""
    taught = [one.recipe().train.distillation for one in _members(run) or [run]]
    said = []
    for name in sorted({Path(config.soft_labels).name for config in taught if config is not None}):
        said += [
            "dermlens crossfit TEACHER.yaml --data DIR --out TEACHER",
            shlex.join(["dermlens", "soft-labels", "TEACHER", "--output", name]),
        ]
    return said


def _training(run: Run, record: Mapping[str, Any]) -> list[str]:
    members = _members(run)
    if not members:
        return ["dermlens train recipe.yaml --data DIR --out RUN"]
    names = [f"MEMBER-{member.path.name}" for member in members]
    said = []
    for name, member in zip(names, members, strict=True):
        changed = differences(run.recipe(), member.recipe())
        settings = [word for setting in changed for word in ("--set", setting)]
        said.append(
            shlex.join(["dermlens", "train", "recipe.yaml", "--data", "DIR", *settings, "--out", name])
        )
    verb = (record.get("command") or ["soup"])[0]
    return [*said, shlex.join(["dermlens", verb, *names, "--out", "RUN"])]


def _settings(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = without_paths(recipe.model_dump(mode="json"))
    return found


def _changed(before: Any, after: Any, at: tuple[str, ...]) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict) and set(before) == set(after):
        for key in before:
            yield from _changed(before[key], after[key], (*at, key))
    elif before != after and at != ("name",):
        text = yaml.safe_dump(after, default_flow_style=True, allow_unicode=True, width=10_000)
        yield f"{'.'.join(at)}={text.strip().removesuffix('...').strip()}"

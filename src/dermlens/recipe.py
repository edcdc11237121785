"""One validated document says everything about a run: load it, override it, write it down."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import NonNegativeInt, ValidationError, field_validator, model_validator

from dermlens.data.config import AugmentConfig, DataConfig, SplitConfig, parted_classes
from dermlens.documents import Section, load_yaml, sentence
from dermlens.errors import UserError, nearest
from dermlens.files import write_text
from dermlens.models.config import ModelConfig
from dermlens.models.table import BACKBONES
from dermlens.sections import EvaluationConfig, ImbalanceConfig, TrainConfig

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class Recipe(Section):
    """A run, before it happens: the resolved recipe is stored with the run and is its publication.

    Attributes:
        name: names the run's folder.
        seed: of initialisation, order, augmentation and dropout.
        data, split, augment, model, imbalance, train, evaluation: see each section's class.
    """

    name: str = "run"
    seed: NonNegativeInt = 0
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    augment: AugmentConfig | None = AugmentConfig()
    model: ModelConfig = ModelConfig()
    imbalance: ImbalanceConfig = ImbalanceConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("name")
    @classmethod
    def _name_is_a_folders(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("it names a folder: up to 100 of A-Z, a-z, 0-9, dot, _ and -, no dot in front")
        return name

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        own = self.data.size or BACKBONES[self.model.backbone].size
        self.evaluation.views.check(own=own, pool=self.model.pool)
        other = [step.size for step in self.train.resize if step.size != own]
        if other and self.model.pool != "gap":
            raise ValueError(
                f"train.resize to {other[0]} beside data.size {own} needs model.pool gap: a network that"
                f" flattens its feature map (pool {self.model.pool}) takes images of one size"
            )
        return self

    def dump(self) -> str:
        """The whole recipe as YAML, defaults written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def save(self, path: Path) -> None:
        """Write the resolved recipe."""
        write_text(path, self.dump())


def shipped_recipes() -> dict[str, str]:
    """The recipes that come with dermlens: name (such as `paper/densenet201`) → YAML text."""
    root = files("dermlens.recipes")
    found: dict[str, str] = {}
    pending = [("", root)]
    while pending:
        prefix, folder = pending.pop()
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.name.startswith("_"):
                pending.append((f"{prefix}{entry.name}/", entry))
            elif entry.name.endswith(".yaml"):
                found[prefix + entry.name.removesuffix(".yaml")] = entry.read_text(encoding="utf-8")
    return dict(sorted(found.items()))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and apply `section.key=value` overrides.

    Args:
        name: a file, or the name of a recipe that ships with dermlens.
        overrides: each `section.key=value`; the value is read as YAML.

    Returns:
        The validated recipe.

    Raises:
        UserError: no such recipe, not YAML, an unknown key or a wrong value; the sentence names the file,
            the line and the nearest valid key.
    """
    path = Path(name)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"recipe {name} is not UTF-8 text (byte {error.start}): a recipe is YAML"
            ) from error
        except OSError as error:
            raise UserError(f"recipe {name} may not be read: {error.strerror}") from error
    else:
        shipped = shipped_recipes()
        if name not in shipped:
            raise UserError(f"recipe {name} is neither a file nor one of ours{nearest(name, shipped)}")
        text = shipped[name]
    return parse_recipe(text, f"recipe {name}", overrides)


def parse_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """Validate YAML text as a recipe; `where` names it in errors. Raises: UserError."""
    document, places = load_yaml(text, where)
    if document is None:
        raise UserError(
            f"{where} is empty: a recipe is a mapping of sections, such as 'model: {{backbone: …}}'"
        )
    if not isinstance(document, dict):
        raise UserError(f"{where}: a recipe is a mapping of sections, such as 'model: {{backbone: …}}'")
    for override in overrides:
        key = _apply(document, override)
        places = {path: place for path, place in places.items() if path[: len(key)] != key}
        places[key] = f"--set {override}"
    if isinstance(document.get("data"), dict):
        document["data"] = parted_classes(document["data"])
        own = ("data", "classes")
        places |= {("data", "described", *at[2:]): place for at, place in places.items() if at[:2] == own}
    try:
        # As JSON, pydantic can be strict about numbers and still take a list for a tuple.
        return Recipe.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise UserError(sentence(error, Recipe, "a recipe", where, document, places)) from error


def _apply(document: dict[str, Any], override: str) -> tuple[str, ...]:
    """Set one `section.key=value` in the document; the path that was set."""
    path, equals, value = override.partition("=")
    keys = tuple(path.strip().split("."))
    if not equals or not all(keys):
        raise UserError(f"--set {override}: write it as section.key=value")
    target = document
    for key in keys[:-1]:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[keys[-1]], _ = load_yaml(value, f"--set {override}")
    return keys

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
from dermlens.documents import Places, Section, load_yaml, sentence
from dermlens.errors import UserError, nearest
from dermlens.files import write_text
from dermlens.models.config import ModelConfig
from dermlens.models.table import row_of
from dermlens.plugins import trusted_code
from dermlens.sections import EvaluationConfig, ImbalanceConfig, TrainConfig
from dermlens.targets import file_source

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
        if self.data.size is None and not self.model.is_known:
            return self  # the size is that of a backbone whose code is not trusted here
        own = self.data.size or row_of(self.model.backbone).size
        self.evaluation.views.check(own=own, pool=self.model.pool)
        other = [step.size for step in self.train.resize if step.size != own]
        if other and self.model.pool != "gap":
            raise ValueError(
                f"train.resize to {other[0]} with data.size {own} needs model.pool gap: a network that"
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


def load_recipe(name: str, overrides: Sequence[str] = (), *, trust_code: bool = False) -> Recipe:
    """Load a recipe and apply `section.key=value` overrides.

    Args:
        name: a file, or the name of a recipe that ships with dermlens.
        overrides: each `section.key=value`; the value is read as YAML.
        trust_code: whether import paths in it are resolved now, as for a recipe that someone named; those of
            a stored run stay unread without it.

    Returns:
        The validated recipe.

    Raises:
        UserError: no such recipe, not YAML, an unknown key or a wrong value; the sentence names the file,
            the line and the nearest valid key.
    """
    path, where = Path(name), f"recipe {name}"
    if path.is_file():
        text, folder, begun = _text_of(path, where), path.parent, str(path.resolve())
    else:
        shipped = shipped_recipes()
        if name not in shipped:
            raise UserError(f"recipe {name} is neither a file nor one of ours{nearest(name, shipped)}")
        text, folder, begun = shipped[name], None, name
    document, places = _extended(text, where, folder, (begun,))
    return _validated(document, places, where, overrides, trust_code=trust_code)


def parse_recipe(text: str, where: str, overrides: Sequence[str] = (), *, trust_code: bool = False) -> Recipe:
    """Validate YAML text as a recipe; `where` names it in errors, the rest is as for `load_recipe`."""
    document, places = _extended(text, where, None, ())
    return _validated(document, places, where, overrides, trust_code=trust_code)


def _validated(
    document: dict[str, Any], places: Places, where: str, overrides: Sequence[str], *, trust_code: bool
) -> Recipe:
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
        with trusted_code(trust_code):
            return Recipe.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise UserError(sentence(error, Recipe, "a recipe", where, document, places)) from error


# What a recipe takes over from another, which it `extends`.


def _extended(
    text: str, where: str, folder: Path | None, begun: tuple[str, ...]
) -> tuple[dict[str, Any], Places]:
    """A recipe's document on top of the one that it extends, and where its keys stand.

    Args:
        text: YAML.
        where: names it in errors.
        folder: of its file, from which it names others; none where it has none.
        begun: the files and names that led here.

    Raises:
        UserError: not YAML, no mapping, or `extends` names no recipe, or leads back to one that led here.
    """
    document, places = load_yaml(text, where)
    if document is None:
        raise UserError(
            f"{where} is empty: a recipe is a mapping of sections, such as 'model: {{backbone: …}}'"
        )
    if not isinstance(document, dict):
        raise UserError(f"{where}: a recipe is a mapping of sections, such as 'model: {{backbone: …}}'")
    if "extends" not in document:
        return document, places
    name, place = document.pop("extends"), f"{where}, {places.pop(('extends',))}"
    if not isinstance(name, str):
        raise UserError(f"{place}: extends {name!r} is not valid: it is the name or the file of one recipe")
    path, shipped = (folder or Path()) / name, shipped_recipes()
    is_file = folder is not None and path.is_file()
    if not is_file and name not in shipped:
        raise UserError(
            f"{place}: extends {name}, which is neither a file nor one of ours{nearest(name, shipped)}"
        )
    one = str(path.resolve()) if is_file else name
    if one in begun:
        raise UserError(f"{place}: extends {name}, which extends it in turn: {' → '.join((*begun, one))}")
    whose = f"recipe {path if is_file else name}"
    below, below_places = _extended(
        _text_of(path, whose) if is_file else shipped[name],
        whose,
        path.parent if is_file else None,
        (*begun, one),
    )
    inherited = {
        at: f"in {whose}, {there}" if there.startswith("line") else there
        for at, there in below_places.items()
    }
    return _merged(below, document), inherited | places


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings key by key; anything else, and a mapping of another `kind`, in the place of what is below."""
    merged = dict(below)
    for key, value in above.items():
        before = below.get(key)
        merged[key] = value
        if isinstance(before, dict) and isinstance(value, dict):
            kind = before.get("kind")
            merged[key] = _merged(before, value) if value.get("kind", kind) == kind else value
    return merged


def _text_of(path: Path, where: str) -> str:
    try:
        return file_source(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text (byte {error.start}): a recipe is YAML") from error
    except OSError as error:
        raise UserError(f"{where} may not be read: {error.strerror}") from error


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

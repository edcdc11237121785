"""One validated document says everything about a run: load it, override it, write it down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import NonNegativeInt, ValidationError, field_validator, model_validator

from dermlens.atomic import write_text
from dermlens.data.config import AugmentConfig, DataConfig, SplitConfig
from dermlens.errors import UserError, nearest
from dermlens.evaluation.config import EvaluationConfig
from dermlens.imbalance.config import ImbalanceConfig
from dermlens.models.config import ModelConfig
from dermlens.models.table import BACKBONES
from dermlens.section import Section
from dermlens.training.config import TrainConfig

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of its version 1.2 where they matter here: 1e-3 is a number, a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


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
    def _views_fit(self) -> Self:
        own = self.data.size or BACKBONES[self.model.backbone].size
        self.evaluation.views.check(own=own, pool=self.model.pool)
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
    try:
        node = yaml.compose(text, Loader=_Loader)
        _check_keys(node, where)
        document = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
    if document is None:
        raise UserError(
            f"{where} is empty: a recipe is a mapping of sections, such as 'model: {{backbone: …}}'"
        )
    if not isinstance(document, dict):
        raise UserError(f"{where}: a recipe is a mapping of sections, such as 'model: {{backbone: …}}'")
    lines = dict(_lines(node)) if node is not None else {}
    for override in overrides:
        key = _apply(document, override)
        lines[key] = f"--set {override}"
    try:
        # As JSON, pydantic can be strict about numbers and still take a list for a tuple.
        return Recipe.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise UserError(_sentence(error, where, document, lines)) from error


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
    try:
        _check_keys(yaml.compose(value, Loader=_Loader), f"--set {override}")
        target[keys[-1]] = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"--set {override}: the value is not YAML") from error
    return keys


def _check_keys(node: yaml.Node | None, where: str, path: tuple[str, ...] = ()) -> None:
    """Refuse a key that stands twice, of which YAML would take the last, and one that is no text."""
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_keys(value, where, path)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        inner, line = (*path, str(key.value)), key.start_mark.line + 1
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            raise UserError(f"{where}, line {line}: key {'.'.join(inner)} is not text; put it in quotes")
        if key.value in first:
            raise UserError(
                f"{where}, line {line}: {'.'.join(inner)} stands on line {first[key.value]} already;"
                " each key has one value"
            )
        first[key.value] = line
        _check_keys(value, where, inner)


def _lines(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every key's place in the text."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, f"line {key.start_mark.line + 1}"
            yield from _lines(value, inner)


def _sentence(
    error: ValidationError, where: str, document: dict[str, Any], lines: dict[tuple[str, ...], str]
) -> str:
    """The first thing wrong, as one sentence."""
    first = error.errors()[0]
    path: tuple[str, ...] = ()
    sections: list[type[Section]] = [Recipe]
    around = sections  # those whose key the last part of the path is
    value: Any = document
    for part in map(str, first["loc"]):  # pydantic's own names of union members are not in the document
        if isinstance(value, dict) and part in value:
            fields = [section.model_fields[part] for section in sections if part in section.model_fields]
            path, value, around = (*path, part), value[part], sections
            if fields:
                sections = [inner for field in fields for inner in _sections(field.annotation)]
    line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
    place = f"{where}, {line}" if line else where
    key = ".".join(path) or "the recipe"
    if first["type"] == "extra_forbidden":
        # a sibling in a union may have the key
        known = dict.fromkeys(name for section in around for name in section.model_fields)
        known.pop(path[-1], None)
        return f"{place}: {key} is not a key of a recipe{nearest(path[-1], known)}"
    return f"{place}: {key} {first['input']!r} is not valid: {first['msg'].removeprefix('Value error, ')}"


def _sections(annotation: Any) -> list[type[Section]]:
    """The section classes inside an annotation such as `A | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections(inner)]

"""One validated document says everything about a run: load it, override it, write it down."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import NonNegativeInt, ValidationError, field_validator, model_validator

from dermlens.data.config import AugmentConfig, DataConfig, SplitConfig, parted_classes
from dermlens.documents import Places, Section, load_yaml, sentence
from dermlens.errors import UserError, nearest
from dermlens.files import write_text
from dermlens.models.config import ModelConfig, NetworkConfig
from dermlens.models.table import Placebo, row_of
from dermlens.plugins import trusted_code
from dermlens.sections import EvaluationConfig, ImbalanceConfig, PaperConfig, TrainConfig
from dermlens.targets import file_source

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class Recipe(Section):
    """A run, before it happens: the resolved recipe is stored with the run and is its publication.

    Attributes:
        name: names the run's folder.
        seed: of initialisation, order, augmentation and dropout.
        data, split, augment, model, imbalance, train, evaluation, paper: see each section's class.
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
    paper: PaperConfig = PaperConfig()

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

    @model_validator(mode="after")
    def _what_the_paper_asks_for_is_there(self) -> Self:
        paper, split = self.paper, self.split
        if paper.offline_plan and self.augment is None:
            raise ValueError("paper.offline_plan draws views, and augment is null: leave out one of them")
        if paper.metadata_shuffled and self.data.metadata == "none":
            raise ValueError("paper.metadata_shuffled needs data.metadata paper or default, not none")
        if paper.siblings is not None and split.left_out is not None:
            raise ValueError("split.left_out plays selection itself: leave paper.siblings out")
        if paper.siblings is not None and split.final:
            raise ValueError("split.final leaves no selection role: leave paper.siblings out")
        if paper.placebo is not None and self.model.attention == "none":
            raise ValueError("paper.placebo takes the place of a kernel: it needs model.attention corrected")
        return self

    @property
    def network(self) -> NetworkConfig:
        """What is built: section `model`, and what `paper` asks of it."""
        own = NetworkConfig.model_fields.keys() - ModelConfig.model_fields.keys()
        return NetworkConfig.of(self.model, **self.paper.model_dump(include=own))

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
    _check_moved(document, where, places)
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
    document = updated_recipe(document)
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


# Keys that stood in other sections, before those of the paper had one of their own.


_MOVED = {
    f"{section}.{key}": f"paper.{key}"
    for section, key in (
        ("augment", "offline_plan"),
        ("split", "siblings"),
        ("data", "metadata_shuffled"),
        ("imbalance", "weights_from"),
        ("model", "normalization"),
        ("model", "channel_order"),
    )
}
_ATTENTION, _PLACEBO = "model.attention", "paper.placebo"


def moved(key: str, value: Any) -> str | None:
    """What `section.key`, set to a value, is called now; none where it is called as it was."""
    return _PLACEBO if key == _ATTENTION and value in get_args(Placebo) else _MOVED.get(key)


def updated_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`section.key` → value as a study wrote it down, the keys being those of now."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        now = moved(key, value)
        if now == _PLACEBO:
            found[key] = "corrected"  # whose head the placebos have
        found[now or key] = value
    return found


def updated_recipe(document: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as a run or a study wrote it down, the keys being those of now; any other as it is.

    What was written down states every section, `paper` too since there is one.
    """
    stated = {name: part for name, part in document.items() if name in Recipe.model_fields}
    if "paper" in stated or stated.keys() != Recipe.model_fields.keys() - {"paper"}:
        return dict(document)
    sections: dict[str, Any] = {"paper": {}}
    for name, part in document.items():
        if name not in stated or not isinstance(part, dict):
            sections[name] = part
            continue
        settings = updated_settings({f"{name}.{key}": value for key, value in part.items()})
        sections.setdefault(name, {})
        for now, value in settings.items():
            section, _, key = now.partition(".")
            sections[section][key] = value
    return sections


def _check_moved(document: Mapping[str, Any], where: str, places: Places) -> None:
    """Refuse a key that has another section now. Raises: UserError."""
    for section, part in document.items():
        for key, value in part.items() if isinstance(part, dict) else ():
            if (now := moved(f"{section}.{key}", value)) is not None:
                place = places.get((section, key)) or places.get((section,))
                raise UserError(
                    f"{where}{f', {place}' if place else ''}: {section}.{key} {value} is a key of section"
                    f" paper now: {now}"
                )

"""What comes from outside plugs in by name: losses, samplers, backbones … by import path or entry point.

A recipe names code as `package.module:name`. An import path is code, so it is resolved only from a recipe
that someone named, or where the caller trusts it: `--trust-code`, `trust_code=True`, `trusted_code()`. A path
that this process has resolved once stays trusted in it: importing it again runs nothing new.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from dermlens.documents import Section
from dermlens.errors import UserError, nearest

Kind = Literal["loss", "sampler", "augmentation", "backbone", "metadata_branch", "reader", "metric", "task"]
"""The entry point group of a kind is `dermlens.` and its plural, such as `dermlens.losses`."""

_PLURAL = {"loss": "losses", "metadata_branch": "metadata_branches"}
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_MARK = "__dermlens_plugin__"

Anything = TypeVar("Anything", bound=Callable[..., Any])
RGB = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Plugin:
    """One thing that plugs in.

    Attributes:
        kind: what it is.
        function: what does it; a class, for a metadata branch.
        settings: its section; the fields reach the function by name.
        size: of a backbone: side of its input in pixels.
        mean, std: of a backbone: (x − mean) / std of RGB pixels of 0 to 255 is what it takes.
        neutral: of a loss: settings at which it is weighted cross-entropy, or none where there are none.
    """

    kind: Kind
    function: Callable[..., Any]
    settings: type[Section]
    size: int = 224
    mean: RGB = (127.5, 127.5, 127.5)
    std: RGB = (127.5, 127.5, 127.5)
    neutral: Mapping[str, Any] | None = None

    def read(self, given: Mapping[str, Any]) -> Section:
        """Its settings, read as strictly as a recipe's. Raises: ValidationError."""
        return self.settings.model_validate_json(json.dumps(given, default=str), strict=True)


def plugin(kind: Kind, settings: type[Section] = Section, **facts: Any) -> Callable[[Anything], Anything]:
    """Mark the decorated function, or class, as something that a recipe can name by its import path.

    Args:
        kind: what it is; docs/extend.md has the signature of each kind.
        settings: a section of its own; none for no settings.
        facts: `size`, `mean`, `std` of a backbone; `neutral` of a loss; see `Plugin`.
    """

    def mark(function: Anything) -> Anything:
        setattr(function, _MARK, Plugin(kind, function, settings, **facts))
        return function

    return mark


_resolved: set[tuple[str, str]] = set()
_trusting: ContextVar[bool] = ContextVar("trusting", default=False)


@contextmanager
def trusted_code(trust: bool = True) -> Iterator[None]:
    """Within the block, import paths that documents name are resolved; `trust` False changes nothing."""
    token = _trusting.set(_trusting.get() or trust)
    try:
        yield
    finally:
        _trusting.reset(token)


def is_trusted(kind: Kind, name: str) -> bool:
    """Whether a name may be resolved here: an entry point, which someone installed, always is."""
    return ":" not in name or _trusting.get() or (kind, name) in _resolved


def check_trusted(kind: Kind, name: str, key: str) -> None:
    """Raises: UserError when a name of the document's `key` may not be resolved here."""
    if not is_trusted(kind, name):
        raise UserError(
            f"{key}: {name} is code from outside dermlens, and a stored model or run names it: give"
            " --trust-code (in Python trust_code=True) if you trust whoever wrote it"
        )


def remember_trusted(kind: Kind, name: str) -> None:
    """Where names are resolved now, let this one be resolved later: the recipe that names it was trusted."""
    if _trusting.get():
        _resolved.add((kind, name))


def is_outside(kind: Kind, name: object) -> bool:
    """Whether a name is an import path, or an entry point of the kind's group."""
    return isinstance(name, str) and (":" in name or name in _entry_points(kind))


def resolve(kind: Kind, name: str, key: str) -> Plugin:
    """The plugin of a name.

    Args:
        kind: what it must be.
        name: `package.module:name`, or an entry point of the kind's group.
        key: of the recipe or the model, which names it, for errors.

    Raises:
        UserError: it is not trusted, there is no such module or name, its import fails, or it is something
            else.
    """
    check_trusted(kind, name, key)
    path = _entry_points(kind).get(name, name)
    if not _PATH.fullmatch(path):
        raise UserError(f"{key}: {path} is no import path; write it as package.module:name")
    module_name, _, attribute = path.partition(":")
    module = _imported(module_name, path, key)
    found = getattr(module, attribute, None)
    marked = {one: mark for one in vars(module) if (mark := _mark(getattr(module, one))) is not None}
    if found is None:
        fitting = [one for one, mark in marked.items() if mark.kind == kind]
        known = fitting or [one for one in vars(module) if not one.startswith("_")]
        raise UserError(f"{key}: module {module_name} has no {attribute}{nearest(attribute, known)}")
    mark = _mark(found)
    if mark is None:
        raise UserError(f'{key}: {path} is not marked as a plugin; put @plugin("{kind}", …) in front of it')
    if mark.kind != kind:
        raise UserError(f"{key}: {path} is a {mark.kind}, and what is wanted is a {kind}")
    _resolved.add((kind, name))
    return mark


def _mark(found: object) -> Plugin | None:
    """What a decorated object says of itself; a class does not inherit it."""
    mark = getattr(found, _MARK, None)
    return mark if isinstance(mark, Plugin) and mark.function is found else None


def _imported(module: str, path: str, key: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        absent = error.name or ""
        if module != absent and not module.startswith(f"{absent}."):
            raise UserError(
                f"{key}: importing {module} failed: it needs {absent}, which is not there"
            ) from error
        raise UserError(
            f"{key}: {path}: there is no module {absent}{_near(absent)}; install its package, or name its"
            " folder in PYTHONPATH"
        ) from error
    except Exception as error:  # whatever someone's module raises
        message = " ".join(str(error).split())[:200]
        raise UserError(f"{key}: importing {module} failed: {type(error).__name__}: {message}") from error


def _near(module: str) -> str:
    """Modules that are there and most like one that is not."""
    parent, _, last = module.rpartition(".")
    where = getattr(importlib.import_module(parent), "__path__", []) if parent else None
    close = get_close_matches(last, [one.name for one in pkgutil.iter_modules(where)], n=3, cutoff=0.75)
    return f"; nearest: {', '.join(f'{parent}.{one}' if parent else one for one in close)}" if close else ""


@cache
def _entry_points(kind: Kind) -> dict[str, str]:
    group = f"dermlens.{_PLURAL.get(kind, f'{kind}s')}"
    return {point.name: point.value for point in entry_points(group=group)}


# What a recipe says of it.


class Plugged(Section):
    """A plugin by its name, with its own settings; complete where its code may be resolved.

    What a stored run names and nobody has trusted is kept as it stands, unread, until something needs it.

    Attributes:
        kind: `package.module:name`, or an entry point.
    """

    model_config = ConfigDict(extra="allow")

    group: ClassVar[Kind]
    key: ClassVar[str]
    kind: str

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"kind": given}
        if not isinstance(given, dict) or not isinstance(name := given.get("kind"), str):
            return given
        rest = {key: value for key, value in given.items() if key != "kind"}
        return {"kind": name, **complete(cls.group, name, rest, cls.key)}

    @property
    def given(self) -> dict[str, Any]:
        """The settings as they stand in the recipe."""
        return dict(self.model_extra or {})

    def resolve(self) -> tuple[Plugin, dict[str, Any]]:
        """The plugin, and its settings by name. Raises: UserError, as `resolve`."""
        return resolved(self.group, self.kind, self.given, self.key)


def complete(kind: Kind, name: str, given: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Settings with their defaults, where a plugin may be resolved, and else as they are.

    For validators: raises PydanticCustomError of type `plugin`, which `dermlens.documents` places.
    """
    if not is_outside(kind, name):
        raise PydanticCustomError(
            "plugin", "{message}", {"message": f"{name} is no import path; write package.module:name"}
        )
    if not is_trusted(kind, name):
        return dict(given)
    try:
        return resolve(kind, name, key).read(given).model_dump(mode="json")
    except UserError as error:
        raise PydanticCustomError("plugin", "{message}", {"message": str(error)}) from error
    except ValidationError as error:
        message = _wrong(error, resolve(kind, name, key).settings)
        raise PydanticCustomError(
            "plugin", "{message}", {"message": f"{key} of {name}: {message}"}
        ) from error


def resolved(kind: Kind, name: str, given: Mapping[str, Any], key: str) -> tuple[Plugin, dict[str, Any]]:
    """A plugin and its settings by name.

    Raises:
        UserError: as `resolve`, or the settings are not its own.
    """
    found = resolve(kind, name, key)
    try:
        section = found.read(given)
    except ValidationError as error:
        raise UserError(f"{key} of {name}: {_wrong(error, found.settings)}") from error
    return found, {field: getattr(section, field) for field in type(section).model_fields}


def _wrong(error: ValidationError, settings: type[Section]) -> str:
    """The first thing wrong with a plugin's settings."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = settings.model_fields
        return f"{name} is not one of its settings{nearest(name, known) if known else ', it has none'}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{name} {first['input']!r} is not valid: {message}" if name else message


def own_or_outside(kind: Kind) -> Callable[[Any], str]:
    """A discriminator: `outside` for a section whose `kind` plugs in, `own` for any other."""

    def tag(given: Any) -> str:
        name = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
        return "outside" if is_outside(kind, name) else "own"

    return tag


class PluggedLoss(Plugged):
    """(logits_BC, target_B, weight_C, **settings) → loss_B; one with `prior_C` or `prior_BC` gets it."""

    group: ClassVar[Kind] = "loss"
    key: ClassVar[str] = "imbalance.loss"


class PluggedSampler(Plugged):
    """(target_R, lesion_R, source_R, rng, classes, **settings) → positions in target_R, (E,)."""

    group: ClassVar[Kind] = "sampler"
    key: ClassVar[str] = "imbalance.sampler"


class PluggedAugmentation(Plugged):
    """(x_BCHW, generator, **settings) → x_BCHW; float32 in 0 … 255."""

    group: ClassVar[Kind] = "augmentation"
    key: ClassVar[str] = "augment.plugins"


class PluggedReader(Plugged):
    """(folder, **settings) → a frame with `image_id`, `dx`, `path` and what else a LesionTable may have."""

    group: ClassVar[Kind] = "reader"
    key: ClassVar[str] = "data.reader"


class PluggedMetric(Plugged):
    """(target_N, p_NC, classes, **settings) → a number."""

    group: ClassVar[Kind] = "metric"
    key: ClassVar[str] = "evaluation.metrics"

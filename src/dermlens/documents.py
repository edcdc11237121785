"""Documents that people write: read strictly, checked against a class, mistakes named by place and key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dermlens.errors import UserError, nearest


class Section(BaseModel):
    """A frozen part of a recipe: unknown keys are errors, defaults are checked too, numbers are finite.

    `parse_recipe` reads it strictly: '3' is not 3, nor is 64.0 the integer 64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


# YAML as people write it: a mistake that a YAML reader would pass over in silence is an error.


Places = dict[tuple[str, ...], str]
"""Where in a text each key and each entry of a list stands, such as ('train', 'resize', '0') → 'line 7'."""


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
_OTHERWISE = re.compile(
    r"[-+]?(?:[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|0[0-7_]+|0b[01_]+|[0-9][0-9.]*_[0-9_.]*|0x[0-9a-fA-F]*_\w*)$"
)
"""Plain scalars that are numbers to YAML 1.1 and not, or others, to 1.2: 1:30 is 90, 010 is 8, 1_0 is 10."""
MOST_DEPTH, LONGEST = 100, 2**20
"""Lists in lists, and characters, that a document may have; its reader takes much longer for each more."""


OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def load_yaml(text: str, where: str) -> tuple[Any, Places]:
    """Read one YAML document.

    Args:
        text: the document.
        where: names it in errors.

    Returns:
        What it says, none where it is empty, and the places of its keys.

    Raises:
        UserError: not YAML, a key that stands twice or is no text, an anchor, an alias, or a number that is
            none to its reader.
    """
    try:
        _check_tokens(text, where)
        node = yaml.compose(text, Loader=_Loader)
        _check_keys(node, where)
        return yaml.load(text, Loader=_Loader), dict(_places(node))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from error


def _check_tokens(text: str, where: str) -> None:
    """Refuse anchors and aliases, of which a few stand for more than any memory holds, and odd numbers."""
    if len(text) > LONGEST:
        raise UserError(f"{where}: {len(text):,} characters; {LONGEST:,} are the most")
    depth = 0
    for token in yaml.scan(text, Loader=_Loader):
        line = token.start_mark.line + 1
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if depth > MOST_DEPTH:
            raise UserError(f"{where}, line {line}: more than {MOST_DEPTH} lists or mappings in each other")
        if isinstance(token, (yaml.AnchorToken, yaml.AliasToken)):
            sign = "&" if isinstance(token, yaml.AnchorToken) else "*"
            raise UserError(
                f"{where}, line {line}: {sign}{token.value[:40]} is an anchor or an alias of YAML; write out"
                " what it stands for, or put it in quotes"
            )
        if isinstance(token, yaml.ScalarToken) and token.plain and _OTHERWISE.match(token.value):
            raise UserError(
                f"{where}, line {line}: {token.value[:40]} is a number to some readers of YAML and none or"
                " another to others; put it in quotes if it is text, and else write it in base 10, without _"
            )


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
        if key.tag != "tag:yaml.org,2002:str":
            raise UserError(f"{where}, line {line}: key {'.'.join(inner)} is not text; put it in quotes")
        if key.value in first:
            raise UserError(
                f"{where}, line {line}: {'.'.join(inner)} stands on line {first[key.value]} already;"
                " each key has one value"
            )
        first[key.value] = line
        _check_keys(value, where, inner)


def _places(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    entries: list[tuple[str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        entries = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(str(index), value, value) for index, value in enumerate(node.value)]
    for name, begin, value in entries:
        yield (*path, name), f"line {begin.start_mark.line + 1}"
        yield from _places(value, (*path, name))


def sentence(
    error: ValidationError, root: type[Section], kind: str, where: str, document: Any, places: Places
) -> str:
    """The first thing wrong; an unknown key comes first, since its right name may be what is missing.

    Args:
        error: as pydantic raised it.
        root: the class of the document.
        kind: what the document is, such as `a recipe`.
        where: names the document.
        document: what was validated.
        places: where its keys stand.
    """
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    path: tuple[str, ...] = ()
    value, annotations = document, [root]
    around: list[Any] = []  # the annotations of what holds the last key of the path
    for part in first["loc"]:  # pydantic's own names of union members are not in the document
        index = isinstance(value, list) and isinstance(part, int)
        inside = part in value if isinstance(value, dict) else index
        if not inside:
            continue
        value = value[part]
        path, around = (*path, str(part)), annotations
        annotations = [inner for annotation in annotations for inner in _inside(annotation, str(part))]
    line = next((places[path[:end]] for end in range(len(path), 0, -1) if path[:end] in places), None)
    place = f"{where}, {line}" if line else where
    key = ".".join(path)
    message = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "extra_forbidden":
            known = dict.fromkeys(name for section in _sections(around) for name in section.model_fields)
            known.pop(path[-1], None)  # a sibling in a union may have the key
            return f"{place}: {key} is not a key of {kind}{nearest(path[-1], known)}"
        case "missing":
            return f"{place}: {'.'.join((*path, str(first['loc'][-1])))} is missing, and has no default"
        case "union_tag_not_found" | "union_tag_invalid":
            tag = first["ctx"]["discriminator"].strip("'")
            fields = [section.model_fields[tag] for section in _sections(annotations)]
            kinds = [str(field.default) for field in fields if not field.is_required()]
            if first["type"] == "union_tag_not_found":
                return f"{place}: {key}.{tag} is missing; known: {', '.join(kinds)}"
            given = first["ctx"]["tag"]
            return f"{place}: {key}.{tag} {given!r} is not known{nearest(given, kinds)}"
        case "plugin":
            return f"{place}: {message}"
    return f"{place}: {key} {first['input']!r} is not valid: {message}" if key else f"{place}: {message}"


def _inside(annotation: Any, part: str) -> list[Any]:
    """The annotations of what a key or an index names in something so annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        field = annotation.model_fields.get(part)
        return [field.annotation] if field else []
    arguments = get_args(annotation)
    if (origin := get_origin(annotation)) in (dict, tuple, list):
        return [arguments[1 if origin is dict else 0]]
    return [inner for argument in arguments for inner in _inside(argument, part)]


def _sections(annotations: list[Any]) -> list[type[Section]]:
    """The section classes among annotations such as `A | None`."""
    found: list[type[Section]] = []
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, Section):
            found.append(annotation)
        else:
            found += _sections(list(get_args(annotation)))
    return found


def flow(value: Any) -> str:
    """A value as YAML on one line, as `--set` takes it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()

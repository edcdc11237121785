"""What is wrong with a document, as one sentence: the place, the key, and what would be right."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import ValidationError

from dermlens.errors import nearest
from dermlens.section import Section
from dermlens.yaml_text import Places


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
    said = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "extra_forbidden":
            known = dict.fromkeys(name for section in _sections(around) for name in section.model_fields)
            known.pop(path[-1], None)  # a sibling in a union may have the key
            return f"{place}: {key} is not a key of {kind}{nearest(path[-1], known)}"
        case "missing":
            return f"{place}: {'.'.join((*path, str(first['loc'][-1])))} is missing, and has no default"
        case "union_tag_not_found" | "union_tag_invalid":
            tag = first["ctx"]["discriminator"].strip("'")
            kinds = [str(section.model_fields[tag].default) for section in _sections(annotations)]
            if first["type"] == "union_tag_not_found":
                return f"{place}: {key}.{tag} is missing; known: {', '.join(kinds)}"
            given = first["ctx"]["tag"]
            return f"{place}: {key}.{tag} {given!r} is not known{nearest(given, kinds)}"
    return f"{place}: {key} {first['input']!r} is not valid: {said}" if key else f"{place}: {said}"


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

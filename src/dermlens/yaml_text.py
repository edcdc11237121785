"""YAML as people write it: a mistake that a YAML reader would pass over in silence is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from dermlens.errors import UserError

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
_OTHERWISE = re.compile(r"[-+]?(?:[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|0[0-7_]+)$")
"""Plain scalars that are numbers of base 60 or 8 to YAML 1.1 and not to 1.2: 1:30 is 90, 010 is 8."""


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
    for token in yaml.scan(text, Loader=_Loader):
        line = token.start_mark.line + 1
        if isinstance(token, (yaml.AnchorToken, yaml.AliasToken)):
            sign = "&" if isinstance(token, yaml.AnchorToken) else "*"
            raise UserError(
                f"{where}, line {line}: {sign}{token.value[:40]} is an anchor or an alias of YAML; write out"
                " what it stands for, or put it in quotes"
            )
        if isinstance(token, yaml.ScalarToken) and token.plain and _OTHERWISE.match(token.value):
            raise UserError(
                f"{where}, line {line}: {token.value[:40]} is a number of base 60 or 8 to some readers of"
                " YAML; put it in quotes if it is text, and else write it in base 10"
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

"""Everything that is wrong with a table, gathered, so that it is said in one list with the options that mend
it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import NoReturn

from dermlens.errors import UserError

MOST = 20
"""Problems in one list; how many more there are is said."""


@dataclass
class _Problem:
    """One thing that is wrong, in one or more rows."""

    sentence: str
    option: str
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        first, others = self.places[0] if self.places else "", len(self.places) - 1
        where = f"{first} and {others} more rows" if others > 0 else first
        return f"{where}: {self.sentence}" if where else self.sentence


class Problems:
    """What is wrong with a table; equal sentences about several rows are one problem."""

    def __init__(self) -> None:
        self._found: dict[str, _Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, sentence: str, where: str = "", option: str = "") -> None:
        """Note a problem.

        Args:
            sentence: what is wrong, and what would be right.
            where: file and row; none where the sentence says it.
            option: of the command line, that mends it: `--label mell=mel`; none where no option does.
        """
        problem = self._found.setdefault(sentence, _Problem(sentence, option))
        if where:
            problem.places.append(where)

    def refuse(self) -> None:
        """Raises: UserError when there is any problem: the one, or all of them in a list."""
        if self._found:
            self._refuse()

    def _refuse(self) -> NoReturn:
        problems = list(self._found.values())
        options = [problem.option for problem in problems if problem.option]
        mended = f"this goes through with {' '.join(dict.fromkeys(options))}" if options else ""
        if mended and len(options) < len(problems):
            mended = mended.replace("this goes through with", "options that mend some of it:")
        if len(problems) == 1:
            raise UserError("; ".join(filter(None, (str(problems[0]), mended))))
        lines = [f"  {problem}" for problem in problems[:MOST]]
        if len(problems) > MOST:
            lines.append(f"  and {len(problems) - MOST} further problems")
        raise UserError("\n".join([f"{len(problems)} problems", *lines, *filter(None, [mended])]))


def option(name: str, ours: str, theirs: str) -> str:
    """An option as a shell takes it: `--column 'image_id=File name'`."""
    return f"{name} {shlex.quote(f'{ours}={theirs}')}"

"""The command line: arguments in, one call, words out.

`commands` is the table of all commands, `options` the options that several share.
"""

from __future__ import annotations

from dermlens.cli import commands
from dermlens.cli.app import main

__all__ = ["commands", "main"]

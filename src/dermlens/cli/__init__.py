"""The verbs of the command line: arguments in, one call, words out.

A module of verbs adds them to the app as it is imported, so a new family of verbs is one name in this list.
"""

from __future__ import annotations

from dermlens.cli import analyze, data, explain, models, studies, train, use
from dermlens.cli.app import main

__all__ = ["analyze", "data", "explain", "main", "models", "studies", "train", "use"]

"""The verbs of the command line: arguments in, one call, words out.

A module of verbs adds them to the app as it is imported, so a new family of verbs is one name in this list.
"""

from dermlens.cli import data, decisions, explain, models, paper, predict, runs, serve, studies, weights
from dermlens.cli.app import main

__all__ = [
    "data",
    "decisions",
    "explain",
    "main",
    "models",
    "paper",
    "predict",
    "runs",
    "serve",
    "studies",
    "weights",
]

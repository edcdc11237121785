"""Every command in one table, in the order of `dermlens --help`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from dermlens.cli import analyze, data, explain, model, study, train, use
from dermlens.cli.app import HELP_OPTIONS, Commands, app
from dermlens.cli.examples import epilog

Verb = Callable[..., Any]

PANELS: dict[str, dict[str, Verb]] = {
    "Use": {"predict": use.predict, "merge": use.merge, "explain": explain.explain, "serve": use.serve},
    "Train": {
        "start": train.start,
        "train": train.train,
        "calibrate": train.calibrate,
        "evaluate": train.evaluate,
        "report": train.report,
        "compare": train.compare,
        "export": model.export,
        "embed": use.embed,
    },
}
"""Commands by the panel that they stand in."""

GROUPS: dict[str, tuple[str, dict[str, Verb]]] = {
    "data": (
        "Data sets",
        {"verify": data.verify, "fetch": data.fetch, "split": data.split, "synthesize": data.synthesize},
    ),
    "model": (
        "Networks, recipes and weights",
        {
            "list": model.list_models,
            "recipes": model.recipes,
            "weights": model.weights,
            "publish": model.publish,
        },
    ),
    "analyze": (
        "What a model's answers are worth",
        {
            "reliability": analyze.reliability,
            "missing-metadata": analyze.missing_metadata,
            "out-of-distribution": analyze.out_of_distribution,
            "unseen-class": analyze.unseen_class,
            "source-probe": analyze.source_probe,
        },
    ),
    "study": (
        "Several trainings as one result",
        {
            "crossfit": study.crossfit,
            "ablate": study.ablate,
            "ensemble": study.ensemble,
            "soup": study.soup,
            "soft-labels": study.soft_labels,
        },
    ),
}
"""What a group is about, and its commands."""


def register(to: typer.Typer) -> None:
    """Add all commands and groups of commands to the app."""
    for panel, verbs in PANELS.items():
        for name, verb in verbs.items():
            to.command(name, help=_help(verb), rich_help_panel=panel, epilog=epilog(name))(verb)
    for group, (about, verbs) in GROUPS.items():
        inner = typer.Typer(
            cls=Commands,
            help=f"{about}: {', '.join(verbs)}.",
            no_args_is_help=True,
            context_settings=HELP_OPTIONS,
        )
        for name, verb in verbs.items():
            inner.command(name, help=_help(verb), epilog=epilog(f"{group} {name}"))(verb)
        to.add_typer(inner, name=group, rich_help_panel="Groups of commands")


def _help(verb: Verb) -> str:
    """A verb's docstring, whose lines end where the terminal does."""
    paragraphs = inspect.cleandoc(verb.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


register(app)

"""Every command in one table, in the order of `dermlens --help`, and its examples, which a test parses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from dermlens.cli import analyze, data, model, study, train, use
from dermlens.cli.app import HELP_OPTIONS, Commands, app

Verb = Callable[..., Any]

PANELS: dict[str, dict[str, Verb]] = {
    "Use": {
        "predict": use.predict,
        "merge": use.merge,
        "explain": analyze.explain,
        "segment": use.segment,
        "serve": use.serve,
    },
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
            "search": study.search,
            "ensemble": study.ensemble,
            "soup": study.soup,
            "soft-labels": study.soft_labels,
        },
    ),
}
"""What a group is about, and its commands."""


EXAMPLES: dict[str, tuple[str, ...]] = {
    "predict": (
        "dermlens predict lesion.jpg --age 55 --sex female --site back",
        "dermlens predict visit/ --table patients.csv --out answers.csv",
        "dermlens predict visit/ --table patients.csv --column image_id=Datei --value sex.male=h",
        "dermlens predict lesion.jpg --model model/ --json",
    ),
    "merge": ("dermlens merge monday.csv tuesday.csv --out week.csv",),
    "explain": (
        "dermlens explain lesion.jpg --out why.png",
        "dermlens explain lesion.jpg --model runs/first --data data/ham10000 --class mel",
    ),
    "segment": (
        "dermlens segment visit/ --model models/segmenter --out masks/",
        "dermlens segment lesion.jpg scan.dcm --model models/segmenter --out masks/ --json",
    ),
    "serve": (
        "dermlens serve",
        "dermlens serve --model model/ --host 0.0.0.0 --allow-host clinic.example",
    ),
    "start": (
        "dermlens start --data data/clinic --out recipe.yaml",
        "dermlens start --data clinic.csv --column image_id=Datei --label akiec=ACK --skip Scar",
    ),
    "train": (
        "dermlens train demo --data data/synthetic --out runs/first",
        "dermlens train grouped/mobilenet_v2 --data data/ham10000 --set train.epochs=10",
        "dermlens train --resume runs/first",
    ),
    "calibrate": (
        "dermlens calibrate runs/first",
        "dermlens calibrate runs/first --not-dermoscopy data/pad-ufes-20",
    ),
    "evaluate": (
        "dermlens evaluate runs/first",
        "dermlens evaluate runs/first --data data/clinic --column image_id=Datei --label akiec=ACK",
        "dermlens evaluate runs/first --open-test",
    ),
    "report": ("dermlens report runs/first",),
    "compare": (
        "dermlens compare runs/first runs/second",
        "dermlens compare runs/first runs/second --figure compared.svg",
    ),
    "export": (
        "dermlens export runs/first --out model/",
        "dermlens export runs/first --out model/ --format onnx-int8 --format openvino",
    ),
    "embed": (
        "dermlens embed visit/ --out features.npz",
        "dermlens embed lesion.jpg --model model/ --out features.parquet",
    ),
    "data verify": (
        "dermlens data verify --data data/ham10000",
        "dermlens data verify --data clinic.csv --column image_id=Datei --label akiec=ACK --skip Scar",
    ),
    "data fetch": ("dermlens data fetch ham10000 --accept-licence",),
    "data split": (
        "dermlens data split --data data/ham10000 --out split.csv",
        "dermlens data split --data data/ham10000 --protocol grouped --folds 5 --seed 1",
    ),
    "data synthesize": ("dermlens data synthesize --out data/synthetic --lesions 400",),
    "model list": ("dermlens model list",),
    "model recipes": (
        "dermlens model recipes",
        "dermlens model recipes grouped/mobilenet_v2",
    ),
    "model weights": (
        "dermlens model weights",
        "dermlens model weights mobilenet_v2 --out mobilenet_v2.safetensors",
    ),
    "model publish": ("dermlens model publish runs/first --out published/first",),
    "analyze reliability": (
        "dermlens analyze reliability runs/first --role calibration --out runs/first/decision/calibration",
    ),
    "analyze missing-metadata": (
        "dermlens analyze missing-metadata runs/first --role calibration"
        " --out runs/first/missing_metadata.csv",
    ),
    "analyze out-of-distribution": (
        "dermlens analyze out-of-distribution runs/first --other pad=data/pad-ufes-20 --out far.csv",
        "dermlens analyze out-of-distribution runs/first --photographs photographs/ --out far.csv",
    ),
    "analyze unseen-class": (
        "dermlens analyze unseen-class grouped/mobilenet_v3_small --data data/ham10000 --out unseen/",
    ),
    "analyze source-probe": (
        "dermlens analyze source-probe sources/efficientnet_lite0 --data data/ --model runs/first",
    ),
    "study crossfit": (
        "dermlens study crossfit grouped/mobilenet_v3_small --data data/ham10000 --out folds/",
        "dermlens study crossfit sources/efficientnet_lite0 --by source --data data/ --out sources/",
        "dermlens study crossfit sources/mobilenet_v2 --by pair --data data/ --out pairs/ --only 0-1,0-2",
    ),
    "study ablate": (
        "dermlens study ablate imbalance --data data/ham10000 --out imbalance/",
        "dermlens study ablate --rescore imbalance/",
    ),
    "study search": (
        "dermlens study search search.yaml --data data/ham10000 --out search/",
        "dermlens study search search.yaml --data data/ham10000 --out search/ --trials 40 --jobs 2",
    ),
    "study ensemble": (
        "dermlens study ensemble folds-a/ folds-b/ --out both/",
        "dermlens study ensemble runs/a runs/b runs/c --choose exhaustive --out best/",
        "dermlens study ensemble runs/first runs/second --network --out runs/both",
    ),
    "study soup": ("dermlens study soup runs/first runs/second runs/third --out runs/soup",),
    "study soft-labels": (
        "dermlens study soft-labels folds-a/ folds-b/ --out soft_labels.csv",
        "dermlens study soft-labels folds/fold-0 --of-training --out soft-0.csv",
        "dermlens study soft-labels pairs/ --within 0 --out soft-0.csv",
    ),
}
"""Command lines by command, such as `data split`."""


def epilog(command: str) -> str:
    """The examples of a command as the end of its help, a line each."""
    return "\n\n".join(["Examples:", *EXAMPLES[command]])


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

"""index.html, tables/*.csv and figures/*.svg of the study; the annex with pictures where the images are.

The same published results give the same bytes: no date, no machine, no random name is in them.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from dermlens.data.predictions import write_csv
from dermlens.errors import UserError
from dermlens.files import atomic_folder, write_text
from dermlens.records import NONE, number
from dermlens.report.plots import save_figure
from dermlens.report.tables import environment
from paper.curves import LOGS, Curves, judge, read_curves
from paper.layers import read_layers
from paper.publication import EXAMPLES, SCALE
from paper.questions import load_questions, name_of
from paper.repeats import load_repeated_matrix, load_repeats, measure_repeats
from paper.report import figures
from paper.report.answers import Answer, answer_all, look_afterwards, read_attention, read_experiments
from paper.report.articles import CAPTIONS, word_tables, write_table, write_words
from paper.report.cells import (
    EXACT,
    MARKS,
    TIMES,
    Cell,
    Measured,
    columns_of,
    list_experiments,
    list_recipes,
    read_cells,
    read_measured,
)
from paper.report.claims import answer_claims, picture
from paper.report.figures import write_annex
from paper.report.schemas import draw_schemas
from paper.study import read_published, require_results

PAGE = "index.html"
IMAGES = 996
"""Of the authors' 10 % split: the noise of a printed share is that of so many images."""

TABLES = {
    "table_2": "Images by class",
    "table_4": "The uncut networks",
    "table_5": "Accuracy",
    "table_6": "Parameters, depth, accuracy and time",
    "table_7": "Area under the ROC curve",
    "table_8": "Accuracy by class weights",
    "table_9": "Related work",
    "table_a3": "F1 by class",
    "table_a4": "Recall by class",
    "table_a5": "The mobile networks",
}
ORDER = ("table_1", "table_2", "table_3", *list(TABLES)[1:7], "table_a1", "table_a2", *list(TABLES)[7:])
BY_CLASS = {
    "figure_12": ("table_a3", "DenseNet201", "F1"),
    "figure_13": ("table_a3", "InceptionResNetV2", "F1"),
    "figure_14": ("table_a4", "DenseNet201", "recall"),
    "figure_15": ("table_a4", "InceptionResNetV2", "recall"),
}
MATRICES = {"figure_10": ("DenseNet201", "MD-DN-LR"), "figure_11": ("InceptionResNetV2", "MD-IR-LR")}
AREAS = {"figure_16": ("DenseNet201", "MD-DN-LR"), "figure_17": ("InceptionResNetV2", "MD-IR-LR")}


def write_report(
    results: Path, folder: Path, *, data: Path | None = None, say: Callable[[str], object] | None = None
) -> Path:
    """Write the report of what is published.

    Args:
        results: of the study; what is not there stays empty and says what it needs.
        folder: to write to; the report that is there stays as it is until this one is whole. What is there
            also, an annex too, is kept.
        data: the folder of HAM10000: its images go into annex.html, which is not for publication. None writes
            no annex.
        say: is called with each step as it begins.

    Returns:
        The path of the page.

    Raises:
        UserError: there are no results, or a table of theirs is damaged.
    """
    require_results(results)
    if data is not None and not data.is_dir():
        raise UserError(f"--data {data} is not there: the annex is drawn from its images")
    with atomic_folder(folder) as part:
        _write(results, part, data, say or (lambda _: None))
        _keep_others(folder, part)
    return folder / PAGE


def _write(results: Path, folder: Path, data: Path | None, say: Callable[[str], object]) -> None:
    """All of the report, into an empty folder."""
    say("1 of 5: reads the trainings and the printed tables")
    measured = read_measured(results)
    cells = read_cells(measured, IMAGES)
    by_table = {table: [cell for cell in cells if cell.table == table] for table in TABLES}
    for table, own in by_table.items():
        write_table(folder / "tables", table, own, f"{_title(table)}. {TABLES[table]}")
    layers = read_layers(results)
    words = word_tables(layers, _read_examples(results), measured.related)
    for name, written in words.items():
        write_words(folder / "tables", name, written)
    say("2 of 5: draws folds and lesions of the experiments")
    experiments = read_experiments(results)
    answers = answer_all(experiments)
    contrasts = pd.concat([answer.rows for answer in answers], ignore_index=True)
    write_csv(folder / "tables" / "contrasts.csv", contrasts, digits=5)
    repeats = measure_repeats(results)
    write_csv(folder / "tables" / "repeats.csv", repeats, digits=5)
    afterwards = look_afterwards(results, experiments)
    write_csv(folder / "tables" / "afterwards.csv", afterwards, digits=5)
    say("3 of 5: draws where the attention goes")
    attention = read_attention(results)
    parameters = {str(name): int(own["parameters"].sum()) for name, own in layers.groupby("backbone")}
    claims = answer_claims(cells, contrasts, attention, parameters, measured.latency)
    write_csv(folder / "tables" / "claims.csv", pd.DataFrame(claims).drop(columns="printed"), digits=5)
    curves = read_curves(results)
    write_csv(folder / "tables" / "curves.csv", pd.DataFrame(judge(curves)), digits=5)
    say("4 of 5: draws the figures")
    album = _Album(folder / "figures")
    shown = {name: _table(name, TABLES[name], own) for name, own in by_table.items()}
    context = {
        "claims": claims,
        "picture": _front(album, claims),
        "tables": [
            shown.get(name) or _words(name, words[name]) for name in ORDER if name in shown or name in words
        ],
        "figures": _paper_figures(album, by_table, layers),
        "ours": _our_figures(album, measured, by_table),
        "answers": [_answer(album, answer) for answer in answers],
        "repeats": _repeats(album, repeats),
        "attention": _attention(attention),
        "judgements": judge(curves),
        "curves": _curves(album, measured, curves),
        "starts": _starts(measured),
        "afterwards": afterwards.to_dict("records"),
        "trained": sum(len(trainings) for trainings in measured.trainings.values()),
        "systems": len(measured.systems),
        "marks": MARKS,
        "scale": SCALE,
        "contrasts": sum(len(question.contrasts) for question in load_questions()),
        "recipes": list_recipes(measured.systems, {_title(name): own for name, own in by_table.items()}),
        "experiments": list_experiments(),
        "questions": [answer.question.name for answer in answers],
        "name_of": name_of,
    }
    say("5 of 5: writes the page")
    write_text(folder / PAGE, environment("paper.report").get_template("index.html.j2").render(**context))
    if data is not None:
        write_annex(folder / "annex.html", measured, data, environment("paper.report"))


def _read_examples(results: Path) -> pd.DataFrame:
    """The rows of Table 3; none where they are not published."""
    path = results / EXAMPLES
    return read_published(path, ["image_id", "age", "sex", "site"]) if path.is_file() else pd.DataFrame()


def _front(album: _Album, claims: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """The picture of the first page; none where nothing was compared."""
    decided = [claim for claim in claims if claim["difference"] is not None]
    if not decided:
        return None
    caption = "What each thing adds: points of mean recall, or of what the label names."
    return album.add("claims", picture(claims), caption, " ".join(claim["found"] for claim in decided))


def _keep_others(old: Path, new: Path) -> None:
    """Copy what no report writes, or what this one did not: an annex, whatever somebody put there."""
    for file in sorted(old.rglob("*")):
        place = file.relative_to(old)
        if file.is_file() and not (new / place).exists() and not _is_ours(place):
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, new / place)


def _is_ours(place: Path) -> bool:
    """Whether a file is a table or figure, of a report that had others."""
    return (place.parent.as_posix(), place.suffix) in (
        ("tables", ".csv"),
        ("tables", ".tex"),
        ("figures", ".svg"),
    )


class _Album:
    """Figures on disk, and how the page shows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, figure: Figure, caption: str, alt: str = "") -> dict[str, str]:
        """`alt` says what the figure shows, for who does not see it; the caption, where there is none."""
        save_figure(figure, self.folder / f"{name}.svg")
        return {"file": f"figures/{name}.svg", "caption": caption, "alt": alt or caption}


def _paper_figures(
    album: _Album, tables: Mapping[str, Sequence[Cell]], layers: pd.DataFrame
) -> list[dict[str, str]]:
    notebooks = _notebooks()
    schemas = draw_schemas(layers) if len(layers) else {}
    drawn = [
        *(album.add(name, figure, caption) | {"wide": "wide"} for name, (figure, caption) in schemas.items()),
        album.add("figure_8", figures.two_by_two(), "Figure 8, drawn again: what the cells are called."),
        album.add("figure_9", figures.area_under_curve(), "Figure 9, drawn again: the area under a curve."),
    ]
    for name, (network, notebook) in MATRICES.items():
        caption = (
            f"Figure {name[7:]}: {network} with metadata, as notebook {notebook} printed it, 996 images."
        )
        drawn.append(album.add(name, figures.notebook_confusion(notebook), caption))
    for name, (table, network, words) in BY_CLASS.items():
        own = [cell for cell in tables[table] if cell.row.startswith(network)]
        caption = (
            f"Figure {name[7:]}: {network}, {words} per class, with augmented data (AD) and with metadata and"
            " weighted loss (MD), printed and as the notebooks have it."
        )
        drawn.append(album.add(name, figures.by_class(own, words), caption))
    for name, (network, notebook) in AREAS.items():
        caption = (
            f"Figure {name[7:]}: {network} with metadata. No notebook keeps its curves; these are the areas"
            f" that {notebook} printed."
        )
        drawn.append(album.add(name, figures.notebook_areas(notebooks, notebook), caption))
    return drawn


def _our_figures(
    album: _Album, measured: Measured, tables: Mapping[str, Sequence[Cell]]
) -> list[dict[str, str]]:
    """Figures 10 to 17 of each system that was trained; matrix and curves are of its first seed."""
    drawn = []
    for system, trainings in measured.trainings.items():
        if trainings:
            first = trainings[0]
            caption = f"{measured.systems[system].about} {_trained(measured, system)}"
            drawn.append(
                album.add(
                    f"confusion_{system}", figures.our_confusion(first), f"{caption} As in Figures 10, 11."
                )
            )
            drawn.append(
                album.add(f"roc_{system}", figures.our_roc(first), f"{caption} As in Figures 16, 17.")
            )
            for table, words, numbers in (("table_a3", "F1", "12, 13"), ("table_a4", "recall", "14, 15")):
                rows = [cell.row for cell in tables[table] if cell.system == system]
                own = [cell for cell in tables[table] if rows and cell.row.split()[0] == rows[0].split()[0]]
                if {cell.row.split()[-1] for cell in own} == {"AD", "MD"}:
                    bars = figures.by_class(own, words)
                    drawn.append(album.add(f"{words}_{system}", bars, f"{caption} As in Figures {numbers}."))
    return drawn


def _curves(album: _Album, measured: Measured, curves: Mapping[str, Curves]) -> list[dict[str, str]]:
    """Training curves of each network: the authors' at the left, ours and Keras's at the right."""
    drawn = []
    for backbone, own in curves.items():
        system = f"{backbone}-md"
        ours = {**own.ours, **{one.seed: one.history for one in measured.trainings.get(system, ())}}
        caption = (
            f"{backbone}. Left: the authors' run, notebook {LOGS[backbone]}, {len(own.authors)} epochs."
            f" Right: ours, {_lengths(ours) or measured.needs(system)};"
            f" Keras from our start, {_lengths(own.keras) or 'not run'}."
        )
        figure = figures.curves(own.authors, ours, own.keras, measured.needs(system))
        drawn.append(album.add(f"curves_{backbone}", figure, caption))
    return drawn


def _lengths(histories: Mapping[int, pd.DataFrame]) -> str:
    return ", ".join(f"seed {seed}: {len(history)} epochs" for seed, history in histories.items())


def _starts(measured: Measured) -> list[dict[str, str]]:
    """What each system of ours began with, as the file says of itself."""
    return [
        {"system": name, "note": note}
        for name, trainings in measured.trainings.items()
        for note in dict.fromkeys(training.start for training in trainings)
        if note
    ]


def _trained(measured: Measured, system: str) -> str:
    trainings = measured.trainings[system]
    epochs, whole = len(trainings[0].history), measured.systems[system].epochs
    seeds = f"{len(trainings)} seeds, the first is shown" if len(trainings) > 1 else "one seed"
    start = f" Started from {trainings[0].start}." if trainings[0].start else ""
    return f"Ours: {epochs} epochs ({whole} in the notebook), {seeds}.{start}"


def _table(name: str, caption: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """Rows and columns of cells, the notes below."""
    columns = columns_of(cells)
    notes: list[str] = []
    rows = []
    for heading in dict.fromkeys(cell.row for cell in cells):
        own = {cell.column: cell for cell in cells if cell.row == heading}
        needs = {cell.needs for cell in own.values() if cell.ours is None}
        shared = needs.pop() if len(needs) == 1 and len(own) > 2 else ""
        shown = [_shown(own.get(column), notes, apart=shared) for column in columns]
        rows.append({"heading": heading, "needs": shared, "cells": shown})
    title = f"{_title(name)}: {caption}"
    return {"id": name, "caption": title, "columns": columns, "rows": rows, "plain": [], "notes": notes}


def _words(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """A table without measured numbers."""
    caption = f"{_title(name)}: {CAPTIONS[name]}"
    if "parameters" in table:
        table = table.assign(parameters=[f"{number:,}" for number in table["parameters"]])
    rows = table.fillna("").astype(str).to_numpy().tolist()
    columns = list(table.columns)
    return {"id": name, "caption": caption, "columns": columns, "rows": [], "plain": rows, "notes": []}


def _title(name: str) -> str:
    return f"Table {name.removeprefix('table_').upper()}"


def _shown(cell: Cell | None, notes: list[str], *, apart: str) -> dict[str, Any] | None:
    """A cell; what all cells of its row need stands apart, at the row's heading."""
    if cell is None:
        return None
    mark = None
    if cell.note:
        if cell.note not in notes:
            notes.append(cell.note)
        mark = notes.index(cell.note) + 1
    return {
        "printed": _with_thousands(cell.printed) or NONE,
        "notebook": _with_thousands(cell.notebook_value),
        "notebook_name": cell.notebook,
        "notebook_agrees": cell.notebook_agrees,
        "ours": _ours(cell),
        "ours_agrees": cell.ours_agrees,
        "needs": "" if cell.needs == apart else cell.needs,
        "note": mark,
    }


def _with_thousands(printed: str) -> str:
    return f"{int(printed):,}" if printed.isdigit() and len(printed) > 3 else printed


def _ours(cell: Cell) -> str:
    ours = cell.ours
    if ours is None:
        return ""
    if cell.metric in EXACT:
        return f"{ours.value:,.0f}"
    if cell.metric in TIMES or cell.metric in ("size_mb", "parameters_m"):
        return f"{ours.value:,.0f}" if ours.value >= 100 else f"{ours.value:.1f}"
    text = number(ours.value, 3)
    if ours.sd is not None:
        text += f" ± {number(ours.sd, 3)}"
    elif ours.each:
        text += f" ({', '.join(number(value, 3) for value in ours.each)})"
    if ours.low is not None:
        text += f" [{number(ours.low, 2)}–{number(ours.high, 2)}]"
    return f"{text}, {ours.short}" if ours.short else text


def _answer(album: _Album, answer: Answer) -> dict[str, Any]:
    question = answer.question
    rows = answer.rows.to_dict("records")
    labels = [f"{name_of(row['arm'])} less {name_of(row['reference'])}" for row in rows]
    words = question.words()
    forest = None
    if rows:
        caption = f"{question.asks} Differences in points, with 95 % intervals of the two-level bootstrap."
        alt = figures.forest_in_words(answer.rows, labels)
        forest = album.add(f"forest_{question.name}", figures.forest(answer.rows, labels), caption, alt)
    return {
        "name": question.name,
        "asks": question.asks,
        "rows": rows,
        "missing": [f"{name_of(arm)} less {name_of(reference)}" for arm, reference in answer.missing],
        "picture": forest,
        "words": {arm: words[arm] for arm in question.arms},
        "measure": figures.WORDS[question.contrasts[0].measure],
        "matters": question.contrasts[0].matters,
    }


def _repeats(album: _Album, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Each claim whose trainings are repeated: its contrasts, those that are missing, and a picture."""
    shown = []
    for claim in dict.fromkeys(one.claim for one in load_repeats()):
        planned = [one for one in load_repeats() if one.claim == claim]
        own = rows[rows["claim"] == claim].reset_index(drop=True)
        found = set(zip(own["arm"], own["reference"], strict=True))
        labels = [f"{name_of(row['arm'])} less {name_of(row['reference'])}" for row in own.to_dict("records")]
        forest = None
        if len(own):
            drawn = own.assign(matters=own["margin"])
            caption = f"{planned[0].asks} Differences in points, with 95 % intervals; grey, the margin."
            alt = figures.forest_in_words(drawn, labels)
            forest = album.add(
                f"repeats_{planned[0].matrix}_{claim.split()[0]}", figures.forest(drawn, labels), caption, alt
            )
        arms = load_repeated_matrix(planned[0].matrix).arms
        shown.append(
            {
                "asks": planned[0].asks,
                "measure": figures.WORDS[planned[0].measure],
                "margin": planned[0].margin,
                "rows": own.to_dict("records"),
                "missing": [
                    f"{name_of(one.arm)} less {name_of(one.reference)}"
                    for one in planned
                    if (one.arm, one.reference) not in found
                ],
                "words": {name: arm.tests for name, arm in arms.items()},
                "picture": forest,
            }
        )
    return shown


def _attention(found: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    return [
        {"arm": name_of(arm)}
        | {row["quantity"]: row for row in table.astype(object).where(table.notna(), None).to_dict("records")}
        for arm, table in found.items()
    ]


def _notebooks() -> dict[str, dict[str, str]]:
    text = files("paper").joinpath("printed/notebooks.csv").read_text(encoding="utf-8")
    return {row["notebook"]: row for row in csv.DictReader(text.splitlines())}

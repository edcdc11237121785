"""Where each item of the reporting checklists is answered: for the card, and for docs/reporting.md.

checklists.csv is the one source. Its columns: checklist, item, section, name (in few words of ours), card
(headings of the model card, `;` between them), files (of the repository), note. A note that begins with
“Not done”, “Not applicable” or “Partly” is the answer, or the most of it.

`python -m dermlens.report.checklists > docs/reporting.md` writes the page anew.

Sources: Daneshjou et al. 2022, JAMA Dermatology 158(1), 90–96, doi:10.1001/jamadermatol.2021.4915;
Collins et al. 2024, BMJ 385, e078378, doi:10.1136/bmj-2023-078378.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from importlib.resources import files

CITATIONS = {
    "CLEAR Derm": "Daneshjou R, Barata C, Betz-Stablein B, et al. Checklist for Evaluation of Image-Based"
    " Artificial Intelligence Reports in Dermatology: CLEAR Derm Consensus Guidelines From the International"
    " Skin Imaging Collaboration Artificial Intelligence Working Group. JAMA Dermatol 158(1), 90–96 (2022)."
    " doi:10.1001/jamadermatol.2021.4915",
    "TRIPOD+AI": "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting"
    " clinical prediction models that use regression or machine learning methods. BMJ 385, e078378 (2024)."
    " doi:10.1136/bmj-2023-078378",
}
FRANK = ("Not done", "Not applicable", "Partly")
SECTION = "Reporting checklists"
CARD = "src/dermlens/shipped/MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: as published.
        section: of the checklist.
        name: in few words.
        card: headings of the model card.
        files: of the repository.
        note: what else is to say.
    """

    number: str
    section: str
    name: str
    card: tuple[str, ...]
    files: tuple[str, ...]
    note: str

    @property
    def is_frank(self) -> bool:
        """Whether the note says that something is lacking, or why it cannot be there."""
        return self.note.startswith(FRANK)


def checklists() -> dict[str, list[Item]]:
    """The items of every checklist, in its order."""
    text = (files("dermlens.report") / "checklists.csv").read_text(encoding="utf-8")
    found: dict[str, list[Item]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        item = Item(
            row["item"],
            row["section"],
            row["name"],
            _parts(row["card"]),
            _parts(row["files"]),
            row["note"],
        )
        found.setdefault(row["checklist"], []).append(item)
    return found


def checklist_section(card: str) -> str:
    """The last section of a card, which says of each item where it is answered.

    Args:
        card: its text so far; a heading that it does not have answers nothing.
    """
    there = {line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")}
    lines = [
        "",
        f"## {SECTION}",
        "",
        "Items in our words; § is a section of this card, files are the repository's, and docs/reporting.md"
        " says more.",
    ]
    for name, items in checklists().items():
        lines += ["", f"{name} ({CITATIONS[name]}):", "", "| item | about | where |", "|---|---|---|"]
        lines += [f"| {item.number} | {item.name} | {_in_card(item, there)} |" for item in items]
    return "\n".join(lines) + "\n"


def reporting_page() -> str:
    """docs/reporting.md."""
    lines = [
        "# Reporting checklists",
        "",
        "Where the model that ships with dermlens, and the software around it, answer each item of two "
        "checklists, and where they do not. Items are in our words; the published lists hold. § is a section "
        f"of the [model card](../{CARD}). This page is made from `src/dermlens/report/checklists.csv` by "
        "`python -m dermlens.report.checklists > docs/reporting.md`.",
    ]
    for name, items in checklists().items():
        lines += ["", f"## {name}", "", f"{CITATIONS[name]}.", ""]
        lines += ["| item | section | about | where | remark |", "|---|---|---|---|---|"]
        lines += [
            f"| {item.number} | {item.section} | {item.name} | {_in_docs(item)} | {item.note} |"
            for item in items
        ]
    return "\n".join(lines) + "\n"


def _in_card(item: Item, there: set[str]) -> str:
    shown = [f"§ {heading}" for heading in item.card if heading in there]
    shown += [f"`{file}`" for file in item.files]
    if item.card and not there.intersection(item.card):
        return "; ".join(["not in this card", *shown])
    places = "; ".join(shown)
    return f"{item.note} {places}".strip() if item.is_frank else places


def _in_docs(item: Item) -> str:
    shown = [f"[§ {heading}](../{CARD}#{heading.lower().replace(' ', '-')})" for heading in item.card]
    return "; ".join([*shown, *(f"[{file}]({_link(file)})" for file in item.files)])


def _link(file: str) -> str:
    """From docs/ to a file of the repository."""
    return file.removeprefix("docs/") if file.startswith("docs/") else f"../{file}"


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


if __name__ == "__main__":
    print(reporting_page(), end="")

"""How long a network takes for one image: what benchmarks/paper_latency.py has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paper.study import read_published

LATENCY = "latency.csv"
REFERENCE = "mobilenet_v3_large-md"
"""The network that the others are compared with."""
NUMBERS = ("size", "parameters", "ms", "ratio", "low", "high", "turns")
COLUMNS = ("system", *NUMBERS, "threads", "machine", "torch")


def read_latency(results: Path) -> dict[str, dict[str, Any]]:
    """The rows by system: milliseconds, and `ratio` to `REFERENCE` with the middle 95 % of the turns.

    Raises:
        UserError: the table is damaged.
    """
    path = results / LATENCY
    if not path.is_file():
        return {}
    rows = read_published(path, COLUMNS, NUMBERS).to_dict("records")
    return {str(row["system"]): {str(name): value for name, value in row.items()} for row in rows}

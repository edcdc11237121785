"""Cells that a spreadsheet would run: a table that is opened in one must hold none."""

from __future__ import annotations

BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
"""As OWASP lists them under CSV injection."""


def is_formula(cell: str) -> bool:
    """Whether Excel, LibreOffice or Google Sheets takes a cell of a CSV file for a formula."""
    return cell.startswith(BEGINNINGS)

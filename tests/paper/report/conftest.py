"""The page of what is published, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from paper.report.page import write_report

PUBLISHED = Path(__file__).parents[3] / "docs" / "results" / "paper"


@pytest.fixture(scope="session")
def published_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests read it and write nothing beside it."""
    return write_report(PUBLISHED, tmp_path_factory.mktemp("published") / "report")

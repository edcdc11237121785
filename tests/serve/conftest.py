"""The service with the model that ships, asked in the same process; pictures are the page's examples."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dermlens.deploy.predictor import Predictor
from dermlens.serve.app import create_app

EXAMPLES = Path(str(files("dermlens.serve.page"))) / "examples"
LESION, STRANGE = EXAMPLES / "a.jpg", EXAMPLES / "d.jpg"


@pytest.fixture(scope="session")
def shipped() -> Predictor:
    return Predictor.open()


@pytest.fixture(scope="session")
def client(shipped: Predictor) -> Iterator[TestClient]:
    with TestClient(create_app(shipped)) as asking:
        yield asking

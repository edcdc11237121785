"""The service with the model that ships, asked in the same process; pictures are the page's examples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dermlens.predict.predictor import Predictor
from dermlens.serve.app import create_app
from dermlens.serve.server import listening_on, make_server

EXAMPLES = Path(str(files("dermlens.serve.page"))) / "examples"
LESION, STRANGE = EXAMPLES / "a.jpg", Path(str(files("sklearn.datasets"))) / "images" / "flower.jpg"
"""The second is an ordinary photograph, none of those that the model was taught dermoscopy by."""


@pytest.fixture(scope="session")
def shipped() -> Predictor:
    return Predictor.open()


def asking_of(app: FastAPI) -> TestClient:
    """Asks a service by a name that it answers to."""
    return TestClient(app, base_url="http://localhost")


@pytest.fixture(scope="session")
def client(shipped: Predictor) -> Iterator[TestClient]:
    with asking_of(create_app(shipped)) as asking:
        yield asking


@pytest.fixture(scope="session")
def address(shipped: Predictor) -> Iterator[str]:
    """The same over a socket."""
    listening = listening_on("127.0.0.1", 0)
    server = make_server(create_app(shipped), 5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)

"""`dermlens[serve]` without the extra `dicom`: a DICOM upload costs its own answer and no other."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import venv
from contextlib import ExitStack, closing
from pathlib import Path

import hostile
import pytest

from dermlens.serve.app import create_app

from .conftest import LESION, asking_of

ROOT = Path(__file__).parents[2]
FRAME = hostile.jpeg()
DICOM = hostile.dicom(64, 64, [FRAME + b"\0" * (len(FRAME) % 2)], b"1.2.840.10008.1.2.4.50")


@pytest.fixture
def blocked(tmp_path, monkeypatch):
    """No pydicom, here and in the processes that decode."""
    (tmp_path / "pydicom.py").write_text("raise ModuleNotFoundError(name='pydicom')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, name)


def upload(*contents: bytes):
    return {"files": [("file", ("x", content, "image/jpeg")) for content in contents]}


def test_a_dicom_upload_gets_a_sentence_and_its_neighbour_an_answer(shipped, blocked):
    with asking_of(create_app(shipped)) as asking:
        response = asking.post("/v1/predict", **upload(DICOM, LESION.read_bytes()))
        assert response.status_code == 200
        refused, answered = response.json()["answers"]
        assert "dicom" in refused["error"]
        assert answered["diagnosis"] == "nv"
        for address in ("/v1/predict", "/v1/explain"):
            alone = asking.post(address, **upload(DICOM))
            assert (alone.status_code, "dicom" in alone.json()["detail"]) == (422, True)


def test_with_it_the_same_upload_is_read(client):
    output = client.post("/v1/predict", **upload(DICOM, LESION.read_bytes())).json()["answers"]
    assert ["error" in one for one in output] == [False, False]
    assert "DICOM" in client.get("/v1/model").json()["takes"]["formats"]


@pytest.mark.slow
@pytest.mark.parametrize("extras", ["serve", "serve,dicom"])
def test_an_install_of_its_own_serves(extras, tmp_path):
    """From the registry, with the extras and nothing else."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", ROOT / "requirements" / "serve.txt", f"{ROOT}[{extras}]"], check=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-u", "-m", "dermlens", "serve", "--port", "0"]
    with ExitStack() as stack:
        running = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path)
        )
        stack.callback(running.terminate)
        assert running.stdout is not None
        port = next(
            int(found[1]) for line in running.stdout if (found := re.search(r"http://.+:(\d+)", line))
        )
        body, kind = hostile.form(DICOM, LESION.read_bytes())
        link = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)))
        link.request("POST", "/v1/predict", body, {"Content-Type": kind})
        output = link.getresponse()
        assert output.status == 200
        answers = json.loads(output.read())["answers"]
        assert ["error" in one for one in answers] == ["dicom" not in extras, False]
        link.request("GET", "/v1/model")
        assert ("DICOM" in json.loads(link.getresponse().read())["takes"]["formats"]) == ("dicom" in extras)

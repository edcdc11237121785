"""The container's files, where no engine runs: linted, and as closed as they say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import crossplane
import pytest
import yaml

from dermlens.serve.limits import ServeConfig

ROOT = Path(__file__).parents[1]


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "hadolint comes with the development requirements"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_file_that_is_copied_is_let_through():
    """.dockerignore forbids all and allows some."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [
        word
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == allowed
    assert all((ROOT / name).exists() for name in copied)


def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("name", ["proxy", "dermlens"])
def test_a_service_may_do_little(name):
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert all(volume.endswith(":ro") for volume in service.get("volumes", ()))


def test_the_proxy_is_for_this_machine_and_the_only_way_in():
    content = yaml.safe_load((ROOT / "compose.yaml").read_text())
    proxy, behind = content["services"]["proxy"], content["services"]["dermlens"]
    assert all(port.startswith("127.0.0.1:") for port in proxy["ports"])
    assert "ports" not in behind
    assert behind["networks"] == ["inside"]
    assert content["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("words", ["Dockerfile", "compose.yaml"])
def test_the_container_s_command_is_one_that_starts(words, dermlens, monkeypatch):
    """Behind every address it names the hosts that it answers to."""
    if words == "Dockerfile":
        line = next(one for one in (ROOT / words).read_text().splitlines() if one.startswith("CMD "))
        command = json.loads(line.removeprefix("CMD "))
    else:
        command = [
            word.replace("${DERMLENS_HOST:-localhost}", "localhost")
            for word in services()["dermlens"]["command"]
        ]
    started = []
    monkeypatch.setattr("dermlens.predict.predictor.Predictor.open", lambda *words: None)
    monkeypatch.setattr("dermlens.serve.app.create_app", lambda predictor, config: config)
    monkeypatch.setattr(
        "dermlens.serve.server.make_server",
        lambda config, seconds: SimpleNamespace(run=lambda sockets: started.append(config)),
    )
    outcome = dermlens(*("0" if word == "8000" else word for word in command))
    assert (outcome.code, len(started)) == (0, 1)
    assert "localhost" in started[0].hosts


def test_the_proxy_s_file_is_one_that_nginx_reads():
    """By nginx's own grammar: every directive in its place, with its number of words."""
    found = crossplane.parse(str(ROOT / "nginx.conf"), strict=True, catch_errors=True)
    assert (found["status"], found["errors"]) == ("ok", [])


def test_the_proxy_s_limits_are_the_service_s():
    http = next(
        one
        for one in crossplane.parse(str(ROOT / "nginx.conf"))["config"][0]["parsed"]
        if one["directive"] == "http"
    )
    directives = {one["directive"]: one["args"] for one in http["block"]}
    assert directives["client_max_body_size"] == [f"{ServeConfig().max_bytes // 2**20}m"]
    assert directives["proxy_request_buffering"] == ["on"]
    temporary = [args[0] for name, args in directives.items() if name.endswith("_temp_path")]
    assert len(temporary) == 5
    assert all(path.startswith("/tmp/") for path in temporary)

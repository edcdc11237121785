"""Whom the service answers: its own names, its own page, and those that were named."""

from __future__ import annotations

import pytest

from dermlens.serve.app import create_app
from dermlens.serve.limits import ServeConfig
from dermlens.serve.middleware import bare, is_same

from .conftest import LESION, asking_of

FORM = {"files": {"file": ("x.jpg", LESION.read_bytes(), "image/jpeg")}}


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"]
)
def test_this_machine_s_names_are_answered(client, host):
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "localhost@evil.example",
     "evil.example:127.0.0.1", "[::1", "[::2]", "0.0.0.0:8000", "*", "localhost,evil.example"],
)  # fmt: skip
@pytest.mark.parametrize("address", ["/", "/v1/model", "/health", "/metrics", "/openapi.json", "/page.js"])
def test_no_other_host_is(client, host, address):
    response = client.get(address, headers={"Host": host})
    assert (response.status_code, list(response.json())) == (400, ["detail"])
    assert "evil" not in response.text
    assert "content-security-policy" in response.headers


def test_a_host_that_is_named_is_answered(shipped):
    asking = asking_of(create_app(shipped, ServeConfig(hosts=("clinic.example",))))
    assert asking.get("/health", headers={"Host": "clinic.example:8443"}).status_code == 200
    assert asking.get("/health", headers={"Host": "localhost"}).status_code == 400


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:9999", "http://localhost.evil.example", "file://"],
)
@pytest.mark.parametrize("address", ["/v1/predict", "/v1/explain"])
def test_a_form_of_another_page_is_refused(client, origin, address):
    response = client.post(address, **FORM, headers={"Host": "localhost:8000", "Origin": origin})
    assert response.status_code == 403
    assert origin not in response.text


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:8000", "http://localhost:8000"), ("localhost", "https://localhost"), ("[::1]:8000", "http://[::1]:8000"),
     ("localhost:443", "https://localhost"), ("localhost", "http://LOCALHOST:80")],
)  # fmt: skip
def test_the_page_s_own_form_is_answered(client, host, origin):
    assert client.post("/v1/predict", **FORM, headers={"Host": host, "Origin": origin}).status_code == 200


@pytest.mark.parametrize("address", ["/v1/predict/", "/evil.example//", "/health/", "/v1//model"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_redirected(client, address, method):
    response = client.request(method, address, follow_redirects=False)
    assert response.status_code in (404, 405)
    assert "location" not in response.headers


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("A.Example.", "a.example"),
        ("a.example:80", "a.example"),
        ("[FE80::1]:80", "fe80::1"),
        ("::1", "::1"),
        (" a ", "a"),
    ],
)
def test_a_host_without_its_port(given, host):
    assert bare(given) == host


@pytest.mark.parametrize("origin", ["http://[", "", "null", "localhost", "http:localhost"])
def test_what_is_no_origin_is_of_no_page(origin):
    assert not is_same(origin, "localhost")


def test_a_service_for_everyone_needs_a_name(dermlens, monkeypatch):
    monkeypatch.setattr("dermlens.predict.predictor.Predictor.open", None)
    for host in ("0.0.0.0", "::"):
        outcome = dermlens("serve", "--host", host, "--port", 0)
        assert (outcome.code, "--allow-host" in outcome.err) == (2, True)
    for name in ("*", "http://a.example", "a.example:80", "a/b", "", "a b"):
        outcome = dermlens("serve", "--host", "0.0.0.0", "--port", 0, "--allow-host", name)
        assert (outcome.code, "--allow-host" in outcome.err) == (2, True)


def test_the_names_that_are_given_are_those_that_are_answered(dermlens, monkeypatch, shipped):
    """`--host` of an address is one of them; so are those of this machine."""
    found = []

    class Server:
        def run(self, sockets):
            pass

    def create(predictor, config):
        found.append(config.hosts)

    monkeypatch.setattr("dermlens.predict.predictor.Predictor.open", lambda *words: shipped)
    monkeypatch.setattr("dermlens.serve.app.create_app", create)
    monkeypatch.setattr("dermlens.serve.server.make_server", lambda *words: Server())
    assert (
        dermlens(
            "serve",
            "--host",
            "0.0.0.0",
            "--port",
            0,
            "--allow-host",
            "Clinic.Example",
            "--allow-host",
            "[::2]",
        ).code
        == 0
    )
    assert dermlens("serve", "--host", "127.0.0.2", "--port", 0).code == 0
    assert found[0] == ("localhost", "127.0.0.1", "::1", "clinic.example", "::2")
    assert found[1] == ("localhost", "127.0.0.1", "::1", "127.0.0.2")

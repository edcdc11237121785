"""What the service says of itself holds: schemathesis asks it whatever the description allows, and more."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance)


@pytest.fixture(scope="module")
def described(address):
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/predict", "POST"), ("/v1/explain", "POST"), ("/v1/model", "GET"), ("/health", "GET"),
        ("/ready", "GET"), ("/metrics", "GET"),
    ],
)  # fmt: skip
def test_the_description_holds(described, path, method):
    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=described[path][method].as_strategy())
    def holds(case):
        case.call_and_validate(checks=CHECKS)

    holds()


def test_every_problem_that_can_be_met_is_described(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/predict", "/v1/explain", "/v1/model", "/health", "/ready", "/metrics"}
    for address in ("/v1/predict", "/v1/explain"):
        described = paths[address]["post"]
        assert {"200", "400", "401", "408", "413", "415", "422", "503"} <= set(described["responses"])
        assert set(described["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
        assert "example" in described["responses"]["200"]["content"]["application/json"]

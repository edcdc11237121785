from __future__ import annotations

import base64
import io
import tempfile

import pytest
from PIL import Image

from dermlens.predict.answers import answer_json
from dermlens.predict.patients import Patient
from dermlens.predict.picture import Needs, Picture
from dermlens.serve.app import create_app, explained
from dermlens.serve.limits import ServeConfig

from .conftest import EXAMPLES, LESION, STRANGE, asking_of

JSON = {"Content-Type": "application/json"}
PATIENT = {"age": "60", "sex": "male", "site": "back"}


def upload(*files, **fields):
    return {"files": [("file", ("x.jpg", content, "image/jpeg")) for content in files], "data": fields}


def test_the_service_says_what_the_predictor_says(client, shipped):
    (expected,) = shipped.predict(LESION, 60, "male", "back")
    output = client.post("/v1/predict", **upload(LESION.read_bytes(), **PATIENT)).json()
    assert output["answers"] == [answer_json(expected)]
    assert output["model"] == shipped.id
    assert output["limits"] == list(shipped.limits)
    assert output["classes"]["mel"] == "melanoma"


def test_json_in_base64_is_the_same_question(client):
    content = base64.b64encode(LESION.read_bytes()).decode()
    by_json = client.post("/v1/predict", json={"images": [content], "age": 60, "sex": "male", "site": "back"})
    by_form = client.post("/v1/predict", **upload(LESION.read_bytes(), **PATIENT))
    assert by_json.json() == by_form.json()


def test_several_images_are_answered_in_their_order_and_a_bad_one_in_its_place(client, shipped):
    paths = [LESION, EXAMPLES / "b.jpg", EXAMPLES / "c.jpg"]
    contents = [path.read_bytes() for path in paths]
    output = client.post("/v1/predict", **upload(contents[0], b"text", *contents[1:])).json()["answers"]
    assert "not a JPEG, PNG, TIFF or BMP image" in output[1].pop("error")
    assert output[1] == {}
    for one, path in zip([output[0], *output[2:]], paths, strict=True):
        (alone,) = shipped.predict(path)
        assert one["p"] == pytest.approx(alone.p, abs=1e-5)
        assert one["diagnosis"] == alone.diagnosis


def test_what_seems_no_dermoscopy_gets_no_probabilities(client):
    (one,) = client.post("/v1/predict", **upload(STRANGE.read_bytes())).json()["answers"]
    assert (one["p"], one["diagnosis"], one["set"]) == (None, None, None)
    assert one["state"] == "withheld"
    assert "like dermoscopy" in one["reason"]
    assert one["dermoscopy"] < 0
    output = client.post("/v1/explain", **upload(STRANGE.read_bytes())).json()
    assert (output["answer"]["p"], output["evidence"]) == (None, None)


def test_a_withheld_answer_comes_without_those_for_less_metadata(shipped):
    picture = Picture(STRANGE)
    picture.settle(Needs.of(shipped.document))
    output = explained(shipped, picture, Patient(85, "female", "genital"))
    assert output["answer"]["p"] is None
    assert output["without"] == {}


def test_an_explanation(client, shipped):
    output = client.post("/v1/explain", **upload(LESION.read_bytes(), **PATIENT)).json()
    predicted = client.post("/v1/predict", **upload(LESION.read_bytes(), **PATIENT)).json()["answers"][0]
    assert output["answer"] == predicted
    assert list(output["evidence"]) == list(shipped.classes)
    assert {len(row) for rows in output["evidence"].values() for row in rows} == {9}
    assert list(output["without"]) == ["age", "sex", "site", "metadata"]
    (without_metadata,) = shipped.predict(LESION)
    assert output["without"]["metadata"] == answer_json(without_metadata)
    (aged,) = shipped.predict(LESION, None, "male", "back")
    assert output["without"]["age"] == answer_json(aged)
    assert client.post("/v1/explain", **upload(LESION.read_bytes())).json()["without"] == {}


def test_an_explanation_is_of_one_image(client):
    response = client.post("/v1/explain", **upload(LESION.read_bytes(), LESION.read_bytes()))
    assert (response.status_code, "2 images" in response.json()["detail"]) == (413, True)


def test_the_card(client, shipped):
    output = client.get("/v1/model").json()
    assert output["model"] == shipped.id
    assert output["measured"]["recall"]["mel"]["images"] == 167
    assert output["card"].startswith("# ")
    assert "back" in output["sites"]
    assert output["level"] == pytest.approx(0.9)


def test_health_metrics_and_what_is_not_there(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json()["status"] == "ready"
    client.post("/v1/predict", **upload(LESION.read_bytes()))
    text = client.get("/metrics").text
    assert 'dermlens_requests_total{path="/v1/predict",status="200"}' in text
    assert 'dermlens_images_total{outcome="answered"}' in text
    for address in ("/nothing", "/examples/../app.py", "/page.py", "/examples/e.jpg", "/docs", "/redoc"):
        found = client.get(address)
        assert (found.status_code, found.json()) == (404, {"detail": "there is nothing at this address"})
    wrong = client.get("/v1/predict")
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "this address is not asked in this way"})


def test_before_it_is_ready_it_says_so(shipped):
    asking = asking_of(create_app(shipped))  # whose life has not begun
    assert asking.get("/health").status_code == 200
    assert asking.get("/ready").status_code == 503


def check_headers(headers):
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "cache-control" in headers
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize("address", ["/", "/page.js", "/v1/model", "/nothing", "/health"])
def test_every_response_bears_the_headers(client, address):
    check_headers(client.get(address).headers)


def test_a_failure_is_one_sentence_with_the_headers_and_the_log_says_only_where(shipped, monkeypatch, caplog):
    def failing(*words):
        raise RuntimeError("JANE ROE")

    monkeypatch.setattr(shipped, "answers", failing)
    monkeypatch.setattr(shipped, "predict", lambda image: None)  # the warm-up
    app = create_app(shipped)
    with asking_of(app) as asking:
        response = asking.post("/v1/predict", **upload(LESION.read_bytes()))
        assert (response.status_code, response.headers["content-type"]) == (500, "application/json")
        assert response.json() == {"detail": "the service has failed at this; its log says where"}
        check_headers(response.headers)
        assert 'path="/v1/predict",status="500"' in asking.get("/metrics").text
    assert "RuntimeError in failing" in caplog.text
    assert "JANE" not in caplog.text


def test_refusals_before_the_application_bear_the_headers_too(shipped):
    config = ServeConfig(origins=("https://clinic.example",), api_key="a long secret")
    asked = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}
    with asking_of(create_app(shipped, config)) as asking:
        refused = asking.options("/v1/predict", headers=asked)
        assert refused.status_code == 403
        check_headers(refused.headers)
        keyless = asking.get("/v1/model", headers={"Origin": "https://clinic.example"})
        assert keyless.status_code == 401
        assert keyless.headers["access-control-allow-origin"] == "https://clinic.example"


def test_other_pages_may_ask_only_where_they_are_named(shipped):
    origin = {"Origin": "https://clinic.example"}
    with asking_of(create_app(shipped, ServeConfig(origins=("https://clinic.example",)))) as asking:
        assert (
            asking.get("/health", headers=origin).headers["access-control-allow-origin"] == origin["Origin"]
        )
        other = asking.get("/health", headers={"Origin": "https://other.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


def test_a_key(shipped):
    with asking_of(create_app(shipped, ServeConfig(api_key="a long secret"))) as asking:
        for given in ({}, {"X-API-Key": "a long secre"}, {"X-API-Key": "another one"}):
            refused = asking.get("/v1/model", headers=given)
            assert refused.status_code == 401
            assert "X-API-Key" in refused.json()["detail"]
        assert asking.get("/v1/model", headers={"X-API-Key": "a long secret"}).status_code == 200
        assert asking.get("/").status_code == asking.get("/health").status_code == 200


def test_limits(shipped):
    content = LESION.read_bytes()
    config = ServeConfig(max_bytes=5 * len(content) // 2, max_images=2, max_pixels=100_000)
    with asking_of(create_app(shipped, config)) as asking:
        large = asking.post("/v1/predict", **upload(content, content, content))
        assert (large.status_code, "MB" in large.json()["detail"]) == (413, True)
        chunks = (content for _ in range(9))  # without Content-Length
        assert asking.post("/v1/predict", content=chunks, headers=JSON).status_code == 413
        many = asking.post("/v1/predict", **upload(b"x", b"y", b"z"))
        assert (many.status_code, many.json()["detail"]) == (413, "3 images; a request has at most 2")
        wide = asking.post("/v1/predict", **upload(content))
        assert (wide.status_code, "400 × 300 pixels" in wide.json()["detail"]) == (422, True)


def test_more_images_than_can_ever_be_inside_are_not_told_to_come_again(shipped):
    with asking_of(create_app(shipped, ServeConfig(queue=2))) as asking:
        content = LESION.read_bytes()
        many = asking.post("/v1/predict", **upload(content, content, content))
        assert (many.status_code, many.json()["detail"]) == (413, "3 images; a request has at most 2")
        assert asking.get("/v1/model").json()["takes"]["images"] == 2
        assert asking.post("/v1/predict", **upload(content, content)).status_code == 200


def test_nothing_of_a_file_comes_back_but_the_answer(client):
    """Neither its EXIF nor its name."""
    with Image.open(LESION) as picture:
        exif = picture.getexif()
        exif[0x010E], exif[0x8298] = "JANE ROE 1961", "WARD SEVEN"
        stream = io.BytesIO()
        picture.save(stream, "JPEG", exif=exif, comment=b"JANE ROE 1961")
    for address in ("/v1/predict", "/v1/explain"):
        files = {"file": ("JANE ROE.jpg", stream.getvalue(), "image/jpeg")}
        response = client.post(address, files=files)
        assert response.status_code == 200
        assert "JANE" not in response.text
        assert "WARD" not in response.text
    assert "JANE" not in client.get("/metrics").text


def test_uploads_never_touch_the_disk(client, monkeypatch):
    """Whatever their size: no temporary file is made."""

    def forbidden(*words, **options):
        raise AssertionError("a file was made")

    stream = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(stream, "PNG")
    assert len(stream.getvalue()) > 2**21
    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", forbidden)
    assert client.post("/v1/predict", **upload(stream.getvalue())).status_code == 200

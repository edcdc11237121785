"""The service: one process, one model, a few addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from dermlens import __version__
from dermlens.errors import UserError
from dermlens.predict.answers import Answer, answer_json, heading_json
from dermlens.predict.patients import Patient, one_patient
from dermlens.predict.picture import Picture
from dermlens.predict.pictures.images import FORMATS
from dermlens.predict.predictor import Predictor
from dermlens.predict.sources.vocabulary import known_sites
from dermlens.serve import openapi
from dermlens.serve.bodies import Bodies
from dermlens.serve.engine import Engine
from dermlens.serve.limits import Metrics, Problem, ServeConfig, shortened
from dermlens.serve.middleware import Guard, Headers, Hosts
from dermlens.serve.page import page_routes

CARD = "MODEL_CARD.md"


def describe(predictor: Predictor, config: ServeConfig) -> dict[str, Any]:
    """What the model is, what was measured of it, what may be asked, and its card as it is printed."""
    document = predictor.document
    card = predictor.folder / CARD if predictor.folder is not None else None
    return heading_json(predictor, None) | {
        "network": document.backbone,
        "size": document.size,
        "crop": document.crop,
        "views": document.views.model_dump(mode="json"),
        "precision": document.onnx.precision if document.onnx is not None else None,
        "level": predictor.level,
        "sites": known_sites(),
        "measured": predictor.measured,
        "takes": {
            "bytes": config.max_bytes,
            "images": config.most_images,
            "pixels": config.max_pixels,
            "formats": [*FORMATS, "DICOM"] if find_spec("pydicom") else list(FORMATS),
        },
        "card": card.read_text(encoding="utf-8") if card is not None and card.is_file() else None,
    }


UNKNOWN = Patient()
FIELDS = ("age", "sex", "site")


def explained(predictor: Predictor, picture: Picture, patient: Patient) -> dict[str, Any]:
    """An answer, its maps, and the answers with one thing less known of the patient.

    Returns:
        `answer`; `evidence`, rows of numbers by class, what each position of the network's last map adds to
        the class's score, and `attention`, summed over heads, both over the part of the picture that `crop`
        names (none where the network has none, or the answer is withheld); `without`, the answer with age,
        sex, site or all of them (`metadata`) left out, for what is known; empty where the answer is withheld.
    """
    patient = picture.completed(patient)
    known = [field for field in FIELDS if getattr(patient, field) != getattr(UNKNOWN, field)]
    answer = _of(predictor, picture, patient)
    fewer = {field: replace(patient, **{field: getattr(UNKNOWN, field)}) for field in known}
    if known:
        fewer["metadata"] = UNKNOWN
    if answer.withheld:
        fewer = {}
    maps: dict[str, Any] = {"evidence": None, "attention": None}
    found = None if answer.withheld else predictor.evidence(picture, patient)
    if found is not None:
        maps["evidence"] = {
            code: one_HW.round(5).tolist()
            for code, one_HW in zip(predictor.classes, found.evidence_CHW, strict=True)
        }
        if found.attention_KHW is not None:
            maps["attention"] = found.attention_KHW.sum(axis=0).round(5).tolist()
    return {
        "answer": answer_json(answer),
        "crop": predictor.document.crop,
        **maps,
        "without": {name: answer_json(_of(predictor, picture, one)) for name, one in fewer.items()},
    }


def _of(predictor: Predictor, picture: Picture, patient: Patient) -> Answer:
    """Of exactly this patient: what a DICOM header adds is known, or withheld, already."""
    (found,) = predictor.answers([picture.of_nobody()], [patient])
    return found


# The service: one process, one model, a few addresses.
#
# Every response is the model's view of pictures, with its limits next to it; a picture that is too poor, or
# seems to be no dermoscopy, gets no numbers. Uploads stay in memory, and nothing of them is logged or
# sent back.


def create_app(predictor: Predictor, config: ServeConfig | None = None) -> FastAPI:
    """Build the service.

    Args:
        predictor: the model.
        config: limits; none for the usual ones.
    """
    config = config or ServeConfig()
    metrics = Metrics(predictor.id)
    engine, bodies = Engine(predictor, config, metrics), Bodies(config)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        del app
        engine.start()
        yield
        engine.stop()

    app = FastAPI(
        title="dermlens",
        version=__version__,
        description=openapi.ABOUT,
        lifespan=living,
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the client's Host
    )
    app.add_exception_handler(Problem, _problem_response)
    app.add_exception_handler(404, _nothing_there)
    app.add_exception_handler(405, _not_so)

    @app.post("/v1/predict", **openapi.PREDICT)
    async def predict(request: Request) -> JSONResponse:
        kind = _kind(request, engine)
        with ExitStack() as places:
            async with bodies.body(request) as body:
                room = places.enter_context(engine.room())
                asked = await engine.read(body, kind, config.most_images, room)
            del body  # its pictures are out of it
            patient = _patient(asked.words)
            pictures = [one for one in asked.pictures if isinstance(one, Picture)]
            if not pictures:
                metrics.answers.labels("unreadable").inc(len(asked.pictures))
                raise Problem(422, _sentence(asked.pictures))
            found = iter(await engine.answer(pictures, [patient] * len(pictures)))
        answers: list[dict[str, Any]] = []
        for one in asked.pictures:
            if isinstance(one, str):
                metrics.answers.labels("unreadable").inc()
                answers.append({"error": shortened(one)})
                continue
            answer = next(found)
            metrics.answers.labels(answer.state).inc()
            answers.append(answer_json(answer))
        return JSONResponse(heading_json(predictor, None) | {"answers": answers})

    @app.post("/v1/explain", **openapi.EXPLAIN)
    async def explain(request: Request) -> JSONResponse:
        kind = _kind(request, engine)
        with ExitStack() as places:
            async with bodies.body(request) as body:
                room = places.enter_context(engine.room())
                asked = await engine.read(body, kind, 1, room)
            del body  # its pictures are out of it
            patient = _patient(asked.words)
            (picture,) = asked.pictures
            if isinstance(picture, str):
                raise Problem(422, picture)
            found = await engine.aside(explained, predictor, picture, patient)
        return JSONResponse(heading_json(predictor, None) | found)

    @app.get("/v1/model", **openapi.MODEL)
    async def model() -> dict[str, Any]:
        return described

    @app.get("/health", **openapi.HEALTH)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", **openapi.READY)
    async def ready() -> dict[str, str]:
        if not engine.ready:
            raise Problem(503, "the model does not answer: it has not begun, or works for too long")
        return {"status": "ready", "model": predictor.id}

    @app.get("/metrics", **openapi.METRICS)
    async def measured() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    described = describe(predictor, config)
    app.include_router(page_routes())
    app.add_middleware(Guard, config=config, metrics=metrics)
    if config.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["X-API-Key", "Content-Type"],
        )
    app.add_middleware(Hosts, config=config, metrics=metrics)
    app.add_middleware(Headers)
    return app


def _kind(request: Request, engine: Engine) -> str:
    """The type of a body that can be taken apart. Raises: Problem 415; 503 while the queue is full."""
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() not in ("multipart/form-data", "application/json"):
        raise Problem(415, "send images as multipart/form-data, or as application/json in base64")
    engine.check_room()
    return given


def _patient(words: dict[str, str]) -> Patient:
    """Raises: Problem 422 when a word is not understood."""
    try:
        return one_patient(words.get("age"), words.get("sex"), words.get("site"), option="")
    except UserError as error:
        raise Problem(422, str(error)) from error


def _sentence(decoded: list[Picture | str]) -> str:
    sentences = [one for one in decoded if isinstance(one, str)]
    return (
        sentences[0]
        if len(sentences) == 1
        else f"none of {len(sentences)} images can be read: {sentences[0]}"
    )


async def _problem_response(request: Request, problem: Exception) -> JSONResponse:
    del request
    assert isinstance(problem, Problem)
    return JSONResponse({"detail": problem.sentence}, problem.status, problem.headers)


async def _nothing_there(request: Request, error: Exception) -> JSONResponse:
    del request, error
    return JSONResponse({"detail": "there is nothing at this address"}, 404)


async def _not_so(request: Request, error: Exception) -> JSONResponse:
    del request
    allowed = getattr(error, "headers", None) or {}
    return JSONResponse({"detail": "this address is not asked in this way"}, 405, allowed)

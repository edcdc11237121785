"""The service: one process, one model, a few addresses.

Every response is the model's view of pictures, with its limits beside it; a picture that seems to be no
dermoscopy gets no probabilities. Uploads stay in memory, and nothing of them is logged or sent back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from dermlens import __version__
from dermlens.deploy.pictures import Picture
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.words import answer_json, heading_json
from dermlens.serve import openapi
from dermlens.serve.asked import read_request
from dermlens.serve.config import ServeConfig
from dermlens.serve.engine import Engine
from dermlens.serve.explained import explained
from dermlens.serve.guard import Guard
from dermlens.serve.headers import Headers
from dermlens.serve.metrics import Metrics
from dermlens.serve.model import describe
from dermlens.serve.page import page_routes
from dermlens.serve.problems import Problem


def create_app(predictor: Predictor, config: ServeConfig | None = None) -> FastAPI:
    """Build the service.

    Args:
        predictor: the model.
        config: limits; none for the usual ones.
    """
    config = config or ServeConfig()
    metrics = Metrics(predictor.id)
    engine = Engine(predictor, config, metrics)

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
    )
    app.add_exception_handler(Problem, _say)
    app.add_exception_handler(404, _nothing_there)
    app.add_exception_handler(405, _not_so)

    @app.post("/v1/predict", **openapi.PREDICT)
    async def predict(request: Request) -> JSONResponse:
        asked = await read_request(request, config)
        with engine.room(len(asked.images)):
            decoded = await engine.decode(asked.images)
            pictures = [one for one in decoded if isinstance(one, Picture)]
            if not pictures:
                metrics.answers.labels("unreadable").inc(len(decoded))
                raise Problem(422, _sentence(decoded))
            found = iter(await engine.answer(pictures, [asked.patient] * len(pictures)))
        answers: list[dict[str, Any]] = []
        for one in decoded:
            if isinstance(one, str):
                metrics.answers.labels("unreadable").inc()
                answers.append({"error": one})
                continue
            answer = next(found)
            outcome = "withheld" if answer.withheld else "abstained" if answer.abstain else "answered"
            metrics.answers.labels(outcome).inc()
            answers.append(answer_json(answer))
        return JSONResponse(heading_json(predictor, None) | {"answers": answers})

    @app.post("/v1/explain", **openapi.EXPLAIN)
    async def explain(request: Request) -> JSONResponse:
        asked = await read_request(request, config)
        if len(asked.images) != 1:
            raise Problem(422, f"{len(asked.images)} images; an explanation is of one")
        with engine.room(1):
            (picture,) = await engine.decode(asked.images)
            if isinstance(picture, str):
                raise Problem(422, picture)
            found = await engine.aside(explained, predictor, picture, asked.patient)
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
    app.add_middleware(Headers)
    return app


def _sentence(decoded: list[Picture | str]) -> str:
    sentences = [one for one in decoded if isinstance(one, str)]
    return (
        sentences[0]
        if len(sentences) == 1
        else f"none of {len(sentences)} images can be read: {sentences[0]}"
    )


async def _say(request: Request, problem: Exception) -> JSONResponse:
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

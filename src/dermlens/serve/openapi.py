"""What the service says of itself at /openapi.json: bodies, answers, examples."""

from __future__ import annotations

from typing import Any

ABOUT = (
    "What a model makes of dermoscopic images. Research software, not a medical device: it diagnoses nobody. "
    "A picture that is too poor, or seems to be no dermoscopy, gets no numbers. Images stay in memory and "
    "are forgotten with the answer."
)
_PATIENT: dict[str, dict[str, Any]] = {
    "age": {"type": "string", "description": "Years, 0 to 120.", "examples": ["55"]},
    "sex": {"type": "string", "description": "female or male.", "examples": ["male"]},
    "site": {"type": "string", "description": "Where on the body, in HAM10000's words or ISIC's."},
}
_WORD = {"anyOf": [{"type": "string", "maxLength": 64}, {"type": "number"}, {"type": "null"}]}


def _body(about: str) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "array", "items": file, "description": about}, **_PATIENT},
    }
    images = {"type": "array", "minItems": 1, "items": {"type": "string", "contentEncoding": "base64"}}
    document = {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {"images": images | {"description": about}} | dict.fromkeys(_PATIENT, _WORD),
    }
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": form}, "application/json": {"schema": document}},
    }


_P = {"akiec": 0.02, "bcc": 0.02, "bkl": 0.1, "df": 0.01, "mel": 0.2, "nv": 0.64, "vasc": 0.01}
ANSWER = {
    "state": "answered",
    "sentences": [
        "Flagged at the mark that catches 95 of 100 malignant lesions (…).",
        "Most likely: melanocytic nevus (nv), 64.0 %.",
        "Cannot be ruled out either: melanoma (mel, malignant).",
    ],
    "flagged": True,
    "diagnosis": "nv",
    "name": "melanocytic nevus",
    "p": _P,
    "set": ["nv", "mel"],
    "level": 0.9,
    "suspicion": 0.22,
    "melanoma": 0.2,
    "ood": -3.1,
    "dermoscopy": 6.2,
    "reason": "",
    "remedy": "",
    "quality": [],
    "prior": "specialist",
    "model": "mobilenet_v2-192-8298c6f25f7a",
}
_HEADING = {
    "model": ANSWER["model"],
    "classes": {"mel": "melanoma", "nv": "melanocytic nevus"},
    "malignant": ["mel"],
    "premalignant": [],
    "limits": ["Research software, not a medical device: …"],
    "prior": {"name": "specialist", "words": "a specialist practice …", "shares": {"mel": 0.2, "nv": 0.8}},
    "marks": [{"catches": 0.95, "threshold": 0.04, "source": "clinic", "benign_flagged": 0.4}],
}


def _nullable(kind: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}]}


_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_ANSWER = {
    "type": "object",
    "required": list(ANSWER),
    "properties": {
        "state": {"enum": ["answered", "uncertain", "withheld"]}
        | {"description": "Uncertain: the model abstains, its numbers stay. Withheld: there are none."},
        "sentences": {
            "type": "array",
            "items": _TEXT,
            "description": "All of it in sentences, the headline first.",
        },
        "flagged": _nullable({"type": "boolean"})
        | {"description": "Whether the suspicion reaches the mark; null without one, or where withheld."},
        "diagnosis": _nullable(_TEXT) | {"description": "The most probable class."},
        "name": _nullable(_TEXT),
        "p": _nullable({"type": "object", "additionalProperties": _NUMBER})
        | {"description": "Probabilities in the case mix `prior`, of sum 1; null where withheld."},
        "set": _nullable({"type": "array", "items": _TEXT}),
        "level": _nullable(_NUMBER),
        "suspicion": _nullable(_NUMBER)
        | {"description": "Probability of any malignant class at a reference prior that nothing moves."},
        "melanoma": _nullable(_NUMBER),
        "ood": _nullable(_NUMBER),
        "dermoscopy": _nullable(_NUMBER)
        | {"description": "Below 0 where it does not look like dermoscopy; null where that is not known."},
        "reason": _TEXT,
        "remedy": _TEXT,
        "quality": {"type": "array", "items": _TEXT},
        "prior": _TEXT,
        "model": _TEXT,
    },
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
_HEADED = {
    "model": _TEXT,
    "classes": {"type": "object", "additionalProperties": _TEXT},
    "limits": {"type": "array", "items": _TEXT},
    "premalignant": {"type": "array", "items": _TEXT},
    "prior": _nullable({"type": "object", "description": "Name, words and shares of the case mix."}),
    "marks": {"type": "array", "items": {"type": "object"}},
}
_MAP = {"type": "array", "items": {"type": "array", "items": _NUMBER}}
_PROBLEM = {"type": "object", "required": ["detail"], "properties": {"detail": _TEXT}}


def _response(about: str, schema: dict[str, Any], example: Any = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": about, "content": {"application/json": content}}


_PROBLEMS = {
    status: _response(about, _PROBLEM, {"detail": "the file is empty (0 bytes), not an image"})
    for status, about in {
        400: "The request is damaged, or to a host that the service does not answer to.",
        401: "The service wants a key.",
        408: "The request took too long to arrive.",
        413: "Too many bytes or images.",
        415: "Neither a form nor JSON.",
        422: "No image that can be read, or a patient that is not understood.",
        403: "A page of another host asks.",
        500: "The service has failed.",
        503: "The service is full, or the answer took too long.",
    }.items()
}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _asked(
    summary: str, images: str, about: str, properties: dict[str, Any], example: dict[str, Any]
) -> dict[str, Any]:
    """An operation that takes images and answers with the model's heading and more."""
    answer = _response(about, _object(_HEADED | properties), _HEADING | example)
    return {
        "summary": summary,
        "openapi_extra": {"requestBody": _body(images)},
        "responses": {200: answer, **_PROBLEMS},
    }


PREDICT = _asked(
    "What the model makes of images",
    "One image or several; the answers are in their order.",
    "An answer, or an error, for each image.",
    {"answers": {"type": "array", "items": {"anyOf": [_ANSWER, _ERROR]}}},
    {"answers": [ANSWER]},
)
EXPLAIN = _asked(
    "Where in an image an answer comes from, and what it owes to age, sex and site",
    "One image.",
    "The answer, what each position adds to each class's score, and the answers with less known.",
    {
        "answer": _ANSWER,
        "crop": {"enum": ["center", "squash"]},
        "evidence": _nullable({"type": "object", "additionalProperties": _MAP}),
        "attention": _nullable(_MAP),
        "without": {"type": "object", "additionalProperties": _ANSWER},
    },
    {
        "answer": ANSWER,
        "crop": "center",
        "evidence": {"mel": [[0.1, 0.3], [0, 0.2]]},
        "attention": None,
        "without": {"metadata": ANSWER},
    },
)
MODEL: dict[str, Any] = {
    "summary": "The model's card",
    "responses": {200: _response("The card.", _object(_HEADED)), 401: _PROBLEMS[401]},
}
HEALTH: dict[str, Any] = {
    "summary": "Whether the process lives",
    "responses": {200: _response("It does.", _object({"status": _TEXT}), {"status": "ok"})},
}
READY: dict[str, Any] = {
    "summary": "Whether the model answers",
    "responses": {
        200: _response("It does.", _object({"status": _TEXT, "model": _TEXT})),
        503: _PROBLEMS[503],
    },
}
METRICS: dict[str, Any] = {
    "summary": "Counters for Prometheus",
    "responses": {200: {"description": "Its text format.", "content": {"text/plain": {"schema": _TEXT}}}},
}

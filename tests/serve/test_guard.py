"""How much of a body is in memory, as it comes in and once its images are taken out."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc

import pytest
from starlette.requests import Request

from dermlens.serve.asked import read_request
from dermlens.serve.config import ServeConfig
from dermlens.serve.guard import Guard
from dermlens.serve.metrics import Metrics

IMAGE = bytes(6 * 2**20)
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + IMAGE + b"\r\n--b--\r\n"
JSON = json.dumps({"images": [base64.b64encode(IMAGE).decode()]}).encode()


@pytest.mark.parametrize(
    ("body", "kind", "most"),
    [(FORM, "multipart/form-data; boundary=b", 2.5), (JSON, "application/json", 4.2)],
    ids=["form", "json"],
)
def test_a_body_is_let_go_of_as_it_is_read(body, kind, most):
    """What stays is the image, and on the way to it nothing is held that has been read already."""
    held = []

    async def application(scope, receive, send):
        asked = await read_request(Request(scope, receive), ServeConfig())
        assert asked.images == (IMAGE,)
        held.append(tracemalloc.get_traced_memory()[0])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask():
        begins = iter(range(0, len(body), 2**16))

        async def receive():
            begin = next(begins)
            return {
                "type": "http.request",
                "body": body[begin : begin + 2**16],
                "more_body": begin + 2**16 < len(body),
            }

        async def send(message):
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/predict",
            "headers": [(b"content-type", kind.encode())],
        }
        await Guard(application, ServeConfig(), Metrics("test"))(scope, receive, send)

    tracemalloc.start()
    try:
        asyncio.run(ask())
        assert held[0] < 1.2 * len(IMAGE)
        assert tracemalloc.get_traced_memory()[1] < most * len(IMAGE)
    finally:
        tracemalloc.stop()

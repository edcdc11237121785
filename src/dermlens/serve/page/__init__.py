"""The page: plain files, sent as they are."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "jpg": "image/jpeg",
    "svg": "image/svg+xml",
}
FILES = ("page.js", "page.css", "pico.classless.min.css", "icon.svg")
EXAMPLES = tuple(f"examples/{name}.jpg" for name in ("a", "b", "c", "d"))


def page_routes() -> APIRouter:
    """The page at `/`, and each of its files under its own name; nothing else can be named."""
    routes, here = APIRouter(include_in_schema=False), files(__name__)

    def add(address: str, name: str) -> None:
        content = here.joinpath(*name.split("/")).read_bytes()
        kind = KINDS[name.rpartition(".")[2]]

        async def send() -> Response:
            return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

        routes.add_api_route(address, send, methods=["GET", "HEAD"])

    add("/", "index.html")
    for name in (*FILES, *EXAMPLES):
        add(f"/{name}", name)
    return routes

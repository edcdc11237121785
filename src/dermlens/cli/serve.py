"""The verb that serves: a model, its page and its API."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import Annotated

import typer

from dermlens.cli.app import Threads, app, console
from dermlens.errors import UserError, require

LEAST_KEY = 8
NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,20}", re.ASCII)
SECONDS, MEGABYTES = (1, 3600), (0.1, 1024)
"""The least and the most that may be asked for."""


@app.command()
def serve(
    model: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Another model than the one that ships.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    queue: Annotated[int, typer.Option(min=1, help="Images inside at once; 503 beyond.")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="Images the network looks at together.")] = 8,
    seconds: Annotated[float, typer.Option(help="A request may take.")] = 30.0,
    max_megabytes: Annotated[float, typer.Option(help="Of a request.")] = 32.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A host name or address that requests may be made to, beside this machine's."
        ),
    ] = None,
    threads: Threads = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A page of another host that may ask (CORS).")
    ] = None,
) -> None:
    """Serve a model: a page for people, an API for programs. Research software, not a medical device.

    A key that clients must send as X-API-Key is taken from the environment: DERMLENS_API_KEY.
    """
    for module in ("uvicorn", "fastapi", "python_multipart", "prometheus_client"):
        require(module, "serve")
    from dermlens.deploy.predictor import Predictor
    from dermlens.serve.app import create_app
    from dermlens.serve.config import LOOPBACK, ServeConfig
    from dermlens.serve.server import listening_on, make_server

    _check_range("--seconds", seconds, SECONDS)
    _check_range("--max-megabytes", max_megabytes, MEGABYTES)
    key = os.environ.get("DERMLENS_API_KEY") or None
    if key is not None and len(key) < LEAST_KEY:
        raise UserError(f"DERMLENS_API_KEY has {len(key)} characters; {LEAST_KEY} are the fewest")
    config = ServeConfig(
        queue=queue,
        batch=batch,
        seconds=seconds,
        max_bytes=int(max_megabytes * 2**20),
        api_key=key,
        hosts=(*LOOPBACK, *map(_host, allow_host or ())),
        origins=tuple(origin or ()),
    )
    with listening_on(host, port) as listening:
        everywhere = _is_everywhere(listening)
        if everywhere and not allow_host:
            raise UserError(
                f"--host {host} listens on every address: name the hosts that clients ask for, such as"
                " --allow-host clinic.example; under any other name the service does not answer"
            )
        if not everywhere:
            config = config.model_copy(update={"hosts": (*config.hosts, host.lower())})
        service = create_app(Predictor.open(model, threads), config)
        if not _is_local(host) and key is None:
            console.print("anyone who reaches this address may ask: set DERMLENS_API_KEY to keep others out")
        shown = f"[{host}]" if ":" in host else host
        console.print(f"listening on http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends it)")
        make_server(service, seconds).run(sockets=[listening])


def _check_range(option: str, value: float, bounds: tuple[float, float]) -> None:
    least, most = bounds
    if not least <= value <= most:
        raise UserError(f"{option} is {value:g}; it is {least} to {most}")


def _is_everywhere(listening: socket.socket) -> bool:
    address = ipaddress.ip_address(listening.getsockname()[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_unspecified or (mapped is not None and mapped.is_unspecified)


def _host(given: str) -> str:
    """A name or an address without port. Raises: UserError when it is neither."""
    bare = given.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if not NAME.fullmatch(bare):
            raise UserError(
                f"--allow-host {given} is no host name: give one as it stands in the address, without scheme,"
                " port or *"
            ) from None
    return bare


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

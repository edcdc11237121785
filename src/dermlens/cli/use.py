"""Verbs that use a model, without torch: predict, merge, embed, segment, serve."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from dermlens.cli.app import console, fits, warn
from dermlens.cli.options import (
    Age,
    CaseMix,
    Columns,
    Json,
    Model,
    Sex,
    Site,
    Threads,
    ValueMaps,
    out_file,
    out_folder,
    source_maps,
)
from dermlens.errors import UserError, require

# The verb that answers: from the base install, without network.


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, or folders of them.")],
    age: Age = None,
    sex: Sex = None,
    site: Site = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Age, sex and site, a row an image; with lesion_id, one answer a lesion over its images.",
        ),
    ] = None,
    column: Columns = None,
    value: ValueMaps = None,
    model: Model = None,
    prior: CaseMix = None,
    out: Annotated[Path | None, out_file("FILE.csv, FILE.json or FILE.parquet.")] = None,
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Classify images of skin lesions. Research software, not a medical device.

    A job that was interrupted goes on when the same command is given again; with --out, that is.
    """
    from dermlens.predict.answers import heading_json
    from dermlens.predict.journal import work_off
    from dermlens.predict.outputs import notes, render_answers
    from dermlens.predict.patients import one_patient, read_request
    from dermlens.predict.predictor import Predictor
    from dermlens.predict.priors import parse_prior
    from dermlens.targets import check_apart

    if table is not None and (age or sex or site):
        raise UserError("--table has age, sex and site of each image: leave --age, --sex and --site out")
    maps = source_maps(column, None, value, None)
    if table is None and (column or value):
        raise UserError("--column and --value say how --table is read: name one")
    asked = read_request(images, one_patient(age, sex, site), table, maps["columns"], maps["values"])
    if out is not None:
        check_apart(out, [*asked.images.values(), *([] if table is None else [table])])
    for doubt in asked.doubts:
        warn(doubt)
    predictor = Predictor.open(model, threads)
    shares = None if prior is None else parse_prior(prior, predictor.classes)
    found = work_off(predictor, asked, shares, out, warn, listed=as_json)
    for sentence in found.unreadable.values():
        warn(sentence)
    if as_json:
        answers = {"answers": found.listed, "unreadable": found.unreadable}
        _print_json(heading_json(predictor, shares) | answers)
    elif found.written:
        states, unit = found.written, "lesions" if asked.lesion_of else "images"
        console.print(
            f"written: {out}, {states.total()} {unit}; uncertain: {states['uncertain']}, withheld:"
            f" {states['withheld']}"
        )
        for note in notes(predictor, shares):
            console.print(note)
    elif found.answers:
        console.print(render_answers(predictor, found.answers, shares))
    if found.unreadable:
        raise typer.Exit(2)


def merge(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE FILE…", help="Answers of parts of a job, all CSV or all JSON."),
    ],
    out: Annotated[Path, out_file("FILE.csv or FILE.json, as the parts are.")],
) -> None:
    """Join the answers of several parts of a job into one file; parts that disagree are refused."""
    from dermlens.predict.outputs import merge as join

    console.print(f"written: {out}, {join(files, out)} answers")


# The verb that hands features over: from the base install, too.


def embed(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, or folders of them.")],
    out: Annotated[Path, out_file("FILE.npz or FILE.parquet.")],
    model: Model = None,
    threads: Threads = None,
) -> None:
    """Write what a network sees in images, as numbers, for methods of your own.

    The features are of the image alone: age, sex and site have no part in them.
    """
    from dermlens.predict import outputs
    from dermlens.predict.patients import find_images
    from dermlens.predict.predictor import Predictor
    from dermlens.targets import check_apart

    outputs.check_format(out)
    check_apart(out, find_images(images).images.values())
    found = outputs.embed(Predictor.open(model, threads), images)
    for sentence in (*found.doubts, *found.unreadable.values()):
        warn(sentence)
    outputs.write_features(out, found)
    count, width = found.features_ND.shape
    console.print(f"written: {out}, {count} images, {width} features each")
    if found.unreadable:
        raise typer.Exit(2)


def _print_json(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if not fits(text):
        text = json.dumps(document, indent=2)
    print(text.encode(errors="backslashreplace").decode())  # a folder's name may be no text


def segment(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Images, or folders of them.")],
    model: Annotated[
        Path,
        typer.Option(
            "--model", metavar="DIR", help="The segmenter, such as models/segmenter of the repository."
        ),
    ],
    out: Annotated[Path, out_folder("The folder of masks to write.")],
    as_json: Json = False,
    threads: Threads = None,
) -> None:
    """Write the lesion mask of each image. Research software, not a medical device.

    A mask is a PNG of 0 and 255 in the image's own size, <image>_segmentation.png; masks.csv in the same
    folder has what each shows. A job that was interrupted goes on when the same command is given again.
    """
    from dermlens.predict.masks import TABLE, MaskFolder, job_json, write_masks
    from dermlens.predict.outputs import progress
    from dermlens.predict.patients import find_images
    from dermlens.predict.segmenter import LIMITS, Segmenter

    found = find_images(images)
    for doubt in found.doubts:
        warn(doubt)
    segmenter = Segmenter.load(model, threads)
    unreadable = dict[str, str]()
    with MaskFolder(out, segmenter, found.images) as folder:
        if folder.done:
            warn(f"going on where {folder.journal} ends: {len(folder.done)} images are done")
        left = len(found.images) - len(folder.done)
        try:
            for image_id, one in progress(write_masks(segmenter, found.images, folder), left):
                if isinstance(one, str):
                    unreadable[image_id] = one
        except KeyboardInterrupt:
            kept = f"{len(folder.done)} masks are kept in {out}"
            raise KeyboardInterrupt(f"interrupted; {kept}") from None
        folder.finish()
    unreadable |= found.unreadable
    for sentence in unreadable.values():
        warn(sentence)
    if as_json:
        _print_json(job_json(segmenter, folder, unreadable))
    elif folder.done:
        masks = folder.masks
        empty, cut = sum(one.empty for one in masks), sum(one.touches_border for one in masks)
        console.print(
            f"written: {out}, {len(masks)} masks and {TABLE}; without a lesion: {empty}, touching the border:"
            f" {cut}"
        )
        for limit in LIMITS:
            console.print(limit)
    if unreadable:
        raise typer.Exit(2)


LEAST_KEY = 8
NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,20}", re.ASCII)
SECONDS, MEGABYTES = (1, 3600), (0.1, 1024)
"""The least and the most that may be asked for."""


def serve(
    model: Model = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    queue: Annotated[int, typer.Option(min=1, help="Images inside at once; 503 beyond.")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="Images the network looks at together.")] = 8,
    seconds: Annotated[float, typer.Option(help="A request may take.")] = 30.0,
    max_megabytes: Annotated[float, typer.Option(help="Of a request.")] = 32.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A host name or address that requests may be made to, as well as this machine's.",
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
    from dermlens.predict.predictor import Predictor
    from dermlens.serve.app import create_app
    from dermlens.serve.limits import LOOPBACK, ServeConfig
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

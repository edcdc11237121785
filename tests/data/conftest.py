"""Predictions as a run writes them, and a server that fails in the ways servers fail."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from scored_runs import make_predictions as make_predictions

from dermlens.data.download import RemoteFile


@dataclass
class Server:
    """What the server gives, how it fails, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    retry_after: str = "0"
    ranges: bool = True
    etag: str | None = '"one"'
    stall: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    address: str = ""

    def remote(self, name: str, body: bytes) -> RemoteFile:
        """Serve a file; what `sources` would say of it."""
        self.files[f"/{name}"] = body
        md5, sha256 = hashlib.md5(body).hexdigest(), hashlib.sha256(body).hexdigest()
        return RemoteFile(name, (self.address,), f"/{name}", len(body), md5, sha256)


class Handler(BaseHTTPRequestHandler):
    """One request; every list of failures is consumed from its front."""

    def do_GET(self):
        state: Server = self.server.state
        state.asked.append((self.path, self.headers.get("Range")))
        if state.answers and (code := state.answers.pop(0)) != 200:
            self.send_response(code)
            self.send_header("Retry-After", state.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path in state.redirects:
            self.send_response(303)
            self.send_header("Location", state.address + state.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = state.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted and state.ranges and condition in (None, state.etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if state.etag:
            self.send_header("ETag", state.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + state.cut_after.pop(0) if state.cut_after else len(body)
        state.sent += len(body[start:end])  # before, since the client may look as soon as it has all
        self.wfile.write(body[start:end])
        self.wfile.flush()
        if state.stall and end < len(body):
            time.sleep(20)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.state = Server(address=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server.state
    server.shutdown()
    server.server_close()

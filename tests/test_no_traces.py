"""`predict` and `serve` write no file that was not asked for and open no socket but the service's own.

The system calls are read by strace, because what a library does in C no Python hook sees. ONNX Runtime from
1.29 on writes into HOME at once, and asks for its makers' host after ten seconds.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.resources import files
from pathlib import Path

import pytest

import dermlens

PICTURE = Path(str(files("dermlens.serve.page"))) / "examples" / "a.jpg"
WRITES = re.compile(r'open(?:at)?\(.*?"([^"]*)".*(?:O_WRONLY|O_RDWR|O_CREAT)')
STRACE = shutil.which("strace")
CALLS = (
    "trace=socket,connect,bind,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat"
)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def environment(home):
    ours = str(Path(dermlens.__file__).parents[1])
    places = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": ours}
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"} | places


def closed_network() -> list[str]:
    """What starts a command without any network, where the system lets us."""
    words = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*words, "true"], check=False).returncode == 0:
        return words
    return []


def traced(log: Path, *words: object) -> list[str]:
    return [str(STRACE), "-f", "-qq", "--seccomp-bpf", "-e", CALLS, "-o", str(log), *map(str, words)]


def said_of(log: Path) -> tuple[list[str], list[str]]:
    """The files that were opened for writing or made, and the calls that concern sockets."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if "= -1 " not in line]
    files = [match[1] for line in lines if (match := WRITES.search(line))]
    made = [line for line in lines if re.search(r"\b(mkdir|rename|symlink|creat)\w*\(", line)]
    return [name for name in files if not name.startswith("/dev/")] + made, [
        line for line in lines if re.search(r"\b(socket|connect|bind)\(", line)
    ]


DERMLENS = (sys.executable, "-m", "dermlens")


def test_predict_leaves_an_empty_home_empty_and_needs_no_network(home, environment):
    done = subprocess.run(
        [*closed_network(), *DERMLENS, "predict", PICTURE, "--json"],
        env=environment, cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert '"diagnosis"' in done.stdout
    assert list(home.rglob("*")) == []


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_predict_writes_its_output_alone_and_opens_no_socket(home, environment, tmp_path):
    words = traced(tmp_path / "log", *DERMLENS, "predict", PICTURE, "--out", tmp_path / "answers.csv")
    subprocess.run(words, env=environment, cwd=home, capture_output=True, check=True)
    written, sockets = said_of(tmp_path / "log")
    assert sockets == []
    assert written
    assert all("answers.csv" in one for one in written)


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("seconds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_serve_writes_nothing_and_opens_its_own_socket_alone(home, environment, tmp_path, seconds):
    words = traced(tmp_path / "log", *DERMLENS, "serve", "--port", 0)
    body = json.dumps({"images": [base64.b64encode(PICTURE.read_bytes()).decode()]}).encode()
    kind = {"Content-Type": "application/json"}
    with subprocess.Popen(
        words, env=environment, cwd=home, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as service:
        try:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", service.stdout.readline())
            assert found
            for _ in range(3):
                asked = urllib.request.Request(f"http://127.0.0.1:{found[1]}/v1/predict", body, kind)
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    assert answer.status == 200
            time.sleep(seconds)
        finally:
            os.killpg(service.pid, signal.SIGINT)
    written, sockets = said_of(tmp_path / "log")
    assert written == []
    inet = [line for line in sockets if "AF_UNIX" not in line]
    assert not [line for line in inet if "connect(" in line]
    assert all(re.search(r"socket\(AF_INET6?, SOCK_STREAM|bind\(.*127\.0\.0\.1", line) for line in inet), inet
    assert list(home.rglob("*")) == []

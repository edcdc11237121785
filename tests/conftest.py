"""What several tests share: where the real images are, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from command import exit_code
from hypothesis import settings

settings.register_profile("any machine", deadline=None, max_examples=40)  # a busy one is slow, not wrong
settings.load_profile("any machine")


SLOW = Path(__file__).with_name("slow.txt")
"""Tests that took more than fifteen seconds when last timed, a line each: `make test-slow` runs them."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = set(SLOW.read_text(encoding="utf-8").splitlines())
    for item in items:
        if item.nodeid in slow:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _no_power_fails() -> Iterator[None]:
    """Nothing that a test writes must outlive the machine, so that none waits for its disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


class Said(NamedTuple):
    """How a command ended, and what it wrote on both streams."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that DERMLENS_DATA names; tests that need it are skipped where it is not set."""
    named = os.environ.get("DERMLENS_DATA")
    if not named:
        pytest.skip("DERMLENS_DATA is not set: it names the folder with the real images (ham10000/ inside)")
    return Path(named)


@pytest.fixture(scope="session")
def ham10000(data_root: Path) -> Path:
    """The HAM10000 folder."""
    folder = data_root / "ham10000"
    if not folder.is_dir():
        pytest.skip(f"DERMLENS_DATA has no ham10000 folder: {folder}")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a pixel cache of the tests' own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def loaded() -> Callable[..., set[str]]:
    """Which of some modules a fresh interpreter has loaded after a statement."""

    def run(statement: str, *modules: str) -> set[str]:
        program = f"import sys; {statement}; print(*(m for m in {modules!r} if m in sys.modules))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return set(done.stdout.splitlines()[-1].split())

    return run


@pytest.fixture
def dermlens(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line in this process."""

    def run(*words: object) -> Said:
        capsys.readouterr()
        return Said(exit_code(*words), *capsys.readouterr())

    return run

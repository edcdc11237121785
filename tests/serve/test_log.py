"""A log that nobody can flood, and that repeats nothing of what a client says."""

from __future__ import annotations

import io
import logging

import pytest

from dermlens.serve import middleware as module
from dermlens.serve.middleware import LONGEST_LINE, MOST_KINDS, OneLine, RateLimit


@pytest.fixture
def written():
    """A logger, its lines, and a clock to set."""
    logger, stream, clock = logging.Logger("test"), io.StringIO(), [0.0]
    handler = logging.StreamHandler(stream)
    handler.addFilter(RateLimit(lambda: clock[0]))
    handler.setFormatter(OneLine())
    logger.addHandler(handler)
    return logger, lambda: stream.getvalue().splitlines(), clock


def test_a_kind_is_written_once_a_minute_with_the_count_of_the_rest(written):
    logger, lines, clock = written
    for number in range(1001):
        if number == 1000:
            clock[0] += module.MINUTE
        logger.error("failure %d", number)
    first, second = lines()
    assert "failure 0" in first
    assert "failure 1000" in second
    assert "999 more" in second


def test_two_kinds_are_counted_apart(written):
    logger, lines, _ = written
    for _ in range(5):
        logger.error("one")
        logger.error("other")
    assert len(lines()) == 2


def test_the_kinds_themselves_are_limited(written):
    logger, lines, _ = written
    for number in range(10 * MOST_KINDS):
        logger.handle(logging.LogRecord("test", logging.ERROR, f"file{number}", number, "text", (), None))
    assert len(lines()) == MOST_KINDS + 1


def test_a_line_is_one_of_bounded_length_and_without_an_error_s_words(written):
    logger, lines, _ = written
    try:
        raise ValueError("JANE ROE\n" * 1000)
    except ValueError:
        logger.exception("it failed\n\x1b[31m%s", "x" * 100_000)
    (line,) = lines()
    assert len(line) < LONGEST_LINE + 100
    assert "\x1b" not in line
    assert "JANE" not in line


def test_whatever_runs_the_service_goes_the_same_way(capsys):
    names = module.LOGGERS
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in names}
    try:
        module.configure()
        for name in ("uvicorn.error", "asyncio", "dermlens.serve.middleware"):
            for _ in range(100):
                logging.getLogger(name).error("again and again")
        assert len(capsys.readouterr().err.splitlines()) == 1
    finally:
        for name, (handlers, level) in before.items():
            logging.getLogger(name).handlers[:] = handlers
            logging.getLogger(name).setLevel(level)

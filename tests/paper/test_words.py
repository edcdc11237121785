"""The plan as text: hours that nobody measured are unknown, never nought."""

from __future__ import annotations

import pytest
from rich.console import Console

from paper.plan import Planned, hours_left, say_hours
from paper.publication import render_plan
from paper.study import Job


def planned(state, hours, note=""):
    return Planned(
        Job(f"probes/{state.replace(' ', '_')}_{hours}", "probe", "probes", "x"), state, hours, note
    )


def plan_text(*rows):
    console = Console(width=150)
    with console.capture() as capture:
        console.print(render_plan(rows))
    return capture.get()


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        ((), "0.0 hours"),
        ((None, None), "unknown"),
        ((None, 1.0, 0.5), "1.5 hours, and unknown for 1 run"),
        ((2.0, None, None), "2.0 hours, and unknown for 2 runs"),
        ((2.0,), "2.0 hours"),
    ],
)
def test_hours_of_what_is_to_do(hours, words):
    rows = [planned("to do", one) for one in hours]
    elsewhere = [planned("done", 0.0), planned("needs a GPU", 100.0), planned("needs a GPU", None)]
    assert say_hours(*hours_left([*rows, *elsewhere])) == words


def test_a_plan_that_nobody_measured_shows_no_hours():
    text = plan_text(planned("to do", None), planned("needs a GPU", None), planned("failed", None, "broken"))
    lines = text.splitlines()
    assert sum("unknown" in line for line in lines[:4]) == 3
    assert "one run after the other: unknown." in text
    assert "0.0" not in text


def test_the_plan_says_what_its_hours_count_and_keeps_to_its_four_states():
    text = plan_text(
        planned("done", 0.0), planned("to do", 0.01, "running; 1 of 3 folds"), planned("to do", 1.25)
    )
    done, running, waiting = text.splitlines()[1:4]
    assert done.split() == ["probes/done_0.0", "done"]
    assert " ".join(running.split()) == "probes/to_do_0.01 to do < 0.1 running; 1 of 3 folds"
    assert " ".join(waiting.split()) == "probes/to_do_1.25 to do 1.2"
    assert "3 runs: 1 done, 2 to do." in text
    assert "Hours: what is left of a run" in text

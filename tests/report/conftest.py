"""Fixtures that these tests share with others."""

from scored_runs import drawn as drawn
from scored_runs import fake_run as fake_run
from scored_runs import new_run as new_run

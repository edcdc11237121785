"""Fixtures that these tests share with others."""

from scored_runs import drawn as drawn
from scored_runs import make_predictions as make_predictions

"""Fixtures that these tests share with others."""

from tiny_runs import half as half
from tiny_runs import plain as plain
from tiny_runs import tiny_data as tiny_data
from tiny_runs import tiny_recipe as tiny_recipe
from tiny_runs import train as train

"""Fixtures that these tests share with others."""

from decisions import world as world

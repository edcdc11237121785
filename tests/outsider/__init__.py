"""Somebody else's package: it knows dermlens, and dermlens does not know it."""

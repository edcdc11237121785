"""Fixtures that these tests share with others."""

from decisions import world as world
from saved_models import exported as exported
from saved_models import lesions as lesions

"""Fixtures that these tests share with others."""

from engines import fake as fake
from engines import run as run
from saved_models import exported as exported
from saved_models import no_export as no_export

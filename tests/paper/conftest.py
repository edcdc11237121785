"""Fixtures that these tests share with others."""

from tiny_studies import data as data
from tiny_studies import predictions as predictions
from tiny_studies import recipe as recipe
from tiny_studies import whole as whole

"""Bounds that several requests share."""

from attrs.validators import deep_iterable

from ralo_core.identifiers import identifier
from ralo_core.options.checks import between

MOST = 2**53
"""More than there are of anything: JSON can say infinity, and a sum would not get rid of it."""

amount = between(0, MOST)
identifiers = deep_iterable(identifier)

"""Synthetic people: the embedded default data set, so that everything runs with no download.

Rendered articulated people with real JPEGs and with annotations in all four formats that the
project reads, in their usual layout below one root. Deterministic from a seed and
``RENDERED_PEOPLE``, their result version.
"""

from hevitpose.data.synthetic.driver import (
    expected_fingerprint,
    fingerprint,
    generate,
    is_complete,
    read_marker,
)
from hevitpose.data.synthetic.sheet import contact_sheet

__all__ = [
    "contact_sheet",
    "expected_fingerprint",
    "fingerprint",
    "generate",
    "is_complete",
    "read_marker",
]

"""Names of robustness conditions and how far their levels go; what they do is in
:mod:`hevitpose.evaluation.conditions`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hevitpose.errors import UsageError, unknown_name

#: The corruptions of Hendrycks & Dietterich (ICLR 2019), in the order of their Table 1.
CORRUPTIONS = (
    *("gaussian-noise", "shot-noise", "impulse-noise"),
    *("defocus-blur", "glass-blur", "motion-blur", "zoom-blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic-transform", "pixelate", "jpeg-compression"),
)
SEVERITIES = 5  # of a corruption, as Hendrycks & Dietterich define them
#: Condition to its highest level. Level 0 of every condition is the plain evaluation.
LEVELS = dict.fromkeys(CORRUPTIONS, SEVERITIES) | {
    "box-jitter": 3,
    "resolution": 2,
    "occluders": 3,
    "flip": 1,
    "grey": 1,
}


class Condition(NamedTuple):
    """A condition at a level above 0."""

    name: str
    level: int

    def __str__(self) -> str:
        return f"{self.name}:{self.level}"


def parse_condition(text: str) -> Condition | None:
    """Read ``NAME:LEVEL``.

    Returns:
        None at level 0, which is the plain evaluation.

    Raises:
        UsageError: an unknown name, or a level that the condition does not have.
    """
    name, _, level = text.partition(":")
    if name not in LEVELS:
        raise unknown_name("condition", name, LEVELS)
    if not re.fullmatch("[0-9]", level) or int(level) > LEVELS[name]:
        raise UsageError(
            f"condition {text!r}: expected {name}:LEVEL, LEVEL from 0 to {LEVELS[name]}"
        )
    return Condition(name, int(level)) if int(level) else None

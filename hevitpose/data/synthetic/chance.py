"""Weighted choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def pick(rng: np.random.Generator, table: Sequence[tuple[T, float]]) -> T:
    """A value of (value, probability) pairs; probabilities sum to 1.

    A picture makes dozens of such choices; ``Generator.choice`` takes ten times as long.
    """
    left = rng.random()
    for value, weight in table:
        left -= weight
        if left < 0:
            return value
    return table[-1][0]  # the sum fell short of 1 by rounding

"""Do the effects of several factors add up? The F test of their interactions.

Two models of one grid: a level per cell, or a sum of one effect a factor; both with an effect a
seed, as in :mod:`hevitpose.evaluation.statistics`. What the second leaves unexplained of the first
is interaction. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from hevitpose.evaluation.dunnett import ALPHA


@dataclass(frozen=True)
class FTest:
    """An F test."""

    f: float
    degrees: tuple[int, int]  # of what is tested, of the error
    p: float

    @property
    def shown(self) -> bool:
        """Whether it is significant."""
        return self.p < ALPHA


def interaction(
    cells: Mapping[str, Mapping[int, float]], factors: Mapping[str, Sequence[str]]
) -> FTest | None:
    """Tests that the factors' effects add up, all interactions together.

    Args:
        cells: name -> seed -> metric; they need not be complete, nor of equal n.
        factors: name of a cell -> its level of each factor, in one order.

    Returns:
        None where nothing can be told: no two factors vary together, or nothing is left to
        estimate the error from.
    """
    if not any(cells.values()):
        return None
    names = [name for name, values in cells.items() for _ in values]
    seeds = _indicators([seed for values in cells.values() for seed in values])
    y = np.array([value for values in cells.values() for value in values.values()], float)
    columns = zip(*(factors[name] for name in names), strict=True)
    additive = np.hstack([seeds, *(_indicators(levels) for levels in columns)])
    rest_additive, rank_additive = _residual(additive, y)
    rest, rank = _residual(np.hstack([seeds, _indicators(names)]), y)
    tested, degrees = rank - rank_additive, len(y) - rank
    if tested < 1 or degrees < 1 or rest <= (1e-9 * max(1.0, float(np.abs(y).max()))) ** 2:
        return None
    f = max(0.0, rest_additive - rest) / tested / (rest / degrees)
    return FTest(f, (tested, degrees), float(special.fdtrc(tested, degrees, f)))


def _indicators(values: Sequence[object]) -> np.ndarray:
    """(runs, values): 1 where a run has the value."""
    _, index = np.unique([str(value) for value in values], return_inverse=True)
    return np.eye(index.max() + 1)[index]


def _residual(design: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Sum of squares that least squares leaves, and the rank of the design."""
    centred = y - y.mean()
    solution, _, rank, _ = np.linalg.lstsq(design, centred, rcond=None)
    left = centred - design @ solution
    return float(left @ left), int(rank)

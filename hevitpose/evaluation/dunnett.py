"""Dunnett's test: critical values, adjusted p and power of comparisons with one default.

P(max |T| < c) for T multivariate t with correlations b_i b_j is a double integral over the common
factor and the spread. ``scipy.stats.multivariate_t`` gives the same numbers (the tests compare
them), by quasi-random sampling that takes seconds for one critical value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import optimize, special

_LARGEST_LOADING = 0.999
#: Level of a whole family.
ALPHA = 0.05

# The integrand is even in the common factor: the nodes above 0, of 64, stand for those below too.
_Z, _Z_WEIGHTS = (nodes[32:] for nodes in np.polynomial.hermite_e.hermegauss(64))
_Z_WEIGHTS = _Z_WEIGHTS / _Z_WEIGHTS.sum()
_V, _V_WEIGHTS = np.polynomial.legendre.leggauss(64)
# Nodes in the spread's probability, dense near 0: small spreads are what makes small p.
_U = ((_V + 1) / 2) ** 4
_U_WEIGHTS = _V_WEIGHTS / 2 * 4 * ((_V + 1) / 2) ** 3


def critical_value(loadings: Sequence[float], degrees: int) -> float:
    """Two-sided critical value of Dunnett's test.

    Args:
        loadings: b per comparison, where comparisons i and j correlate by b_i b_j; sqrt(0.5) each
            for equal n.
        degrees: of freedom of the spread.
    """
    return _critical(tuple(round(float(b), 6) for b in sorted(loadings)), degrees)


@cache
def _critical(loadings: tuple[float, ...], degrees: int) -> float:
    def missing(c: float) -> float:
        return _inside(c, loadings, degrees) - (1 - ALPHA)

    upper = 4.0
    while missing(upper) < 0:
        upper *= 1.5
    return float(optimize.brentq(missing, 0.1, upper, xtol=1e-7))


def _inside(c: float, loadings: Sequence[float], degrees: int) -> float:
    """P(max |T| < c)."""
    bound = c * _spreads(degrees)[:, None]
    product = np.ones((len(_U), len(_Z)))
    for b, count in sorted(Counter(loadings).items()):
        rest = math.sqrt(1 - b * b)
        shift = b * _Z[None, :]
        inside = special.ndtr((bound - shift) / rest) - special.ndtr((-bound - shift) / rest)
        product *= inside**count
    return float(_U_WEIGHTS @ product @ _Z_WEIGHTS)


@cache
def _spreads(degrees: int) -> np.ndarray:
    """Quantiles of the estimated spread around a true one of 1, at the nodes in probability."""
    return np.sqrt(2 * special.gammaincinv(degrees / 2, _U) / degrees)


def adjusted_p(
    value: float, error: float, rounding: float, loadings: Sequence[float], degrees: int
) -> float:
    """Two-sided p of one comparison, adjusted for the whole family.

    Args:
        value: the difference.
        error: its standard error.
        rounding: differences up to here are none.
        loadings: as of :func:`critical_value`.
        degrees: of freedom of the spread.
    """
    if error == 0 or abs(value) <= rounding:  # no spread: t is 0 / 0 or infinite
        return float(abs(value) <= rounding)
    return min(1.0, max(0.0, 1 - _inside(abs(value) / error, loadings, degrees)))


def one_factor(correlation: np.ndarray) -> np.ndarray:
    """Loadings b with correlations b_i b_j; exact for complete blocks, else the nearest.

    Source: Hsu (1992), the factor analytic approach to simultaneous inference.
    """
    count = len(correlation)
    if count == 1:
        return np.zeros(1)
    upper = np.triu_indices(count, 1)
    wanted = correlation[upper]
    if np.ptp(wanted) < 1e-9 and wanted[0] >= 0:
        return np.full(count, math.sqrt(wanted[0]))
    start = np.full(count, math.sqrt(max(float(wanted.mean()), 0.01)))
    found = _gauss_newton(correlation, start)
    return bounded_loadings(correlation, start) if found is None else found


def _gauss_newton(correlation: np.ndarray, start: np.ndarray) -> np.ndarray | None:
    """The nearest loadings by steps of normal equations; None where they do not settle inside."""
    b, wanted = start.copy(), correlation - np.diag(np.diag(correlation))
    for _ in range(50):
        squares = b * b
        slope = b * (squares.sum() - squares) - wanted @ b
        normal = np.outer(b, b)
        np.fill_diagonal(normal, squares.sum() - squares)
        try:
            step = np.linalg.solve(normal, slope)
        except np.linalg.LinAlgError:
            return None
        b = b - step
        if not np.abs(b).max() < _LARGEST_LOADING:
            return None
        if np.abs(step).max() < 1e-12:
            return b
    return None


def bounded_loadings(correlation: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The nearest loadings by scipy, within bounds: slower, and to a millionth."""
    upper = np.triu_indices(len(start), 1)
    return optimize.least_squares(
        lambda b: (np.outer(b, b) - correlation)[upper],
        start,
        bounds=(-_LARGEST_LOADING, _LARGEST_LOADING),
    ).x


def power(shift: float, critical: float, degrees: int) -> float:
    """Probability that one comparison is found, whichever its sign.

    Args:
        shift: true difference in standard errors of the difference.
        critical: of the family.
        degrees: of freedom of the spread.

    Source: the noncentral t distribution, integrated here because scipy's gives NaN in its tails.
    """
    bounds = critical * _spreads(degrees)
    found = special.ndtr(shift - bounds) + special.ndtr(-shift - bounds)
    return float(found @ _U_WEIGHTS)


@cache
def detectable_shift(critical: float, degrees: int, wanted: float) -> float:
    """The difference in standard errors that is found with the wanted power."""
    upper = critical
    while power(upper, critical, degrees) < wanted:
        upper *= 1.5
    return float(
        optimize.brentq(lambda shift: power(shift, critical, degrees) - wanted, 1e-9, upper)
    )

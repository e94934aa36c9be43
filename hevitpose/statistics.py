"""Which differences are real: intervals over seeds, paired comparisons, verdicts. Torch-free.

Runs of a seed share data order and augmentation in every cell of a grid, so cells are compared by
their differences per seed (paired t). Verdicts need :data:`VERDICT_SEEDS` seeds: with three, Holm's
correction over six cells could only see differences of six standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special, stats

#: Fewest common seeds for a verdict.
VERDICT_SEEDS = 5
ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, and what the interval covers."""

    value: float
    low: float | None  # None: n does not allow one
    high: float | None
    n: int
    method: str  # "t over seeds", "paired t over seeds", "bootstrap over images", ""

    @property
    def half(self) -> float | None:
        """Half of the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Comparison:
    """A cell against the default."""

    difference: Interval  # mean of cell - default over common seeds
    p: float | None  # two-sided paired t; None below two seeds
    p_holm: float | None  # corrected over the grid; None where there is no verdict
    detectable: float | None  # smallest true difference that the design would see
    verdict: str


def mean_interval(
    values: Sequence[float], confidence: float = 1 - ALPHA, method: str = "t over seeds"
) -> Interval:
    """Mean and its t interval.

    Args:
        values: one per seed.
        confidence: coverage, in (0, 1).
        method: what the interval says it is.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    x = _finite(values)
    mean, n = float(x.mean()), len(x)
    if n < 2:
        return Interval(mean, None, None, n, "")
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * stats.sem(x))
    return Interval(mean, mean - half, mean + half, n, method)


def paired_difference(
    cell: Mapping[int, float], default: Mapping[int, float], confidence: float = 1 - ALPHA
) -> tuple[Interval, float | None]:
    """Mean of cell - default over common seeds, and its two-sided p.

    Args:
        cell: seed -> metric.
        default: seed -> metric.
        confidence: coverage of the interval.

    Raises:
        ValueError: no seed in common, or a value that is not finite.
    """
    common = sorted(cell.keys() & default.keys())
    if not common:
        raise ValueError("no seed in common")
    ours, theirs = _finite([cell[s] for s in common]), _finite([default[s] for s in common])
    differences = ours - theirs
    interval = mean_interval(differences, confidence, "paired t over seeds")
    if len(common) < 2:
        return interval, None
    rounding = 1e-12 * max(np.abs(ours).max(), np.abs(theirs).max())
    if np.ptp(differences) <= rounding:  # no spread: t is 0 / 0 or infinite
        return interval, float(np.abs(differences).max() <= rounding)
    return interval, float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction (Holm 1979): the family is all of ``p``.

    The k-th smallest of m is multiplied by m - k + 1, never below its predecessor, at most 1.
    """
    corrected: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p, key=lambda key: p[key])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = highest
    return corrected


def smallest_detectable(
    spread: float, n: int, comparisons: int = 1, alpha: float = ALPHA, power: float = POWER
) -> float:
    """Smallest true mean difference that a paired t test finds with the given power.

    At the level that Holm asks of the smallest p of a family (Bonferroni), so the whole grid's
    design is judged and not one lucky cell.

    Args:
        spread: standard deviation of the differences per seed.
        n: seeds, at least 2.
        comparisons: cells compared with the default.
        alpha: family-wise level.
        power: probability of finding it.

    Source: the noncentral t distribution of the test statistic.
    """
    if n < 2 or spread < 0 or comparisons < 1:
        raise ValueError(f"n {n}, spread {spread}, comparisons {comparisons}: out of range")
    return _detectable_shift(n, comparisons, alpha, power) * spread / math.sqrt(n)


@cache
def _detectable_shift(n: int, comparisons: int, alpha: float, power: float) -> float:
    """The difference in standard errors."""
    degrees = n - 1
    critical = stats.t.ppf(1 - alpha / (2 * comparisons), degrees)

    # (Z + shift) / sqrt(V / degrees) beyond the critical value, averaged over V ~ chi-squared:
    # scipy's noncentral t gives NaN in the tails that few seeds and many cells lead to.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    bounds = critical * np.sqrt(stats.chi2.ppf((nodes + 1) / 2, degrees) / degrees)

    def missing(shift: float) -> float:
        found = special.ndtr(shift - bounds) + special.ndtr(-shift - bounds)
        return float(found @ weights) / 2 - power

    upper = float(critical)
    while missing(upper) < 0:
        upper *= 1.5
    return float(optimize.brentq(missing, 1e-9, upper))


def compare_grid(
    cells: Mapping[str, Mapping[int, float]],
    default: str,
    *,
    higher_is_better: bool = True,
    alpha: float = ALPHA,
) -> dict[str, Comparison]:
    """Every cell of a grid against its default; the Holm family is the grid.

    Args:
        cells: name -> seed -> metric; cells without a seed in common with the default are left out.
        default: name of the cell that the others are compared with.
        higher_is_better: which way a difference is an improvement.
        alpha: family-wise level of the verdicts.

    Returns:
        By cell, without the default: ``better``, ``worse``, ``not distinguishable at n = ...``, or
        why there is no verdict.
    """
    base = cells.get(default, {})
    pairs: dict[str, tuple[Interval, float | None]] = {}
    for name, values in cells.items():
        if name != default and values.keys() & base.keys():
            pairs[name] = paired_difference(values, base, 1 - alpha)
    judged = {
        name: p for name, (gap, p) in pairs.items() if p is not None and gap.n >= VERDICT_SEEDS
    }
    corrected = holm(judged)
    result = {}
    for name, (gap, p) in pairs.items():
        common = sorted(cells[name].keys() & base.keys())
        detectable = None
        if name in judged:
            spread = float(np.std([cells[name][s] - base[s] for s in common], ddof=1))
            detectable = smallest_detectable(spread, gap.n, len(judged), alpha)
        result[name] = Comparison(
            gap,
            p,
            corrected.get(name),
            detectable,
            _verdict(gap, corrected.get(name), higher_is_better, alpha),
        )
    return result


def _verdict(gap: Interval, p: float | None, higher_is_better: bool, alpha: float) -> str:
    if p is None:
        return f"no verdict (n = {gap.n}, needs {VERDICT_SEEDS})"
    if p >= alpha:
        return f"not distinguishable at n = {gap.n}"
    return "better" if (gap.value > 0) == higher_is_better else "worse"


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    n: int,
    generator: np.random.Generator,
    *,
    resamples: int = 1000,
    confidence: float = 1 - ALPHA,
) -> Interval:
    """Percentile bootstrap over images of a one-seed result.

    It says how the score would vary with other images, and nothing of how it varies with the seed.

    Args:
        statistic: from indices of images (with repetition) to the metric.
        n: images.
        generator: all randomness comes from it.
        resamples: how many draws.
        confidence: coverage.

    Raises:
        ValueError: no images.
    """
    if n < 1:
        raise ValueError("no images to resample")
    values = [statistic(generator.integers(0, n, n)) for _ in range(resamples)]
    return _percentiles(statistic(np.arange(n)), values, n, confidence)


def bootstrap_ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    generator: np.random.Generator,
    *,
    resamples: int = 1000,
    confidence: float = 1 - ALPHA,
) -> Interval:
    """:func:`bootstrap` of sum / sum, fast: PCKh is correct joints over counted joints.

    Args:
        numerators: (n,) per image.
        denominators: (n,) per image, not all zero.
        generator: all randomness comes from it.
        resamples: how many draws.
        confidence: coverage.

    Raises:
        ValueError: different lengths, no images, or nothing counted.
    """
    top, bottom = _finite(numerators), _finite(denominators)
    if top.shape != bottom.shape or bottom.sum() <= 0:
        raise ValueError(f"shapes {top.shape} and {bottom.shape}, sum {bottom.sum()}")
    n = len(top)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=resamples)  # (resamples, n)
    below = counts @ bottom
    values = (counts @ top)[below > 0] / below[below > 0]
    return _percentiles(float(top.sum() / bottom.sum()), values, n, confidence)


def _percentiles(
    value: float, values: Sequence[float] | np.ndarray, n: int, confidence: float
) -> Interval:
    low, high = np.percentile(values, [50 * (1 - confidence), 50 * (1 + confidence)])
    return Interval(float(value), float(low), float(high), n, "bootstrap over images")


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError("no values")
    if not np.isfinite(x).all():
        raise ValueError(f"values {x[~np.isfinite(x)]}: expected finite numbers")
    return x

"""Whether one set of scores orders things as another does: rank correlation and its noise ceiling.

Torch-free.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import special

from hevitpose.evaluation.dunnett import ALPHA
from hevitpose.evaluation.statistics import Interval, common_seeds

#: Fewest pairs that have an interval: its standard error divides by n - 3.
INTERVAL_PAIRS = 4
#: Most seeds that are split in every way (315 with seven), and how often more are.
ALL_SPLITS, SAMPLED_SPLITS = 7, 100
RANK_METHOD = "Fisher's z over cells, standard error of Bonett and Wright (2000)"


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Interval:
    """Spearman's rank correlation with the interval of Bonett and Wright (2000, equation 3).

    Args:
        x: (n,) scores, n >= 2; equal ones share the mean of their ranks.
        y: (n,) scores of the same things.

    Returns:
        In [-1, 1]. Without bounds where n is below :data:`INTERVAL_PAIRS`, or where the correlation
        is 1 or -1, of which Fisher's z is infinite. NaN where all of one side are equal.

    Raises:
        ValueError: different lengths, or fewer than two pairs.
    """
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"{len(x)} and {len(y)} scores: expected as many, and at least two")
    value, n = _spearman(np.asarray(x, float), np.asarray(y, float)), len(x)
    if n < INTERVAL_PAIRS or not abs(value) < 1 - 1e-12:
        return Interval(value, None, None, n, "")
    half = float(special.ndtri(1 - ALPHA / 2)) * math.sqrt((1 + value**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(value) + sign * half) for sign in (-1, 1))
    return Interval(value, low, high, n, RANK_METHOD)


def reliability(cells: Mapping[str, Mapping[int, float]]) -> float | None:
    """How well the order of the cells' means over seeds would repeat with as many other seeds.

    Split-half: the seeds that all cells have, in two disjoint halves, in every way (of more than
    :data:`ALL_SPLITS` seeds in :data:`SAMPLED_SPLITS` ways); the mean Spearman correlation of the
    halves' means, brought from half the seeds to all of them by the Spearman-Brown formula.

    Args:
        cells: name -> seed -> score.

    Returns:
        In [0, 1]; 0 where halves agree no more than by chance. None with fewer than two cells or
        two common seeds, or where all scores of a half are equal.
    """
    seeds = common_seeds(cells)
    if len(cells) < 2 or len(seeds) < 2:
        return None
    table = np.array([[values[seed] for seed in seeds] for values in cells.values()])
    size = len(seeds) // 2
    found = [
        _spearman(table[:, one].mean(1), table[:, other].mean(1))
        for one, other in _halves(len(seeds), size)
    ]
    mean = float(np.mean(found))
    if math.isnan(mean):
        return None
    times = len(seeds) / size
    return times * mean / (1 + (times - 1) * mean) if mean > 0 else 0.0


def _halves(seeds: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Disjoint sets of `size` seeds: all pairs, or of many a fixed sample."""
    if seeds > ALL_SPLITS:
        generator = np.random.default_rng(0)
        for _ in range(SAMPLED_SPLITS):
            order = generator.permutation(seeds).tolist()
            yield order[:size], order[size : 2 * size]
        return
    for one in itertools.combinations(range(seeds), size):
        for other in itertools.combinations(sorted(set(range(seeds)) - set(one)), size):
            if one < other:
                yield list(one), list(other)


def ceiling(one: float | None, other: float | None) -> float | None:
    """The correlation that two sets of scores could reach, as reliable as they are.

    Args:
        one: of :func:`reliability`.
        other: likewise.
    """
    return None if one is None or other is None else math.sqrt(one * other)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy import stats  # here: it takes half a second that only reports spend

    if x.min() == x.max() or y.min() == y.max():
        return math.nan
    return float(stats.spearmanr(x, y).statistic)

"""Which differences are real: intervals over seeds, comparisons with a default, verdicts.

Cells of a grid share seeds (data order, augmentation), so one additive model explains a grid:
y(cell, seed) = cell + seed + error, by least squares, with one error variance pooled over all
cells. Every cell is compared with the default by Dunnett's test: the intervals hold all together,
and "better" or "worse" is exactly an interval that leaves 0 out. Torch-free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from hevitpose.evaluation.dunnett import (
    ALPHA,
    adjusted_p,
    critical_value,
    detectable_shift,
    one_factor,
)

#: Fewest runs on either side of a comparison for a verdict and its interval.
VERDICT_SEEDS = 5
POWER = 0.8
#: Coverage of an interval by itself.
CONFIDENCE = 1 - ALPHA
SIMULTANEOUS = "simultaneous over the grid (Dunnett)"


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, and what the interval covers."""

    value: float
    low: float | None  # None: n does not allow one
    high: float | None
    n: int
    method: str  # in words: "t over seeds", SIMULTANEOUS, "bootstrap over images", ...; or ""

    @property
    def half(self) -> float | None:
        """Half of the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Comparison:
    """A cell (or a level) against the default."""

    difference: Interval  # cell - default; the simultaneous interval, None bounds if not judged
    p: float | None = None  # two-sided, adjusted for the whole family; None where not judged
    detectable: float | None = None  # true difference found with 80% power: a plan, no verdict
    verdict: str = ""  # better, worse, not shown to differ, or why there is none


@dataclass(frozen=True)
class Family:
    """All comparisons of one grid by one metric, and the model that they come from."""

    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    spread: float | None = None  # pooled standard deviation of a run; None: nothing is judged
    degrees: int = 0  # of freedom of the spread
    critical: float | None = None  # of |difference| / standard error
    variance_ratio: float | None = None  # largest ratio of two cells' residual variances

    def having(self, verdict: str) -> list[str]:
        """Names with this verdict."""
        return [name for name, c in self.comparisons.items() if c.verdict == verdict]


VERDICTS = BETTER, WORSE, NOT_SHOWN = "better", "worse", "not shown to differ"


def compare_grid(
    cells: Mapping[str, Mapping[int, float]],
    default: str,
    *,
    higher_is_better: bool = True,
) -> Family:
    """Every cell of a grid against its default; the family is the grid.

    Args:
        cells: name -> seed -> metric; a cell without a seed in common with the default is left
            out, and seeds that the default lacks are.
        default: name of the cell that the others are compared with.
        higher_is_better: which way a difference is an improvement.

    Returns:
        By cell, without the default: ``better``, ``worse``, ``not shown to differ``, or why there
        is no verdict. A cell with fewer than :data:`VERDICT_SEEDS` common seeds has neither a
        verdict nor an interval, and takes no part in the model.
    """
    base = cells.get(default, {})
    common = {
        name: {seed: value for seed, value in values.items() if seed in base}
        for name, values in cells.items()
    }
    others = [name for name in cells if name != default and common[name]]
    judged = [name for name in others if len(common[name]) >= VERDICT_SEEDS]
    family = contrasts(
        {name: common[name] for name in (default, *judged)} if judged else {},
        {name: {name: 1.0, default: -1.0} for name in judged},
        higher_is_better=higher_is_better,
    )
    found = {}
    for name in others:
        if name in family.comparisons:
            found[name] = family.comparisons[name]
            continue
        n = len(common[name])
        gap = float(np.mean([value - base[seed] for seed, value in common[name].items()]))
        why = f"no verdict (n = {n}, needs {VERDICT_SEEDS})"
        found[name] = Comparison(Interval(gap, None, None, n, ""), verdict=why)
    return Family(found, family.spread, family.degrees, family.critical, family.variance_ratio)


def contrasts(
    cells: Mapping[str, Mapping[int, float]],
    wanted: Mapping[str, Mapping[str, float]],
    *,
    higher_is_better: bool = True,
) -> Family:
    """Weighted sums of cell means, judged together under the seed-blocked additive model.

    Args:
        cells: name -> seed -> metric.
        wanted: name of a comparison -> cell -> weight; the positive weights add up to 1, the
            negative ones to -1. A level of a product grid against another: the mean over its cells.
        higher_is_better: which way a difference is an improvement.

    Returns:
        All comparisons; ``n`` counts the seeds of the side with fewer. No verdict with fewer than
        :data:`VERDICT_SEEDS`, nor between sides that share no seed, directly or through others;
        and none of a family of which one has none.

    Raises:
        ValueError: a value that is not finite.
    """
    if not wanted:
        return Family()
    model = _fit(cells)
    seeds = {name: _seeds_of_the_smaller_side(cells, w) for name, w in wanted.items()}
    matrix = np.array([[w.get(cell, 0.0) for cell in cells] for w in wanted.values()])
    linked = np.abs(matrix @ model.blocks).max(1) < 1e-9
    if model.degrees < 1 or min(seeds.values()) < VERDICT_SEEDS or not linked.all():
        plain = np.array([np.mean(list(values.values())) for values in cells.values()])
        values = np.where(linked, matrix @ model.means, matrix @ plain)
        found = {}
        for name, value, estimable in zip(wanted, values, linked, strict=True):
            why = "another one has none"
            if not estimable:
                why = "no seed in common"
            elif model.degrees < 1:
                why = "one seed has no spread"
            elif seeds[name] < VERDICT_SEEDS:
                why = f"n = {seeds[name]}, needs {VERDICT_SEEDS}"
            gap = Interval(float(value), None, None, seeds[name], "")
            found[name] = Comparison(gap, verdict=f"no verdict ({why})")
        return Family(found)
    values = matrix @ model.means
    covariance = matrix @ model.covariance @ matrix.T
    scale = np.sqrt(np.diag(covariance))  # standard errors, in spreads
    loadings = one_factor(covariance / np.outer(scale, scale)).tolist()
    critical = critical_value(loadings, model.degrees)
    found = {}
    for name, value, unit in zip(wanted, values, scale, strict=True):
        error = float(unit * model.spread)
        half = critical * error
        interval = Interval(
            float(value), float(value) - half, float(value) + half, seeds[name], SIMULTANEOUS
        )
        found[name] = Comparison(
            interval,
            adjusted_p(float(value), error, model.rounding, loadings, model.degrees),
            error * detectable_shift(critical, model.degrees, POWER),
            _verdict(interval, model.rounding, higher_is_better),
        )
    return Family(found, model.spread, model.degrees, critical, model.variance_ratio)


def _seeds_of_the_smaller_side(
    cells: Mapping[str, Mapping[int, float]], weights: Mapping[str, float]
) -> int:
    """How many seeds the side with fewer has; the runs of one seed count once."""
    sides = ({s for c, w in weights.items() if w * sign > 0 for s in cells[c]} for sign in (1, -1))
    return min(len(side) for side in sides)


def _verdict(gap: Interval, rounding: float, higher_is_better: bool) -> str:
    assert gap.low is not None and gap.high is not None
    if abs(gap.value) <= rounding or gap.low <= 0 <= gap.high:
        return NOT_SHOWN
    return BETTER if (gap.value > 0) == higher_is_better else WORSE


# The model ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    means: np.ndarray  # (cells,) as far as contrasts between them go
    covariance: np.ndarray  # (cells, cells), for a spread of 1
    spread: float
    degrees: int
    variance_ratio: float | None
    rounding: float  # differences up to here are none
    blocks: np.ndarray  # (cells, blocks) of 0 and 1: a contrast that leaves a block is no number


def _fit(cells: Mapping[str, Mapping[int, float]]) -> _Fit:
    """y(cell, seed) = cell + seed + error; the seeds' effects add up to 0."""
    seeds = {seed: number for number, seed in enumerate(sorted(set().union(*cells.values())))}
    cell = np.repeat(np.arange(len(cells)), [len(values) for values in cells.values()])
    seed = np.array([seeds[each] for values in cells.values() for each in values])
    y = _finite([value for values in cells.values() for value in values.values()])
    centred = y - y.mean()
    runs = np.zeros((len(cells), len(seeds)))
    runs[cell, seed] = 1
    # Seeds are eliminated: what is left has a row per cell, however many seeds there are.
    # The least-norm solution: only contrasts of cells are looked at, and those are unique.
    per_seed = runs.sum(0)
    normal = np.diag(runs.sum(1)) - (runs / per_seed) @ runs.T
    inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
    seed_means = np.bincount(seed, centred) / per_seed
    means = inverse @ (np.bincount(cell, centred) - runs @ seed_means)
    effects = seed_means - means @ runs / per_seed
    residuals = centred - means[cell] - effects[seed]
    blocks = _blocks(runs)
    degrees = len(y) - (len(cells) + len(seeds) - blocks.shape[1])
    rounding = 1e-9 * max(1.0, float(np.abs(y).max()))
    squares = float(residuals @ residuals)
    spread = math.sqrt(squares / degrees) if degrees > 0 else 0.0
    if spread <= rounding:
        spread = 0.0
    per_cell = (np.bincount(cell, residuals**2) / np.bincount(cell)).tolist()
    return _Fit(
        means,
        inverse,
        spread,
        degrees,
        max(per_cell) / min(per_cell) if spread and min(per_cell) > rounding**2 else None,
        rounding,
        blocks,
    )


def _blocks(runs: np.ndarray) -> np.ndarray:
    """Groups of cells that share seeds, directly or through others: each has a level of its own.

    Returns:
        (cells, groups), 1 where the cell is in the group.
    """
    joined, before = runs @ runs.T > 0, None
    while before is None or (joined != before).any():
        before, joined = joined, joined @ joined
    return np.unique(joined, axis=0).T.astype(float)


# Other intervals ---------------------------------------------------------------------------------


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and its t interval.

    Args:
        values: one per seed.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    x = _finite(values)
    mean, n = float(x.mean()), len(x)
    if n < 2:
        return Interval(mean, None, None, n, "")
    half = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * x.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, "t over seeds")


def common_seeds(cells: Mapping[str, Mapping[int, float]]) -> list[int]:
    """The seeds that every cell has, in order."""
    return sorted(set.intersection(*(set(values) for values in cells.values()))) if cells else []


def pooled_means(cells: Mapping[str, Mapping[int, float]]) -> dict[str, Interval]:
    """Each cell's mean over the seeds that all have, by the spread of the additive model.

    A spread of two or three seeds alone is luck. What seeds have in common is no spread: it moves
    all cells alike.

    Args:
        cells: name -> seed -> metric.

    Returns:
        By cell; without bounds where fewer than two cells or two seeds leave no spread. Empty
        where no seed is common.
    """
    seeds = common_seeds(cells)
    if not seeds:
        return {}
    shared = {name: {seed: values[seed] for seed in seeds} for name, values in cells.items()}
    model, n = _fit(shared), len(seeds)
    means = {name: float(np.mean(list(values.values()))) for name, values in shared.items()}
    if model.degrees < 1:
        return {name: Interval(mean, None, None, n, "") for name, mean in means.items()}
    quantile = float(special.stdtrit(model.degrees, (1 + CONFIDENCE) / 2))
    half = quantile * model.spread / math.sqrt(n)
    return {
        name: Interval(mean, mean - half, mean + half, n, "t over seeds, pooled")
        for name, mean in means.items()
    }


def bootstrap_ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    generator: np.random.Generator,
    *,
    resamples: int = 1000,
) -> Interval:
    """Percentile bootstrap over images of sum / sum: PCKh is correct joints over counted joints.

    It says how the score of one seed would vary with other images, and nothing of how it varies
    with the seed.

    Args:
        numerators: (n,) per image.
        denominators: (n,) per image, not all zero.
        generator: all randomness comes from it.
        resamples: how many draws.

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
    low, high = np.percentile(values, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    value = float(top.sum() / bottom.sum())
    return Interval(value, float(low), float(high), n, "bootstrap over images")


def paired_difference(
    cell: Mapping[int, Sequence[float]], default: Mapping[int, Sequence[float]]
) -> Interval | None:
    """A cell against the default over draws of photographs, at the seeds that were trained.

    Args:
        cell: per seed, what it scored in each draw.
        default: likewise, in the same draws.

    Returns:
        The mean over draws and its 95% percentile interval, in the values' unit; ``n`` is the
        number of seeds that both have. None where they share none.
    """
    seeds = sorted(cell.keys() & default.keys())
    if not seeds:
        return None
    gaps = np.mean([np.subtract(cell[s], default[s]) for s in seeds], axis=0)
    low, high = np.percentile(gaps, [50 * ALPHA, 100 - 50 * ALPHA])
    return Interval(
        float(np.mean(gaps)),
        float(low),
        float(high),
        len(seeds),
        "paired bootstrap over photographs",
    )


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError("no values")
    if not np.isfinite(x).all():
        raise ValueError(f"values {x[~np.isfinite(x)]}: expected finite numbers")
    return x

"""Scores against the OKS they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hevitpose.errors import DataError
from hevitpose.evaluation.diagnosis.calibration import calibrate, fit_isotonic


def test_a_perfect_score_has_no_error_and_a_shifted_one_its_shift():
    oks = np.linspace(0, 0.79, 800)
    assert calibrate(oks, oks).error == pytest.approx(0)
    found = calibrate(oks + 0.2, oks)
    assert found.error == pytest.approx(0.2)
    assert sum(b.count for b in found.bins) == 800 and found.bins[0].score is None
    assert calibrate(np.array([0.5, 1.2]), np.array([0.5, 0.5])) is None
    assert calibrate(np.zeros(0), np.zeros(0)).error is None


def pooled(scores, oks):
    """Pool adjacent violators (Barlow et al., 1972), by hand: wrong neighbours are averaged."""
    levels, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, oks) / counts
    blocks = []  # mean, weight, levels
    for mean, weight in zip(means.tolist(), counts.tolist(), strict=True):
        block = (mean, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            left = blocks.pop()
            weight = left[1] + block[1]
            value = (left[0] * left[1] + block[0] * block[1]) / weight
            block = (value, weight, left[2] + block[2])
        blocks.append(block)
    return levels, np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_isotonic_is_pool_adjacent_violators(seed, count):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, count) / 12  # equal ones, which weigh by their number
    oks = rng.choice([rng.random(count), rng.integers(0, 3, count) / 2])
    levels, values = pooled(scores, oks)
    fit = fit_isotonic(scores, oks)
    np.testing.assert_array_equal(fit.scores, levels)
    np.testing.assert_allclose(fit.values, values, rtol=0, atol=1e-14)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_isotonic_is_the_best_rising_function(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, 40) / 12
    oks = np.clip(scores + rng.normal(0, 0.3, 40), 0, 1)
    fit = fit_isotonic(scores, oks)
    values = fit(scores)
    assert (np.diff(fit.values) >= 0).all() and 0 <= values.min() <= values.max() <= 1
    loss = ((values - oks) ** 2).sum()
    for other in (scores, np.full(40, oks.mean()), values + 0.01 * scores, values * 0.98):
        assert loss <= ((other - oks) ** 2).sum() + 1e-12
    assert values.mean() == pytest.approx(oks.mean())  # pooled blocks keep the mean


def test_nothing_to_fit():
    with pytest.raises(DataError, match="no detections"):
        fit_isotonic(np.zeros(0), np.zeros(0))

"""Rank correlation and its noise ceiling, against hand arithmetic and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hevitpose.evaluation import ranking
from hevitpose.evaluation.ranking import ceiling, rank_correlation, reliability


def test_the_correlation_is_of_ranks_and_ties_share_them():
    # d = (1, 1, 1, 1): 1 - 6 * 4 / (4 * 15)
    assert rank_correlation([1, 20, 300, 4000], [2, 1, 4, 3]).value == pytest.approx(0.6)
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
    tied = rank_correlation([0, 5, 5, 9], [1, 2, 3, 4]).value
    assert tied == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_the_interval_is_bonett_and_wrights():
    x = np.arange(20.0)
    y = x[[1, 0, 5, 2, 9, 3, 12, 4, 6, 15, 7, 8, 18, 10, 11, 19, 13, 14, 16, 17]]
    found = rank_correlation(x, y)
    half = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 17)
    assert found.low == pytest.approx(math.tanh(math.atanh(found.value) - half), abs=1e-6)
    assert found.high == pytest.approx(math.tanh(math.atanh(found.value) + half), abs=1e-6)
    assert found.n == 20


def test_the_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    # Spearman's correlation of a normal pair with correlation r is 6 / pi asin(r / 2).
    r, inside, trials = 0.7, 0, 600
    true = 6 / math.pi * math.asin(r / 2)
    for _ in range(trials):
        x, noise = generator.normal(size=(2, 18))
        found = rank_correlation(x, r * x + math.sqrt(1 - r**2) * noise)
        inside += found.low <= true <= found.high
    assert 0.92 <= inside / trials <= 0.98


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2, 3], [1, 3, 2]), ([1, 2, 3, 4, 5], [2, 3, 4, 5, 6]), ([1, 2], [2, 1])]
)
def test_no_interval_where_there_is_none(x, y):
    found = rank_correlation(x, y)
    assert found.low is None and found.high is None


def test_equal_scores_have_no_correlation():
    assert math.isnan(rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]).value)


@pytest.mark.parametrize(("x", "y"), [([1], [1]), ([1, 2], [1, 2, 3])])
def test_what_is_no_set_of_pairs(x, y):
    with pytest.raises(ValueError, match="expected as many"):
        rank_correlation(x, y)


def test_many_seeds_are_split_in_a_sample_of_ways(monkeypatch):
    generator = np.random.default_rng(5)
    values = generator.normal(size=(9, 1)) + 2 * generator.normal(size=(9, 7))
    cells = {str(i): dict(enumerate(row)) for i, row in enumerate(values)}
    every = reliability(cells)
    monkeypatch.setattr(ranking, "ALL_SPLITS", 6)
    sampled = reliability(cells)
    assert sampled != every and sampled == pytest.approx(every, abs=0.05)
    monkeypatch.undo()
    wide = generator.normal(size=(3, 400))
    assert reliability({str(i): dict(enumerate(row)) for i, row in enumerate(wide)}) is not None


@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
def test_reliability_is_the_correlation_with_other_seeds(seeds):
    """Of orders by means over as many other seeds; the seeds' own level is no noise."""
    generator = np.random.default_rng(seeds)
    said, seen = [], []
    for _ in range(300):
        level = generator.normal(size=(2, seeds)) * 5
        true = generator.normal(size=(12, 1))
        first, second = (true + generator.normal(size=(12, seeds)) + level[i] for i in (0, 1))
        said.append(reliability({str(i): dict(enumerate(row)) for i, row in enumerate(first)}))
        seen.append(rank_correlation(first.mean(1), second.mean(1)).value)
    assert np.mean(said) == pytest.approx(np.mean(seen), abs=0.04)


def test_only_seeds_that_all_cells_have_count():
    cells = {"a": {0: 1.0, 1: 1.1, 7: 90.0}, "b": {0: 2.0, 1: 2.1}, "c": {0: 3.0, 1: 3.1, 9: -5.0}}
    assert reliability(cells) == 1.0


@pytest.mark.parametrize(
    "cells",
    [{}, {"a": {0: 1.0, 1: 2.0}}, {"a": {0: 1.0}, "b": {0: 2.0}}, {"a": {0: 1.0, 1: 2.0}, "b": {}}],
)
def test_no_halves_no_reliability(cells):
    assert reliability(cells) is None


def test_halves_that_disagree_repeat_nothing():
    assert reliability({"a": {0: 1.0, 1: 3.0}, "b": {0: 2.0, 1: 2.0}, "c": {0: 3.0, 1: 1.0}}) == 0.0


def test_the_ceiling_is_the_geometric_mean():
    assert ceiling(0.81, 0.64) == pytest.approx(0.72)
    assert ceiling(None, 0.64) is None

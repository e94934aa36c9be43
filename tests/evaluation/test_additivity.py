"""The F test of interactions: textbook sums of squares, its level, and what it cannot tell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from hevitpose.evaluation.additivity import interaction

LEVELS = {f"a{i}+b{j}": (f"a{i}", f"b{j}") for i, j in itertools.product(range(3), range(2))}


def grid(y):
    """Cells of scores with shape (3, 2, seeds)."""
    return {name: dict(enumerate(map(float, y[int(name[1]), int(name[4])]))) for name in LEVELS}


def test_it_is_the_textbook_two_way_test_with_blocks():
    generator = np.random.default_rng(1)
    y = generator.normal(60, 1, (3, 2, 5)) + generator.normal(0, 5, 5)
    y[0, 0] += 2
    cells = y.mean(2)
    effects = cells - cells.mean(1, keepdims=True) - cells.mean(0, keepdims=True) + cells.mean()
    error = y - cells[..., None] - y.mean((0, 1)) + y.mean()
    f = (5 * (effects**2).sum() / 2) / ((error**2).sum() / 20)
    found = interaction(grid(y), LEVELS)
    assert found is not None and found.degrees == (2, 20)
    assert found.f == pytest.approx(f)
    assert found.p == pytest.approx(stats.f.sf(f, 2, 20))


def test_effects_that_add_up_are_rarely_called_an_interaction():
    """At 5%, whatever the main effects and the seeds are; unequal n included."""
    generator = np.random.default_rng(2)
    wrong = 0
    for _ in range(1000):
        y = generator.normal(0, 1, (3, 2, 5)) + generator.normal(0, 5, 5)
        y += np.array([0, 3, 9])[:, None, None] + np.array([0, -4])[:, None]
        cells = grid(y)
        del cells["a2+b1"][4], cells["a2+b1"][3], cells["a1+b0"][0]
        found = interaction(cells, LEVELS)
        assert found is not None and found.degrees == (2, 17)
        wrong += found.p < 0.05
    assert 36 <= wrong <= 64


def test_what_cannot_be_told():
    y = np.random.default_rng(3).normal(60, 1, (3, 2, 5))
    cells = grid(y)
    one_at_a_time = {name: cells[name] for name in ("a0+b0", "a1+b0", "a0+b1")}
    assert interaction(one_at_a_time, LEVELS) is None
    assert interaction(grid(y[..., :1]), LEVELS) is None  # one seed has no spread
    assert interaction(grid(np.zeros((3, 2, 5))), LEVELS) is None

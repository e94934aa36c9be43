"""Statistics against hand-worked examples and simulations with a known answer."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from hevitpose import statistics as s


class TestMean:
    def test_by_hand(self):
        # 1..5: mean 3, sd sqrt(2.5), sem sqrt(0.5) = 0.70711; t(0.975, 4) = 2.77645
        interval = s.mean_interval([1, 2, 3, 4, 5])
        assert interval.value == 3
        assert interval.low == pytest.approx(3 - 2.776445 * 0.7071068, abs=1e-6)
        assert interval.half == pytest.approx(1.963243, abs=1e-6)
        assert (interval.n, interval.method) == (5, "t over seeds")

    def test_one_value_has_no_interval(self):
        assert s.mean_interval([2.5]) == s.Interval(2.5, None, None, 1, "")

    @pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
    def test_refuses(self, values):
        with pytest.raises(ValueError, match="values"):
            s.mean_interval(values)

    def test_coverage(self):
        # 2,000 experiments of 5 seeds around 60: how often the interval holds the truth
        rng = np.random.default_rng(1)
        hits = sum(
            (i := s.mean_interval(rng.normal(60, 2, 5))).low <= 60 <= i.high for _ in range(2000)
        )
        assert 0.93 <= hits / 2000 <= 0.97


class TestPaired:
    def test_by_hand(self):
        # differences 1, 2, 3: mean 2, sd 1, sem 0.57735, t = 3.4641, two degrees of freedom:
        # p = 1 - t / sqrt(t^2 + 2) = 1 - 3.4641 / sqrt(14) = 0.074180
        interval, p = s.paired_difference({0: 11, 1: 22, 2: 33}, {0: 10, 1: 20, 2: 30})
        assert interval.value == 2 and interval.n == 3
        assert interval.half == pytest.approx(4.302653 * 0.5773503, abs=1e-5)
        assert p == pytest.approx(0.0741799, abs=1e-6)

    def test_only_common_seeds(self):
        interval, p = s.paired_difference({0: 5.0, 1: 9.0}, {1: 8.0, 2: 0.0})
        assert (interval.value, interval.n, p) == (1.0, 1, None)
        with pytest.raises(ValueError, match="no seed in common"):
            s.paired_difference({0: 1.0}, {1: 1.0})

    def test_no_spread(self):
        same = dict.fromkeys(range(5), 1.0)
        more = dict.fromkeys(range(5), 2.0)
        assert s.paired_difference(same, same)[1] == 1.0
        assert s.paired_difference(more, same)[1] == 0.0

    def test_no_spread_but_rounding(self):
        """0.1 + 0.2 is not 0.3: differences that agree to rounding have no spread either."""
        default = {0: 0.1, 1: 10.1, 2: 70.3}
        shifted = {seed: value + 0.2 for seed, value in default.items()}
        assert len({shifted[k] - default[k] for k in default}) > 1
        assert s.paired_difference(shifted, default)[1] == 0
        assert s.paired_difference(default, dict(default))[1] == 1

    def test_pairing_sees_what_two_samples_do_not(self):
        # seeds differ by far more than the cells do
        rng = np.random.default_rng(0)
        seeds = rng.normal(0, 5, 5)
        default = {i: 60 + x for i, x in enumerate(seeds)}
        cell = {i: 61 + x + rng.normal(0, 0.1) for i, x in enumerate(seeds)}
        assert s.paired_difference(cell, default)[1] < 0.001
        assert stats.ttest_ind(list(cell.values()), list(default.values())).pvalue > 0.2

    def test_coverage(self):
        rng = np.random.default_rng(2)
        hits = 0
        for _ in range(2000):
            seeds = rng.normal(60, 3, 5)
            default = dict(enumerate(seeds + rng.normal(0, 1, 5)))
            cell = dict(enumerate(seeds + 1.5 + rng.normal(0, 1, 5)))
            interval, _ = s.paired_difference(cell, default)
            hits += interval.low <= 1.5 <= interval.high
        assert 0.93 <= hits / 2000 <= 0.97


class TestHolm:
    def test_by_hand(self):
        # sorted .01 .02 .03 .04, times 4 3 2 1 = .04 .06 .06 .04, made monotone
        p = {"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02}
        corrected = s.holm(p)
        for name, value in {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06}.items():
            assert corrected[name] == pytest.approx(value)
        assert s.holm({"x": 0.4, "y": 0.9}) == {"x": 0.8, "y": 0.9}
        assert s.holm({"x": 0.7, "y": 0.9}) == {"x": 1.0, "y": 1.0}
        assert s.holm({}) == {}

    def test_family_wise_error(self):
        # six cells that equal the default: some verdict in at most about 5% of grids
        rng = np.random.default_rng(3)
        wrong = 0
        for _ in range(600):
            cells = {str(i): dict(enumerate(rng.normal(60, 1, 5))) for i in range(7)}
            verdicts = s.compare_grid(cells, "0").values()
            wrong += any(c.verdict in ("better", "worse") for c in verdicts)
        assert wrong / 600 <= 0.07


class TestDetectable:
    def test_known_value(self):
        # one comparison, n = 34, power 0.8, alpha 0.05: effect size 0.5 (Cohen's table)
        assert s.smallest_detectable(1.0, 34) == pytest.approx(0.495, abs=0.01)

    def test_it_is_what_simulations_find(self):
        rng = np.random.default_rng(4)
        shift = s.smallest_detectable(2.0, 5, comparisons=6)
        x = rng.normal(shift, 2.0, (4000, 5))
        found = stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05 / 6
        assert found.mean() == pytest.approx(0.8, abs=0.02)

    def test_noncentral_t(self):
        # where scipy has it: the power at the returned difference is the one asked for
        shift = s.smallest_detectable(1.0, 12, 3) * 12**0.5
        critical = stats.t.ppf(1 - 0.05 / 6, 11)
        power = stats.nct.sf(critical, 11, shift) + stats.nct.cdf(-critical, 11, shift)
        assert power == pytest.approx(0.8, abs=1e-4)

    def test_shrinks_with_seeds_and_grows_with_the_family(self):
        base = s.smallest_detectable(1.0, 5, 6)
        assert s.smallest_detectable(1.0, 10, 6) < base < s.smallest_detectable(1.0, 5, 12)
        assert s.smallest_detectable(0.0, 5) == 0
        # why three seeds get no verdict: over five standard deviations of the differences
        assert s.smallest_detectable(1.0, 3, 6) > 5
        with pytest.raises(ValueError, match="out of range"):
            s.smallest_detectable(1.0, 1)


class TestGrid:
    @staticmethod
    def cells(n: int) -> dict[str, dict[int, float]]:
        jitter = [0.0, 0.2, -0.1, 0.1, -0.2]
        return {
            "default": {i: 60.0 + i for i in range(n)},
            "up": {i: 63.0 + i + jitter[i] for i in range(n)},
            "down": {i: 57.0 + i - jitter[i] for i in range(n)},
            "same": {i: 60.0 + i + 5 * jitter[i] for i in range(n)},
            "elsewhere": {100: 1.0},
        }

    def test_verdicts(self):
        found = s.compare_grid(self.cells(5), "default")
        assert {name: c.verdict for name, c in found.items()} == {
            "up": "better",
            "down": "worse",
            "same": "not distinguishable at n = 5",
        }
        assert found["up"].p_holm >= found["up"].p
        assert found["same"].detectable > found["up"].detectable > 0
        lower = s.compare_grid(self.cells(5), "default", higher_is_better=False)
        assert lower["up"].verdict == "worse" and lower["down"].verdict == "better"

    def test_no_verdict_below_five_seeds(self):
        found = s.compare_grid(self.cells(4), "default")
        assert found["up"].verdict == "no verdict (n = 4, needs 5)"
        assert found["up"].p_holm is None and found["up"].difference.low is not None
        assert s.compare_grid(self.cells(5), "absent") == {}


class TestBootstrap:
    def test_generator_decides(self):
        data = np.random.default_rng(0).normal(size=50)

        def interval(seed: int) -> s.Interval:
            return s.bootstrap(lambda i: data[i].mean(), 50, np.random.default_rng(seed))

        assert interval(1) == interval(1) != interval(2)
        assert interval(1).method == "bootstrap over images"
        assert interval(1).value == pytest.approx(data.mean())

    def test_ratio_is_the_general_form(self):
        rng = np.random.default_rng(5)
        counted = rng.integers(0, 16, 200).astype(float)
        correct = np.floor(counted * rng.random(200))
        fast = s.bootstrap_ratio(correct, counted, np.random.default_rng(0), resamples=4000)
        slow = s.bootstrap(
            lambda i: correct[i].sum() / counted[i].sum(), 200, np.random.default_rng(1)
        )
        assert fast.value == slow.value
        assert fast.low == pytest.approx(slow.low, abs=0.01)
        assert fast.high == pytest.approx(slow.high, abs=0.01)

    def test_coverage(self):
        # hits of 100 images at a true rate of 0.6
        rng = np.random.default_rng(6)
        hits = 0
        for _ in range(2000):
            correct = (rng.random(100) < 0.6).astype(float)
            interval = s.bootstrap_ratio(correct, np.ones(100), rng, resamples=200)
            hits += interval.low <= 0.6 <= interval.high
        assert 0.93 <= hits / 2000 <= 0.97

    def test_refuses(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="no images"):
            s.bootstrap(lambda i: 0.0, 0, rng)
        with pytest.raises(ValueError, match="sum 0"):
            s.bootstrap_ratio(np.zeros(3), np.zeros(3), rng)


def test_torch_free():
    code = "import hevitpose.statistics, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

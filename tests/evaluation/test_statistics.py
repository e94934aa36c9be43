"""Statistics against hand-worked examples and simulations with a known answer."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from hevitpose.evaluation import dunnett
from hevitpose.evaluation import statistics as s


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


def equal(count: int) -> list[float]:
    """Loadings of a family with equal n: all correlations are 0.5."""
    return [0.5**0.5] * count


class TestDunnett:
    @pytest.mark.parametrize(
        ("comparisons", "degrees", "published"),
        [
            # Dunnett (1964), two-sided, 5%
            (1, 20, 2.09), (2, 20, 2.38), (3, 20, 2.54), (4, 20, 2.65), (5, 20, 2.73),
            (2, 10, 2.57), (4, 10, 2.89), (3, 60, 2.41), (6, 24, 2.76),
        ],
    )  # fmt: skip
    def test_published_tables(self, comparisons, degrees, published):
        found = dunnett.critical_value(equal(comparisons), degrees)
        assert found == pytest.approx(published, abs=0.01)

    def test_half_of_the_nodes_stand_for_all(self):
        """The integral over all 64 nodes of the common factor, as it is written down."""
        z, weights = np.polynomial.hermite_e.hermegauss(64)
        for loadings in (equal(3), [0.4, 0.7, 0.8]):
            bound = 2.3 * dunnett._spreads(20)[:, None, None]
            b = np.array(loadings)[:, None]
            rest, shift = np.sqrt(1 - b**2), b * z
            inside = stats.norm.cdf((bound - shift) / rest) - stats.norm.cdf(
                (-bound - shift) / rest
            )
            wanted = dunnett._U_WEIGHTS @ inside.prod(1) @ (weights / weights.sum())
            assert dunnett._inside(2.3, loadings, 20) == pytest.approx(wanted, abs=1e-12)

    @pytest.mark.parametrize("seed", range(20))
    def test_loadings_are_the_nearest(self, seed):
        """Scipy's bounded least squares find the same, of contrasts where cells lack seeds."""
        rng = np.random.default_rng(seed)
        runs = (rng.random((rng.integers(4, 20), 8)) < 0.8).astype(float)
        runs[0] = 1
        runs[:, :2] = 1
        normal = np.diag(runs.sum(1)) - (runs / runs.sum(0)) @ runs.T
        gaps = np.eye(len(runs))[1:] - np.eye(len(runs))[0]
        covariance = gaps @ np.linalg.pinv(normal, rcond=1e-12, hermitian=True) @ gaps.T
        scale = np.sqrt(np.diag(covariance))
        correlation = covariance / np.outer(scale, scale)
        found = dunnett.one_factor(correlation)
        wanted = dunnett.bounded_loadings(correlation, np.full(len(found), 0.7))
        assert found == pytest.approx(wanted, abs=1e-6)
        misfit = np.outer(found, found) - correlation
        np.fill_diagonal(misfit, 0)
        assert np.abs(misfit @ found).max() < 1e-10  # the slope of the squares, 0 at the nearest

    def test_loadings_stay_below_1(self):
        """Three of which no common factor gives the correlations: scipy's way, at its bound."""
        correlation = np.array([[1, 0.9, 0.9], [0.9, 1, 0.3], [0.9, 0.3, 1]])
        found = dunnett.one_factor(correlation)
        assert found.max() == pytest.approx(0.999, abs=1e-6)

    @pytest.mark.parametrize("loadings", [equal(3), [0.4, 0.7, 0.8]])
    def test_scipy_agrees(self, loadings):
        """``multivariate_t`` puts 95% between the critical values."""
        shape = np.outer(loadings, loadings)
        np.fill_diagonal(shape, 1)
        c = np.full(3, dunnett.critical_value(loadings, 24))
        inside = stats.multivariate_t.cdf(
            c, shape=shape, df=24, lower_limit=-c, random_state=0, maxpts=20_000
        )
        assert inside == pytest.approx(0.95, abs=5e-4)

    def test_one_comparison_is_the_paired_t_test(self):
        # differences 1, 2, 3, 2, 2: mean 2, sd 0.70711, sem 0.31623, t(0.975, 4) = 2.77645
        gaps = (1, 2, 3, 2, 2)
        cells = {
            "default": {i: 10.0 * i for i in range(5)},
            "cell": {i: 10.0 * i + gap for i, gap in enumerate(gaps)},
        }
        family = s.compare_grid(cells, "default")
        found = family.comparisons["cell"]
        assert found.difference.value == pytest.approx(2)
        assert found.difference.half == pytest.approx(2.776445 * 0.3162278, abs=1e-5)
        assert found.p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, rel=1e-4)
        # an error of variance v in each cell gives differences of variance 2 v
        assert family.spread == pytest.approx(0.7071068 / 2**0.5)
        assert family.degrees == 4

    def test_two_way_analysis_by_hand(self):
        # three cells, three seeds (blocks), textbook sums: cells 3, 6, 9 and blocks -1, 0, 1 around
        # 6, residuals +-r in a Latin pattern; SS = 6 r^2 over 4 degrees
        r = 0.2
        pattern = np.array([[r, -r, 0], [-r, 0, r], [0, r, -r]])
        y = 6 + np.array([[-3], [0], [3]]) + np.array([-1, 0, 1]) + pattern
        cells = {str(i): dict(enumerate(row)) for i, row in enumerate(y)}
        weights = {"1": {"1": 1.0, "0": -1.0}, "2": {"2": 1.0, "0": -1.0}}
        model = s._fit(cells)
        assert model.degrees == 4
        assert model.spread == pytest.approx((6 * r * r / 4) ** 0.5)
        # three runs a side are fewer than a verdict takes
        found = s.contrasts(cells, weights).comparisons
        assert [c.difference.value for c in found.values()] == pytest.approx([3, 6])
        assert all(c.difference.low is None and "needs 5" in c.verdict for c in found.values())

    def test_null_grids(self):
        """Of 2,000 grids where no cell differs, 3.6 to 6.4% contain a verdict."""
        rng = np.random.default_rng(15)
        wrong = 0
        for _ in range(2000):
            values = rng.normal(60, 1, (7, 5)) + rng.normal(0, 2, 5)  # seeds differ more
            family = s.compare_grid({str(i): dict(enumerate(v)) for i, v in enumerate(values)}, "0")
            wrong += bool(family.having("better") or family.having("worse"))
        assert family.critical == pytest.approx(2.76, abs=0.01)
        assert 0.036 <= wrong / 2000 <= 0.064

    def test_power_is_what_simulations_find(self):
        """A true effect of 1.5 pooled standard deviations, 7 cells, 5 seeds."""
        rng = np.random.default_rng(16)
        found = 0
        for _ in range(2000):
            values = rng.normal(60, 2, (7, 5)) + rng.normal(0, 3, 5)
            values[3] += 1.5 * 2
            family = s.compare_grid({str(i): dict(enumerate(v)) for i, v in enumerate(values)}, "0")
            found += family.comparisons["3"].verdict == "better"
        # the difference of two means of five has the standard error sqrt(2 / 5) spreads
        printed = dunnett.power(1.5 / (2 / 5) ** 0.5, family.critical, family.degrees)
        assert found / 2000 == pytest.approx(printed, abs=0.03)

    def test_detectable_is_found_with_the_power_it_names(self):
        rng = np.random.default_rng(17)
        cells = {str(i): dict(enumerate(rng.normal(60, 1, 5))) for i in range(7)}
        family = s.compare_grid(cells, "0")
        shift = family.comparisons["1"].detectable / (family.spread * (2 / 5) ** 0.5)
        assert dunnett.power(shift, family.critical, family.degrees) == pytest.approx(0.8)

    def test_noncentral_t(self):
        # where scipy has it
        expected = stats.nct.sf(2.76, 24, 3.0) + stats.nct.cdf(-2.76, 24, 3.0)
        assert dunnett.power(3.0, 2.76, 24) == pytest.approx(expected, abs=1e-4)


class TestGrid:
    @staticmethod
    def cells(n: int) -> dict[str, dict[int, float]]:
        jitter = [0.0, 0.2, -0.1, 0.1, -0.2]
        return {
            "default": {i: 60.0 + i for i in range(n)},
            "up": {i: 63.0 + i + jitter[i] for i in range(n)},
            "down": {i: 57.0 + i - jitter[i] for i in range(n)},
            "same": {i: 60.0 + i + jitter[i] for i in range(n)},
            "elsewhere": {100: 1.0},
        }

    def test_verdicts(self):
        family = s.compare_grid(self.cells(5), "default")
        assert {name: c.verdict for name, c in family.comparisons.items()} == {
            "up": "better",
            "down": "worse",
            "same": "not shown to differ",
        }
        lower = s.compare_grid(self.cells(5), "default", higher_is_better=False)
        assert lower.having("worse") == ["up"] and lower.having("better") == ["down"]

    def test_a_verdict_is_an_interval_that_excludes_zero(self):
        rng = np.random.default_rng(18)
        for _ in range(200):
            values = rng.normal(60, 1, (5, 6)) + np.linspace(0, 2.5, 5)[:, None]
            family = s.compare_grid({str(i): dict(enumerate(v)) for i, v in enumerate(values)}, "0")
            for c in family.comparisons.values():
                outside = not c.difference.low <= 0 <= c.difference.high
                assert outside == (c.verdict in ("better", "worse")) == (c.p < 0.05)

    def test_no_verdict_and_no_interval_below_five_seeds(self):
        family = s.compare_grid(self.cells(4), "default")
        found = family.comparisons["up"]
        assert found.verdict == "no verdict (n = 4, needs 5)"
        assert found.p is None and found.difference.low is None and family.spread is None
        assert s.compare_grid(self.cells(5), "absent").comparisons == {}
        assert "elsewhere" not in family.comparisons

    def test_cells_with_fewer_seeds_change_no_verdict_of_others(self):
        cells = self.cells(5)
        alone = s.compare_grid(cells, "default").comparisons["up"]
        cells["short"] = {0: 10.0, 1: 90.0}
        family = s.compare_grid(cells, "default")
        assert family.comparisons["up"] == alone
        assert family.comparisons["short"].verdict == "no verdict (n = 2, needs 5)"

    @pytest.mark.slow
    def test_unequal_seeds(self):
        """A cell with more seeds than another has the narrower interval; false verdicts stay 5%."""
        rng = np.random.default_rng(19)
        wrong = 0
        for _ in range(1500):
            values = rng.normal(60, 1, (4, 10)) + rng.normal(0, 2, 10)
            cells = {str(i): dict(enumerate(v)) for i, v in enumerate(values)}
            cells["3"] = {seed: cells["3"][seed] for seed in (0, 2, 3, 5, 9)}
            cells["2"] = {seed: cells["2"][seed] for seed in range(7)}
            family = s.compare_grid(cells, "0")
            wrong += bool(family.having("better") or family.having("worse"))
        halves = [family.comparisons[name].difference.half for name in "123"]
        assert halves[0] < halves[1] < halves[2]
        assert family.comparisons["3"].difference.n == 5
        assert family.degrees == 32 - 10 - 3
        assert 0.035 <= wrong / 1500 <= 0.065

    def test_pairing_sees_what_two_samples_do_not(self):
        # seeds differ by far more than the cells do
        rng = np.random.default_rng(0)
        seeds = rng.normal(0, 5, 5)
        default = {i: 60 + x for i, x in enumerate(seeds)}
        cell = {i: 61 + x + rng.normal(0, 0.1) for i, x in enumerate(seeds)}
        found = s.compare_grid({"default": default, "cell": cell}, "default").comparisons["cell"]
        assert found.p < 0.001
        assert stats.ttest_ind(list(cell.values()), list(default.values())).pvalue > 0.2

    def test_no_spread_but_rounding(self):
        """0.1 + 0.2 is not 0.3: differences that agree to rounding have no spread either."""
        default = {0: 0.1, 1: 10.1, 2: 70.3, 3: 5.7, 4: 33.3}
        cells = {
            "default": default,
            "more": {seed: value + 0.2 for seed, value in default.items()},
            "same": dict(default),
        }
        found = s.compare_grid(cells, "default").comparisons
        assert (found["more"].p, found["more"].verdict) == (0, "better")
        assert (found["same"].p, found["same"].verdict) == (1, "not shown to differ")

    def test_variance_ratio_names_an_unequal_cell(self):
        rng = np.random.default_rng(20)
        values = rng.normal(60, 1, (6, 8))
        values[2] = rng.normal(60, 12, 8)
        cells = {str(i): dict(enumerate(v)) for i, v in enumerate(values)}
        assert s.compare_grid(cells, "0").variance_ratio > 10


class TestMarginalMeans:
    def test_level_against_level_over_a_product(self):
        """Levels a, b crossed with x, y, z over five seeds: the mean over the other factor."""
        rng = np.random.default_rng(21)
        cells = {
            f"{level}{other}": {
                seed: 60 + shift + 5 * "xyz".index(other) + seed + rng.normal(0, 0.1)
                for seed in range(5)
            }
            for level, shift in (("a", 0), ("b", 3))
            for other in "xyz"
        }
        weights = {f"b{o}": 1 / 3 for o in "xyz"} | {f"a{o}": -1 / 3 for o in "xyz"}
        family = s.contrasts(cells, {"b": weights})
        found = family.comparisons["b"]
        means = {
            level: np.mean([v for name, c in cells.items() if name[0] == level for v in c.values()])
            for level in "ab"
        }
        assert found.difference.value == pytest.approx(means["b"] - means["a"])
        assert (found.difference.n, family.degrees, found.verdict) == (5, 20, "better")
        # two means of 15 runs each: the interval of one comparison is t's
        half = stats.t.ppf(0.975, 20) * family.spread * (2 / 15) ** 0.5
        assert found.difference.half == pytest.approx(half, rel=1e-5)
        two = {name: {seed: of[seed] for seed in range(2)} for name, of in cells.items()}
        few = s.contrasts(two, {"b": weights}).comparisons["b"]  # six runs a side, but two seeds
        assert (few.difference.n, few.verdict) == (2, "no verdict (n = 2, needs 5)")
        assert few.difference.low is None

    def test_cells_that_share_no_seed_have_no_verdict(self):
        """The levels of two groups of seeds are confounded with the seeds: nothing to estimate."""
        cells = {"a": {i: 60.0 + i % 2 for i in range(5)}, "b": {5 + i: 70.0 for i in range(5)}}
        cells |= {"a2": cells["a"], "b2": {5 + i: 71.0 + i % 3 for i in range(5)}}
        family = s.contrasts(cells, {"b": {"b": 1.0, "a": -1.0}})
        found = family.comparisons["b"]
        assert found.verdict == "no verdict (no seed in common)"
        assert found.difference.value == pytest.approx(70 - np.mean([60, 61, 60, 61, 60]))
        assert (found.difference.low, family.spread) == (None, None)
        both = {"b": {"b": 1.0, "a": -1.0}, "a2": {"a2": 1.0, "a": -1.0}}
        other = s.contrasts(cells, both).comparisons["a2"]
        assert (other.difference.value, other.verdict) == (0, "no verdict (another one has none)")
        # through a third cell they are linked
        cells["c"] = {i: 65.0 + (i % 3) for i in range(10)}
        linked = s.contrasts(cells, {"b": {"b": 1.0, "a": -1.0}}).comparisons["b"]
        assert linked.difference.low is not None

    def test_one_seed_has_no_spread(self):
        cells = {str(i): {0: 60.0 + i} for i in range(10)}
        weights = {str(i): 0.2 if i < 5 else -0.2 for i in range(10)}
        found = s.contrasts(cells, {"x": weights}).comparisons["x"]
        assert found.verdict == "no verdict (one seed has no spread)"


class TestBootstrap:
    def test_generator_decides(self):
        data = np.random.default_rng(0).random(50)

        def interval(seed: int) -> s.Interval:
            return s.bootstrap_ratio(data, np.ones(50), np.random.default_rng(seed))

        assert interval(1) == interval(1) != interval(2)
        assert interval(1).method == "bootstrap over images"
        assert interval(1).value == pytest.approx(data.mean())

    def test_images_are_drawn_with_repetition(self):
        rng = np.random.default_rng(5)
        counted = rng.integers(0, 16, 200).astype(float)
        correct = np.floor(counted * rng.random(200))
        fast = s.bootstrap_ratio(correct, counted, np.random.default_rng(0), resamples=4000)
        draws = [rng.integers(0, 200, 200) for _ in range(1000)]
        slow = [correct[drawn].sum() / counted[drawn].sum() for drawn in draws]
        assert fast.value == correct.sum() / counted.sum()
        assert fast.low == pytest.approx(np.quantile(slow, 0.025), abs=0.01)
        assert fast.high == pytest.approx(np.quantile(slow, 0.975), abs=0.01)

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
        with pytest.raises(ValueError, match="sum 0"):
            s.bootstrap_ratio(np.zeros(3), np.zeros(3), rng)


def test_torch_free():
    code = "import hevitpose.evaluation.statistics, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_pooled_means_by_hand():
    """Residuals +-0.25 each: spread sqrt(4 * 0.0625 / 1), one degree of freedom."""
    found = s.pooled_means({"a": {0: 1.0, 1: 3.0}, "b": {0: 2.0, 1: 5.0, 2: 90.0}})
    assert (found["a"].value, found["b"].value) == (2.0, 3.5)
    half = 12.7062 * 0.5 / math.sqrt(2)
    assert found["a"].half == pytest.approx(half, rel=1e-4) == pytest.approx(found["b"].half)
    assert found["b"].n == 2


def test_pooled_means_cover_with_two_seeds():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(500):
        true = generator.normal(size=(6, 1)) * 3
        values = true + generator.normal(size=(6, 2))
        found = s.pooled_means({str(i): dict(enumerate(row)) for i, row in enumerate(values)})
        inside += sum(f.low <= t <= f.high for f, (t,) in zip(found.values(), true, strict=True))
    assert 0.93 <= inside / 3000 <= 0.97


@pytest.mark.parametrize("cells", [{"a": {0: 1.0, 1: 2.0}}, {"a": {0: 1.0}, "b": {0: 2.0, 1: 3.0}}])
def test_pooled_means_without_a_spread(cells):
    assert all(found.low is None for found in s.pooled_means(cells).values())

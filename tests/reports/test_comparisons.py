"""Grids taken together, weights that several rows score, effects that do not add up."""

from __future__ import annotations

from msgspec.structs import replace

from reports import ablation, comparisons
from reports.claims import Claim, _find_best
from reports.tables.grid import grid_table


def runs(make, cell, mean, grid="attention", seeds=5, **changes):
    return [
        make.evaluation(cell, i, mean + 0.5 * i + 0.1 * (i * len(cell) % 3), grid, **changes)
        for i in range(seeds)
    ]


def product(make, means):
    """A product of two axes, by (peow, downsampling); the default is (3, subsample-ope)."""
    found = []
    for (peow, later), mean in means.items():
        axes = {"model.peow": peow, "model.downsampling": later}
        axes = {k: v for k, v in axes.items() if v not in (3, "subsample-ope")}
        name = f"{peow}+{later}" if axes else "default"
        found += runs(make, name, mean, "peow", axes=axes)
    return ablation.build(found, "peow")


def test_a_marginal_mean_that_does_not_hold_at_the_default_is_told(make):
    """Level 1 is better on average, and not with the default's own downsampling."""
    means = {(3, "subsample-ope"): 60, (1, "subsample-ope"): 60}
    grid = product(make, {**means, (3, "ope"): 62, (1, "ope"): 70})
    test = comparisons.interactions(grid)
    assert test is not None and test.degrees == (1, 12) and test.p < 1e-4
    simple = comparisons.simple_effects(grid, "model.peow")
    assert simple.reference == "3" and simple.family.having("not shown to differ") == ["1"]
    text = " ".join(grid_table(grid).legend)
    assert "Marginal means of model.peow over 2 cells a level, Δ PCKh@0.5 to 3: 1 +" in text
    assert f"do not add up (F(1, 12) = {test.f:.2f}, p < 0.0001)" in text
    at_default = "model.peow at the default of the other axes, Δ PCKh@0.5 to 3: 1 "
    assert "(not shown to differ)" in text.partition(at_default)[2][:40]
    added = product(make, {**means, (3, "ope"): 62, (1, "ope"): 62})
    claim = Claim(
        statement="3 is best", source="paper", check="is_best", axis="model.peow", level="3"
    )
    on_average = "on average: the effects of its axes do not add up"
    assert [on_average in _find_best(claim, [g]).verdict for g in (grid, added)] == [True, False]
    text = " ".join(grid_table(added).legend)
    assert "No interaction of the axes was shown (F(1, 12)" in text and "at the default" not in text


def test_a_grid_of_one_axis_has_no_interaction(make):
    grid = ablation.build([*runs(make, "default", 60), *runs(make, "none", 55)], "attention")
    assert comparisons.interactions(grid) is None
    assert not any("nteraction" in line or "add up" in line for line in grid_table(grid).legend)


def test_a_cell_of_two_grids_is_one_and_only_judged_cells_count(make):
    default, none = runs(make, "default", 60), runs(make, "none", 55)
    other = [replace(record, grid="parts", cell="nothing") for record in none]
    other += runs(make, "window", 60.1, "parts")
    views = [
        ablation.build([*default, *none, *runs(make, "mhsa", 60, seeds=3)], "attention"),
        ablation.build([*default, *other], "parts"),
    ]
    assert [row.verdict for row in views[0].rows][1:] == ["no verdict (n = 3, needs 5)", "worse"]
    assert [row.verdict for row in views[1].rows][1:] == ["worse", "not shown to differ"]
    (found,) = comparisons.together(views).values()
    assert (found.cells, found.alone, found.survive) == (2, 1, 1)
    text = " ".join(grid_table(views[0], together=found).legend)
    assert "(2 cells that are judged, each once), 1 of the 1 that are better or worse stay" in text
    few = [record for record in [*default, *none] if record.seed < 3]
    few += [replace(record, grid="parts") for record in few if record.cell == "none"]
    assert (
        comparisons.together([ablation.build(few, name) for name in ("attention", "parts")]) == {}
    )


def test_rows_that_score_the_same_weights_are_told(make):
    """The grid's degrees of freedom count scores; these have fewer trainings."""

    def trained(records, name):
        return [replace(r, training=f"{name}-{r.seed}") for r in records]

    default = trained(runs(make, "default", 60), "default")
    none = trained(runs(make, "none", 55), "none")
    without = ablation.build([*default, *none], "attention")
    assert comparisons.with_weights_of_their_own(without) is None
    assert not any("trainings" in line for line in grid_table(without).legend)
    again = trained(runs(make, "no-flip-test", 59, axes={}), "default")
    grid = ablation.build([*default, *none, *again], "attention")
    own = comparisons.with_weights_of_their_own(grid)
    assert own is not None and list(own.comparisons) == ["none"]
    assert (own.degrees, grid.family.degrees) == (4, 8)
    (line,) = (line for line in grid_table(grid).legend if "trainings" in line)
    assert line.startswith("The 15 scores come from 10 trainings")
    assert f"standard deviation is {own.spread:.2f} (4 degrees of freedom)" in line
    assert line.endswith("; verdicts are the same.")


def test_a_grid_of_networks_is_one_table(make):
    """Its default is a variant, its cells are peers, which have none."""
    name = "pose_resnet50_nano"
    peer = {"model": name, "variant": None, "axes": {"model.name": name}}
    config = {**make.common("default", None)["config"], "model": {"name": name}}
    cells = [
        record
        for seed in range(2)
        for record in (
            make.evaluation(seed=seed, grid="small_peers", mean=60.0 + seed),
            make.evaluation("resnet-50", seed, 50.0 + seed, "small_peers", config=config, **peer),
        )
    ]
    view = ablation.build(cells, "small_peers")
    assert [(row.name, len(row.accuracy)) for row in view.rows] == [
        ("hevitpose_nano", 2),
        ("resnet-50", 2),
    ]


def test_a_trial_of_more_levels_hides_no_verdict(make):
    """One seed of a grid with a level more has no verdict; five seeds of the other have."""
    judged = {3: 60, 1: 65}
    grid = product(make, {(level, "subsample-ope"): mean for level, mean in judged.items()})
    trial = runs(make, "default", 60, "trial", seeds=1, axes={})
    for level in (1, 5):
        trial += runs(make, f"p{level}", 60, "trial", seeds=1, axes={"model.peow": level})
    claim = Claim(
        statement="3 is best", source="paper", check="is_best", axis="model.peow", level="3"
    )
    grids = [grid, ablation.build(trial, "trial")]
    for order in (grids, grids[::-1]):
        assert _find_best(claim, order).verdict.startswith("contradicted: 1 better than 3")

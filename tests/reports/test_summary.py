"""The README's first figure: the three main grids, and the finding as its title."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablations.grid_file import MAIN_GRIDS
from reports import ablation
from reports.figures.summary import draw_main_effects, main_effects
from reports.load import check


@pytest.fixture
def views(make):
    """The made-up attention grid under each main grid's name."""
    measured = check((f"{r.id}.json", r) for r in make.grid())
    grid = ablation.build(measured.records, "attention")
    return [(f"ablation-{name}", replace(grid, name=name)) for name in MAIN_GRIDS]


def with_verdicts(view, verdict):
    """The same differences, all with one verdict."""
    rows = tuple(
        replace(row, comparison=row.comparison and replace(row.comparison, verdict=verdict))
        for row in view.rows
    )
    return replace(view, rows=rows)


def test_every_compared_cell_is_a_row_and_the_best_is_named(views):
    plot = main_effects(views)
    panels = plot.data["panels"]
    assert [heading for heading, _, _ in panels] == [
        "Attention",
        "Downsampling",
        "Feed-forward network",
    ]
    by_name = {row.name: row for row in views[0][1].rows}
    for name, value, low, high, verdict in panels[0][2]:
        difference = by_name[name].difference
        assert (value, low, high) == (difference.value, difference.low, difference.high)
        assert verdict == by_name[name].verdict and low < value < high
    values = [row[1] for row in panels[0][2]]
    assert values == sorted(values, reverse=True) and len(values) > 1
    better = [(name, with_verdicts(view, "better")) for name, view in views]
    title = main_effects(better).data["title"]
    best, value = panels[0][2][0][:2]
    assert title.startswith(f"After 300 steps, {3 * len(values)} of {3 * len(values)} alternatives")
    assert title.endswith(f"{best} (attention) by most: {value:+.1f} points")


def test_nothing_better_is_said_so(views):
    same = [(name, with_verdicts(view, "not shown to differ")) for name, view in views]
    assert "none of" in main_effects(same).data["title"]


def test_rows_at_equal_cost_are_left_out(views):
    name, view = views[0]
    rows = (*view.rows, *(replace(r, name=f"{r.name} (FLOPs matched)") for r in view.rows))
    twice = [(name, replace(view, rows=rows)), *views[1:]]
    assert main_effects(twice).data == main_effects(views).data


def test_it_is_absent_while_a_grid_is_or_conditions_differ(views, make):
    assert main_effects(views[:2]) is None
    name, view = views[0]
    longer = replace(view, facts={**view.facts, "steps": "3000"})
    assert main_effects([(name, longer), *views[1:]]) is None
    one = check((f"{r.id}.json", r) for r in make.grid(seeds=1))
    unsure = ablation.build(one.records, "attention")
    assert main_effects([(name, unsure), *views[1:]]) is None


def test_it_can_be_drawn(views, tmp_path):
    svg, png = main_effects(views).save(tmp_path)
    assert "95% interval" in svg.read_text() and png.stat().st_size > 10_000


@pytest.mark.parametrize("shift", [-40, -4, 4])
def test_zero_every_interval_and_every_number_are_on_the_picture(views, shift):
    data = main_effects(views).data
    panels = [
        [heading, default, [[row[0], *(end + shift for end in row[1:4]), row[4]] for row in rows]]
        for heading, default, rows in data["panels"]
    ]
    figure = draw_main_effects({**data, "panels": panels})
    (axes,) = figure.axes
    figure.canvas.draw()
    frame, (left, right) = axes.get_window_extent(), axes.get_xlim()
    ends = [end for _, _, rows in panels for row in rows for end in row[2:4]]
    assert left < min(0, *ends) and max(0, *ends) < right
    numbers = [text.get_window_extent() for text in axes.texts if text.get_text()[0] in "+−"]
    assert len(numbers) == len(ends) / 2
    assert all(frame.x0 < box.x0 and box.x1 < frame.x1 for box in numbers)

"""A row, and a table, is about one configuration, however often a grid's file was edited."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from msgspec.structs import replace

from hevitpose.records import digest
from reports import build, grid_files
from reports.load import Measured
from reports.output.text import to_markdown
from reports.tables.grid import grid_table


@pytest.fixture
def described(monkeypatch, tmp_path):
    """Writes the file of the grid."""
    monkeypatch.setattr(grid_files, "GRIDS", tmp_path)

    def write(**cells):
        (tmp_path / "ffn.yaml").write_text(yaml.safe_dump({"question": "?", "cells": cells}))
        grid_files._parsed.cache_clear()

    return write


def runs(make, cell, seeds, mean, day=0, **changes):
    """Evaluations of one configuration, a day's after another's."""
    found = []
    for seed in seeds:
        run = make.evaluation(cell, seed, mean, grid="ffn", **changes)
        moved = run.started_at + timedelta(days=day)
        found.append(replace(run, id=digest([cell, seed, mean]), started_at=moved))
    return found


def ratio(value, **more):
    return {"axes": {"model.ffn_ratio": value}, **more}


@pytest.mark.parametrize(("written", "shown", "hidden"), [(4, 50.0, 3), (3, 40.0, 4), (5, 40.0, 4)])
def test_a_row_is_of_one_configuration(make, described, written, shown, hidden):
    """That of the file, else the newest: ``wide`` was 4, then 3, which has other seeds too."""
    described(wide={"model.ffn_ratio": written})
    records = [
        *runs(make, "default", range(4), 60.0),
        *runs(make, "wide", range(4), 50.0, **ratio(4)),
        *runs(make, "wide", (2, 3, 4), 40.0, day=1, **ratio(3)),
    ]
    view = dict(build.grid_views(Measured(tuple(records))))["ablation-ffn"]
    row = next(row for row in view.rows if row.name == "wide")
    assert {r.metrics["Mean"] for r in row.accuracy} == {shown}
    assert len(view.namesakes) == hidden and not view.older
    text = to_markdown(grid_table(view))
    assert f"{hidden} runs of another configuration under a cell's name are not shown." in text


def test_tuned_cells_have_one_value(make, described):
    """Choosing anew chose another rate: two recipes, of which the newer is shown."""
    described(wide={"model.ffn_ratio": 4})
    tuned = {"training.lr": [0.004, 0.008]}

    def rate(run, lr):
        training = {**run.config["training"], "lr": lr}
        return replace(run, config={**run.config, "training": training}, tuned=tuned)

    records = [
        *(rate(r, 0.008) for r in runs(make, "default", range(4), 60.0)),
        *(rate(r, 0.004) for r in runs(make, "wide", range(4), 50.0, **ratio(4))),
        *(rate(r, 0.008) for r in runs(make, "wide", (4,), 40.0, day=1, **ratio(4))),
    ]
    view = dict(build.grid_views(Measured(tuple(records))))["ablation-ffn"]
    assert {row.name: row.seeds for row in view.rows} == {"default": 4, "wide": 1}
    assert len(view.namesakes) == 4


def test_defaults_that_differ_on_an_axis_share_no_table(make, described):
    """A base overrode a key of the grid: a cell that sets it itself belongs to both tables."""
    described(wide={"model.ffn_ratio": 4}, mhsa={"model.attention": "mhsa"})
    stock = make.evaluation().config
    six = {**stock, "model": {**stock["model"], "ffn_ratio": 6}}
    on_six = {**six, "model": {**six["model"], "attention": "mhsa"}}
    records = [
        *runs(make, "default", range(4), 60.0),
        *runs(make, "wide", range(4), 50.0, **ratio(4)),
        *runs(make, "mhsa", range(4), 55.0),
        *runs(make, "default", range(5, 8), 70.0, day=1, config=six),
        *runs(make, "mhsa", range(5, 8), 65.0, day=1, config=on_six),
    ]
    views = [v for name, v in build.grid_views(Measured(tuple(records))) if "-ffn" in name]
    assert [
        {row.name: sorted({r.metrics["Mean"] for r in row.accuracy}) for row in view.rows}
        for view in views
    ] == [
        {"default": [60.0], "wide": [50.0], "mhsa": [55.0]},
        {"default": [70.0], "wide": [50.0], "mhsa": [65.0]},
    ]
    first, second = (to_markdown(grid_table(view)) for view in views)
    assert "The default has model.ffn" not in first
    assert "The default has model.ffn\\_ratio=6." in second.replace("ffn_ratio", "ffn\\_ratio")
    alone = Measured(tuple(r for r in records if r.metrics["Mean"] != 70.0))
    (view,) = (view for name, view in build.grid_views(alone) if "-ffn" in name)
    (row,) = (row for row in view.rows if row.name == "mhsa")
    assert {r.metrics["Mean"] for r in row.accuracy} == {55.0}

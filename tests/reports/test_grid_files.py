"""Grids' files as reports read them, and cells that several grids describe."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml
from msgspec.structs import replace

from ablations.grid import available, load_grids
from ablations.grid_file import PRIMARIES
from hevitpose.config import load_config
from hevitpose.models.spec import full_name
from reports import ablation, build, grid_files
from reports.evidence import of_grid
from reports.load import Measured
from reports.render import render_grid
from reports.tables.grid import grid_table


@pytest.mark.parametrize("name", available())
def test_cells_are_those_that_run(name):
    """Reports name a grid's cells as the runner does, and know the same overrides."""
    base = load_config(None, preset="quick")
    (grid,) = load_grids([name], base)
    trained = {cell.name: dict(cell.overrides) for cell in grid.cells if not cell.is_default}
    conditions = (yaml.safe_load((grid_files.GRIDS / f"{name}.yaml").read_text())).get("evaluate")
    config = base.dump()
    default = SimpleNamespace(config=config, model=full_name(config["model"]["name"]))
    listed = grid_files.listed_cells(name, default)
    missing = {name.rpartition(" @ ")[2] for name in trained.keys() - listed.keys()}
    assert missing <= set(conditions or ())  # those evaluate the weights of others
    for cell in trained.keys() & listed.keys():
        own = {key: value for key, value in listed[cell].items()}
        assert (
            own.items()
            <= {k: list(v) if isinstance(v, tuple) else v for k, v in trained[cell].items()}.items()
        )


def test_a_cell_that_another_grid_measured_is_shown(make, monkeypatch, tmp_path):
    """One training belongs to every grid that describes it; a position is no identity."""
    monkeypatch.setattr(grid_files, "GRIDS", tmp_path)
    product = {
        "mode": "product",
        "axes": {
            "model.attention": {"cgsr": "cgsr", "mhsa": "mhsa"},
            "model.ffn": {"std": "standard", "mix": "mix-ffn"},
        },
    }
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(product))
    found = [make.evaluation(seed=seed) for seed in (0, 1)]
    axes = {"model.attention": "mhsa", "model.ffn": "mix-ffn"}
    for seed in (0, 1):
        found += [
            make.evaluation("mhsa+mix", seed=seed, grid="both", axes=axes),
            make.evaluation("mhsa", seed=seed, grid="attention"),
            make.evaluation("other", seed=seed, grid="else", axes={"model.num_heads": 4}),
        ]
    grid = dict(build.grid_views(Measured(tuple(found))))["ablation-both"]
    assert {row.name: row.seeds for row in grid.rows} == {
        "default": 2, "cgsr+mix": 0, "mhsa+std": 2, "mhsa+mix": 2,
    }  # fmt: skip


def test_a_condition_that_another_grid_scored_is_shown(make, monkeypatch, tmp_path):
    """One flip test fewer is the recipe grid's row and another grid's reference."""
    monkeypatch.setattr(grid_files, "GRIDS", tmp_path)
    recipe = {
        "cells": {"sigma-3": {"codec.sigma": 3}},
        "evaluate": {
            "no-flip-test": {"evaluation.flip_test": False},
            "sigma-3-no-flip": {"of": "sigma-3", "evaluation.flip_test": False},
            "both": {"of": "all", "codec.decoder": "dark"},
        },
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert grid_files.listed_cells("recipe", None) == {
        "sigma-3": {"codec.sigma": 3},
        "no-flip-test": {"evaluation.flip_test": False},
        "sigma-3-no-flip": {"codec.sigma": 3, "evaluation.flip_test": False},
    }
    found = []
    for seed in (0, 1):
        default = make.evaluation(seed=seed)
        config = {"codec": {"sigma": 2}, "evaluation": {"flip_test": True}, **default.config}
        sigma = config | {"codec": {"sigma": 3}}
        clean = config | {"evaluation": {"flip_test": False}}
        found += [
            replace(default, config=config),
            make.evaluation(
                "sigma-3", seed=seed, grid="recipe", axes={"codec.sigma": 3}, config=sigma
            ),
            make.evaluation("default @ clean", seed=seed, grid="robustness", config=clean),
        ]
    grid = dict(build.grid_views(Measured(tuple(found))))["ablation-recipe"]
    assert {row.name: row.seeds for row in grid.rows} == {
        "default": 2, "sigma-3": 2, "no-flip-test": 2, "sigma-3-no-flip": 0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["PCK", "PCKh"])
def test_a_custom_dataset_without_ap_is_judged_by_its_pck(make, tmp_path, name):
    """Whatever the grid's file names for other datasets: it is the only metric there is."""
    declared = {"format": "mpii", "protocol": "pck", "pck": {"name": name}}
    found = [
        replace(
            r,
            metrics={name: r.metrics["Mean"], "AUC": 50.0},
            inputs={**r.inputs, "data": {**r.inputs.get("data", {}), "declared": declared}},
            dataset=replace(r.dataset, name="own"),
        )
        if r.kind == "evaluation"
        else r
        for r in make.grid()
    ]
    grid = ablation.build(found, "attention")
    assert grid.primary == name and grid.families.keys() == {name, "Mean", "Mean@0.1", "AP"}
    verdicts = {row.name: row.verdict for row in grid.rows if not row.is_default}
    assert verdicts == {"mhsa": "worse", "none": "worse"}
    assert grid.rows[0].scores.keys() == {name}  # no PCKh@0.5 of a custom PCKh
    text = render_grid(found, "attention", tmp_path, primary={"other": "AP"}).text
    assert f"Difference in {name}; " in " ".join(text.split())


@pytest.mark.parametrize("primary", PRIMARIES)
def test_a_grid_is_shown_by_any_metric_that_its_file_may_name(make, tmp_path, primary):
    """Else the table would fail after all of the trainings."""
    found = [
        replace(
            r,
            metrics={
                **r.metrics,
                "AR": r.metrics["Mean"] / 100 - 0.1,
                **{name: r.metrics["Mean"] for name in ("PCK", "PCKh")},
            },
        )
        if r.kind == "evaluation"
        else r
        for r in make.grid()
    ]
    by = {"other": primary}
    text = render_grid(found, "attention", tmp_path, primary=by).text
    assert f"Difference in {PRIMARIES[primary]}; " in " ".join(text.split())
    grid = ablation.build(found, "attention", primary=by)
    table = grid_table(grid)
    assert grid.family.comparisons.keys() == {"mhsa", "none"}
    assert [c.key for c in table.columns].count("verdict") == 1
    assert ("AR" in grid.families) == (primary == "AR")  # beside AP it says the same again
    assert of_grid(grid).primary == PRIMARIES[primary]

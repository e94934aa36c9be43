"""``--tune``: each cell at its own best value, chosen by seeds that no table shows."""

from __future__ import annotations

from statistics import mean

import pytest

from ablations.cli import session
from ablations.tune import SEEDS, Tuning
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.records import RecordStore
from reports import ablation as views
from reports.captions import condition
from reports.settings import setting
from tests.ablations import stub

AXES = "axes:\n  model.attention: [mhsa, none]\nevaluate:\n  dark: {codec.decoder: dark}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.attention=mhsa,none", "a key of the recipe"),
        ("training.lr=1e-3", "at least two values"),
        ("training.lr=1e-3,0.001", "at least two values"),
        ("training.lrr=1,2", "training.lr"),
        ("training.selection=val,last", "chooses on minival"),
        ("", "a key of the recipe"),
    ],
)
def test_refuses(text, expected):
    with pytest.raises(UsageError, match=expected):
        Tuning.parse(text, [0])


@pytest.mark.parametrize("tune", ["training.epochs=1,2", "training.gamma=0.1,0.2"])
def test_refuses_what_has_no_effect_on_a_cell(grid, options_for, tune):
    """The preset has a number of steps, and a schedule without one for gamma."""
    with pytest.raises(UsageError, match=r"--tune: cell .*: .* has no effect, training.s"):
        session(options_for(grid(AXES), tune=tune, dry_run=True))


def test_a_refused_value_names_option_and_cell(grid, options_for):
    tune = "training.lr=1e-3,nan"
    with pytest.raises(UsageError, match=r"^--tune nan, cell 'default': training.lr: nan: "):
        session(options_for(grid(AXES), tune=tune, dry_run=True))


@pytest.mark.parametrize(
    ("body", "place", "reason"),
    [
        ("cells: {w: {data.box_source: no.json}}", "line 5: cell 'w'", "no.json: no such box file"),
        ("cells: {w: {data.val_split: minival}}", "line 5: cell 'w'", "data.val_split=minival"),
        (f"{AXES}  e: {{data.val_split: minival}}", "line 9: cell 'e'", "data.val_split=minival"),
    ],
)
def test_what_a_plan_refuses_names_grid_line_and_cell(grid, options_for, body, place, reason):
    with pytest.raises(HEViTPoseError, match=f"^grid mini, {place}: {reason}"):
        session(options_for(grid(body), dry_run=True))


def test_seeds_that_choose_are_not_reported():
    with pytest.raises(UsageError, match="1000"):
        Tuning.parse("training.lr=1e-3,2e-3", [0, SEEDS[0]])


@pytest.mark.parametrize("dry_run", [True, False])
def test_who_chooses_is_not_who_is_reported(grid, options_for, dry_run):
    """Both would be minival."""
    minival = ["data.val_split=minival", "training.selection=minival"]
    options = {"tune": "training.lr=1e-3,2e-3", "overrides": minival, "dry_run": dry_run}
    with pytest.raises(
        UsageError, match=r"--tune chooses on minival: expected data\.val_split=val"
    ):
        session(options_for(grid(AXES), **options))


@pytest.mark.slow
def test_each_cell_gets_its_own_best(grid, options_for, capsys):
    path = grid(AXES)
    out = options_for(path).out
    assert session(options_for(path, seeds="0,1", tune="training.lr=1e-3,2e-3,4e-3")) == 0
    records = RecordStore(out / "records").load()
    trained = [r for r in records if r.kind == "training"]
    tuned = {r.cell: r for r in records if r.kind == "evaluation"}
    assert set(tuned) == {"default", "mhsa", "none", "dark"}
    for cell, record in tuned.items():
        assert record.tuned == {"training.lr": [0.001, 0.002, 0.004]}
        assert record.seed in (0, 1)
        scores = {
            lr: mean(
                r.curve[-1]["minival_pck"]
                for r in trained
                if r.seed in SEEDS
                and r.cell_id == record.cell_id
                and r.config["training"]["lr"] == lr
            )
            for lr in record.tuned["training.lr"]
        }
        assert record.config["training"]["lr"] == max(scores, key=scores.get), cell
    # three cells, three values, two seeds; then two seeds each
    assert len(trained) == 3 * 3 * 2 + 3 * 2
    assert "mini/mhsa: training.lr" in capsys.readouterr().out

    # the same command does nothing more, an untuned one never shares its evaluations
    assert session(options_for(path, seeds="0,1", tune="training.lr=1e-3,2e-3,4e-3")) == 0
    assert len(RecordStore(out / "records").load()) == len(records)
    assert session(options_for(path, seeds="0,1")) == 0
    everything = RecordStore(out / "records").load()
    both = [r for r in everything if r.kind == "evaluation"]
    assert len(both) == 2 * 8 and len({setting(r) for r in both if r.condition is None}) > 1
    split = views.split(everything, "mini")
    assert {tuple(bool(r.tuned) for r in group if r.kind == "evaluation").count(True) in (0, 8)
            for group in split.values()} == {True}  # fmt: skip
    shown = {
        condition(views.build(group, "mini", one_setting=True).facts) for group in split.values()
    }
    assert any("one learning rate" in text for text in shown)
    assert any("best training.lr of 0.001, 0.002, 0.004" in text for text in shown)


def test_dry_run_says_what_comes_first(grid, options_for, capsys):
    options = options_for(grid(AXES), tune="training.lr=1e-3,2e-3", dry_run=True)
    assert session(options) == 0
    out = capsys.readouterr().out
    assert "12 of 12 would run" in out and "at its best training.lr" in out


ONE = "cells: {one: {model.attention: none}}"


def test_a_value_that_diverged_was_tried(grid, options_for, capsys):
    options = options_for(grid(ONE), tune=f"training.clip_norm=10,{stub.DIVERGE}")
    assert session(options) == 1  # as for every training that diverged
    out = capsys.readouterr().out
    for cell in ("default", "one"):
        assert f"mini/{cell}: training.clip_norm 10.0 (10.0: " in out
    assert out.count(f", {stub.DIVERGE}.0: diverged)") == 2
    done = [r for r in RecordStore(options.out / "records").load() if r.kind == "evaluation"]
    assert {r.cell for r in done} == {"default", "one"}
    assert all(r.tuned == {"training.clip_norm": [10, stub.DIVERGE]} for r in done)


def test_nothing_is_chosen_where_a_value_was_not_tried(grid, options_for):
    options = options_for(grid(ONE), tune=f"training.clip_norm=10,{stub.MEMORY}")
    with pytest.raises(HEViTPoseError) as error:
        session(options)
    lost = [f"mini/{cell} training.clip_norm={stub.MEMORY}.0" for cell in ("default", "one")]
    assert str(error.value) == (
        f"--tune: no result for {', '.join(lost)}, so nothing is chosen; the same command with "
        "--retry-failed goes on"
    )
    assert error.value.exit_code == 1
    records = RecordStore(options.out / "records").load()
    assert {r.kind for r in records} == {"training"} and {r.seed for r in records} == set(SEEDS)

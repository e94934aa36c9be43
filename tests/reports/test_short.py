"""Short tables: what the README and the screen show of the full ones, and how wide they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from ablations.options import Options
from ablations.results import next_step
from reports import ablation
from reports.claims import claims_table
from reports.load import check
from reports.output.terminal import WIDTH, to_terminal
from reports.published import load as load_published
from reports.tables.grid import grid_table
from reports.tables.short import short_grid, short_tables

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_a_grid_keeps_cost_difference_and_verdict(make):
    full = grid_table(ablation.build(make.grid(), "attention"))
    short = short_grid(full)
    assert [c.key for c in short.columns] == [
        "cell", "gflops_mmcv", "latency_p50_ms", "difference", "verdict",
    ]  # fmt: skip
    assert texts(short)[0][-2:] == ["(reference)", "–"]
    assert [row[-1] for row in texts(short)[1:]] == ["worse", "worse"]
    assert "baseline" not in str(texts(short))
    assert short.caption.startswith("Difference in PCKh@0.5; nano, 300 steps, rendered people")


def test_a_grid_says_how_its_times_were_taken_and_which_are_noisy(make):
    records = make.grid(cells=("none",))
    quiet = short_grid(grid_table(ablation.build(records, "attention")))
    assert "p50: wall time, threads 2, n = 200." in quiet.caption
    assert not quiet.footnotes
    noisy = [
        replace(r, latency=replace(r.latency, noisy=True)) if r.latency and r.cell == "none" else r
        for r in records
    ]
    short = short_grid(grid_table(ablation.build(noisy, "attention")))
    (row,) = short.rows[1:]
    screen = to_terminal(short)
    assert " [1] " in screen and screen.splitlines()[-1].startswith("[1] noisy")
    assert [bool(cell.notes) for cell in row] == [False, False, True, False, False]
    untimed = [r for r in records if not r.latency]
    assert "p50:" not in short_grid(grid_table(ablation.build(untimed, "attention"))).caption


def test_below_five_seeds_one_line_says_why_there_is_no_verdict(make):
    short = short_grid(grid_table(ablation.build(make.grid(seeds=1), "attention")), score=True)
    assert [c.key for c in short.columns][-2:] == ["pckh_05", "difference"]
    assert short.caption.endswith("No verdict (n = 1, needs 5).")


def test_a_failure_is_said_beside_the_cells_that_have_no_verdict(make):
    records = [*make.grid(cells=("none",), seeds=1), make.failed("mhsa", error="out of memory")]
    short = short_grid(grid_table(ablation.build(records, "attention")), score=True)
    (row,) = [row for row in texts(short) if row[0] == "mhsa"]
    assert row[-1] == "evaluation seed 0 failed: out of memory"


@pytest.mark.parametrize("seeds", [1, 5])
def test_the_screen_is_never_wider_than_100_columns(make, seeds):
    long = "a-cell-with-a-name-that-somebody-made-much-too-long-for-any-table"
    records = [*make.grid(cells=(long, "none"), seeds=seeds)]
    text = to_terminal(short_grid(grid_table(ablation.build(records, "attention")), score=True))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "\x1b" not in text
    assert "\x1b" in to_terminal(
        short_grid(grid_table(ablation.build(make.grid(), "attention"))), colour=True
    )


def test_own_networks_have_a_row_where_something_is_stated():
    from reports.build import make as make_book

    book = make_book([])  # nothing measured: the published numbers alone
    short = {table.name: table for table in short_tables(book.tables)}
    assert [row[0] for row in texts(short["short-mpii"])] == [
        f"HEViTPose-{size}" for size in "TSBTSB"
    ]
    assert "Nothing of ours" in short["short-mpii"].caption
    assert not short["short-claims"].rows


def test_a_fitted_count_that_is_off_does_not_agree_and_servers_wait_for_no_training(make):
    """S prints 3.65 against 3.64; MPII's test answers and COCO's test-dev are withheld."""
    sizes = {"b": (10_629_520, 5.5807), "s": (5_880_600, 3.6469), "t": (3_211_000, 1.7501)}
    counts = [
        replace(
            make.complexity(size, params, gflops, model=f"hevitpose_{size}", axes={}, config={}),
            grid=None, inputs={"input": [256, 256]},
        )
        for size, (params, gflops) in sizes.items()
    ]  # fmt: skip
    full = claims_table(check((r.id, r) for r in counts), load_published(), [])
    (short,) = [t for t in short_tables([full]) if t.name == "short-claims"]
    assert "5 agree, 1 is off by +0.0069G." in short.caption
    assert "2 claims wait for trainings" in short.caption
    assert "2 are scored by servers only" in short.caption


def test_what_to_run_next(make):
    options = Options(grid=["my grid.yaml"])

    def trained(seeds):
        return [
            make.evaluation(cell, seed, kind="training", weights="a" * 64, seconds=60.0)
            for cell in ("default", "mhsa")
            for seed in range(seeds)
        ]

    (line,) = next_step(options, trained(1))
    assert "nox -s ablation -- --grid 'my grid.yaml' --num-seeds 5" in line
    assert "about 8 min, less" in line  # two cells, four seeds each
    assert next_step(options, trained(5)) == [] == next_step(options, [])


def test_the_readme_is_short():
    assert len(README.encode()) <= 14_336
    assert README.count("not measured") <= 3
    rows = [line for line in README.splitlines() if line.startswith("|")]
    assert max(sum(len(c.strip()) for c in row.strip("|").split("|")) for row in rows) <= 100

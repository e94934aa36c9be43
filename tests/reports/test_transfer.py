"""Grids that ran on rendered people and on photographs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from reports.build import grid_views
from reports.figures.transfer import transfer_plot
from reports.load import Measured
from reports.published import load
from reports.tables.accuracy import accuracy_table, tables
from reports.tables.transfer import transfer_table
from reports.transfer import transfers

START = datetime(2025, 1, 2, tzinfo=UTC)
RENDERED = {"default": 60, "mhsa": 62, "sra": 61, "cga": 58, "window": 63, "none": 59}
PHOTOGRAPHS = {"default": 20, "mhsa": 22, "sra": 21, "cga": 17, "window": 24, "none": 18}


@pytest.fixture
def records(make):
    def build(photographs=PHOTOGRAPHS, start=None, seeds=5, grid="attention"):
        records = []
        axes = {c: {} if c == "default" else {f"model.{grid}": c} for c in RENDERED}
        for cell, mean in RENDERED.items():
            for seed in range(seeds):
                records.append(make.evaluation(cell, seed, mean + seed, grid, axes=axes[cell]))
        for cell, ap in photographs.items():
            for seed in range(seeds):
                record = make.evaluation(
                    cell, seed, grid=grid, metrics={"AP": (ap + 0.1 * seed) / 100},
                    id_config={"of": f"photographs {start}"}, axes=axes[cell],
                )  # fmt: skip
                data = replace(record.dataset, name="coco_small", fingerprint="sha256:0")
                training = {"steps": 2000} | ({"start_from": start} if start else {})
                config = record.config | {"training": training} | {
                    "data": {"dataset": "coco_small", "input_size": [128, 192]}
                }  # fmt: skip
                records.append(replace(record, dataset=data, config=config))
        return records

    return build


@pytest.fixture
def views(records):
    return lambda *args, **kwargs: _views(records(*args, **kwargs))


def _views(found):
    return [view for _, view in grid_views(Measured(tuple(found)))]


def test_cells_are_paired_by_name_and_the_default_by_its_place(views):
    (pair,) = (t for t in transfers(views()) if t.rendered.metric == "Mean")
    assert pair.grids == ("attention",) and len(pair.names) == len(RENDERED)
    assert pair.photographs.means["attention/window"].value == pytest.approx(24.2)
    assert pair.rendered.means[""].value == 62
    assert pair.correlation.value == pytest.approx(1.0)
    assert pair.ceiling == pytest.approx(1.0)


def test_an_order_turned_round_says_so(views):
    turned = {cell: 100 - ap for cell, ap in PHOTOGRAPHS.items()}
    turned["cga"], turned["none"] = turned["none"], turned["cga"]
    pair = transfers(views(turned))[0]
    assert pair.verdict == "reverses"
    assert pair.correlation.high < 0


def test_a_cell_without_photographs_is_left_out(views):
    few = {cell: PHOTOGRAPHS[cell] for cell in ("default", "mhsa", "sra")}
    assert len(transfers(views(few))[0].names) == 3
    assert transfers(views({"default": 20, "mhsa": 21})) == []


def test_started_cells_stand_apart(views, make):
    found = transfers(views(start="standard:synthetic"))
    assert {t.start for t in found} == {"standard:synthetic"}
    table = transfer_table(found)
    assert table is not None
    assert [row[1].text for row in table.rows] == ["standard:synthetic"] * len(found)


def test_grids_of_one_default_are_also_taken_together(records):
    one, two = records(), records(grid="ffn")
    both = both_grids(one, two)
    *apart, whole, _ = transfers(_views(both))
    assert whole.grids == ("attention", "ffn")
    assert len(whole.names) == 2 * len(RENDERED) - 1  # the default once
    assert whole.names[""] == ("", "default")
    assert whole.correlation.value == pytest.approx(1.0)
    (panel,) = transfer_plot(transfers(_views(both))).data["panels"]  # not one a grid, too
    assert len(panel["points"]) == len(whole.names)
    assert {len(pair.names) for pair in apart} == {len(RENDERED)}


@pytest.mark.parametrize(("seeds", "together"), [(1, False), (2, False), (3, True)])
def test_a_grid_of_few_seeds_is_not_taken_together_with_others(records, seeds, together):
    one, two = records(), records(grid="ffn", seeds=seeds)
    both = both_grids(one, two)
    found = transfers(_views(both))
    joined = {("attention", "ffn")} if together else set()
    assert {pair.grids for pair in found} == {("attention",), ("ffn",)} | joined
    assert {len(p.photographs.seeds) for p in found if p.grids == ("ffn",)} == {seeds}
    assert len(transfer_plot(found).data["panels"]) == (1 if together else 2)


def both_grids(one, two):
    """Of the second without its default: it is the first's."""
    ids = {record.id for record in one}
    return [*one, *(record for record in two if record.id not in ids and record.cell != "default")]


def of_training(record, name):
    return replace(record, training=f"{name} {record.dataset.name} {record.seed}")


def test_a_cell_that_two_grids_show_is_one(records):
    both = both_grids(records(), records(grid="ffn"))
    both = [of_training(r, "m") if r.cell == "mhsa" else r for r in both]
    whole = next(t for t in transfers(_views(both)) if len(t.grids) > 1)
    assert len(whole.names) == 2 * len(RENDERED) - 2  # the default and `mhsa` once
    assert "attention/mhsa" in whole.names and "ffn/mhsa" not in whole.names


def test_weights_scored_twice_are_one_cell(records):
    """As a grid's conditions do: another decoder makes no other network."""
    again = [of_training(r, "m") if r.cell in ("mhsa", "window") else r for r in records()]
    assert len(transfers(_views(again))[0].names) == len(RENDERED) - 1


def test_weights_scored_twice_with_fewer_seeds_are_one_cell(records):
    """A condition whose evaluations have run at three of the five seeds."""
    again = [of_training(r, "m") if r.cell in ("mhsa", "window") else r for r in records()]
    again = [r for r in again if r.cell != "window" or r.seed < 3]
    assert len(transfers(_views(again))[0].names) == len(RENDERED) - 1


def test_seeds_that_all_grids_have_decide_what_is_taken_together(records):
    """Seeds 0 to 2 of one grid and 2 to 4 of the other have a single one in common."""
    one, two = records(), records(grid="ffn")
    assert {len(pair.grids) for pair in transfers(_views(both_grids(one, two)))} == {1, 2}
    few = [record for record in one if record.seed < 3 or record.cell == "default"]
    late = [record for record in two if record.seed > 1]
    assert {len(pair.grids) for pair in transfers(_views(both_grids(few, late)))} == {1}


def test_the_table_and_the_plot_say_the_same(views):
    found = transfers(views())
    table, plot = transfer_table(found), transfer_plot(found)
    assert table is not None and plot is not None
    assert "coco_small: COCO val2017 people, own split; not COCO val AP" in table.caption
    assert "not photographs" in table.caption
    value = f"{found[0].correlation.value:.2f}"
    assert table.rows[0][5].text == value
    assert f"rank correlation {value}" in plot.data["panels"][0]["title"]
    assert len(plot.data["panels"][0]["points"]) == len(RENDERED)


def test_scores_that_are_all_equal_are_no_number(views):
    table = transfer_table(transfers(views(dict.fromkeys(PHOTOGRAPHS, 20))))
    assert table is not None
    assert {row[5].text for row in table.rows} == {"–"}


def test_nothing_on_photographs_is_no_table(views):
    assert transfer_table(transfers(views({}))) is None
    assert transfer_plot([]) is None


def test_each_setting_has_the_costs_of_its_own_input(records, make):
    """The same cells at another input, counted later, leave the first table as it is."""
    found = []
    for record in records():
        if record.dataset.name == "coco_small":
            record = replace(record, cell_id=record.cell_id[::-1])
        found.append(record)
    for cell in RENDERED:
        later = {"started_at": START + timedelta(days=1), "id": make.cell_id(f"later {cell}")}
        found.append(make.complexity(cell, gflops=0.1))
        found.append(make.complexity(cell, gflops=0.2, cell_id=make.cell_id(cell)[::-1], **later))
    # Counted for the photographs and not scored yet: no row of theirs, none of the rendered ones.
    found.append(make.complexity("window", gflops=0.3, cell_id="0" * 20, **later))
    by_data = {view.facts["dataset"]: view for view in _views(found)}
    for data, gflops in (("synthetic", 0.1), ("coco_small", 0.2)):
        counted = [row.complexity for row in by_data[data].rows if row.complexity]
        assert [record.flops.mmcv for record in counted] == [gflops] * len(RENDERED)


@pytest.mark.parametrize(
    ("start", "words"),
    [(None, "from random weights"), ("standard:synthetic", "started on rendered people")],
)
def test_an_accuracy_row_says_what_its_training_started_from(records, start, words):
    spec = next(spec for spec in tables() if spec.name == "coco-small")
    table = accuracy_table(spec, Measured(tuple(records(start=start))), load())
    origins = {row[1].text for row in table.rows}
    assert any(text.startswith("measured here (quick, ") and words in text for text in origins)


def test_grids_of_other_starts_are_panels_of_their_own(records):
    """Each says its own correlation, and the caption every condition."""
    random, started = records(), records(start="standard:synthetic")
    ids = {record.id for record in random}
    found = transfers(_views([*random, *(r for r in started if r.id not in ids)]))
    titles = [panel["title"] for panel in transfer_plot(found).data["panels"]]
    assert [title.split(":")[0] for title in titles] == [
        "from random weights", "started from standard",
    ]  # fmt: skip
    caption = transfer_table(found).caption
    assert "from random weights" in caption and "started on rendered people" in caption

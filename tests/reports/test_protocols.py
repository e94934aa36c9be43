"""Which records may stand for what: protocols, recipes, mixtures, and the words for them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from hevitpose.evaluation.statistics import BETTER, NOT_SHOWN, SIMULTANEOUS, Comparison, Interval
from hevitpose.records import Record
from reports import ablation
from reports.build import Book
from reports.captions import about_data, condition, mixture, shared
from reports.figures.effects import draw_effects, effects
from reports.load import check
from reports.output.runs import runs_of
from reports.output.text import Column, Table, TableCell, number, signed, stem, to_latex
from reports.published import Published
from reports.recipe import departures
from reports.render import render_grid
from reports.tables.accuracy import beside_published
from reports.tables.grid import caption, gap_text
from tests.reports.conftest import START


def changed(record, **changes):
    return Record.of(record.to_dict() | changes)


def test_a_trial_or_another_protocol_run_later_hides_no_result(make):
    long = make.evaluation(train={"epochs": 210, "steps": 90_000, "total_batch": 32})
    later = START + timedelta(days=1)
    boxes = {**long.to_dict()["dataset"], "boxes": "detector"}
    others = [
        changed(long, started_at=later, dataset=boxes),
        changed(long, started_at=later, flip_test=False),
        changed(long, started_at=later, train={"steps": 200, "total_batch": 32}),
    ]
    for other in others:
        assert beside_published([[other], [long]]) == beside_published([[long], [other]]) == [long]
    assert beside_published([[long], [changed(long, started_at=later)]])[0].started_at == later
    costless = changed(long, started_at=later, train=None, training="0" * 20, weights="f" * 64)
    assert beside_published([[costless], [long]]) == [long]
    assert beside_published([[others[0]]]) == [others[0]] and not beside_published([])


def recipe(make, seed, **training):
    config = make.evaluation().to_dict()["config"]
    config["training"] |= training
    return make.evaluation(seed=seed, config=config, id_config=training)


def test_cells_that_are_other_networks(make):
    """A verdict names how many they are, and a network of bins has no decoder of heatmaps."""
    nano = make.evaluation(seed=0)
    records = [nano, *(replace(nano, model=name) for name in ("vitpose_nano", "rtmpose_nano"))]
    assert shared(records[:2])["decoder"] == nano.decoder
    assert shared(records)["decoder"] == f"{nano.decoder} / simcc"
    for count, words in (
        (1, "nano, "),
        (2, "nano and vitpose_nano, "),
        (3, "nano and 2 networks, "),
    ):
        assert condition(shared(records[:count])).startswith(words)


def test_two_recipes_are_told_apart(make):
    """The rate of a preset is not said, another is; length and threads are said elsewhere."""
    plain, slow = recipe(make, 0), recipe(make, 0, lr=4e-3)
    same = recipe(make, 0, threads=1, loggers=["csv"], checkpoint_steps=50)
    assert departures(plain) == [] == departures(same)
    assert departures(slow) == ["training.lr=0.004"]
    words = condition(shared([slow, recipe(make, 1, lr=4e-3)]))
    assert words == "nano, 300 steps, rendered people, one learning rate, training.lr=0.004"
    assert condition(shared([slow, plain])) == condition(shared([plain]))  # of some runs alone
    axis = replace(slow, axes={"training.lr": 4e-3})
    assert departures(axis) == [] == departures(replace(slow, config={"preset": "unknown"}))


def test_versions_of_torch_side_by_side_are_said(make):
    old = make.evaluation("mhsa", versions={"torch": "2.6.0+cpu"})
    new = make.evaluation("none", versions={"torch": "2.14.1"})
    patch = make.evaluation("sra", versions={"torch": "2.14.0"})
    assert mixture(shared([new, patch])) == ""
    facts = shared([old, new])
    assert mixture(facts) == "torch 2.6 / 2.14, which round differently"
    assert "on torch 2.6 / 2.14, which round differently; commit" in caption(facts)


def test_each_of_several_data_sets_has_its_label():
    both = about_data("synthetic / coco_small")
    assert both.startswith("Synthetic people") and both.endswith("own split; not COCO val AP. ")
    assert about_data("coco_small / mpii") == about_data("coco_small")
    assert about_data("mpii") == ""


def gap(value, half, verdict):
    bounds = Interval(value, value - half, value + half, 5, SIMULTANEOUS)
    return Comparison(bounds, verdict=verdict)


@pytest.mark.parametrize(
    ("value", "half", "verdict", "text"),
    [
        (0.7642, 0.7587, BETTER, "+0.764 ± 0.759"),
        (-1.11641, 1.11632, "worse", "−1.1164 ± 1.1163"),
        (0.7642, 0.7643, NOT_SHOWN, "+0.76 ± 0.76"),
        (0.9, 0.7, BETTER, "+0.90 ± 0.70"),
        (-0.001, 0.5, NOT_SHOWN, "0.00 ± 0.50"),
    ],
)
def test_digits_show_what_the_verdict_says(value, half, verdict, text):
    assert gap_text(gap(value, half, verdict)) == text


def test_one_minus_and_no_signed_zero():
    assert [signed(x, 1) for x in (-0.04, 0.04, -1, 1)] == ["0.0", "0.0", "−1.0", "+1.0"]
    assert [number(x, 2).text for x in (-0.05, 0.05, -0.001)] == ["−0.05", "0.05", "0.00"]


def test_stems_are_files_of_the_folder_and_differ():
    assert stem("ablation", "attention") == "ablation-attention"
    names = [stem(name) for name in ("a b", "a_b", "a/b", "../a_b")]
    assert len(set(names)) == 4 and not any("/" in name for name in names)


def test_a_row_that_opens_with_a_bracket_is_no_argument():
    """``\\\\`` and booktabs' rules take what follows in brackets, or a star."""
    rows = tuple((TableCell(text), TableCell("1")) for text in ("[2, 4]", "*", "plain"))
    text = to_latex(Table("t", "t", (Column("a", "A"), Column("b", "B")), rows))
    assert "\n{}[2, 4] & 1" in text and "\n{}* & 1" in text and "\nplain & 1" in text


def test_what_a_foreign_record_says_is_no_html(make, tmp_path):
    """A metric's name stands in the line that leaves the record out."""
    bad = changed(make.evaluation("mhsa", 1), metrics={"AP<img src=x onerror=alert(1)>": 7.0})
    assert check([("f.json", bad)]).problems
    done = render_grid([*make.grid(), bad], "attention", tmp_path)
    text = next(path for path in done.paths if path.suffix == ".md").read_text()
    assert "1 records left out" in text and "<img" not in text and "&lt;img" in text


def test_without_a_default_intervals_are_each_cells_own(make):
    cells = [r for r in make.grid() if r.cell != "default"]
    plot = effects(ablation.build(cells, "attention"))
    assert "difference" not in plot.alt and "interval of its own" in plot.alt
    labels = [axes.get_xlabel() for axes in draw_effects(plot.data).axes]
    assert "95% interval of each cell" in labels[0] and "simultaneous" not in labels[0]


def test_every_record_is_on_the_page(make):
    """Of exported files and under conditions too: cells of tables name them."""
    plain = make.evaluation()
    runtime = {"name": "openvino", "precision": "int8", "exported": {"fuse": True}}
    of_file = changed(plain, id="0" * 20, inputs={**plain.inputs, "runtime": runtime})
    config = {**plain.to_dict()["config"], "evaluation": {"condition": "fog:3"}}
    under = changed(plain, id="1" * 20, config=config)
    measured = check((f"{r.id}.json", r) for r in (plain, of_file, under))
    assert (len(measured.records), len(measured.exported), len(measured.under)) == (1, 1, 1)
    listed = runs_of(Book(measured, Published((), {}, {}), (), (), ()))["runs"]
    assert {run["id"] for run in listed} == {plain.id, of_file.id, under.id}

"""Which time counts as a network's best: one whose accuracy is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from hevitpose.records import digest
from hevitpose.records.schema import Resampled
from reports.load import check
from reports.published import load as load_published
from reports.tables.accuracy import accuracy_table
from reports.tables.accuracy import tables as accuracy_tables
from reports.tables.precision import points, precision_table
from reports.tables.short import short_tables

WEIGHTS = "a" * 64
START = datetime(2025, 1, 2, tzinfo=UTC)


def measured(records):
    return check((f"{record.id}.json", record) for record in records)


@pytest.fixture
def timed(make):
    def made(mode, dtype, p50, **more):
        conditions = {"mode": mode, "dtype": dtype, **more}
        return make.latency(p50=p50, batch=more.get("batch", 1), conditions=conditions)

    return made


@pytest.fixture
def scored(make):
    """Evaluations of one set of weights: in torch, or an exported file's."""

    def made(mean, runtime="torch", precision="fp32", source=WEIGHTS, kept=(), **changes):
        record = make.evaluation(mean=mean, **changes)
        how = {"name": runtime, "precision": precision, "device": "cpu"}
        weights = source
        if runtime != "torch":
            how["exported"] = {"precision": precision, "source": {"sha256": source}}
            how["exported"]["float32"] = list(kept)
            weights = digest({"file": how})[:1] * 64
        inputs = {**record.inputs, "runtime": how}
        return replace(
            record, id=digest(inputs), inputs=inputs, weights=weights, precision=precision
        )

    return made


def shown(found, *keys):
    return {(p.timing.latency.conditions["mode"], p.precision): [getattr(p, k) for k in keys]
            for p in found}  # fmt: skip


def test_a_fast_precision_without_accuracy_is_never_the_best(timed):
    found = points(measured([timed("fused", "fp32", 9.0), timed("openvino", "bf16", 3.0)]))
    assert shown(found, "best", "is_known") == {
        ("fused", "fp32"): [True, True],
        ("openvino", "bf16"): [False, False],
    }


@pytest.mark.parametrize(("mean", "best"), [(59.5, True), (59.4, False), (61.0, True)])
def test_what_loses_half_a_point_at_most_is(timed, scored, mean, best):
    records = [
        timed("fused", "fp32", 9.0),
        timed("fused+onnxruntime", "int8", 3.0),
        scored(60.0),
        scored(mean, "onnxruntime", "int8"),
    ]
    (full, low) = points(measured(records))
    assert (low.precision, low.best, full.best) == ("int8", best, not best)
    assert low.accuracy.lost == pytest.approx(60 - mean)


def test_accuracy_is_of_the_same_runtime_weights_and_people(timed, scored, make):
    others = make.evaluation().dataset
    for wrong in (
        scored(60.0, "onnxruntime", "int8"),  # another runtime
        scored(60.0, "openvino", "bf16"),  # another precision
        scored(60.0, "openvino", "int8", source="b" * 64),  # no float32 of these weights
        replace(scored(60.0, "openvino", "int8"), dataset=replace(others, fingerprint="x")),
    ):
        records = [timed("openvino", "int8", 3.0), timed("eager", "fp32", 9.0), scored(60.0), wrong]
        low = next(p for p in points(measured(records)) if p.precision == "int8")
        assert not low.is_known and not low.best


def test_accuracy_of_a_file_with_layers_in_float32_is_not_that_of_what_was_timed(timed, scored):
    timings = [timed("onnxruntime", "fp32", 9.0), timed("onnxruntime", "int8", 3.0)]
    for kept, best in (((), True), (("KxK convolution",), False)):
        records = [scored(61.0), scored(60.9, "onnxruntime", "int8", kept=kept)]
        found = points(measured([*timings, *records]))
        assert shown(found, "best")["onnxruntime", "int8"] == [best], kept


def test_the_fastest_form_whose_accuracy_is_known_stands_for_a_precision(timed, scored):
    records = [
        timed("onnxruntime", "int8", 2.0),
        timed("openvino", "int8", 3.0),
        timed("eager", "fp32", 9.0),
        scored(60.0),
        scored(59.9, "openvino", "int8"),
    ]
    found = points(measured(records))
    assert set(shown(found)) == {("eager", "fp32"), ("openvino", "int8")}


def test_the_front_is_of_those_whom_nobody_beats(timed, scored):
    records = [
        timed("eager", "fp32", 9.0),
        timed("openvino", "bf16", 5.0),
        timed("openvino", "int8", 6.0),  # slower and less accurate than bf16
        scored(60.0),
        scored(59.9, "openvino", "bf16"),
        scored(59.8, "openvino", "int8"),
    ]
    found = {p.precision: p.front for p in points(measured(records))}
    assert found == {"fp32": True, "bf16": True, "int8": False}


def test_networks_that_were_trained_differently_are_not_ranked(timed, scored, make):
    fast = replace(timed("eager", "fp32", 3.0), model="hevitpose_t", id="1" * 20)
    for batch, front in ((16, False), (4, True)):
        train = {"epochs": 2, "steps": 300, "seconds": 40.0, "images_per_s": 9.0}
        theirs = make.evaluation(mean=70.0, train=train | {"total_batch": batch})
        theirs = replace(theirs, model="hevitpose_t", weights="b" * 64, id="2" * 20)
        own = scored(60.0, train=train | {"total_batch": 16})
        found = points(measured([timed("eager", "fp32", 9.0), fast, own, theirs]))
        assert {p.model: p.front for p in found} == {"hevitpose_nano": front, "hevitpose_t": True}


def test_networks_whose_training_is_not_recorded_are_not_ranked(timed, scored, make):
    fast = replace(timed("eager", "fp32", 3.0), model="hevitpose_t", id="1" * 20)
    theirs = make.evaluation(mean=70.0, train=None)
    theirs = replace(theirs, model="hevitpose_t", weights="b" * 64, id="2" * 20)
    own = scored(60.0, train=None)
    found = points(measured([timed("eager", "fp32", 9.0), fast, own, theirs]))
    assert {p.model: p.front for p in found} == {"hevitpose_nano": True, "hevitpose_t": True}


def test_processor_time_and_threads_are_places_of_their_own(timed):
    wall, cpu = timed("eager", "fp32", 9.0), timed("eager", "fp32", 5.0, clock="cpu", threads=1)
    places = [point.place[0] for point in points(measured([wall, cpu]))]
    assert sorted(places) == ["example cpu, 1 thread, processor time", "example cpu, 2 threads"]
    assert all(point.best for point in points(measured([wall, cpu])))


def test_exported_files_stand_in_no_table_of_trainings(scored):
    book = measured([scored(60.0), scored(10.0, "onnxruntime", "int8")])
    assert [record.precision for record in book.records] == ["fp32"]
    assert [record.precision for record in book.exported] == ["int8"]
    spec = next(spec for spec in accuracy_tables() if spec.name == "synthetic-val")
    table = accuracy_table(spec, book, load_published())
    assert "10.0" not in {cell.text for row in table.rows for cell in row}


def short_of(book):
    made = short_tables([precision_table(book)], points(book))
    return next(table for table in made if table.name == "short-speed")


def test_the_tables(timed, scored):
    size = {"input": "256x256"}
    low = timed("openvino", "bf16", 5.0, **size)
    book = measured([timed("eager", "fp32", 9.0, **size), low, scored(60.0)])
    table = precision_table(book)
    assert [c.key for c in table.columns][4:8] == ["p50", "accuracy", "on", "lost"]
    texts = [[cell.text for cell in row] for row in table.rows]
    assert [row[2:5] for row in texts] == [["fp32", "eager", "9.00"], ["bf16", "openvino", "5.00"]]
    assert [row[4].bold for row in table.rows] == [True, False]
    # Scored at 128x128, timed at 256x256: another network to say it of.
    assert {row[5] for row in texts} == {"not measured"}
    assert not short_of(book).rows  # one network compares with nothing
    other = timed("fused", "fp32", 20.0, **size)
    other = replace(other, model="pose_hrnet_w32", config={}, id="0" * 20)
    short = short_of(measured([*book.records, other]))
    assert len(short.columns) == 5 and len(short.rows) == 2
    assert [cell.text for cell in short.rows[0]][2:] == ["9.00", "(5.00)", "–"]
    assert precision_table(measured([])).rows[0][4].text == "not measured"


def test_a_loss_has_its_interval_over_photographs_and_is_what_decides(timed, scored):
    """In 100 draws int8 loses 0.00, 0.01 ... 0.99 points; the loss on all people is 0.3."""
    full = Resampled(metric="AP", photographs=491, values=[0.5] * 100)
    low = Resampled(metric="AP", photographs=491, values=[0.5 - i / 10_000 for i in range(100)])
    times = [timed("fused", "fp32", 9.0), timed("fused+onnxruntime", "int8", 3.0)]
    whole = replace(scored(60.0, metrics={"AP": 0.6}), resampled=full)
    eighth = replace(scored(0, "onnxruntime", "int8", metrics={"AP": 0.597}), resampled=low)

    def row(*scores):
        return precision_table(measured([*times, *scores])).rows[1]

    found = row(whole, eighth)
    assert found[7].text == "0.30 [0.02, 0.97]"  # 2.5% and 97.5% of 0 to 0.99
    assert "photographs" in found[7].notes[0] and found[4].bold
    assert found[6].text == "synthetic val, AP, 250 people, seed 0"
    fewer = replace(low, photographs=490), replace(low, values=low.values[:50])
    for other in (None, *fewer, replace(low, metric="AR")):
        assert row(whole, replace(eighth, resampled=other))[7].text == "0.30"
    both = {"metrics": {"AP": 0.6, "Mean": 60.0}}  # draws are of AP, the loss is of PCKh
    assert row(replace(whole, **both), replace(eighth, **both))[7].text == "0.00"


@pytest.fixture
def four_times(timed):
    """Two networks in two precisions by processor time."""
    size = {"input": "256x256", "clock": "cpu", "threads": 1}
    own = [timed("eager", "fp32", 9.0, **size), timed("openvino", "bf16", 5.0, **size)]
    other = {"model": "pose_hrnet_w32", "config": {}}
    return [*own, *(replace(r, id=f"{i}" * 20, **other) for i, r in enumerate(own))]


def test_the_short_table_says_clock_threads_n_and_which_are_noisy(four_times, timed):
    details = {"family": "25", "model": "17", "stepping": "1"}
    machine = replace(four_times[0].machine, details=details)
    records = [replace(record, machine=machine) for record in four_times]
    records[1] = replace(records[1], latency=replace(records[1].latency, n=150, noisy=True))
    # Slower, and so in no cell: not in the line either.
    slow = timed("fused", "fp32", 99.0, input="256x256", clock="cpu", threads=1)
    slow = replace(slow, machine=machine, latency=replace(slow.latency, n=3))
    short = short_of(measured([*records, slow]))
    assert {row[1].text for row in short.rows} == {"example cpu"}
    assert short.conditions == (
        "example cpu (family 25, model 17, stepping 1), 1 thread, processor time, n = 150 to 200; "
        "commit 012345678; 2025-01-02."
    )
    marked = [cell.text for row in short.rows for cell in row if cell.notes]
    assert marked == ["(5.00)"] and "noisy" in short.footnotes[0]


def test_machines_that_a_short_name_does_not_tell_apart_have_their_whole_one(four_times):
    def by_the_wall(record, number):
        conditions = {**record.latency.conditions, "clock": "wall"}
        latency = replace(record.latency, conditions=conditions)
        return replace(record, latency=latency, id=f"{number}" * 20)

    wall = [by_the_wall(record, 5 + i) for i, record in enumerate(four_times)]
    short = short_of(measured([*four_times, *wall]))
    assert {row[1].text for row in short.rows} == {
        "example cpu, 1 thread, processor time", "example cpu, 1 thread",
    }  # fmt: skip
    assert "1 thread, wall time, n = 200" in short.conditions


@pytest.mark.parametrize(
    ("change", "held_out"),
    [({"boxes": "hog.json>=0"}, {}), ({"split": "minival"}, {"of": "train", "share": 0.1})],
)
def test_accuracy_is_by_ground_truth_boxes_and_not_on_minival(
    timed, scored, make, change, held_out
):
    """However late somebody scores a network otherwise."""
    dataset = replace(make.evaluation().dataset, **change)
    later = scored(9.0, seed=1, started_at=START + timedelta(days=1))
    inputs = later.inputs | ({"data": {"held_out": held_out}} if held_out else {})
    later = replace(later, id=digest(inputs), inputs=inputs, dataset=dataset)
    (full,) = points(measured([timed("fused", "fp32", 9.0), scored(60.0), later]))
    assert full.accuracy.value == 60.0

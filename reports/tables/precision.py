"""Each network in each precision: its best time, what it loses, and which points nobody beats.

A time counts as a network's best where its accuracy is known to lose at most :data:`MOST_LOST`
points against float32 of the same weights, or where it is float32's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hevitpose.evaluation.statistics import Interval, paired_difference
from hevitpose.inference.defaults import MOST_LOST
from hevitpose.markdown import plain
from hevitpose.records import Record
from reports import captions
from reports.load import Measured, input_size, is_plain_network, metric, newest
from reports.output.text import MISSING, Column, Table, TableCell, join, number, signed
from reports.settings import data_key
from reports.tables.accuracy import DISPLAY
from reports.tables.speed import latest_timings, median, timings_line

#: In the order of the rows.
PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8")
_RUNTIMES = ("onnxruntime", "openvino", "tensorrt")

Place = tuple[str, str, str]  # machine, threads and clock; batch; input


@dataclass(frozen=True)
class Accuracy:
    """What some weights score in a runtime and precision, beside float32."""

    record: Record
    full: Record | None  # of the same weights, data and condition in float32
    trained: tuple[int | None, int | None] | None  # steps, people a step; None: not recorded

    @property
    def name(self) -> str:
        """The primary metric."""
        return "PCKh" if metric(self.record, "Mean") is not None else "AP"

    @property
    def value(self) -> float | None:
        """Points, 0 to 100."""
        return _primary(self.record)

    @property
    def lost(self) -> float | None:
        """Points lost against float32; None where that was not evaluated."""
        if self.full is None or self.value is None:
            return None
        full = _primary(self.full)
        return None if full is None else full - self.value

    @property
    def lost_interval(self) -> Interval | None:
        """Of the loss, over draws of the photographs; None where they have no draws in common."""
        own, full = self.record.resampled, self.full.resampled if self.full else None
        if own is None or full is None or self.full is self.record:
            return None
        drawn = {(each.metric, each.photographs, len(each.values)) for each in (own, full)}
        if len(drawn) > 1 or own.metric != self.name:
            return None
        before, after = ([100 * value for value in each.values] for each in (full, own))
        return paired_difference({0: before}, {0: after})

    @property
    def on(self) -> str:
        """What was scored: data, metric, how many people, and the seed of the one training."""
        data, seed = self.record.dataset, self.record.seed
        if data is None:
            return f"data not stated, {self.name}"
        people = data.counts.get("people")
        words = [f"{data.name} {data.split}", self.name]
        words += [f"{people} people"] if people is not None else []
        words += [f"seed {seed}"] if seed is not None else []
        return ", ".join(words)


@dataclass(frozen=True)
class Point:
    """A network in one precision at one place, in its fastest form."""

    model: str
    place: Place
    precision: str
    timing: Record
    accuracy: Accuracy | None
    best: bool = False  # of the network there
    front: bool = False  # nobody there is faster and as accurate, on the same people, trained alike

    @property
    def ms(self) -> float:
        """Median of a call."""
        assert self.timing.latency is not None and self.timing.latency.p50 is not None
        return self.timing.latency.p50

    @property
    def is_known(self) -> bool:
        """Whether it is known to lose little."""
        lost = self.accuracy.lost if self.accuracy else None
        return self.precision == "fp32" or (lost is not None and lost <= MOST_LOST)


def points(measured: Measured) -> list[Point]:
    """Every network in every precision that was timed, the networks in the order of the suite."""
    return measured.kept("precisions", lambda: _points(measured))


def _points(measured: Measured) -> list[Point]:
    scored = _accuracies(measured)
    groups: dict[tuple[str, Place, str], list[Record]] = defaultdict(list)
    for record in latest_timings(measured):
        assert record.latency is not None
        conditions = record.latency.conditions
        plain = conditions.get("scope", "model") == "model" and not conditions.get("flip_test")
        if plain and conditions.get("l2", "warm") == "warm":
            groups[record.model, _place(record), captions.precision_word(record)].append(record)
    found = []
    for (model, place, precision), timings in groups.items():
        each = [
            Point(model, place, precision, timing, _accuracy_of(timing, precision, scored))
            for timing in timings
        ]
        known = [point for point in each if point.is_known]
        found.append(min(known or each, key=lambda point: point.ms))
    places = list(dict.fromkeys(point.place for point in found))
    found.sort(key=lambda p: (places.index(p.place), _rank(p.model), _order(p.precision)))
    return [_marked(point, found) for point in found]


def _rank(model: str) -> int:
    return list(DISPLAY).index(model) if model in DISPLAY else len(DISPLAY)


def _order(precision: str) -> int:
    return PRECISIONS.index(precision) if precision in PRECISIONS else len(PRECISIONS)


def _marked(point: Point, others: Sequence[Point]) -> Point:
    same = [p for p in others if p.place == point.place]
    own = [p for p in same if p.model == point.model and p.is_known]
    best = point.is_known and point.ms == min(p.ms for p in own)
    return Point(
        point.model,
        point.place,
        point.precision,
        point.timing,
        point.accuracy,
        best,
        _on_front(point, same),
    )


def _on_front(point: Point, others: Iterable[Point]) -> bool:
    """Whether none of the others is faster and as accurate, or as fast and more accurate."""
    own = point.accuracy.value if point.accuracy else None
    if point.accuracy is None or own is None:
        return False
    for other in others:
        theirs = other.accuracy.value if other.accuracy else None
        if other.accuracy is None or theirs is None or _on(other) != _on(point):
            continue
        if (other.ms <= point.ms and theirs > own) or (other.ms < point.ms and theirs >= own):
            return False
    return True


def _on(point: Point) -> Any:
    """The people that an accuracy was taken on, and how many the weights were trained on.

    Where that is not recorded, the weights themselves: no other network was known to train alike.
    """
    assert point.accuracy is not None
    found = point.accuracy
    return data_key(found.record), found.trained or (point.model, _weights(found.record))


def _place(record: Record) -> Place:
    assert record.latency is not None
    given = record.latency.conditions
    return captions.place_words(record), str(given.get("batch")), str(given.get("input"))


# Accuracy --------------------------------------------------------------------------------------

Scored = dict[tuple[str, str], dict[tuple[str, str], Accuracy]]


def _accuracies(measured: Measured) -> Scored:
    """By network and input, what one set of weights scores by runtime and precision.

    Of several sets the one that most precisions were evaluated of; of those the latest.
    """
    sets: dict[tuple[Any, ...], dict[tuple[str, str], Record]] = defaultdict(dict)
    records = (*measured.of("evaluation"), *measured.exported)
    for record in sorted(records, key=lambda r: (r.started_at, r.id)):
        size = input_size(record)
        if size is None or not is_plain_network(record) or _primary(record) is None:
            continue
        data = record.dataset
        held_out = "held_out" in (record.inputs.get("data") or {})
        if held_out or (data is not None and data.boxes != "gt"):
            continue  # a detector's misses say nothing of precisions, minival is for choosing
        place = record.model, f"{size[1]}x{size[0]}"
        key = (place, _weights(record), data_key(record), record.flip_test, record.decoder)
        runtime = record.inputs.get("runtime") or {}
        if (runtime.get("exported") or {}).get("float32"):
            continue  # kinds of layers that stayed; times are of files with all kinds in int8
        sets[key][runtime.get("name", "torch"), runtime.get("precision", "fp32")] = record
    found: Scored = {}
    ranked = sorted(sets.items(), key=lambda item: _rank_of(item[1]))
    for (place, *_), by_form in ranked:
        full = newest(r for (_, precision), r in by_form.items() if precision == "fp32")
        train = next((r.train for r in by_form.values() if r.train is not None), None)
        trained = None if train is None else (train.steps, train.total_batch)
        found[place] = {form: Accuracy(record, full, trained) for form, record in by_form.items()}
    return found


def _rank_of(by_form: dict[tuple[str, str], Record]) -> tuple[int, str]:
    """Most precisions last, then the latest last."""
    latest = newest(by_form.values())
    assert latest is not None
    return len({p for _, p in by_form}), latest.started_at.isoformat()


def _accuracy_of(timing: Record, precision: str, scored: Scored) -> Accuracy | None:
    """Of what was timed: float32 scores the same in every runtime."""
    assert timing.latency is not None
    given = timing.latency.conditions
    forms = scored.get((timing.model, str(given.get("input"))), {})
    backend = str(given.get("mode")).rpartition("+")[2]
    runtime = backend if backend in _RUNTIMES else "torch"
    if precision == "fp32":
        found = (forms.get((name, "fp32")) for name in ("torch", *_RUNTIMES))
        return next((each for each in found if each is not None), None)
    return forms.get((runtime, precision))


def _weights(record: Record) -> str | None:
    """The sha256 of the weights that a network or its exported file has."""
    exported = (record.inputs.get("runtime") or {}).get("exported")
    return (exported or {}).get("source", {}).get("sha256") if exported else record.weights


def _primary(record: Record) -> float | None:
    value = metric(record, "Mean")
    return metric(record, "AP") if value is None else value


# Tables ----------------------------------------------------------------------------------------


def precision_table(measured: Measured) -> Table:
    """Every network's best time in every precision, with its accuracy."""
    found = points(measured)
    rows = tuple(_row(point) for point in found)
    data = (p.accuracy.record.dataset for p in found if p.accuracy is not None)
    about = captions.about_data(join(sorted({each.name for each in data if each}), "")).strip()
    return Table(
        "precisions",
        "Speed and accuracy of each network in each precision",
        (
            Column("model", "Model", numeric=False),
            Column("where", "Machine, batch, input", numeric=False),
            Column("precision", "Precision", numeric=False),
            Column("form", "Form", numeric=False),
            Column("p50", "p50 (ms)", "down"),
            Column("accuracy", "Accuracy", "up"),
            Column("on", "On", numeric=False),
            Column("lost", "Points lost", "down"),
            Column("front", "Pareto front", numeric=False),
        ),
        rows or ((TableCell("HEViTPose-B"), *([MISSING] * 8)),),
        caption=about,
        data=about,
        conditions=timings_line([point.timing for point in found]),
        legend=(
            "Of the forms of a precision the fastest whose accuracy is known, else the fastest. "
            f"Bold: a network's best of any precision that loses at most {MOST_LOST} points "
            "against float32 of the same weights, by the loss itself and not by its interval; a "
            "precision whose accuracy was not measured is never bold. Accuracy is of one training, "
            "the one here whose weights were scored in most precisions, of several the latest, "
            "also where that is a grid's: its seed and how many people it was scored on stand "
            "beside it, and another seed scores differently. A loss "
            "has an interval where both precisions were scored on the same draws of photographs. "
            "Pareto front: no other at the same place, trained for as many steps of as many "
            "people, is faster and as accurate on the same people; others are not compared by "
            "accuracy. Times on untrained weights; two rows make no ratio.",
        ),
    )


def _lost(lost: float, interval: Interval | None, ids: tuple[str, ...]) -> TableCell:
    """A loss, with its interval where there is one."""
    cell = number(lost, 2, records=ids)
    if interval is None:
        return cell
    ends = (interval.low, interval.high)
    bounds = (signed(end, 2, plus=False) for end in ends if end is not None)
    notes = (f"95% interval: {interval.method}, which says nothing about other trainings",)
    text = f"{cell.text} [{', '.join(bounds)}]"
    return replace(cell, text=text, notes=notes)


def _row(point: Point) -> tuple[TableCell, ...]:
    latency, found = point.timing.latency, point.accuracy
    assert latency is not None
    machine, batch, size = point.place
    p50 = median(point.timing)
    cells = [MISSING, TableCell("–"), MISSING]
    if found is not None:
        by = (found.record.id,)
        cells = [number(found.value, 1, records=by), TableCell(plain(found.on)), MISSING]
        if point.precision == "fp32":
            cells[2] = TableCell("–")
        elif found.lost is not None and found.full is not None:
            cells[2] = _lost(found.lost, found.lost_interval, (*by, found.full.id))
    return (
        TableCell(DISPLAY.get(point.model, plain(point.model))),
        TableCell(plain(f"{machine}, {batch}, {size}")),
        TableCell(point.precision),
        TableCell(plain(latency.conditions.get("mode"))),
        TableCell(p50.text, p50.value, p50.kind, point.best, p50.notes, p50.records),
        *cells,
        TableCell("yes" if point.front else "–"),
    )

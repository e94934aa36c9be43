"""How many times faster one network is than another, by the runs that timed both in turn.

Times that were taken apart make no ratio: the machine may have changed in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hevitpose.evaluation.statistics import Interval
from hevitpose.records import Record
from hevitpose.records.schema import VERDICT_ROUNDS
from reports import captions
from reports.load import Measured, is_plain_network


class Ratio(NamedTuple):
    """One interleaved comparison of two networks in one mode."""

    times: Interval  # time(against) / time(model)
    record: Record  # that holds it, with the conditions of both

    @property
    def where(self) -> str:
        """Machine, batch, mode, precision and input."""
        assert self.record.latency is not None
        given = self.record.latency.conditions
        return (
            f"{captions.place_words(self.record)}, batch {given.get('batch')}, "
            f"{given.get('mode')}, {captions.precision_word(self.record)}, {given.get('input')}"
        )

    @property
    def note(self) -> str:
        """How it was measured."""
        return (
            f"measured in turn, {self.times.n} rounds, 95% interval: {self.times.method}. "
            + captions.describe_conditions([self.record])
        )


def interleaved(measured: Measured, model: str, against: str) -> list[Ratio]:
    """time(against) / time(model) under all conditions that both were timed under in turn.

    GPUs before CPUs, then the largest batch, then the latest; of several runs under the same
    conditions the latest alone.

    Args:
        measured: all records.
        model: whose speed it is.
        against: the network that it is compared with.
    """
    found = [
        Ratio(times, record)
        for record in measured.of("latency")
        if is_plain_network(record)
        for times in _times(record, model, against)
    ]

    def weight(ratio: Ratio) -> tuple[bool, float, str]:
        assert ratio.record.latency is not None
        batch = ratio.record.latency.conditions.get("batch")
        size = float(batch) if isinstance(batch, (int, float)) else 0.0
        return captions.on_gpu(ratio.record), size, ratio.record.started_at.isoformat()

    latest: dict[str, Ratio] = {}
    for ratio in sorted(found, key=weight, reverse=True):
        latest.setdefault(captions.conditions_key(ratio.record, "attempt"), ratio)
    return list(latest.values())


def _times(record: Record, model: str, against: str) -> Iterator[Interval]:
    """What a record of either network holds about the other."""
    for other, ratio in _recorded(record):
        numbers = [ratio.get(key) for key in ("ratio", "low", "high")]
        if not all(isinstance(n, (int, float)) and 0 < n < float("inf") for n in numbers):
            continue
        value, low, high = (float(n) for n in numbers if n is not None)
        rounds = int(ratio.get("rounds") or 0)
        if not low <= value <= high or rounds < VERDICT_ROUNDS:  # fewer say too little
            continue
        if (record.model, other) == (model, against):
            value, low, high = 1 / value, 1 / high, 1 / low
        elif (record.model, other) != (against, model):
            continue
        yield Interval(value, low, high, rounds, "bootstrap over rounds")


def _recorded(record: Record) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each network that a record's was timed in turn with in the same form, and their ratio."""
    if record.latency is None:
        return
    details, given = record.latency.details, record.latency.conditions
    mode, dtype = given.get("mode"), given.get("dtype")
    one, several = details.get("ratio"), details.get("ratios")
    if isinstance(one, Mapping):
        other, its_mode, its_dtype = [*str(one.get("to")).split(":"), "", ""][:3]
        # A label names a precision where one was given, else both ran in the command's.
        named = f"{record.model}:{mode}:{dtype}" in (details.get("interleaved_with") or ())
        if its_mode == mode and (its_dtype == dtype if its_dtype else not named):
            yield other, one
    if isinstance(several, Mapping):  # all contenders of a GPU's comparison run in one mode
        yield from ((k, v) for k, v in several.items() if isinstance(v, Mapping))

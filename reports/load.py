"""Records as reports see them: loaded from stores, checked, and grouped.

What cannot be used is named and left out, never averaged in silence: corrupt and foreign files
(the store says so), one id with two contents, counts of one network that disagree, metrics out of
their range. Two records of one id that differ in times alone are the same result measured twice:
the later one is shown.
"""

from __future__ import annotations

import gc
import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from hevitpose.collector import no_garbage_collection
from hevitpose.config.renamed import with_todays_names
from hevitpose.models.spec import HEViTPoseSpec
from hevitpose.records import Problem, Record, RecordStore, contradiction
from hevitpose.records.schema import BASELINE_PREFIX, is_share
from reports.pck import declared_pck
from reports.settings import FREE_KEYS, Origin, Section, SharedConfig, flatten, stock_options

#: Percentages, as :func:`hevitpose.metrics.pckh.pckh` gives them.
PCKH_JOINTS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
PERCENT_METRICS = frozenset((*PCKH_JOINTS, "Mean", "Mean@0.1", "PCKh", "minival_pck"))
#: What the COCO evaluator says of a range of sizes that holds no person.
NOBODY = -1
#: What an older or shorter name stands for.
METRIC_ALIASES = {"PCKh": "Mean", "PCKh@0.5": "Mean", "PCKh@0.1": "Mean@0.1"}
T = TypeVar("T")
_IGNORED_FILES = ("README.md", ".gitkeep")
#: Keys of the config's model section that are not options of the network.
_NOT_OPTIONS = frozenset(("name", "num_keypoints", "checkpoint"))
_OPTIONS = frozenset(field.name for field in fields(HEViTPoseSpec))


@dataclass(frozen=True)
class Measured:
    """Usable records, and what was left out and why."""

    records: tuple[Record, ...] = ()
    problems: tuple[Problem, ...] = ()
    under: tuple[Record, ...] = ()  # evaluations under a robustness condition, in no other table
    exported: tuple[Record, ...] = ()  # evaluations of exported files: of precisions, no trainings
    _kept: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def everything(self) -> tuple[Record, ...]:
        """All usable records, whichever table they stand in."""
        return (*self.records, *self.under, *self.exported)

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under this key before; views are asked for many times."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def of(self, kind: str) -> list[Record]:
        """Records of one kind, without failures."""
        return self.kept(
            ("of", kind),
            lambda: [r for r in self.records if r.kind == kind and r.status == "ok"],
        )

    def plain_counts(self) -> dict[str, list[Record]]:
        """Complexity records of networks as they are named, by network."""

        def make() -> dict[str, list[Record]]:
            found: dict[str, list[Record]] = defaultdict(list)
            for record in self.of("complexity"):
                if is_plain_network(record):
                    found[record.model].append(record)
            return found

        return self.kept("plain", make)

    def counts_of(self, record: Record) -> Record | None:
        """The complexity record of a run's network."""

        def make() -> dict[str | None, list[Record]]:
            found: dict[str | None, list[Record]] = defaultdict(list)
            for each in self.of("complexity"):
                found[each.cell_id].append(each)
            return found

        return newest(self.kept("counts", make).get(record.cell_id, [])) if record.cell_id else None


def metric(record: Record, name: str) -> float | None:
    """A metric in percent, or None.

    Args:
        record: of kind evaluation.
        name: ``Mean`` (PCKh@0.5), ``Mean@0.1``, a joint, or an AP or AR of the evaluators.
    """
    value = record.metrics.get(name)
    if value is None and not declared_pck(record):  # a custom dataset's PCKh is its own
        for alias, canonical in METRIC_ALIASES.items():
            if canonical == name and record.metrics.get(alias) is not None:
                value = record.metrics[alias]
    if value is None:
        return None
    if not is_share(name):
        return value
    return None if value == NOBODY else 100 * value


def out_of_range(record: Record) -> str | None:
    """What no measurement can be, as one line; None when all is possible."""
    for name, value in record.metrics.items():
        if value is None:
            continue
        top = _largest(name)
        if top is not None and not 0 <= value <= top and not (top == 1 and value == NOBODY):
            return f"metrics.{name}: {value!r}, expected 0 to {top:g}"
    for name, interval in record.intervals.items():
        if interval.low > interval.high:
            return f"intervals.{name}: low {interval.low!r} above high {interval.high!r}"
    if record.kind == "complexity" and record.status == "ok" and record.params == 0:
        return "params: 0, expected a network"
    latency = record.latency
    if latency is not None and latency.p50 is not None:
        if latency.p50 == 0:
            return "latency.p50: 0, expected a positive time"
        if latency.samples and not min(latency.samples) <= latency.p50 <= max(latency.samples):
            return f"latency.p50: {latency.p50!r}, outside its own samples"
    return None


@lru_cache(maxsize=4096)
def _largest(name: str) -> float | None:
    """The most that a metric can be; None where its name tells nothing."""
    if is_share(name):
        return 1.0
    return 100.0 if name.removeprefix(BASELINE_PREFIX) in PERCENT_METRICS else None


def check(records: Iterable[tuple[str, Record]], problems: Iterable[Problem] = ()) -> Measured:
    """Sorts out what cannot be used.

    Args:
        records: pairs of the file that a record came from, and the record.
        problems: what loading found already.
    """
    found = list(problems)
    kept: dict[str, tuple[str, Record]] = {}
    failures: list[Record] = []
    contradictory: set[str] = set()
    for file, record in records:
        reason = out_of_range(record)
        if reason:
            found.append(Problem(file, reason))
        elif record.status != "ok":
            failures.append(record)
        elif record.id in kept and contradiction(kept[record.id][1], record):
            found.append(Problem(file, f"contradicts {kept[record.id][0]}: one id, two results"))
            contradictory.add(record.id)
        elif record.id not in kept or record.started_at > kept[record.id][1].started_at:
            kept[record.id] = (file, record)
    for record_id in contradictory:
        file, _ = kept.pop(record_id)
        found.append(Problem(file, "contradicted by another record of this id"))
    for record_id, reason in _contradicting_counts(kept).items():
        file, _ = kept.pop(record_id)
        found.append(Problem(file, reason))
    usable = with_trainings([*(record for _, record in kept.values()), *failures])
    usable.sort(key=lambda r: (r.kind, r.model, r.started_at, r.id))
    files = tuple(r for r in usable if is_of_file(r) and r.status == "ok")
    usable = [record for record in usable if not is_of_file(record)]
    plain = tuple(record for record in usable if condition_of(record) is None)
    under = tuple(r for r in usable if condition_of(r) is not None and r.status == "ok")
    exported = tuple(r for r in files if condition_of(r) is None)
    return Measured(plain, tuple(sorted(set(found))), under, exported)


def is_of_file(record: Record) -> bool:
    """Whether it is the evaluation of an exported file, not of weights."""
    return "exported" in (record.inputs.get("runtime") or {})


def condition_of(record: Record) -> str | None:
    """The robustness condition of an evaluation, ``fog:3``."""
    if record.kind != "evaluation":  # its config may name one; it decides no other kind of result
        return None
    return (record.config.get("evaluation") or {}).get("condition")


def is_conditional(record: Record) -> bool:
    """Whether it scores weights otherwise than their cell's own evaluation does.

    So does an entry of a grid's ``evaluate:``, as another decoder, and a robustness condition.
    """
    return record.condition is not None or condition_of(record) is not None


def _contradicting_counts(kept: Mapping[str, tuple[str, Record]]) -> dict[str, str]:
    """Counts of one network by one rule that disagree: none of them can be believed."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for _, record in kept.values():
        if record.kind == "complexity" and record.cell_id:
            groups[record.cell_id, record.inputs.get("version")].append(record)
    reasons = {}
    for (cell_id, _), group in groups.items():
        if len({record.params for record in group}) > 1:
            values = ", ".join(map(str, sorted({record.params or 0 for record in group})))
            for record in group:
                reasons[record.id] = f"params of network {cell_id} contradict: {values}"
    return reasons


def with_trainings(records: Sequence[Record]) -> list[Record]:
    """Records, the evaluations with what they have of their training: its cost, curve, origin."""
    trainings = {r.id: r for r in records if r.kind == "training" and r.status == "ok"}
    origins = {training.id: Origin.of(training) for training in trainings.values()}
    joined = []
    for record in records:
        of = trainings.get(record.training or "")
        if of is not None:
            config = SharedConfig(record.config)
            if isinstance(record.config, SharedConfig):
                config.sections = record.config.sections
            config.origin = origins[of.id]
            record = replace(record, config=config)
            if record.status == "ok":
                record = replace(record, train=of.train, curve=of.curve)
        joined.append(record)
    return joined


def load(roots: Sequence[Path]) -> Measured:
    """Every usable record of these stores; the rest is in ``problems``.

    Raises:
        HEViTPoseError: a folder cannot be read.
    """
    problems: list[Problem] = []
    pairs: list[tuple[str, Record]] = []
    slim = _Slim()
    with no_garbage_collection(collect_first=False):
        for root in roots:
            store = RecordStore(root)
            for record in store.iter():
                suffix = "" if record.status == "ok" else ".failed"
                pairs.append((f"{root.name}/{record.id}{suffix}.json", slim(record)))
            problems += [Problem(f"{root.name}/{p.file}", p.reason) for p in store.problems]
            problems += _foreign(root)
        found = check(pairs, problems)
        gc.freeze()  # what is loaded stays: no later collection looks at it
    return found


def _foreign(root: Path) -> Iterator[Problem]:
    """Files of a store that are not even called like a record."""
    if root.is_dir():
        for name in sorted(os.listdir(root)):  # noqa: PTH208 (as of a store)
            if (
                not name.endswith(".json")
                and name not in _IGNORED_FILES
                and not (name.startswith(".") and name.endswith(".tmp"))
                and (root / name).is_file()
            ):
                yield Problem(f"{root.name}/{name}", "foreign file: not a record")


class _Slim:
    """Records as they fit into the memory by ten thousands: what is not shown left out, what many
    share (a config's sections, a machine, versions) kept once.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[object, bytes], Any] = {}

    def __call__(self, record: Record) -> Record:
        changes: dict[str, Any] = {
            "config": self._config(record.config),
            "inputs": {k: self._once(v) for k, v in record.inputs.items()},
            "machine": self._once(record.machine),
            "versions": self._once(record.versions),
        }
        if record.latency is not None and record.latency.samples and not out_of_range(record):
            changes["latency"] = replace(record.latency, samples=[])
        if record.breakdown is not None:
            joints = {name: replace(j, pck=[]) for name, j in record.breakdown.joints.items()}
            changes["breakdown"] = replace(record.breakdown, joints=joints, groups={})
        return replace(record, **changes)

    def _once(self, value: T) -> T:
        if isinstance(value, str | int | float | None):
            return value
        return self._kept.setdefault((type(value), msgspec.json.encode(value)), value)

    def _config(self, config: Mapping[str, Any]) -> SharedConfig:
        slim = SharedConfig((key, self._section(key, value)) for key, value in config.items())
        own = [(k, v) for k, v in slim.items() if k not in FREE_KEYS or isinstance(v, Section)]
        slim.sections = tuple(own) if all(isinstance(v, Section) for _, v in own) else None
        return slim

    def _section(self, name: str, value: Any) -> Any:
        if type(value) is not dict:
            return value
        key = (name, msgspec.json.encode(value))
        if key not in self._kept:
            self._kept[key] = section = Section(value)
            section.dotted = flatten({name: value})
        return self._kept[key]


def input_size(record: Record) -> tuple[int, int] | None:
    """(W, H) of the network's input: of the count, of the timing, else of the config."""
    text = record.latency.conditions.get("input") if record.latency else None
    if isinstance(text, str) and re.fullmatch(r"\d+x\d+", text):
        height, width = text.split("x")
        return int(width), int(height)
    size = record.inputs.get("input") or (record.config.get("data") or {}).get("input_size")
    if isinstance(size, Sequence) and len(size) == 2 and not isinstance(size, str):
        return int(size[0]), int(size[1])
    return None


def h_by_w(size: tuple[int, int] | None) -> str:
    """A size as text, height first."""
    return f"{size[1]}x{size[0]}" if size else "not stated"


def _changed_options(record: Record) -> set[str]:
    """Options of the network that differ from those of the variant the model is named after."""
    stock = stock_options(record.model)
    changed: set[str] = set()
    for model in (record.config.get("model"), record.inputs.get("model")):
        if isinstance(model, Mapping):
            model = with_todays_names({"model": model})["model"]  # inputs keep first names
            changed |= {
                key
                for key, value in model.items()
                if key not in _NOT_OPTIONS
                and (key not in stock or value != stock[key])
                and (stock or key in _OPTIONS)  # what else a record tells of a peer is its own
            }
    return changed


def is_plain_network(record: Record) -> bool:
    """Whether the record is of a model as it is named, no option changed."""
    return not _changed_options(record)


def num_keypoints(record: Record) -> int | None:
    """How many heatmaps the network has, where the record says so."""
    for model in (record.inputs.get("model"), record.config.get("model")):
        if isinstance(model, Mapping) and isinstance(model.get("num_keypoints"), int):
            return int(model["num_keypoints"])
    return None


def params_m(record: Record | None) -> float | None:
    """Millions of parameters; None where they were not counted."""
    return record.params / 1e6 if record and record.params else None


def gflops(record: Record | None, rule: str = "mmcv") -> float | None:
    """GFLOPs of one image by a convention; None where they were not counted."""
    return getattr(record.flops, rule) if record and record.flops else None


def p50(record: Record | None) -> float | None:
    """The median milliseconds of a call; None where it was not timed."""
    return record.latency.p50 if record and record.latency else None


def seed_number(record: Record) -> int:
    """A run's seed among others; -1 of a record that names none, which no seed is."""
    return -1 if record.seed is None else record.seed


def newest(records: Iterable[Record]) -> Record | None:
    """The record that started last."""
    return max(records, key=lambda r: (r.started_at, r.id), default=None)

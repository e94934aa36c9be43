"""Runs as the page reads them: one entry a record, in one JSON, every number already computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hevitpose.data.registry import label_of
from hevitpose.records import Record
from hevitpose.records.schema import is_share
from reports.build import Book
from reports.captions import condition, conditions_key
from reports.load import METRIC_ALIASES
from reports.output.repeat import repeat_command
from reports.settings import flatten
from reports.tables.grid import gap_text

#: Keys of a record that its details show.
_SHOWN = frozenset(
    ("error", "config", "metrics", "intervals", "latency", "params", "flops", "curve", "dataset",
     "train", "code", "machine", "versions", "started_at", "seconds", "flip_test", "decoder",
     "selection", "threads", "precision", "peak_memory")
)  # fmt: skip
#: Of these, what many records have in common; each distinct value is written once.
_SHARED = frozenset(("machine", "versions", "code", "dataset", "train"))


class Parts:
    """Distinct values, each stored once and named by its place in the list."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """The place of a value, which is added where it is new."""
        key = json.dumps(value, sort_keys=True)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def runs_of(book: Book) -> dict[str, list[Any]]:
    """Every record of a book for the page.

    Returns:
        ``runs``: an entry a record. ``parts``: the values that entries name by place, in their
        ``details.parts`` (whole values) and ``details.config_parts`` (sections of the config).
    """
    against = _against_defaults(book)
    parts = Parts()
    runs = [
        _entry(record)
        | ({"older": True} if record.id in book.older else {})
        | ({"against": against[record.id]} if record.id in against else {})
        | {"details": _details(record, parts)}
        for record in book.measured.everything
    ]
    return {"runs": runs, "parts": parts.values}


def group_of(record: Record) -> str:
    """The key that all seeds of one cell share."""
    if record.kind not in ("training", "evaluation"):
        return record.id
    text = record.config_hash or json.dumps(flatten(record.config), sort_keys=True, default=str)
    boxes = record.dataset.boxes if record.dataset else ""  # in no config's hash
    return hashlib.sha256(f"{record.cell_id}|{text}|{boxes}".encode()).hexdigest()[:12]


def _entry(record: Record) -> dict[str, Any]:
    metrics = {METRIC_ALIASES.get(k, k): v for k, v in record.metrics.items() if v is not None}
    cell = f"{record.grid}/{record.cell}" if record.grid else record.cell or ""
    seed = "" if record.seed is None else f" seed {record.seed}"
    return {
        "id": record.id,
        "name": f"{cell or record.model}{seed}, {record.kind} {record.id[:8]}",
        "kind": record.kind,
        "status": record.status,
        "model": record.model,
        "cell": cell,
        "seed": record.seed,
        "date": record.started_at.strftime("%Y-%m-%d"),
        "result": _result(record, metrics),
        "group": group_of(record),
        "metrics": {name: _metric_text(name, value) for name, value in metrics.items()},
    } | ({"timing": _timing(record)} if record.latency is not None else {})


def _metric_text(name: str, value: float) -> str:
    return f"{100 * value if is_share(name) else value:.2f}"


def _result(record: Record, metrics: Mapping[str, float]) -> str:
    """The one number of a record that its row shows."""
    latency = record.latency
    if record.status != "ok":
        return record.status
    if "Mean" in metrics:
        return f"PCKh@0.5 {metrics['Mean']:.1f}"
    if "AP" in metrics:
        return f"AP {100 * metrics['AP']:.1f}"
    if latency is not None and latency.p50 is not None:
        return f"{latency.p50:.2f} ms"
    if record.train is not None and record.train.loss is not None:
        return f"loss {record.train.loss:.3g}"
    return "" if record.params is None else f"{record.params / 1e6:.3f}M"


def _against_defaults(book: Book) -> dict[str, list[dict[str, Any]]]:
    """Comparisons of cells with their grid's default, worded as the tables word them.

    Returns:
        By record id: group of the default, the grid, and by metric difference and verdict as texts.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for _, grid in book.grids:
        default = grid.default
        if default is None or not default.accuracy:
            continue
        for row in grid.rows:
            texts = {
                name: f"{gap_text(family.comparisons[row.name])} "
                f"({family.comparisons[row.name].verdict})"
                for name, family in grid.families.items()
                if row.name in family.comparisons
            }
            for record in row.accuracy if texts else ():
                entry = {
                    "group": group_of(default.accuracy[0]),
                    "grid": f"{grid.name}: {condition(grid.facts)}",
                    "differences": texts,
                }
                found.setdefault(record.id, []).append(entry)
    return found


def _timing(record: Record) -> dict[str, Any]:
    """Contender and conditions by which interleaved timings are joined, and the ratio as text."""
    assert record.latency is not None
    ratio = record.latency.details.get("ratio")
    found = {
        "contender": f"{record.model}:{record.latency.conditions.get('mode')}",
        "conditions": conditions_key(record, "mode"),
    }
    if isinstance(ratio, Mapping) and all(
        isinstance(ratio.get(key), (int, float)) for key in ("ratio", "low", "high")
    ):
        found["to"] = str(ratio.get("to"))
        found["ratio"] = (
            f"{ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}], "
            f"{ratio.get('rounds')} rounds in turn, 95% interval"
        )
    return found


def _details(record: Record, parts: Parts) -> dict[str, Any]:
    """Everything that is shown when a run is opened."""
    shown = {
        key: value
        for key, value in record.to_dict().items()
        if key in _SHOWN and value not in (None, {}, [])
    }
    if record.dataset and (label := label_of(record.dataset.name)):
        shown["dataset"] |= {"label": label}
    config = shown.pop("config", {})
    sections = {key: value for key, value in config.items() if isinstance(value, dict)}
    return {
        **{key: value for key, value in shown.items() if key not in _SHARED},
        "command": repeat_command(record),
        "config": {key: value for key, value in config.items() if key not in sections},
        "config_parts": {key: parts.place(value) for key, value in sections.items()},
        "parts": {key: parts.place(shown[key]) for key in shown if key in _SHARED},
    }

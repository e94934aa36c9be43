"""Records as lines of text, for ``hevitpose records list``."""

from __future__ import annotations

from collections.abc import Iterable

from hevitpose.data.registry import labels_of
from hevitpose.errors import first_line, on_one_line
from hevitpose.records.schema import Record
from hevitpose.text_table import text_table

HEADER = ("id", "kind", "status", "model", "cell", "seed", "result", "started (UTC)", "source")


def row(record: Record) -> tuple[str, ...]:
    """A record's columns, see :data:`HEADER`; a record may be a stranger's and say anything."""
    cell = "/".join(part for part in (record.grid, record.cell) if part)
    columns = (
        record.id,
        record.kind,
        record.status,
        record.model,
        cell or "-",
        "-" if record.seed is None else str(record.seed),
        _result(record),
        record.started_at.strftime("%Y-%m-%d %H:%M"),
        record.source,
    )
    return tuple(map(on_one_line, columns))


def render(records: Iterable[Record]) -> str:
    """A table in plain text, oldest first, and what has to be said of the datasets in it."""
    shown = sorted(records, key=lambda r: (r.started_at, r.id))
    table = text_table([HEADER, *map(row, shown)])
    return "\n".join([table, *labels_of(*(r.dataset.name for r in shown if r.dataset))])


def _result(record: Record) -> str:
    if record.status != "ok":
        return first_line(record.error)[:60]
    if record.kind == "complexity" and record.params is not None and record.flops is not None:
        return f"{record.params / 1e6:.4f}M {_number(record.flops.mmcv, '.4f', 'G')}"
    if record.latency is not None:
        return f"p50 {record.latency.p50:.2f} ms"
    if record.kind == "training" and record.train is not None:
        return f"{record.train.steps} steps, loss {_number(record.train.loss, '.4g')}"
    known = {k: v for k, v in record.metrics.items() if v is not None}
    shown = [name for name in ("Mean", "AP") if name in known] or list(known)[:2]
    on = [f"({record.dataset.name} {record.dataset.split})"] if record.dataset else []
    return " ".join([*(f"{name} {known[name]:.4g}" for name in shown), *on])


def _number(value: float | None, form: str, unit: str = "") -> str:
    """A number with its unit; a dash where it was not measured, which is not 0."""
    return "-" if value is None else f"{value:{form}}{unit}"

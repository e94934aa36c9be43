"""Rows of ``bench/latency.py`` as a table on the screen, one line or JSON."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

#: Conditions that are a column only where they differ between rows; else they stand in the line
#: under the table.
_VARYING = ("batch", "input", "dtype", "layout", "scope", "threads")


def milliseconds(value: float | None) -> str:
    """Three digits or so; a dash where n does not carry the percentile."""
    return "-" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def network(task: Any) -> str:
    """The model's name, then the options that are not its own: hevitpose_b attention=mhsa."""
    return " ".join([task.model, *(f"{key}={value}" for key, value in task.options)])


def one_line(row: Any) -> str:
    """A finished measurement in one line."""
    conditions = row.task.conditions.columns()
    what = (
        f"{network(row.task)} {conditions['mode']} {conditions['input']} "
        f"batch {conditions['batch']} {conditions['dtype']} {conditions['scope']}"
    )
    if row.outcome.status != "ok":
        return f"{what}: {row.outcome.status} ({row.outcome.reason})"
    result = row.outcome.result
    noisy = ", noisy" if result.wall.noisy else ""
    return (
        f"{what}: {milliseconds(result.p50)} ms, {result.images_per_s:.1f} images/s "
        f"(n = {result.wall.n}{noisy})"
    )


def condition_line(rows: Sequence[Any]) -> str:
    """Device, input, precision, mode, n, date, commit: what stands under a table with times."""
    from hevitpose.records import provenance

    def values(key: str) -> str:
        seen = dict.fromkeys(row.task.conditions.columns()[key] for row in rows)
        return "/".join(_word(value) for value in seen)

    facts, code = provenance.machine(), provenance.code()
    cuda = any(row.task.conditions.is_cuda for row in rows)
    device = f"{facts['gpu']} (driver {facts['driver']})" if cuda else facts["cpu"]
    counts = [row.outcome.result.wall.n for row in rows if row.outcome.status == "ok"]
    n = f"{min(counts)} to {max(counts)}" if counts else "0"
    commit = (code["commit"] or "unknown")[:10] + (" with changes" if code["dirty"] else "")
    cpu = any(row.task.conditions.clock == "cpu" for row in rows)
    clock = "of processor time " if cpu else ""
    precision = values("dtype") + (f" (TF32 {values('tf32')})" if cuda else "")
    keypoints = "/".join(map(str, dict.fromkeys(row.task.keypoints for row in rows)))
    return (
        f"Milliseconds {clock}per call, median of n = {n}; {device}, {values('threads')} threads, "
        f"batch {values('batch')}, input {values('input')}, {keypoints} keypoints, "
        f"{precision}, {values('layout')}, mode {values('mode')}, scope {values('scope')}, "
        f"flip test {values('flip_test')}, L2 {values('l2')}; "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit}."
    )


def _word(value: object) -> str:
    """A condition's value in words; 1 is a number, although it equals True."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def show(rows: Sequence[Any], ratios: dict[str, Any]) -> None:
    """The table, the ratios and the line of conditions, on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 160)
    columns = [
        key
        for key in _VARYING
        if len({str(row.task.conditions.columns()[key]) for row in rows}) > 1
    ]
    streams = any(row.outcome.status == "ok" and row.outcome.result.stream for row in rows)
    table = Table(title="Latency")
    for name in ("model", "mode", *columns):
        table.add_column(name, no_wrap=name == "model")
    numbers = ["p50", "p90", "p99", "min", "IQR", *(["stream p50"] if streams else []),
               "images/s", "MiB", "error", "px", "n"]  # fmt: skip
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_column("status")
    for row in rows:
        conditions = row.task.conditions.columns()
        cells = [network(row.task), conditions["mode"], *(str(conditions[key]) for key in columns)]
        table.add_row(*cells, *_numbers(row, streams), _status(row))
    console.print(table)
    for label, versus in ratios.items():
        line = f"time({label}) / time({versus.to}) = {versus.ratio}: {versus.ratio.verdict}"
        if versus.close is not None:
            line += f"; with close cores {versus.close}: {versus.close.verdict}"
        console.print(line, highlight=False)
    console.print(condition_line(rows), highlight=False, soft_wrap=True)


def _numbers(row: Any, streams: bool) -> Iterable[str]:
    if row.outcome.status != "ok":
        return [""] * (11 if streams else 10)
    result = row.outcome.result
    wall = result.wall
    cells = [milliseconds(v) for v in (wall.p50, wall.p90, wall.p99, wall.min, wall.iqr)]
    if streams:
        cells.append(milliseconds(result.stream.p50 if result.stream else None))
    memory = "-" if result.peak_memory is None else f"{result.peak_memory / 2**20:.0f}"
    parity = "-" if result.parity is None else f"{result.parity:.1e}"
    moved = "-" if result.keypoints_px is None else f"{result.keypoints_px:.2f}"
    return [*cells, f"{result.images_per_s:.1f}", memory, parity, moved, str(wall.n)]


def _status(row: Any) -> str:
    if row.outcome.status != "ok":
        return f"{row.outcome.status}: {row.outcome.reason}"
    notes = []
    if row.outcome.result.wall.noisy:
        notes.append("noisy")
    if row.outcome.result.warmup.capped:
        notes.append("warm-up capped")
    return ", ".join(notes) or "ok"


def as_json(rows: Sequence[Any], ratios: dict[str, Any]) -> dict[str, Any]:
    """Everything but the raw samples, which are in the records."""
    return {
        "rows": [
            {
                "model": row.task.model,
                "options": dict(row.task.options),
                "keypoints": row.task.keypoints,
                **row.task.conditions.columns(),
                "status": row.outcome.status,
                "reason": row.outcome.reason,
                "record": row.record,
                **(_measured(row.outcome.result) if row.outcome.status == "ok" else {}),
            }
            for row in rows
        ],
        "ratios": [
            {
                "contender": label,
                **versus.to_dict(),
                "verdict": versus.ratio.verdict,
                **({"close_cores_verdict": versus.close.verdict} if versus.close else {}),
            }
            for label, versus in ratios.items()
        ],
        "conditions": condition_line(rows),
    }


def _measured(result: Any) -> dict[str, Any]:
    return {
        **result.wall.to_dict(),
        "stream_p50": result.stream.p50 if result.stream else None,
        "images_per_s": result.images_per_s,
        "parity": result.parity,
        "keypoints_px": result.keypoints_px,
        "peak_memory": result.peak_memory,
        "overhead_ms": result.overhead_ms,
        "warmup_capped": result.warmup.capped,
    }

"""Rows of the complexity bench, and how they are shown."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hevitpose.text_table import text_table

Size = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One network at one input: what it costs, and what was printed about it."""

    model: str
    input_size: Size  # (W, H), pixels
    keypoints: int
    status: str = "ok"  # ok, skipped, failed
    error: str | None = None
    params: int | None = None
    gflops: dict[str, float] = field(default_factory=dict)  # by convention
    #: By convention what ran without a rule, how often; None: read from a record, which has none.
    uncounted: dict[str, dict[str, int]] | None = field(default_factory=dict)
    published: dict[str, str | None] | None = None  # params_m, gflops, source, note
    agreement: str = ""  # reproduced, differs, or empty where nothing is published
    record: str | None = None  # its id in the store
    lacks: list[str] = field(default_factory=list)  # conventions that this record does not hold


@dataclass(frozen=True)
class Cost:
    """A network on a square input."""

    model: str
    side: int
    params: int | None = None
    gflops_mmcv: float | None = None
    gflops_torch: float | None = None  # with attention products, which grow faster than the area
    published_gflops: float | None = None
    ms: float | None = None  # median, eager fp32, batch 1
    status: str = "ok"
    error: str | None = None


@dataclass(frozen=True)
class Modules:
    """The modules of a network under one convention."""

    model: str
    keypoints: int
    complexity: Any  # hevitpose.cost.complexity.Complexity
    depth: int  # levels below the network

    def __str__(self) -> str:
        from hevitpose.cost.complexity import render

        return f"{self.model}, {self.keypoints} keypoints: {render(self.complexity, self.depth)}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object with the same modules as the text."""
        levels = ((r, r.name.count(".") + 1 if r.name else 0) for r in self.complexity.by_module)
        modules = [asdict(row) for row, level in levels if level <= self.depth]
        named = {"model": self.model, "keypoints": self.keypoints}
        return {**named, **self.complexity.to_dict(), "modules": modules}


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def show_rows(rows: Sequence[Row], conventions: Sequence[str]) -> str:
    """The table of all networks; under it, what differs and why, and what was not counted."""
    header = ["model", "input", "K", "params M", *(f"G {name}" for name in conventions)]
    header += ["printed M", "printed G", ""]
    lines, notes = [], []
    for row in rows:
        width, height = row.input_size
        printed = row.published or {}
        lines.append(
            [
                row.model,
                f"{height}x{width}",
                str(row.keypoints),
                _number(row.params / 1e6 if row.params else None, 4),
                *(_number(row.gflops.get(name), 4) for name in conventions),
                printed.get("params_m") or "-",
                printed.get("gflops") or "-",
                row.agreement if row.status == "ok" else row.status,
            ]
        )
        if row.error:
            notes.append(f"{row.model} {row.status}: {row.error}")
        if row.lacks:
            lacked = ", ".join(row.lacks)
            notes.append(f"{row.model}: record {row.record} lacks {lacked}, and stays as it is")
        if printed.get("note"):
            notes.append(f"{row.model}: {printed['note']}")
    operators = sorted({name for row in rows for name in (row.uncounted or {}).get("fvcore", {})})
    if operators:
        notes.append(f"fvcore has no rule for, and counts as 0: {', '.join(operators)}")
    if "fvcore" in conventions and any(row.uncounted is None for row in rows):
        notes.append(
            "From records, without what fvcore counts as 0; --fresh counts again and names it."
        )
    notes.append(
        "G: multiply-accumulates of one image / 1e9. mmcv: per module, as used beside printed "
        "numbers; fvcore and torch: per operator, attention products included."
    )
    table = text_table([header, *lines], right=range(1, len(header)))
    return "\n".join((table, *dict.fromkeys(notes)))


def show_costs(costs: Sequence[Cost], timed: bool, threads: int | None) -> str:
    """Cost by the side of a square input."""
    header = ["model", "side", "params M", "G mmcv", "G torch", "G in the paper's figure"]
    if timed:
        header.append("ms")
    lines, notes = [], []
    for cost in costs:
        line = [
            cost.model,
            str(cost.side),
            _number(cost.params / 1e6 if cost.params else None, 4),
            _number(cost.gflops_mmcv, 3),
            _number(cost.gflops_torch, 3),
            _number(cost.published_gflops, 1),
        ]
        lines.append(line + ([_number(cost.ms, 1)] if timed else []))
        if cost.error:
            notes.append(f"{cost.model} at {cost.side} {cost.status}: {cost.error}")
    if timed:
        notes.append(_speed_line(threads))
    table = text_table([header, *lines], right=range(1, len(header)))
    return "\n".join((table, *dict.fromkeys(notes)))


def _speed_line(threads: int | None) -> str:
    """Under what the milliseconds were taken."""
    import torch

    from hevitpose.records import provenance

    threads = threads or torch.get_num_threads()
    commit = str(provenance.code()["commit"])[:7]
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"ms: median of up to 100, batch 1, fp32, eager, model only, {threads} threads, "
        f"{provenance.machine()['cpu']}, {today}, commit {commit}"
    )

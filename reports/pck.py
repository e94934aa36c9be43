"""Custom datasets that are scored by PCK: what their records are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ablations.grid_file import judged_by
from hevitpose.records import Record


def declared_pck(record: Record) -> str:
    """``PCK`` or ``PCKh``, where the dataset of an evaluation declares one; else nothing."""
    pck = _declared(record).get("pck")
    return str(pck["name"]) if pck else ""


def primary_of(records: Iterable[Record], primary: Mapping[str, str], dataset: str) -> str:
    """The metric of the verdicts on what some evaluations were made on.

    Args:
        records: of one dataset.
        primary: dataset, or "other", to metric.
        dataset: its name.
    """
    alone = (declared_pck(r) for r in records if _declared(r).get("protocol") == "pck")
    return judged_by(primary, dataset, next(alone, ""))


def _declared(record: Record) -> Mapping[str, Any]:
    data = record.inputs.get("data") if record.kind == "evaluation" else None
    said = data.get("declared") if isinstance(data, Mapping) else None  # old records have a text
    return said if isinstance(said, Mapping) else {}

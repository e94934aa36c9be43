"""Which records are of an older result version than the code measures today."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from hevitpose.records import Record
from hevitpose.records.identity import VERSIONS
from reports.output.text import Table

NOTE = "of an older result version: measured again, this number may differ"


def older_records(records: Iterable[Record]) -> frozenset[str]:
    """Ids of successes whose result version is not that of today."""
    return frozenset(
        record.id
        for record in records
        if record.status == "ok"
        and record.source == "measured"
        and record.inputs.get("version") != VERSIONS[record.kind]
    )


def mark(table: Table, old: frozenset[str]) -> Table:
    """The table with a footnote at every number that an old record is part of."""
    if not old:
        return table
    rows = tuple(
        tuple(
            dataclasses.replace(cell, notes=(*cell.notes, NOTE))
            if not old.isdisjoint(cell.records)
            else cell
            for cell in row
        )
        for row in table.rows
    )
    return dataclasses.replace(table, rows=rows)

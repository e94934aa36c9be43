"""Which records were made by code that has changed since.

The hash is static (:mod:`hevitpose.sourcehash`): nothing is imported or run. It covers only the
definitions that a run reaches, so an edit elsewhere makes no record old.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable

from hevitpose.config import Config, validate
from hevitpose.errors import HEViTPoseError
from hevitpose.records import Record
from hevitpose.sourcehash import SourceHash
from reports.text import Table

NOTE = "older code: what this run reaches has changed since"
#: Sections of the config that decide which code is reached.
_DECIDING = ("model", "data", "imports")


def older_records(records: Iterable[Record]) -> frozenset[str]:
    """Ids of successes that the code of now would not reach by the same definitions."""
    known: dict[str, SourceHash | None] = {}
    old = set()
    for record in records:
        if record.status != "ok" or record.source != "measured":
            continue
        deciding = {key: record.config.get(key) for key in _DECIDING}
        key = json.dumps([record.kind, record.model, deciding], sort_keys=True, default=str)
        if key not in known:
            known[key] = _current(record)
        now = known[key]
        if now is None or not (
            record.code.source_hash == now.hash or now.is_in(record.code.sources)
        ):
            old.add(record.id)
    return frozenset(old)


def _current(record: Record) -> SourceHash | None:
    """The code that this run reaches now; None when its config means nothing to this code."""
    try:
        return _source(record.kind, validate(record.config, record.id))
    except HEViTPoseError:
        return None


def _source(kind: str, config: Config) -> SourceHash:
    from hevitpose import identity  # loads the datasets' readers; only where records are

    if kind == "complexity":
        return identity.complexity_run(config).source
    if kind == "latency":
        return identity.latency_run(config, {}).source
    return identity.accuracy_source(config)


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

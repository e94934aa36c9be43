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
from hevitpose.spec import DATASETS
from reports.text import Table

NOTE = "older code: what this run reaches has changed since"
_TRAINING = "hevitpose.training:train"
#: Sections of the config that decide which code is reached.
_DECIDING = ("model", "data", "imports")


def older_records(records: Iterable[Record]) -> frozenset[str]:
    """Ids of successes whose source hash is not what the code has now."""
    known: dict[str, str | None] = {}
    old = set()
    for record in records:
        if record.status != "ok" or record.source != "measured":
            continue
        deciding = {key: record.config.get(key) for key in _DECIDING}
        key = json.dumps([record.kind, record.model, deciding], sort_keys=True, default=str)
        if key not in known:
            known[key] = _current(record)
        if record.code.source_hash != known[key]:
            old.add(record.id)
    return frozenset(old)


def _current(record: Record) -> str | None:
    """The source hash of this run now; None when its config means nothing to this code."""
    try:
        return _source(record.kind, validate(record.config, record.id))
    except HEViTPoseError:
        return None


def _source(kind: str, config: Config) -> str:
    from hevitpose import identity  # loads the datasets' readers; only where records are

    if kind == "complexity":
        return identity.complexity_run(config).source.hash
    if kind == "latency":
        return identity.latency_run(config, {}).source.hash
    reader = config.data.dataset
    entries = [_TRAINING]
    if reader in DATASETS and reader not in ("synthetic", "mpii"):
        entries.append(f"hevitpose.data.{reader}:load")
    return identity.run_source(config, entries).hash


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

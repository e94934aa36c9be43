"""Rows of ``bench/latency.py`` and ``bench/gpu.py``, and the records they leave."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.worker import Task
from hevitpose.isolated import Outcome


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    task: Task
    outcome: Outcome
    record: str | None = None  # id in the store


class Store:
    """Latency records under a folder; a re-timing is another record, never an overwrite."""

    def __init__(self, out: Path) -> None:
        from hevitpose.records import RecordStore

        self.records = RecordStore(out / "records")
        self.records.check_writable()

    @staticmethod
    def config(task: Task) -> Any:
        """The config that a task's records hold.

        Raises:
            UsageError: none can say it: no cell of a grid has this input. Before it is measured.
        """
        from hevitpose.config import load_config

        overrides = {
            "model.name": task.model,
            "model.num_keypoints": task.keypoints,
            "data.input_size": list(task.conditions.input_size),
            "imports": [str(file) for file in task.imports],
            **{f"model.{key}": value for key, value in task.options},
        }
        return load_config("synthetic").with_overrides(overrides)

    def add(self, row: Row, started: datetime.datetime, seconds: float, **details: Any) -> Row:
        """Keep an outcome, whatever it was; the row comes back with the id of its record."""
        from hevitpose.records import Record
        from hevitpose.runs import latency_run, record_facts

        task, outcome = row.task, row.outcome
        conditions = task.conditions.columns()
        if task.budget.name is not None:  # a shorter timing is no attempt at the full one
            conditions["budget"] = task.budget.name
        config = self.config(task)
        attempt = 1
        while (this := latency_run(config, conditions, attempt=attempt)).id in self.records:
            attempt += 1
        facts = record_facts(config, this) | {
            "status": outcome.status,
            "error": outcome.reason,
            "seed": task.seed,
            "flip_test": task.conditions.flip,
            "threads": task.conditions.threads,
            "precision": task.conditions.dtype,
            "started_at": started,
            "seconds": seconds,
            "latency": {"conditions": conditions},
        }
        if outcome.status != "ok":
            self.records.add_failure(Record.of(facts))
            return Row(task, outcome, this.id)
        latency = outcome.result.record_fields() | {"conditions": conditions}
        latency["details"].update(details)
        facts |= {"latency": latency, "peak_memory": outcome.result.peak_memory}
        self.records.add(Record.of(facts))
        return Row(task, outcome, this.id)

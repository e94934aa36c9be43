"""The shape of what a record's schema leaves open: its config, and its inputs."""

from __future__ import annotations

from typing import Any

from hevitpose.records.schema import Record

_SECTIONS = ("model", "data", "codec", "training", "evaluation")  # of a config
_INPUTS = ("model", "runtime")  # sections of the inputs


def misshapen(record: Record) -> str | None:
    """What no run writes of its config and inputs, as one line; None where all has its shape."""
    for where, part in (("config", record.config), ("inputs.config", record.inputs.get("config"))):
        part = {} if part is None else part
        if not isinstance(part, dict):
            return f"{where}: {part!r:.60}, expected sections"
        for key in _SECTIONS:
            value = part.get(key)
            if value is not None and not isinstance(value, dict):
                return f"{where}.{key}: {value!r:.60}, expected a section"
        for size in (record.inputs.get("input"), (part.get("data") or {}).get("input_size")):
            if size is not None and not _is_size(size):
                return f"{where}: an input of {size!r:.60}, expected two sides"
        condition = (part.get("evaluation") or {}).get("condition")
        if not isinstance(condition, str | None):
            return f"{where}.evaluation.condition: {condition!r:.60}, expected a text"
    for key in _INPUTS:
        if not isinstance(record.inputs.get(key), dict | None):
            return f"inputs.{key}: {record.inputs[key]!r:.60}, expected an object"
    version = record.inputs.get("version")
    if not isinstance(version, int | None):
        return f"inputs.version: {version!r:.60}, expected an integer"
    return None


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) else []
    return len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)

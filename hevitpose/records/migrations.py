"""Old records stay loadable: one step per schema version, applied in order.

A step takes the plain data of a record of its version and gives that of the next. Stored examples
of every version are loaded in ``tests/records/test_records.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hevitpose.config.renamed import todays_name, with_todays_names
from hevitpose.records.schema import SCHEMA_VERSION


class NewerSchemaError(ValueError):
    """The record was written by a newer release."""


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    """A training and its evaluation were one record, and ids held a hash of source code.

    Such a record is read as the evaluation that its metrics are; its id and inputs stay as they
    were, so no run of today takes it for its own.
    """
    if data["kind"] == "accuracy":
        data["kind"] = "evaluation"
    code = dict(data.get("code") or {})
    for key in ("source_hash", "sources"):
        code.pop(key, None)
    data["code"] = code
    return data


def _from_2(data: dict[str, Any]) -> dict[str, Any]:
    """Some config keys had other names; the inputs of the id keep them for good."""
    data["config"] = with_todays_names(data.get("config") or {})
    data["axes"] = {todays_name(key): value for key, value in (data.get("axes") or {}).items()}
    return data


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}


def migrate(data: dict[str, Any]) -> dict[str, Any]:
    """Plain data of any known schema version to that of the current one.

    Raises:
        NewerSchemaError: the version is above :data:`SCHEMA_VERSION`.
        ValueError: there is no version, or none that was ever written.
    """
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"schema_version: {version!r}, expected 1 to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"schema_version: {version}, this release reads up to {SCHEMA_VERSION}"
        )
    data = dict(data)
    while version < SCHEMA_VERSION:
        data = MIGRATIONS[version](data)
        version += 1
        data["schema_version"] = version
    return data

"""Old records stay loadable: one step per schema version, applied in order.

A step takes the plain data of a record of its version and gives that of the next. Stored examples
of every version are loaded in ``tests/test_records.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hevitpose.records.schema import SCHEMA_VERSION


class NewerSchemaError(ValueError):
    """The record was written by a newer release."""


def _from_0(data: dict[str, Any]) -> dict[str, Any]:
    """Before the first release: one FLOP count (mmcv), ``axis_values``, naive UTC times."""
    flops = data.pop("gflops", None)
    if flops is not None:
        data["flops"] = {"mmcv": flops}
    data["axes"] = data.pop("axis_values", {})
    if not data["started_at"].endswith("Z"):
        data["started_at"] += "Z"
    return data


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _from_0}


def migrate(data: dict[str, Any]) -> dict[str, Any]:
    """Plain data of any known schema version to that of the current one.

    Raises:
        NewerSchemaError: the version is above :data:`SCHEMA_VERSION`.
        ValueError: there is no version, or none that was ever written.
    """
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise ValueError(f"schema_version: {version!r}, expected an integer up to {SCHEMA_VERSION}")
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

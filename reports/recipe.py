"""A config as the preset that it started from, and what it differs in."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from hevitpose.config import load_config, shipped
from hevitpose.errors import UsageError
from hevitpose.markdown import plain
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record
from reports.settings import FREE_KEYS, flatten, stock_options

#: Keys of a config that say where the data are and how they are loaded, or that have an option.
_NO_OVERRIDE = frozenset(("preset", "data.root", "data.workers", "device", "model.checkpoint"))
#: What captions say in words of their own, and threads, which move the last digit alone.
_SAID = ("model.", "evaluation.", "data.dataset", "data.input_size", "data.val_split",
         "data.box_source", "training.steps", "training.epochs", "training.start_from",
         "training.selection", "training.threads")  # fmt: skip


def base_of(record: Record) -> tuple[str, str | None, Mapping[str, Any]]:
    """The shipped config to start from, the preset, and their values.

    No preset, and no values, where this version knows no such preset.
    """
    config = flatten(record.config)
    dataset = str(config.get("data.dataset", "synthetic"))
    preset = config.get("preset")
    base = dataset if dataset in shipped() else "synthetic"
    known = _named_config(base, *([f"preset={preset}"] if preset else []))
    return base, str(preset) if preset and known else None, known


def overrides(
    record: Record,
    known: Mapping[str, Any],
    *,
    without: Collection[str] = (),
    only: Collection[str] | None = None,
    always: Collection[str] = (),
) -> Iterator[str]:
    """``key=value`` words for what differs from the known values.

    Args:
        record: whose config it is.
        known: of :func:`base_of`.
        without: keys that are said otherwise.
        only: the keys that matter; None: all.
        always: keys that are said in any case.
    """
    config = flatten(record.config)
    stock = stock_options(record.model)
    for key in sorted(config):
        value = config[key]
        if key in _NO_OVERRIDE or key in without or (only is not None and key not in only):
            continue
        if key == "model.name" and record.model in VARIANTS:
            value = record.model
        section, _, option = key.partition(".")
        # An option that is spelled out at its own value is the same network.
        same = section == "model" and option in stock and stock[option] == value
        if key not in always and (same or value == known.get(key)):
            continue
        yield f"{key}={value_text(value)}"


def value_text(value: Any) -> str:
    """A value as an override has it."""
    return value if isinstance(value, str) else json.dumps(value)


@cache
def _named_config(name: str, *overrides: str) -> dict[str, Any]:
    """A shipped config's values; none where this version knows no such preset."""
    try:
        return flatten(load_config(name, overrides).dump())
    except UsageError:
        return {}


def departures(record: Record, *elsewhere: str) -> list[str]:
    """``key=value`` of each setting of the recipe that is not its preset's.

    Without what captions say anyway (data, input, start, length), axes and tuned keys. Empty where
    this version does not know the preset.

    Args:
        record: of kind evaluation or training.
        elsewhere: further keys that are said otherwise.
    """
    _, preset, known = base_of(record)
    if preset is None:
        return []
    said = {key for key in flatten(record.config) if key.startswith(_SAID)} | FREE_KEYS
    varied = record.axes.keys() | record.tuned.keys()
    return [plain(word) for word in overrides(record, known, without={*said, *varied, *elsewhere})]

"""What two runs must share to stand in one table: their setting, and a config's dotted keys."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from functools import cache, lru_cache
from typing import Any

from hevitpose.config import Config
from hevitpose.config.section import neutral_values
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record

#: Config keys that do not decide a result.
FREE_KEYS = frozenset(
    ("preset", "seed", "device", "devices", "nodes", "imports", "data.root", "data.workers",
     "data.people", "data.image_size", "data.eval_batch_size", "model.checkpoint",
     "training.checkpoint_steps", "training.loggers")
)  # fmt: skip


_NEUTRAL = neutral_values(Config)


class Section(dict[str, Any]):
    """A part of a config that many records share, with its dotted keys; hashed by identity."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    dotted: Mapping[str, Any]


class SharedConfig(dict[str, Any]):
    """A config, and its shared sections where they are all that can decide a result."""

    sections: tuple[tuple[str, Section], ...] | None


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested sections as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    _flatten_into(flat, config, "")
    return flat


def _flatten_into(flat: dict[str, Any], section: Mapping[str, Any], prefix: str) -> None:
    for key, value in section.items():
        if isinstance(value, Section):
            flat.update(value.dotted)
        elif isinstance(value, dict):
            _flatten_into(flat, value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value


def setting(record: Record, without: Iterable[str] = ()) -> str:
    """What two runs must share to stand in one table: all but axes, seed, paths and display.

    Args:
        record: of kind evaluation.
        without: dotted config keys that the table varies.
    """
    left_out, data = _left_out(frozenset(without)), record.dataset
    facts = None if data is None else (data.name, data.split, data.fingerprint, data.boxes)
    sections = record.config.sections if isinstance(record.config, SharedConfig) else None
    # A table of networks holds variants and peers.
    of = None if "model.name" in left_out else record.variant, record.model
    if sections is None or record.tuned:
        left_out |= record.tuned.keys()
        return _setting(*of, record.config.items(), facts, left_out, record.tuned)
    return _shared_setting(*of, sections, facts, left_out)


@cache
def _left_out(without: frozenset[str]) -> frozenset[str]:
    return FREE_KEYS | without


def _setting(
    variant: str | None,
    model: str,
    sections: Iterable[tuple[str, Any]],
    facts: tuple[str, ...] | None,
    left_out: Collection[str],
    tuned: Mapping[str, Any] | None = None,
) -> str:
    stock = {f"model.{key}": value for key, value in stock_options(model).items()}
    config = {
        key: value
        for key, value in flatten(dict(sections)).items()
        # An option that is spelled out at its own value is the same network.
        if key not in left_out
        and not (key in stock and stock[key] == value)
        # A key that came later, where it changes nothing.
        and value is not None
        and not (key in _NEUTRAL and _NEUTRAL[key] == value)
    }
    shared = [variant, config, facts, *([tuned] if tuned else [])]
    return json.dumps(shared, sort_keys=True, default=str)


_shared_setting = lru_cache(maxsize=4096)(_setting)


@cache
def stock_options(model: str) -> dict[str, Any]:
    """A variant's options as JSON has them; none of a peer."""
    return json.loads(json.dumps(asdict(VARIANTS[model]))) if model in VARIANTS else {}

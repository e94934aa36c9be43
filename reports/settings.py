"""What two runs must share to stand in one table: their setting, and a config's dotted keys."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

from hevitpose.config import Config
from hevitpose.config.section import neutral_values
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record, identity

#: Config keys that are in ids by what they name, and by whose own value settings differ.
_BY_NAME = frozenset(("training.start_from", "data.dataset", "data.box_source"))
#: Config keys by whose own value no setting differs: they decide no result, or are said by what
#: the ids have of them (:class:`Origin`, the data's fingerprint); seeds share a row.
FREE_KEYS = identity.IN_NO_ID | (identity.BY_PROXY.keys() - _BY_NAME) | {"seed"}

#: Values at which a key that came later changes nothing.
NEUTRAL = neutral_values(Config)


class Section(dict[str, Any]):
    """A part of a config that many records share, with its dotted keys; hashed by identity."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    dotted: Mapping[str, Any]


class Origin(NamedTuple):
    """How weights came about, as the id of their training has it where a config may not."""

    total_batch: int | None = None  # over all devices
    device: str | None = None  # its type
    imports: tuple[str, ...] = ()  # sha256 of users' own files
    checkpoint_steps: int | None = None  # where checkpoints compete
    weights: str | None = None  # sha256 of a file that no recorded training left

    @classmethod
    def of(cls, training: Record) -> Origin:
        """Of the weights that a training left."""
        inputs = training.inputs
        files = (inputs.get("model") or {}).get("imports")
        config = inputs.get("config") or {}
        return cls(
            _number(config.get("total_batch")),
            _text(inputs.get("device")),
            tuple(map(str, files)) if isinstance(files, list) else (),
            _number((config.get("training") or {}).get("checkpoint_steps")),
        )


class SharedConfig(dict[str, Any]):
    """A config, and its shared sections where they are all that can decide a result."""

    sections: tuple[tuple[str, Section], ...] | None = None
    origin: Origin | None = None  # of the weights that an evaluation scores


def origin_of(record: Record) -> Origin:
    """How the weights of an evaluation came about: as their training says, else its own config."""
    kept = record.config.origin if isinstance(record.config, SharedConfig) else None
    if kept is not None:
        return kept
    if record.kind == "training":
        return Origin.of(record)
    config = record.config
    training = config.get("training") or {}
    batch = _number(training.get("batch_size"))
    every = None if training.get("selection") == "last" else training.get("checkpoint_steps")
    devices = (_number(config.get(key, 1)) or 1 for key in ("devices", "nodes"))
    imports = config.get("imports")
    return Origin(
        None if batch is None else batch * prod(devices),
        _text((record.inputs.get("runtime") or {}).get("device")),
        tuple(map(str, imports)) if isinstance(imports, list) else (),
        _number(every),
        record.weights if record.training is None else None,
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


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


def data_key(record: Record) -> tuple[str, ...] | None:
    """Equal for runs on the same people in the same boxes."""
    data = record.dataset
    return None if data is None else (data.name, data.split, data.fingerprint, data.boxes)


def setting(record: Record, without: Iterable[str] = ()) -> str:
    """What two runs must share to stand in one table: all but axes, seed, paths and display.

    Of devices and users' files what ids have of them: total batch, type, content.

    Args:
        record: of kind evaluation.
        without: dotted config keys that the table varies.
    """
    left_out, facts = _left_out(frozenset(without)), data_key(record)
    origin = origin_of(record), _text((record.inputs.get("runtime") or {}).get("device"))
    sections = record.config.sections if isinstance(record.config, SharedConfig) else None
    # A table of networks holds variants and peers.
    of = None if "model.name" in left_out else record.variant, record.model
    if sections is None or record.tuned:
        left_out |= record.tuned.keys()
        return _setting(*of, record.config.items(), facts, origin, left_out, record.tuned)
    return _shared_setting(*of, sections, facts, origin, left_out)


@cache
def _left_out(without: frozenset[str]) -> frozenset[str]:
    return FREE_KEYS | without


def _setting(
    variant: str | None,
    model: str,
    sections: Iterable[tuple[str, Any]],
    facts: tuple[str, ...] | None,
    origin: tuple[Origin, str | None],
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
        and not (key in NEUTRAL and NEUTRAL[key] == value)
    }
    shared = [variant, config, facts, *([tuned] if tuned else []), origin]
    return json.dumps(shared, sort_keys=True, default=str)


_shared_setting = lru_cache(maxsize=4096)(_setting)


@cache
def stock_options(model: str) -> dict[str, Any]:
    """A variant's options as JSON has them; none of a peer."""
    return json.loads(json.dumps(asdict(VARIANTS[model]))) if model in VARIANTS else {}

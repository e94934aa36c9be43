"""Config keys that once had another name. The old names are read everywhere; nothing writes them
but ids and the headers of weights, which must stay what they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hevitpose.errors import UsageError

#: First name -> today's.
RENAMED = {
    "codec.decode": "codec.decoder",
    "codec.encode": "codec.method",
    "codec.flip_test": "evaluation.flip_test",
    "codec.joint_weights": "training.joint_weights",
    "codec.nms_threshold": "evaluation.nms_threshold",
    "data.boxes": "data.box_source",
    "model.head": "model.upsampler",
    "model.head_conv": "model.per_head_conv",
    "model.head_filters": "model.upsampler_channels",
    "model.heads": "model.num_heads",
    "model.pretrained": "training.start_from",
    "training.optimize": "training.fast_form",
}
_FIRST = {today: first for first, today in RENAMED.items()}


def todays_name(key: str) -> str:
    """The name of a dotted key in this release."""
    return RENAMED.get(key, key)


def with_todays_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's sections with every old key moved to where it is today.

    Args:
        config: plain data in sections, of any release; it stays as it is.

    Raises:
        UsageError: a key is there under both names.
    """
    return _moved(config, RENAMED)


def with_first_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of :func:`with_todays_names`: the names in ids and in files of weights."""
    return _moved(config, _FIRST)


def _moved(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    moved: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in config.items()
    }
    for old, new in names.items():
        section, _, key = old.partition(".")
        if type(moved.get(section)) is not dict or key not in moved[section]:
            continue
        target, _, name = new.partition(".")
        there = moved.setdefault(target, {})
        if not isinstance(there, dict):
            continue  # the schema names what is wrong with it
        if name in there:
            raise UsageError(f"{old} and {new}: two names of one key, give {todays_name(new)}")
        there[name] = moved[section].pop(key)
        if not moved[section]:
            del moved[section]
    return moved

"""Words of a command line to a flat mapping of dotted keys, and that into sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from hevitpose import yaml_file
from hevitpose.config.author_keys import ALIASES, SWITCHES, apply_switches, read_switch
from hevitpose.config.renamed import todays_name
from hevitpose.errors import UsageError, unknown_name


def parse_overrides(tokens: Iterable[str]) -> dict[str, Any]:
    """``key=value`` words and the authors' ``KEY value`` pairs to a flat mapping.

    Raises:
        UsageError: a word that is neither, or an upper-case key that has no meaning here.
    """
    result: dict[str, Any] = {}
    switches: dict[str, bool] = {}
    words = iter(tokens)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            if key != key.upper():
                raise UsageError(
                    f"override {word!r}: expected key=value, or an upper-case KEY value"
                )
            try:
                value = next(words)
            except StopIteration:
                raise UsageError(f"override {word}: its value is missing") from None
        if not all(key.split(".")):
            raise UsageError(f"override {word!r}: an empty key, expected section.key=value")
        if key == key.upper():
            if key not in ALIASES:
                raise unknown_name("upper-case key", key, ALIASES)
            if key in SWITCHES:
                switches[key] = read_switch(key, value, _parse_value(key, value))
                continue
            key = ALIASES[key] or key
            if key == key.upper():
                raise UsageError(f"override {key}: has no counterpart here, leave it out")
        result[key] = _parse_value(key, value)
    return apply_switches(result, switches)


def _is_text(key: str) -> bool:
    """Whether a key takes a path or another text, whose letters yaml would read as something."""
    from hevitpose.config.schema import Config  # which imports this module

    kind: Any = Config
    for part in todays_name(key).split("."):
        field = getattr(kind, "model_fields", {}).get(part)
        kind = None if field is None else field.annotation
    return kind is not None and {*(get_args(kind) or (kind,))} <= {str, Path, NoneType}


def _parse_value(key: str, text: str) -> Any:
    if _is_text(key):  # a name is no number, #1 no remark, and a comma makes no list
        text = text.strip()
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            return text[1:-1]
        return None if text.lower() in ("", "~", "null") else text
    try:
        value = yaml_file.parse(text)
    except yaml_file.YamlError as error:
        raise UsageError(f"override {key}: {text!r} is not a yaml value ({error})") from None
    if isinstance(value, str):
        if "," in value:
            return [_parse_value(key, part) for part in value.split(",") if part]
        try:
            return float(value)  # yaml 1.1 reads 1e-3 as text
        except ValueError:
            return value
    return value


def put(data: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key in nested sections.

    Raises:
        UsageError: a section of it is a value.
    """
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UsageError(f"config key {key!r}: {parent!r} is a value, not a section")
    data[last] = value


def merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``top`` over it, section by section."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged

"""What is refused before anything trains: keys that are no axes, networks that cannot be built."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hevitpose.config.schema import Config, ids_of
from hevitpose.errors import UsageError, unknown_name
from hevitpose.spec import ATTENTIONS, PEERS, STRIDE_MULTIPLE, full_name

#: Keys that are in ids by what they name, and of which a grid can vary the evaluation.
_AXES_BY_PROXY = frozenset(("data.box_source",))


def refused_key(key: str) -> str | None:
    """Why a config key cannot be an axis, or None."""
    section: Any = Config
    for part in key.split("."):
        fields = section.model_fields if _is_section(section) else {}
        if part not in fields:
            return str(unknown_name("axis", key, _axes_like(key)))
        if not ids_of(fields[part]) and key not in _AXES_BY_PROXY:
            return f"axis {key!r}: a path, display or worker setting, it changes no result"
        section = fields[part].annotation
    if key == "seed":
        return "axis 'seed': every cell runs all seeds, use --seeds"
    return f"axis {key!r}: a section, expected a key of it" if _is_section(section) else None


def refused_condition(key: str) -> str | None:
    """Why a key cannot stand under ``evaluate:``, or None."""
    section: Any = Config
    *parents, last = key.split(".")
    for part in parents:
        section = section.model_fields[part].annotation
    if key in _AXES_BY_PROXY or ids_of(section.model_fields[last]) == ("evaluation",):
        return None
    return f"condition key {key!r}: it changes the training, so it belongs under axes or cells"


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _axes_like(key: str) -> list[str]:
    """Keys that can be axes; of the key's own section, where there is one."""
    known = [name for name in _keys(Config) if refused_key(name) is None]
    section = f"{key.partition('.')[0]}."
    return [name for name in known if name.startswith(section)] or known


def _keys(section: Any, prefix: str = "") -> Iterator[str]:
    for name, info in section.model_fields.items():
        if _is_section(info.annotation):
            yield from _keys(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def refused(config: Config) -> str | None:
    """Why the network of a valid configuration could not be built, without building it."""
    if full_name(config.model.name) in PEERS:
        return None
    spec = config.model.spec()
    known = {*ATTENTIONS, *registered(config.imports)}
    if spec.attention not in known:
        return str(unknown_name("model.attention", spec.attention, known))
    if spec.attention in ("cgsr", "sra"):
        steps = (s * r for s, r in zip((4, 8, 16), spec.reductions, strict=True))
        multiple = math.lcm(STRIDE_MULTIPLE, *steps)
        if any(side % multiple for side in config.data.input_size):
            return (
                f"data.input_size: {list(config.data.input_size)}, expected multiples of "
                f"{multiple} (model.reductions {list(spec.reductions)})"
            )
    if spec.attention == "cga":
        for stage, (width, groups) in enumerate(zip(spec.widths, spec.groups, strict=True), 1):
            if width % groups:
                return f"model: stage {stage}: groups {groups} does not divide {width} channels"
    return None


def registered(files: Sequence[Path]) -> set[str]:
    """Names that users' modules register with ``@register_attention``, read without importing.

    Raises:
        UsageError: a file that cannot be read or is not Python.
    """
    names: set[str] = set()
    for file in files:
        try:
            tree = ast.parse(file.read_bytes(), filename=str(file))
        except OSError as error:
            raise UsageError(f"--import {file}: cannot be read ({error.strerror})") from None
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"--import {file}: not Python ({error})") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                if called == "register_attention":
                    names.add(str(node.args[0].value))
    return names

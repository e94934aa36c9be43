"""Base of the config's sections, and which ids each of their fields is an input of.

A field says it where it is declared: :func:`free`, :func:`scored` or :func:`shared`; undecorated it
decides a training. One that is added later also declares ``json_schema_extra={"neutral": value}``
with the value that means the behaviour of before; at that value it is left out, so old ids stay.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

#: The ids that a field can be an input of (:mod:`hevitpose.records.identity`).
IdKind = Literal["training", "evaluation"]
_NO_NEUTRAL = object()


def _ids(default: Any, *kinds: IdKind, **kwargs: Any) -> Any:
    """A field that is an input of exactly these ids; an undecorated field decides a training."""
    return Field(default, json_schema_extra={"ids": list(kinds)}, **kwargs)


def free(default: Any, **kwargs: Any) -> Any:
    """A field whose own value is in no id: a path, a display setting, a worker count."""
    return _ids(default, **kwargs)


def scored(default: Any, **kwargs: Any) -> Any:
    """A field that decides an evaluation and no training."""
    return _ids(default, "evaluation", **kwargs)


def shared(default: Any, **kwargs: Any) -> Any:
    """A field that decides the people or the crops of both."""
    return _ids(default, "training", "evaluation", **kwargs)


class Section(BaseModel):
    """Base of what users write in yaml, the config's parts and custom datasets.

    Frozen; unknown keys, non-finite numbers, and switches in place of numbers are refused.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), defer_build=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """``training.augmentation.flip=true`` would be a rate of 1."""
        if not _has_switch(value):
            return value
        kinds = _kinds(cls.model_fields[info.field_name].annotation)  # type: ignore[index]
        if kinds & {int, float} and bool not in kinds:
            # Pydantic puts the whole key before its own errors, and passes on a UsageError bare.
            names = "a name or a number" if str in kinds else "a number"
            raise PydanticCustomError("switch", f"expected {names}")  # type: ignore[arg-type]
        return value


def _has_switch(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_switch, value))
    return isinstance(value, bool)


def _kinds(annotation: Any) -> set[Any]:
    """The types that a key's value, or those in its list, can have."""
    return {annotation}.union(*map(_kinds, get_args(annotation)))


def ids_of(field: Any) -> tuple[str, ...]:
    """The ids that a key's own value is an input of."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return tuple(extra.get("ids", ("training",)))


def neutral_values(section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted keys that were added later, each with the value that means the behaviour of before.

    A config that lacks such a key and one that has it at this value are the same.
    """
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= neutral_values(field.annotation, f"{prefix}{name}.")
        elif "neutral" in extra:
            found[f"{prefix}{name}"] = extra["neutral"]
    return found


def inputs_of(section: BaseModel, kind: IdKind, without: str = "") -> dict[str, Any]:
    """The keys of a section, and of those in it, that are inputs of an id.

    Args:
        section: whose values are taken.
        kind: of the id.
        without: a key that is left out.
    """
    inputs: dict[str, Any] = {}
    for name, in_id, neutral in _traits(type(section), kind):
        value = getattr(section, name)
        if name == without:
            continue
        if isinstance(value, BaseModel):
            inner = inputs_of(value, kind)
            if inner:
                inputs[name] = inner
        elif in_id and value != neutral:
            inputs[name] = list(value) if isinstance(value, tuple) else value
    return inputs


@cache
def _traits(section: type[BaseModel], kind: IdKind) -> tuple[tuple[str, bool, Any], ...]:
    """Each key's name, whether it is an input of the id, and its neutral value or a stand-in."""
    found = []
    for name, field in section.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        found.append((name, kind in ids_of(field), extra.get("neutral", _NO_NEUTRAL)))
    return tuple(found)


def keys_of(section: type[BaseModel], prefix: str = "") -> dict[str, tuple[str, ...]]:
    """Every dotted key of a section and of those in it, with the ids that :func:`ids_of` tells.

    The network's options are in ids as a whole (:func:`hevitpose.records.identity.model_inputs`).
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= keys_of(field.annotation, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = ids_of(field)
    return found

"""What is refused before anything trains: keys that are no axes or idle, impossible networks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from hevitpose.config.schema import Config
from hevitpose.config.section import ids_of, keys_of
from hevitpose.errors import unknown_name
from hevitpose.models.imports import ANY_NAME, registered
from hevitpose.models.spec import PARTS, PEERS, full_name

#: Keys that are in ids by what they name: of the evaluation, of the training.
_CONDITION_BY_PROXY, _RECIPE_BY_PROXY = "data.box_source", "training.start_from"


def refused_key(key: str) -> str | None:
    """Why a config key cannot be an axis, or None."""
    section: Any = Config
    for part in key.split("."):
        fields = section.model_fields if _is_section(section) else {}
        if part not in fields:
            return str(unknown_name("axis", key, _axes_like(key)))
        if not ids_of(fields[part]) and key not in (_CONDITION_BY_PROXY, _RECIPE_BY_PROXY):
            what = "a path, display or worker setting, which is no part of a recipe"
            return f"axis {key!r}: {what}"
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
    if key == _CONDITION_BY_PROXY or ids_of(section.model_fields[last]) == ("evaluation",):
        return None
    return f"condition key {key!r}: it changes the training, so it belongs under axes or cells"


def without_effect(config: Config, key: str) -> str | None:
    """Why a key's value changes nothing in a configuration, or None: two ids of one training."""
    training = config.training
    moved = training.augmentation
    steps = training.steps is not None and f"training.steps={training.steps} rules"
    no_steps = training.schedule != "step" and f"training.schedule={training.schedule}"
    whole = training.selection != "minival" and f"training.selection={training.selection}"
    why = {
        "training.epochs": steps,
        "training.milestones": no_steps,
        "training.gamma": no_steps,
        "training.warmup_ratio": not training.warmup_steps and "training.warmup_steps=0",
        "training.augmentation.rotation": not moved.rotation_probability
        and "training.augmentation.rotation_probability=0",
        "training.augmentation.rotation_probability": not moved.rotation
        and "training.augmentation.rotation=0",
        "training.augmentation.shift": not moved.shift_probability
        and "training.augmentation.shift_probability=0",
        "training.augmentation.shift_probability": not moved.shift
        and "training.augmentation.shift=0",
        "data.minival": config.data.val_split != "minival" and whole,
    }.get(key)
    return f"{key} has no effect, {why}" if why else None


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _axes_like(key: str) -> list[str]:
    """Keys that can be axes; of the key's own section, where there is one."""
    known = [name for name in keys_of(Config) if refused_key(name) is None]
    section = f"{key.partition('.')[0]}."
    return [name for name in known if name.startswith(section)] or known


def refused(config: Config) -> str | None:
    """Why the network of a valid configuration could not be built, without building it."""
    if full_name(config.model.name) in PEERS:
        return None
    spec = config.model.spec()
    theirs = registered(config.imports)
    for kind in PARTS:
        known, name = {*PARTS[kind], *theirs.get(kind, ())}, getattr(spec, kind)
        if name not in known and ANY_NAME not in known:  # else importing the file will say
            return str(unknown_name(f"model.{kind}", name, known))
    multiple = spec.side_multiple
    if any(side % multiple for side in config.data.input_size):
        return (
            f"data.input_size: {list(config.data.input_size)}, expected multiples of "
            f"{multiple} (model.reductions {list(spec.reductions)})"
        )
    return None

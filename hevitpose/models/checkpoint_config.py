"""What a file of weights brings to an evaluation: its network, its codec and its input."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hevitpose.config import Config, parse_config
from hevitpose.config.schema import CodecConfig
from hevitpose.errors import UsageError
from hevitpose.models.checkpoint import Stored, read_checkpoint, todays_options
from hevitpose.models.shipped import locate
from hevitpose.models.spec import PEERS, SIMCC, full_name

#: Config keys that a checkpoint brings along, by section: the network, how it reads a crop and how
#: its output is decoded. ``valid`` and ``infer-testdev`` take them from it, as ``predict`` does.
BROUGHT = {"model": None, "codec": None, "data": ("input_size",)}


def checkpoint_config(
    config: Config, given: Collection[str] = (), keypoints: int | None = None
) -> tuple[Config, tuple[str, ...]]:
    """A config whose network, codec and input are those of ``model.checkpoint``.

    Args:
        config: of the evaluation: data, boxes, device.
        given: dotted keys that were set on the command line; these stand.
        keypoints: of the config's dataset, that the weights must predict; None: any number.

    Returns:
        (the config to evaluate with, a line for every given key that differs from the checkpoint).

    Raises:
        UsageError: no checkpoint is named, or what was given does not go with it.
        DataError: the file is damaged or not ours.
    """
    path = config.model.checkpoint
    if path is None:
        raise UsageError("model.checkpoint: not given, expected the weights to evaluate")
    stored, lines = read_checkpoint(path), []
    if keypoints is not None:
        require_keypoints(path, stored, config.data.dataset, keypoints)
    if stored.config:
        own = parse_config(stored.config, str(path)).dump()
    else:
        own = {"model": _model_section(stored.model)}
        lines.append(f"{path}: says nothing of its codec and input, those of the config are used")
    merged = config.dump()
    for section, keys in BROUGHT.items():
        if section not in own:
            continue
        theirs = merged[section]
        kept = {"checkpoint": str(locate(path))} if section == "model" else {}
        wanted = own[section].keys() if keys is None else keys
        brought = {key: own[section][key] for key in wanted} | kept
        for key in (k.partition(".")[2] for k in given if k.startswith(f"{section}.")):
            if key in kept or (keys is not None and key not in keys):
                continue
            if not _same(key, theirs.get(key), brought.get(key)):
                lines.append(
                    f"{section}.{key}: {_shown(theirs.get(key))} as given; "
                    f"{path} was trained with {_shown(brought.get(key))}"
                )
            brought[key] = theirs.get(key)
        merged[section] = brought if keys is None else {**theirs, **brought}
    resolved = parse_config(merged, str(path))
    _require_effect(resolved, given, own.get("codec") or CodecConfig().model_dump())
    return resolved, tuple(lines)


def _require_effect(config: Config, given: Collection[str], trained: Mapping[str, Any]) -> None:
    """Refuse a given key of the codec that the network does not read: one number under two ids.

    Raises:
        UsageError: a decoder of heatmaps for SimCC, or SimCC's bins for heatmaps.
    """
    name, codec = full_name(config.model.name), config.codec
    simcc = name in SIMCC
    if simcc and "codec.decoder" in given and codec.decoder != config.for_selection().codec.decoder:
        raise UsageError(
            f"codec.decoder={codec.decoder} has no effect on {name}, which has no heatmaps; "
            f"expected {config.for_selection().codec.decoder}"
        )
    differs = codec.simcc_split_ratio != trained["simcc_split_ratio"]
    if not simcc and differs and "codec.simcc_split_ratio" in given:
        raise UsageError(
            f"codec.simcc_split_ratio={codec.simcc_split_ratio:g} has no effect on {name}, which "
            "has heatmaps; expected a network with SimCC"
        )


def require_keypoints(path: Path | str, stored: Stored, dataset: str, count: int) -> None:
    """Refuse to evaluate weights of another number of keypoints than a dataset has.

    Raises:
        UsageError: they predict another number.
    """
    theirs = stored.model.get("num_keypoints")
    if theirs != count:
        raise UsageError(
            f"{path}: predicts {theirs} keypoints, {dataset} has {count}; expected weights of this "
            "dataset"
        )


def _model_section(description: Mapping[str, Any]) -> dict[str, Any]:
    name = str(description.get("name"))
    options = {} if full_name(name) in PEERS else todays_options(description.get("options") or {})
    return {"name": name, **options}


def _same(key: str, one: Any, other: Any) -> bool:
    return full_name(one) == full_name(other) if key == "name" else one == other


def _shown(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def network_config(path: Path) -> Config:
    """A config whose network is the one that a file's weights were trained in.

    Args:
        path: of weights, or of an exported file.

    Raises:
        UsageError, DataError: the file is absent, damaged or not ours.
    """
    stored = read_checkpoint(path)
    sections = stored.config or {"model": _model_section(stored.model)}
    return parse_config(sections, str(path))

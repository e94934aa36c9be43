"""Configs from files: those that come with the package, presets, and a user's own."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hevitpose import yaml_file
from hevitpose.config.overrides import merge, parse_overrides, put
from hevitpose.config.renamed import RENAMED, todays_name, with_todays_names
from hevitpose.config.schema import NETWORK_FIELDS, Config, parse_config
from hevitpose.config.start import start_kind
from hevitpose.data.registry import is_rendered
from hevitpose.errors import DataError, Notice, UsageError, unknown_name

CONFIGS = Path(__file__).parent / "yaml"
PRESETS = ("quick", "standard", "paper", "overfit", "real_quick", "real")


def read_yaml(path: Path) -> dict[str, Any]:
    """A yaml file as plain data.

    Raises:
        DataError: absent, not yaml, or not a mapping.
    """
    data = yaml_file.read(path)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise DataError(f"{path}: a {type(data).__name__}, expected a mapping of sections")
    return data


def network_options(name: str, words: Sequence[str]) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """A network's options from words of a command line that takes no others.

    Args:
        name: of the network.
        words: ``model.KEY=value``, and ``imports=FILE`` for users' modules.

    Returns:
        (options for :func:`hevitpose.create_model`, users' files).

    Raises:
        UsageError: another key, or a value that the network cannot have.
    """
    given = parse_overrides(words)
    for key in given:
        section, _, option = key.partition(".")
        if key != "imports" and (section != "model" or option in NETWORK_FIELDS):
            raise UsageError(f"override {key}: expected options of the network, model.KEY=value")
    config = load_config(None, {"model.name": name, **given})
    return config.model.options(), config.imports  # type: ignore[attr-defined]


def shipped() -> tuple[str, ...]:
    """Names of the configs that come with the package."""
    return tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))


def load_config(
    source: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    preset: str | None = None,
) -> Config:
    """The config of a run.

    Args:
        source: a shipped name (``mpii``), a yaml file, or ``None`` for the defaults.
        overrides: words as on the command line, or a flat mapping of dotted keys.
        preset: one of :data:`PRESETS`; wins over the file's own ``preset`` key.

    Raises:
        UsageError: unknown name, key or value.
        DataError: the file cannot be read.
    """
    data: dict[str, Any] = {}
    where = "config"
    if source is not None:
        path = Path(source)
        if path.suffix not in (".yaml", ".yml"):
            if str(source) not in shipped():
                raise unknown_name("config", str(source), (*shipped(), "FILE.yaml"))
            path = CONFIGS / f"{source}.yaml"
        data, where = _renamed(read_yaml(path), str(source)), str(source)
    given = dict(overrides) if isinstance(overrides, Mapping) else parse_overrides(overrides)
    preset = given.pop("preset", preset) or data.get("preset")
    if preset is not None:
        if preset not in PRESETS:
            raise unknown_name("preset", str(preset), PRESETS)
        base = read_yaml(CONFIGS / "presets" / f"{preset}.yaml")
        training = data.get("training")
        if isinstance(training, Mapping) and "epochs" in training:
            # The preset's number of steps would win.
            base["training"].pop("steps", None)
        data = merge(base, data)
        data["preset"] = preset
    _tell(given)
    if given:
        where = f"{where} with overrides" if source is not None else "override"
    for key, value in given.items():
        put(data, todays_name(key), value)
    return parse_config(data, where)


def start_config(config: Config) -> Config | None:
    """The training that a config starts from, where ``training.start_from`` is PRESET:DATASET.

    It is the same network under that preset, on that dataset, with seed 0 whatever the config's
    own seed: all seeds of a cell start from the same weights, and so do all settings of its recipe.
    Rendered people lie in ``data/synthetic``, other datasets below the config's own root.

    Raises:
        UsageError: no such preset or dataset.
    """
    text = config.training.start_from
    if text is None or start_kind(text) != "preset":
        return None
    preset, _, dataset = text.partition(":")
    same = not is_rendered(dataset) or config.data.dataset == dataset
    model: Any = config.model
    try:
        start = load_config(
            None,
            {
                "model.name": model.name,
                **{f"model.{key}": value for key, value in model.options().items()},
                "data.dataset": dataset,
                "data.root": config.data.root if same else None,
                "data.people": config.data.people,
                "data.image_size": config.data.image_size,
                "data.workers": config.data.workers,
                "training.threads": config.training.threads,
                "device": config.device,
                "imports": config.imports,
            },
            preset=preset,
        )
    except UsageError as error:
        raise UsageError(f"training.start_from: {text!r}: {error}") from None
    return start


def _renamed(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A file's sections under today's names; says which of them are old."""
    for section, keys in data.items():
        if isinstance(keys, Mapping):
            _tell(f"{section}.{key}" for key in keys)
    try:
        return with_todays_names(data)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _tell(keys: Iterable[str]) -> None:
    for key in keys:
        if key in RENAMED:
            warnings.warn(f"config key {key} is now {RENAMED[key]}", Notice, stacklevel=3)

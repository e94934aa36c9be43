"""One typed configuration: what a run is, before it runs.

A run's config is made of four layers, later ones winning: the schema's defaults, a preset
(``quick``, ``standard``, ``paper``), a yaml file, and overrides given on the command line
(``training.lr=1e-3``, or the authors' upper-case pairs ``TRAIN.LR 1e-3``). Unknown keys are errors.
"""

from hevitpose.config.load import (
    PRESETS,
    load_config,
    network_options,
    shipped,
    start_config,
)
from hevitpose.config.overrides import parse_overrides
from hevitpose.config.schema import Config, parse_config

__all__ = [
    "PRESETS",
    "Config",
    "load_config",
    "network_options",
    "parse_config",
    "parse_overrides",
    "shipped",
    "start_config",
]

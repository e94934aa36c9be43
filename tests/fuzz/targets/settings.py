"""What a user writes: configs, overrides, grids."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import yaml

from ablations.grid import load_grids
from ablations.grid_file import GRIDS
from hevitpose.config import load_config, network_options
from hevitpose.config.author_keys import ALIASES
from hevitpose.config.schema import Config
from tests.fuzz.campaign import Make, Reading, cli, target
from tests.fuzz.mutation import MARKER, VALUES, put_yaml, snippet, to_json


@target(2)
def configs(shared: Path) -> Make:
    """A config's yaml."""
    content = load_config("mpii", preset="quick").dump()
    content = {key: value for key, value in content.items() if key != "imports"}
    small = {
        "preset": "quick",
        "seed": 1,
        "model": {"name": "nano", "attention": "mhsa", "widths": [16, 32, 48]},
        "data": {"dataset": "coco", "input_size": [192, 256]},
        "codec": {"method": "udp", "sigma": 2.0},
        "training": {"lr": 1e-3, "steps": 10, "start_from": "standard:synthetic"},
        "evaluation": {"flip_test": True, "condition": "fog:3"},
    }

    def make(rng: Random, folder: Path) -> list[Reading]:
        path = put_yaml(rng, folder / "config.yaml", rng.choice((content, small)))
        return [partial(load_config, path), partial(load_config, path, ["training.lr=1e-4"])]

    return make


def _keys(config: Config) -> list[str]:
    return [
        f"{section}.{key}" if isinstance(values, dict) else section
        for section, values in config.dump().items()
        for key in (values if isinstance(values, dict) else [section])
    ]


@target(2)
def overrides(shared: Path) -> Make:
    """Words of a command line."""
    known = _keys(load_config("mpii"))
    keys = [*known, *known, *ALIASES, "x.y", "", ".", "model.", ".lr", "model..name", "MODEL", "é"]
    plain = ["1", "-1", "1e-3", "true", "null", "[]", "{}", "[1, 2]", "a,b", ",", "256,256", "nan"]

    def value(rng: Random, folder: Path) -> str:
        kind = rng.randrange(3)
        if kind == 0:
            return rng.choice(plain)
        if kind == 1:
            return snippet(rng, folder / MARKER)
        return to_json(rng, rng.choice(VALUES)).decode("utf-8", "surrogatepass")

    def make(rng: Random, folder: Path) -> list[Reading]:
        words: list[str] = []
        for _ in range(rng.randint(1, 3)):
            key, said = rng.choice(keys), value(rng, folder)
            pair = key.isupper() and rng.random() < 0.7
            words += [key, said] if pair else [f"{key}{rng.choice(('=', '=', '=', ''))}{said}"]
        source = rng.choice((None, "mpii", "synthetic"))
        command = [word for word in words if not word.startswith("-") and "\0" not in word]
        return [
            partial(load_config, source, words),
            partial(network_options, rng.choice(("nano", "hevitpose_b", "vitpose_s")), words),
            partial(_info, command),
        ]

    return make


def _info(words: list[str]) -> None:
    """``hevitpose info`` refuses words before it makes a network."""
    if any(word.startswith("imports=") for word in words):
        return  # files of the user's own, which run
    if not any(word.startswith("model.") for word in words):
        cli("info", "nano", *words, "--input", "64x64")


@target(lines=True)
def grids(shared: Path) -> Make:
    """A grid's yaml."""
    base = load_config(None, {"model.name": "nano"}, preset="quick")
    contents: list[Any] = []
    for path in sorted(GRIDS.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        for section in ("cells", "evaluate"):
            if section in content:
                content[section] = dict(list(content[section].items())[:4])
        contents.append(content)

    def make(rng: Random, folder: Path) -> list[Reading]:
        path = put_yaml(rng, folder / "mine.yaml", rng.choice(contents))
        return [partial(load_grids, [str(path)], base)]

    return make

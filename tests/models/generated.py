"""Weights made from parameters' names: the rule that the reference outputs were made with.

The outputs of the original implementations (MMPose, ViTPose) for these weights are in
``../shared/reference/mmpose`` where a checkout has it, and a few numbers of each in
``peer_outputs.json``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hevitpose.models import create_model
from hevitpose.models.keymaps import KeyMap
from hevitpose.models.keytables import KEY_MAPS

KNOWN = json.loads((Path(__file__).parent / "peer_outputs.json").read_text())
TOLERANCE = 1e-4  # of the output's standard deviation
K = 17


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float64 numbers that depend on the name and the shape alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)


def weight(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """The value, float32, of the parameter or buffer of this name."""
    n, last = normal(name, shape), name.rsplit(".", 1)[-1]
    if last in ("bias", "in_proj_bias", "beta", "running_mean"):
        value = 0.1 * n
    elif last == "running_var":
        value = 0.5 + 0.5 * np.abs(n)
    elif last in ("gamma", "g", "scale") or len(shape) <= 1:
        value = 1 + 0.1 * n
    elif last in ("pos_embed", "relative_position_bias_table"):
        value = 0.5 * n
    else:
        value = gain * n / math.sqrt(math.prod(shape[1:]))
    return value.astype(np.float32)


def weights(
    shapes: Mapping[str, tuple[tuple[int, ...], str]], gain: float
) -> dict[str, torch.Tensor]:
    """A state dict of (shape, dtype) by name; integer buffers are 0."""
    return {
        name: torch.from_numpy(weight(name, shape, gain))
        if dtype.startswith("float")
        else torch.zeros(shape, dtype=getattr(torch, dtype))
        for name, (shape, dtype) in shapes.items()
    }


def images(number: int, height: int, width: int) -> torch.Tensor:
    """The network's input (N, 3, H, W); the sides are multiples of 32."""
    shape = (number, 3, height, width)
    coarse = normal("input.coarse", (number, 3, height // 32, width // 32))
    value = normal("input", shape) + 2 * coarse.repeat(32, 2).repeat(32, 3)
    return torch.from_numpy(value.astype(np.float32))


def peer_of(network: str) -> str:
    """The peer that a reference network is; ViTPose's has its authors' names as well."""
    return network.removesuffix("_original")


def key_map(network: str) -> KeyMap:
    return KEY_MAPS[peer_of(network)][-1 if network.endswith("_original") else 0]


def build(network: str, size: str = "256x192") -> nn.Module:
    """For this size where the head belongs to one; else for 256x192, as published."""
    name = peer_of(network)
    height, width = map(int, size.split("x"))
    depends = name.startswith("rtmpose")
    return create_model(name, K, input_size=(width, height) if depends else (192, 256)).eval()


def structure(network: str) -> nn.Module:
    """The peer without values: none are drawn, which takes longer than all the rest."""
    with torch.device("meta"):
        return build(network)


def their_shapes(network: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Names, shapes and types of the original's tensors, by the key map alone."""
    theirs = key_map(network).to_theirs(structure(network).state_dict())
    return {key: (tuple(x.shape), str(x.dtype).removeprefix("torch.")) for key, x in theirs.items()}


def their_weights(network: str) -> dict[str, torch.Tensor]:
    """The original's state dict, made by the rule; ViTPose's head has its authors' prefix."""
    prefix = "keypoint_head." if network.endswith("_original") else "head."
    shapes = {
        prefix + key.removeprefix("head.") if key.startswith("head.") else key: value
        for key, value in their_shapes(network).items()
    }
    return weights(shapes, KNOWN[network]["gain"])


@functools.lru_cache(maxsize=2)
def filled(network: str, keys: KeyMap | None = None) -> nn.Module:
    """The peer with generated weights, and norm statistics, under the original's names."""
    theirs = {k.replace("keypoint_head.", "head."): x for k, x in their_weights(network).items()}
    ours, strange = (keys or key_map(network)).to_ours(theirs)
    assert not strange
    model = build(network)
    model.load_state_dict(ours)
    return model


def outputs(model: nn.Module, number: int, size: str) -> dict[str, torch.Tensor]:
    height, width = map(int, size.split("x"))
    with torch.no_grad():
        result = model(images(number, height, width))
    if isinstance(result, tuple):
        return dict(zip(("simcc_x", "simcc_y"), result, strict=True))
    return {"heatmap": result}


def worst(model: nn.Module, network: str) -> float:
    """The largest difference from the committed numbers, in standard deviations, at all sizes."""
    errors = []
    for size, kinds in KNOWN[network]["outputs"].items():
        found = outputs(model, 1, size)
        for kind, expected in kinds.items():
            map_KN = found[kind][0]
            assert list(map_KN.shape) == expected["shape"]
            values = map_KN.flatten()[:: expected["step"]][: len(expected["values"])]
            for name, got in (
                ("values", values),
                ("means", map_KN.flatten(1).mean(1)),
                ("deviations", map_KN.flatten(1).std(1, correction=0)),
            ):
                difference = got.double() - torch.tensor(expected[name], dtype=torch.float64)
                errors.append(difference.abs().max().item() / expected["std"])
    return max(errors)

"""Weights made from parameters' names: the rule that the reference outputs were made with.

The outputs of the original implementations (MMPose, ViTPose) for these weights are in
``../shared/reference/mmpose`` where a checkout has it, and a few numbers of each in
``peer_outputs.json``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch


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

"""Arrays in, arrays out; tensors in, tensors out; and the order of mirrored joints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hevitpose.errors import UsageError

Array = TypeVar("Array", np.ndarray, Tensor)


def swapped(num_joints: int, flip_pairs: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """The order that exchanges left and right joints."""
    order = list(range(num_joints))
    members = [int(joint) for pair in flip_pairs for joint in pair]
    if any(len(pair) != 2 for pair in flip_pairs) or len(set(members)) != len(members):
        raise UsageError(f"flip_pairs: {flip_pairs!r}, expected disjoint pairs")
    if members and not 0 <= min(members) <= max(members) < num_joints:
        raise UsageError(f"flip_pairs: {flip_pairs!r}, expected joints 0 to {num_joints - 1}")
    for left, right in flip_pairs:
        order[left], order[right] = int(right), int(left)
    return torch.tensor(order, device=device, dtype=torch.long)


def fresh(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Uninitialised float32 memory.

    On the CPU it comes through numpy, which asks the kernel for huge pages: fresh memory is what
    encoding spends its time on, and costs a third of what it costs through ``torch.empty``.
    """
    if device.type != "cpu" or math.prod(shape) < 1 << 20:
        return torch.empty(shape, device=device, dtype=torch.float32)
    return torch.from_numpy(np.empty(shape, dtype=np.float32))


def as_tensor(values: np.ndarray | Tensor) -> Tensor:
    """A tensor over the same memory where that is possible."""
    if isinstance(values, Tensor):
        return values
    array = np.asarray(values)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # torch takes neither negative strides nor (without a warning) read-only memory.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def like(reference: np.ndarray | Tensor, result: Tensor) -> Any:
    """The result in the kind that the caller used."""
    return result if isinstance(reference, Tensor) else result.numpy()

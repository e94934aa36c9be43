"""The meaning of a network's K outputs; a checkpoint brings it along."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from hevitpose.errors import UsageError


@dataclass(frozen=True)
class KeypointLayout:
    """The meaning of K keypoints. Checked when made: indices, pairs, counts, signs.

    Raises:
        UsageError: an index outside 0..K-1, a joint in two flip pairs, a wrong number of sigmas
            or weights, or a sigma that is not positive.
    """

    name: str
    names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]  # swapped by a horizontal flip
    sigmas: tuple[float, ...]  # OKS per-keypoint constants
    skeleton: tuple[tuple[int, int], ...] = ()  # limbs to draw, 0-based
    upper_body: tuple[int, ...] = ()  # half-body augmentation; empty: it is never applied
    joint_weights: tuple[float, ...] = field(default=())  # of the loss; empty becomes ones

    def __post_init__(self) -> None:
        count = len(self.names)
        if not self.joint_weights:
            object.__setattr__(self, "joint_weights", (1.0,) * count)
        if not count or len(set(self.names)) != count:
            raise UsageError(f"keypoints {self.name}: names must be given and differ")
        for key in ("sigmas", "joint_weights"):
            values = getattr(self, key)
            if len(values) != count:
                raise UsageError(
                    f"keypoints {self.name}: {len(values)} {key}, expected one per name ({count})"
                )
            if not all(math.isfinite(value) and value > 0 for value in values):
                raise UsageError(f"keypoints {self.name}: {key} must be positive numbers")
        for key in ("flip_pairs", "skeleton"):
            for pair in getattr(self, key):
                if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= i < count for i in pair):
                    raise UsageError(
                        f"keypoints {self.name}: {key} has {pair}, "
                        f"expected two different indices from 0 to {count - 1}"
                    )
        paired = [index for pair in self.flip_pairs for index in pair]
        if len(set(paired)) != len(paired):
            raise UsageError(f"keypoints {self.name}: a joint is in two flip_pairs")
        if not all(0 <= index < count for index in self.upper_body):
            raise UsageError(f"keypoints {self.name}: upper_body outside 0 to {count - 1}")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def flip_order(self) -> tuple[int, ...]:
        """Permutation of 0..K-1: joint k of the flipped picture is joint ``flip_order[k]``."""
        index = list(range(len(self)))
        for left, right in self.flip_pairs:
            index[left], index[right] = right, left
        return tuple(index)

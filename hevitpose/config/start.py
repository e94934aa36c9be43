"""``training.start_from``: what a training's weights are before its first step.

Four forms, told apart by their looks alone: ``imagenet`` (timm's weights of a peer), a file of
weights, the id of a recorded training, and PRESET:DATASET, a training of the same network that is
made, and recorded, where it is not there yet (:func:`hevitpose.config.start_config`).
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from hevitpose.errors import UsageError
from hevitpose.models.spec import IMAGENET

StartKind = Literal["imagenet", "weights", "training", "preset"]

#: Names that files of weights end with.
_SUFFIXES = frozenset((".safetensors", ".ckpt", ".pth", ".pt", ".bin"))
_ID = re.compile(r"[0-9a-f]{20}")


def is_training_id(text: str) -> bool:
    """Whether a text looks like the id of a record."""
    return _ID.fullmatch(text) is not None


def start_kind(text: str) -> StartKind:
    """Which of the four forms a value of ``training.start_from`` has.

    Raises:
        UsageError: none of them.
    """
    if text == IMAGENET:
        return "imagenet"
    if PurePath(text).suffix in _SUFFIXES:
        return "weights"
    if is_training_id(text):
        return "training"
    preset, _, dataset = text.partition(":")
    if preset and dataset:
        return "preset"
    raise UsageError(
        f"training.start_from: {text!r}, expected PRESET:DATASET (standard:synthetic), "
        f"the id of a training, a file of weights, or {IMAGENET}"
    )

"""``training.start_from``: what a training's weights are before its first step.

Four forms, told apart by their looks alone: ``imagenet`` (timm's weights of a peer), weights (a
file, a folder with a ``/``, a name that ships), the id of a recorded training, and PRESET:DATASET,
a training of the same network that is made, and recorded, where it is not there yet
(:func:`hevitpose.config.start_config`). Not by what is there: a record is read on any machine.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from hevitpose.errors import UsageError
from hevitpose.models.shipped import ships
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
    if PurePath(text).suffix in _SUFFIXES or ships(text):
        return "weights"
    if is_training_id(text):
        return "training"
    preset, _, dataset = text.partition(":")
    if preset and dataset and "/" not in preset:
        return "preset"
    if "/" in text and not text.endswith(".onnx"):
        return "weights"
    raise UsageError(
        f"training.start_from: {text!r}, expected PRESET:DATASET (standard:synthetic), "
        f"the id of a training, weights (a file, FOLDER/, a name that ships), or {IMAGENET}"
    )

"""No network is scored on people it was trained on, as far as files of weights say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hevitpose.config.schema import Config
from hevitpose.data.minival import MINIVAL, is_minival
from hevitpose.data.registry import ROWS
from hevitpose.errors import UsageError

#: (dataset, split) pairs of the trainings behind some weights.
Seen = Iterable[tuple[str, str]]


def require_unseen(config: Config, path: Path | str, seen: Seen) -> None:
    """Refuses to score weights on photographs of another dataset that they were trained on.

    A dataset's own train split, scored by its own name, is no accident: an overfit proof.

    Args:
        config: of the evaluation.
        path: the weights, for the message.
        seen: what they, and what they started from, were trained on.

    Raises:
        UsageError: coco_small's people are COCO val's.
    """
    dataset, split = config.data.dataset, config.data.val_split
    scored = _photographs(dataset, split)
    for name, trained_split in seen:
        if name != dataset and scored & _photographs(name, trained_split):
            raise UsageError(
                f"{path}: trained on {name} {trained_split}, whose photographs are also in "
                f"{dataset} {split}; expected other people to score it on"
            )


def _photographs(dataset: str, split: str) -> set[tuple[str, str]]:
    """Under which names a split's photographs are known."""
    parts = ("train", "val") if split == "trainval" else (split,)
    whole = ROWS[dataset].part_of if dataset in ROWS else None
    return {(dataset, part) for part in parts} | ({whole} if whole else set())


def require_held_out(config: Config, trained: Mapping[str, Any] | None = None) -> None:
    """Refuses to score a training on minival that was, or would be, trained on it.

    Args:
        config: of the evaluation.
        trained: the config that a file of weights names as its training's; None: not at hand yet.

    Raises:
        UsageError: the slice would not be held out, or was not, or detections were asked for.
    """
    data = config.data
    if not is_minival(data, data.val_split):
        return
    if config.training.selection != MINIVAL:
        raise UsageError(
            f"data.val_split=minival with training.selection={config.training.selection}: it would "
            "be trained on, expected training.selection=minival, which holds it out"
        )
    if data.box_source != "gt":
        raise UsageError(
            f"data.box_source={data.box_source} with data.val_split=minival: expected gt, the "
            "slice is of annotated people"
        )
    if trained is None:
        return
    said = {f"{section}.{key}": trained.get(section, {}).get(key) for section, key in _DECIDES}
    ours = {f"{section}.{key}": config.dump()[section][key] for section, key in _DECIDES}
    for key, value in ours.items():
        if said[key] != value:
            raise UsageError(
                f"data.val_split=minival: {config.model.checkpoint} was trained with "
                f"{key}={'(not stated)' if said[key] is None else said[key]}, expected {value}: "
                "else it was trained on people whom it would be scored on"
            )


_DECIDES = (("training", "selection"), ("data", "train_split"), ("data", "minival"))

"""What files of weights say of the people behind them. Torch-free.

In the ``source`` of a description: ``held_out``, a hash of the images that the training held out,
and ``earlier``, the trainings on photographs that it started from. Its own data are in its config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hevitpose.errors import DataError
from hevitpose.markdown import plain

_HELD_OUT, _EARLIER = "held_out", "earlier"


class Trained(NamedTuple):
    """What a training's people were."""

    dataset: str  # a name of the registry, or a yaml's
    split: str
    held_out: str  # hash of the images that were held out; empty: none


def to_source(earlier: Sequence[Trained], held_out: str) -> dict[str, Any]:
    """The entries of ``source``; none where there is nothing to say."""
    told = {_HELD_OUT: held_out, _EARLIER: [list(item) for item in earlier]}
    return {key: value for key, value in told.items() if value}


def earlier_trainings(source: Mapping[str, Any]) -> list[Trained]:
    """The trainings on photographs before the one that left the weights, the first one first."""
    return [Trained(*item) for item in source.get(_EARLIER, ())]


def own_training(config: Mapping[str, Any], source: Mapping[str, Any]) -> Trained | None:
    """The training that left the weights, where their config says it."""
    data = config.get("data", {})
    dataset, split = data.get("dataset"), data.get("train_split")
    held_out = str(source.get(_HELD_OUT, ""))
    return Trained(Path(str(dataset)).name, str(split), held_out) if dataset and split else None


def require_source(path: Path, source: Mapping[str, Any]) -> None:
    """Refuse a ``source`` whose entries are not what they should be.

    Raises:
        DataError: it is something else.
    """
    found = source.get(_EARLIER, [])
    items = found if isinstance(found, list) else [None]
    if not all(isinstance(item, list) and [*map(type, item)] == [str] * 3 for item in items):
        raise DataError(f"{path}: source.{_EARLIER} is {found!r:.80}, expected lists of 3 texts")
    for key in ("origin", "file", "sha256"):
        value = source.get(key, "-")
        if not isinstance(value, str) or not plain(value):
            raise DataError(f"{path}: source.{key} is {value!r:.80}, expected text")
    anew = source.get("reset", [])
    if not isinstance(anew, list) or not all(isinstance(name, str) for name in anew):
        raise DataError(f"{path}: source.reset is {anew!r:.80}, expected a list of names")

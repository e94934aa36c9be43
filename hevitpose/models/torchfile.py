"""State dicts out of files that ``torch.save`` wrote elsewhere, without executing anything in them.

Checkpoints of MMPose hold more than tensors: numpy scalars and arrays, and mmengine's histories of
losses. They are read as :class:`Inert` objects, which keep nothing and do nothing; every other name
of a class or function in the file is refused by torch's restricted unpickler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hevitpose.errors import DataError
from hevitpose.models import gate


class Inert:
    """A stand-in for an object that is of no use here; it takes anything and keeps nothing."""

    def __new__(cls, *args: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")  # of numpy 1 and 2
#: What such files name besides tensors. Nothing of it is imported or called.
HARMLESS = (
    *(f"{module}.{name}" for module in _NUMPY for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.dtypes.{kind}DType"
        for kind in ("Bool", "Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64")
    ),
    "_codecs.encode",  # bytes, as pickle's protocol 2 writes them
    "mmengine.logging.history_buffer.HistoryBuffer",
    "__builtin__.getattr",  # how that class's methods are written down
    "builtins.getattr",
)


@dataclass(frozen=True)
class Content:
    """What of a checkpoint is of use here."""

    state: dict[str, Tensor]
    dataset: str = ""  # whose keypoints it says to predict, MMPose's name for them; "": not said
    keypoints: tuple[str, ...] = ()  # their names in order; empty: not said


def read_content(path: Path | str) -> Content:
    """The tensors of a checkpoint, and the keypoints that MMPose 1.x declares beside them.

    Args:
        path: written by ``torch.save``, as a zip or in the older format; the tensors are its
            ``state_dict``, or all of it where it is one.

    Raises:
        DataError: absent, damaged, not a state dict, naming a class or function that is not
            harmless, or declaring keypoints that are no names in an order.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file of weights")
    data = gate.unpickle(path, [(Inert, name) for name in HARMLESS])
    if not isinstance(data, Mapping) or "state_dict" not in data:
        return Content(gate.tensors(path, data, "its content"))
    return Content(gate.tensors(path, data["state_dict"], "its content"), *_declared(path, data))


def _declared(path: Path, data: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """``meta.dataset_meta``'s name and keypoints; MMPose 0.x and ViTPose's code write none."""
    said: Any = data
    for key in ("meta", "dataset_meta"):
        said = said.get(key) if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or "keypoint_id2name" not in said:
        return "", ()
    names = said["keypoint_id2name"]
    listed = [names.get(i) for i in range(len(names))] if isinstance(names, Mapping) else []
    if not listed or not all(isinstance(name, str) for name in listed):
        raise DataError(
            f"{path}: meta.dataset_meta.keypoint_id2name: expected the names of keypoints 0 to K-1"
        )
    return str(said.get("dataset_name", "")), tuple(map(str, listed))


__all__ = ["HARMLESS", "Content", "Inert", "read_content"]

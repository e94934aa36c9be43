"""State dicts out of files that ``torch.save`` wrote elsewhere, without executing anything in them.

Checkpoints of MMPose hold more than tensors: numpy scalars and arrays, and mmengine's histories of
losses. They are read as :class:`Inert` objects, which keep nothing and do nothing; every other name
of a class or function in the file is refused by torch's restricted unpickler.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a checkpoint: its ``state_dict``, or all of it where it is one.

    Args:
        path: written by ``torch.save``, as a zip or in the older format.

    Raises:
        DataError: absent, damaged, not a state dict, or naming a class or function that is not
            harmless.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file of weights")
    data = gate.unpickle(path, [(Inert, name) for name in HARMLESS])
    state = data.get("state_dict", data) if isinstance(data, Mapping) else data
    return gate.tensors(path, state, "its content")


__all__ = ["HARMLESS", "Inert", "read_state_dict"]

"""Where files of weights are: as named, in a folder, or among those that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from hevitpose import files
from hevitpose.errors import DataError, UsageError
from hevitpose.models.spec import WEIGHTS

#: Networks that come with the package: NAME/model.safetensors.
SHIPPED = Path(__file__).parents[1] / "weights"
#: Their names; one stays here for good, as records say that they started from it.
SHIPPED_NAMES = ("hevitpose_nano",)


def ships(name: str) -> bool:
    """Whether a network of this name comes with the package."""
    return name in SHIPPED_NAMES


def places(path: Path | str) -> tuple[Path, Path, Path]:
    """Where a file of weights may be, the first first."""
    path = Path(path)
    return path, path / WEIGHTS, SHIPPED / path / WEIGHTS


def locate(path: Path | str) -> Path:
    """The file of a checkpoint, of a folder that holds one, or of a name that ships.

    Raises:
        DataError: none of these.
        UsageError: it is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"checkpoint: {path!r:.80}, expected a file, a folder or a name")
    for found in places(path):
        if files.is_file(found):
            return found
    shipped = ", ".join(sorted(p.parent.name for p in SHIPPED.glob(f"*/{WEIGHTS}"))) or "none"
    raise DataError(
        f"{path}: no such checkpoint (expected a file, a folder with {WEIGHTS}, or a name that "
        f"ships: {shipped})"
    )

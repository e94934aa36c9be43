"""Where files of weights are: as named, in a folder, or among those that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from hevitpose import files
from hevitpose.errors import DataError, UsageError, notice_once
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

    A name that ships is the package's network, also where a folder is called like it.

    Raises:
        DataError: none of these.
        UsageError: it is no path.

    Warns:
        Notice: there is such a folder.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"checkpoint: {path!r:.80}, expected a file, a folder or a name")
    there = [found for found in places(path) if files.is_file(found)]
    if there and ships(str(path)):  # by its name always the same network, wherever one works
        if not files.same(there[0], there[-1]):
            notice_once(f"{path}: the network that comes with the package, not {there[0]}")
        return there[-1]
    if there:
        return there[0]
    shipped = ", ".join(sorted(p.parent.name for p in SHIPPED.glob(f"*/{WEIGHTS}"))) or "none"
    raise DataError(
        f"{path}: no such checkpoint (expected a file, a folder with {WEIGHTS}, or a name that "
        f"ships: {shipped})"
    )

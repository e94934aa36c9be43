"""What preparing a dataset leaves, and how its files are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hevitpose import json_file
from hevitpose.errors import DataError
from hevitpose.files import exists, is_file, write_atomically
from hevitpose.records.identity import file_digest


@dataclass(frozen=True)
class PreparedFile:
    """One file or folder of the destination."""

    path: Path
    status: str  # "written", "linked" or "exists"
    note: str = ""  # how many people
    source: Path | None = None  # what it was made of, or leads to


def write(path: Path, make: Callable[[], list[Any] | dict[str, Any]], source: Path) -> PreparedFile:
    """Makes a json file at once or not at all; what exists stays."""
    if exists(path):
        return PreparedFile(path, "exists")
    content = make()
    make_folder(path.parent)
    write_atomically(path, json.dumps(content))
    people = content if isinstance(content, list) else content["annotations"]
    return PreparedFile(path, "written", f"{len(people):,} people", source)


def make_folder(path: Path) -> None:
    """Makes a folder of the destination, and those above it, where it is not there.

    Raises:
        DataError: it cannot be made: a file is in its way, its name is too long, ...
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{path}: {why}, expected a folder that can be made there") from None


def find_original(source: Path, *names: str) -> Path | None:
    """The first of several names: in ``annotations`` or the folder itself, or anywhere below it.

    Raises:
        DataError: files of that name differ, and none of them is in the usual place.
    """
    for name in names:
        usual = (source / "annotations", source)  # either may be a link, which rglob leaves
        if found := [place / name for place in usual if is_file(place / name)]:
            return _only(source, found)
    for name in names:
        if found := sorted(path for path in source.rglob(name) if is_file(path)):
            return _only(source, found)
    return None


def _only(source: Path, found: Sequence[Path]) -> Path:
    """The first of several copies.

    Raises:
        DataError: they are no copies.
    """
    if len(found) > 1 and len(set(map(file_digest, found))) > 1:
        listed = ", ".join(map(str, found[:5])) + ", ..." * (len(found) > 5)
        raise DataError(
            f"{source}: {len(found)} files called {found[0].name} that differ ({listed}), expected "
            "one: give the folder of one as --source"
        )
    return found[0]


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """An annotation file that has these lists.

    Raises:
        DataError: it has not.
    """
    content = json_file.read(path, "annotations")
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: {key} is missing or not a list")
    return content

"""Whether two splits of a custom dataset are apart, so that nobody is scored who was trained on.

The registry's datasets are divided as their authors have it, and a slice of train
(:mod:`~hevitpose.data.minival`) by its own rule.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hevitpose.config.schema import Config
from hevitpose.data.files import locate, splits_of
from hevitpose.data.minival import is_minival
from hevitpose.data.registry import is_custom
from hevitpose.data.table import PoseTable
from hevitpose.errors import Notice, UsageError, on_one_line
from hevitpose.files import is_file
from hevitpose.records.identity import file_digest

#: Splits that are made of others, by what they are called.
PARTS = {"trainval": ("train", "val")}


def require_two_files(config: Config) -> None:
    """Refuse a training that would be scored by the annotations that it is trained on.

    ``data.val_split`` that names the train split says that it is meant, as an overfit proof does.
    One file beside two folders is divided by its photographs where ``data.present_only`` leaves
    out those that a folder lacks.

    Raises:
        UsageError: it would.
    """
    data = config.data
    train, val, path = data.train_split, data.val_split, Path(data.dataset)
    if train == val or not is_custom(path) or is_minival(data, val):
        return
    if not {train, val} <= set(splits_of(data.dataset)):
        return  # whoever reads it refuses it
    if data.present_only and not same_folder(path, train, val):
        return
    if same_annotations(path, train, val):
        raise UsageError(
            f"{path}: {train} and {val} have the same annotations ({_place(path, val)[0]}): "
            "people who were trained on would be scored, expected others "
            f"(data.val_split={train} where that is meant)"
        )


def same_annotations(path: Path, first: str, second: str) -> bool:
    """Whether two splits of a yaml have one annotation file, or one is a copy of the other."""
    one, other = (_place(path, split)[0] for split in (first, second))
    if not is_file(one) or not is_file(other) or one.stat().st_size != other.stat().st_size:
        return False
    return one.samefile(other) or file_digest(one) == file_digest(other)


def same_folder(path: Path, first: str, second: str) -> bool:
    """Whether two splits of a yaml have one folder of photographs."""
    folders = {os.path.realpath(_place(path, split)[1]) for split in (first, second)}
    return len(folders) == 1


def _place(path: Path, split: str) -> tuple[Path, Path]:
    """(annotations, folder of the photographs)."""
    (annotations,), images = locate(str(path), path.parent, split)
    return annotations, images


def tell_shared(train: PoseTable, val: PoseTable) -> None:
    """Say which photographs of a custom dataset's val are also in its train.

    Warns:
        Notice: there are some.
    """
    paths = []
    for table in (train, val):
        names = table.image_names[np.flatnonzero(table.needed_images)]
        paths.append(real_paths(table.image_root, [name.decode() for name in names]))
    said = shared(paths[0], paths[1], train.split)
    if said:
        line = f"{val.annotation_file}: {said}; scores are of pictures that were trained on"
        warnings.warn(on_one_line(line), Notice, stacklevel=2)


def shared(train: Iterable[str], val: Sequence[str], split: str) -> str:
    """What photographs two lists of real paths share, in words; nothing where they share none."""
    seen, others = set(train), list(dict.fromkeys(val))
    found = [path for path in others if path in seen]
    if not found:
        return ""
    return f"{len(found)} of {len(others)} photographs are also in {split}, the first is {found[0]}"


def overlap_by_name(first: str, second: str) -> bool:
    """Whether two splits share people by what they are called: ``trainval`` and ``val``."""
    parts = (PARTS.get(split, (split,)) for split in (first, second))
    return bool(set(next(parts)) & set(next(parts)))


def real_paths(root: Path, names: Sequence[str]) -> list[str]:
    """Where photographs are, links followed; a folder is asked once for all that are in it."""
    folders: dict[str, str] = {}
    found = []
    for name in names:
        path = os.path.join(root, name)  # noqa: PTH118 (a Path for each takes longer than all else)
        if os.path.islink(path):  # noqa: PTH114
            found.append(os.path.realpath(path))
            continue
        folder, base = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        found.append(f"{folders[folder]}{os.sep}{base}")
    return found

"""What a dataset declares and where its files are, by a row's name or the path of a yaml."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from hevitpose.data.registry import ROWS, Declared, files_of, is_custom
from hevitpose.errors import DataError, UsageError, unknown_name
from hevitpose.files import is_file


def declared(dataset: str | Path) -> Declared:
    """What a dataset declares; neither annotations nor images are opened.

    Args:
        dataset: a name of the registry, or the yaml file of a custom dataset.

    Raises:
        UsageError: an unknown name, or a yaml that says something that cannot be.
        DataError: the yaml is absent or is not yaml.
    """
    name = str(dataset)
    if not is_custom(name):
        if name not in ROWS:
            raise unknown_name("dataset", name, (*ROWS, "FILE.yaml"))
        return ROWS[name]
    from hevitpose.data.readers.custom import describe

    return describe(Path(dataset))[1]


def splits_of(dataset: str) -> Collection[str]:
    """The splits that a dataset's row or yaml names; of rendered people, those of MPII."""
    if is_custom(dataset):
        from hevitpose.data.readers.custom import describe

        return tuple(describe(Path(dataset))[0].splits)
    files = declared(dataset).layout_on_disk
    return tuple(files.annotations) if files else ()


def find(
    folder: Path,
    names: Mapping[str, tuple[str, ...]],
    split: str,
    hint: str = "see `hevitpose data check`",
) -> Path:
    """The annotation file of a split under any of its spellings.

    Args:
        folder: of the annotations.
        names: the spellings of each split.
        split: of the dataset.
        hint: what to do where there is none.

    Raises:
        UsageError: the dataset has no such split.
        DataError: none of the spellings is there.
    """
    if split not in names:
        raise UsageError(f"split {split!r} of {folder}: expected one of {', '.join(names)}")
    for name in names[split]:
        if is_file(folder / name):
            return folder / name
    raise DataError(f"{folder}: no {' or '.join(names[split])} ({hint})")


def require_rendered(said: Declared, root: Path, split: str) -> None:
    """Refuse rendered people that are not there: those are made, not fetched.

    Raises:
        UsageError: there is no such split.
        DataError: they are absent.
    """
    files = said.layout_on_disk
    assert files is not None
    hint = f"`hevitpose data synth --root {root}` renders them"
    find(root / files.folder / "annotations", files.annotations, split, hint)


def locate(dataset: str, root: Path, split: str) -> tuple[list[Path], Path]:
    """The files that one split of a dataset is made of, unread.

    Args:
        dataset: a name of the registry, or the yaml file of a custom dataset.
        root: the folder that holds ``coco/``, ``mpii/`` and so on.
        split: of the dataset.

    Returns:
        (annotation files, folder of the photographs).

    Raises:
        UsageError: an unknown dataset or split.
        DataError: an annotation file is absent, or the yaml is.
    """
    if is_custom(dataset):
        from hevitpose.data.readers.custom import place

        annotations, images = place(Path(dataset), split)
        return [annotations], images
    files = files_of(dataset)
    folder = root / files.folder / "annotations"
    found = [find(folder, files.annotations, split)]
    found += [folder / name for name in files.beside.get(split, ())]
    return [path for path in found if is_file(path)], files.image_folder(root, split)


def find_boxes(folder: Path, boxes: str) -> str:
    """``gt``, or a box file: as given, else below FOLDER/person_detection_results."""
    if boxes == "gt" or is_file(Path(boxes)):
        return boxes
    inside = folder / "person_detection_results" / boxes
    if is_file(inside):
        return str(inside)
    raise DataError(f"{boxes}: no such box file, neither here nor in {inside.parent}")

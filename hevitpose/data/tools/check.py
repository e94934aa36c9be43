"""Implement ``hevitpose data check``: what is on disk, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.data import apart
from hevitpose.data.files import find
from hevitpose.data.images import file_sizes, resolved
from hevitpose.data.readers import coco_format, custom, mpii
from hevitpose.data.readers.coco_records import read_images
from hevitpose.data.registry import ROWS, files_of, is_custom, labels_of, placed
from hevitpose.data.table import PoseTable, Problems, drop_missing_images, look_at_images
from hevitpose.data.tools import coco_small, forms
from hevitpose.data.tools.duplicates import shared_images
from hevitpose.errors import DataError, on_one_line
from hevitpose.files import is_dir, is_file
from hevitpose.progress import Progress, silent
from hevitpose.text_table import text_table

_NOBODY = "no usable people"


@dataclass(frozen=True)
class Row:
    """One split of one dataset. Counts are None where there is nothing to count."""

    dataset: str
    split: str
    status: str  # "present", "missing" or "bad"
    annotations: str = ""  # the file; where missing, the names looked for
    images: int | None = None  # named in the annotations
    absent_images: int | None = None  # of those
    people: int | None = None  # usable
    keypoints: int | None = None  # labelled, of usable people
    boxes_outside: int | None = None  # people whose box leaves the image; None: sizes not stated
    bad: int = 0  # records that ``skip_bad`` would leave out
    unlike_list: bool = False  # other photographs or people than the dataset's own list has
    of_train: bool = False  # val of a custom dataset, whose annotations are train's
    note: str = ""  # the first fault, what else is missing, a leak
    page: str = ""  # where to get what is missing


def check(
    root: str | Path, datasets: Sequence[str] | None = None, progress: Progress = silent
) -> list[Row]:
    """Looks at every split of every dataset below a folder; changes nothing.

    Args:
        root: the folder that holds ``coco/``, ``mpii/`` and so on.
        datasets: some of the registry's, or yaml files of custom datasets; None for all of the
            registry.
        progress: of the looks into photographs, a split at a time, and of the search for those
            that CrowdPose shares with COCO.

    Returns:
        One row per split, in a fixed order.

    Raises:
        UsageError: an unknown dataset, or a yaml that says something that cannot be.
        DataError: there is no such folder, or no such yaml.
    """
    root = Path(root)
    own = {name: custom.describe(Path(name))[0] for name in datasets or () if is_custom(name)}
    for name in datasets or ():
        if name not in own:
            files_of(name)
    if not is_dir(root) and len(own) < len(datasets or placed()):
        raise DataError(f"{root}: no such folder, expected one with coco/, mpii/ and so on")
    rows = []
    for dataset in datasets or placed():
        if dataset in own:
            rows += _custom_rows(Path(dataset), own[dataset], progress)
            continue
        files = files_of(dataset)
        for split in files.annotations:
            row = _row(root, dataset, split, progress)
            if row.status != "missing" or split not in files.optional:
                rows.append(row)
    if datasets is None or "crowdpose" in datasets:
        rows = [_with_leak(root, row, progress) for row in rows]
    return rows


def faulty(rows: Sequence[Row]) -> bool:
    """Whether something is wrong with what is there; what is missing is not."""
    return any(
        row.status == "bad" or row.bad > 0 or row.unlike_list or row.of_train for row in rows
    )


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as plain data."""
    return [asdict(row) for row in rows]


def render(rows: Sequence[Row]) -> str:
    """Rows as an aligned text table, notes and pages below it."""
    head = (
        *("dataset", "split", "status", "images", "absent", "people", "keypoints"),
        *("outside", "bad", "annotations"),
    )
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        counts = (row.images, row.absent_images, row.people, row.keypoints, row.boxes_outside)
        cells = tuple("-" if count is None else f"{count:,}" for count in counts)
        texts = row.dataset, row.split, row.status, *cells, f"{row.bad:,}", row.annotations
        lines.append(tuple(map(on_one_line, texts)))
    notes = [f"{row.dataset} {row.split}: {row.note}" for row in rows if row.note]
    pages = sorted({(row.dataset, row.page) for row in rows if row.page})
    get = [f"get {dataset} from {page}{_converted(dataset)}" for dataset, page in pages]
    below = ["", *map(on_one_line, notes), *get] if notes or get else []
    return "\n".join([text_table(lines, right=range(3, 9)), *below])


def _converted(dataset: str) -> str:
    files = files_of(dataset)
    if files.source in ROWS:
        return f", then `hevitpose data prepare {dataset} --source data/{files.source} --root data`"
    if not files.derived:
        return ""
    return f", then `hevitpose data prepare`; files that MMPose converted: {files.derived}"


def _custom_rows(path: Path, dataset: custom.CustomDataset, progress: Progress) -> list[Row]:
    """Every split of a custom dataset, with what it shares with those before it."""
    rows: list[Row] = []
    photographs: list[list[str]] = []
    for split in dataset.splits:
        row, paths = _custom_row(path, dataset.name, split, progress)
        for earlier, others in zip(rows, photographs, strict=True):
            if not apart.overlap_by_name(earlier.split, split):
                row = _with_shared(path, row, paths, earlier, others)
        rows.append(row)
        photographs.append(paths)
    return rows


def _with_shared(
    path: Path, row: Row, paths: Sequence[str], earlier: Row, others: Sequence[str]
) -> Row:
    """A split's row with what it has in common with an earlier split."""
    same = apart.same_annotations(path, earlier.split, row.split)
    if same:
        said = f"the annotations are those of {earlier.split}"
    elif not (said := apart.shared(others, paths, earlier.split)):
        return row
    divided = (row.absent_images or earlier.absent_images) and not apart.same_folder(
        path, earlier.split, row.split
    )  # by what is in either folder, with data.present_only
    leak = same and not divided and {earlier.split, row.split} == {"train", "val"}
    note = "; ".join(filter(None, (row.note, said)))
    return replace(row, note=note, of_train=row.of_train or leak)


def _custom_row(path: Path, name: str, split: str, progress: Progress) -> tuple[Row, list[str]]:
    """One split of a custom dataset: what training reads of it, and what is wrong.

    Returns:
        (the row, where the photographs with people really are).
    """
    annotations, _ = custom.place(path, split)
    if not is_file(annotations):
        return Row(name, split, "missing", annotations.name), []
    try:
        table = custom.load(path, split, input_size=(256, 256), skip_bad=True)
        table = _with_damage(table, progress)
        notes = _faults(table)
        if any(item.derivable for item in table.skipped):
            notes.append("derive: true in the yaml reads them")
        names = _names(table)
        absent, note = _absent(table.image_root, names)
        if not len(table):
            notes.append(_NOBODY)
        left = {key: count for key, count in table.counts.items() if key.startswith("dropped")}
        notes += [f"{key} {count}" for key, count in left.items() if count]
    except DataError as error:
        return Row(name, split, "bad", annotations.name, note=str(error)), []
    used = [each for each, needed in zip(names, table.needed_images, strict=True) if needed]
    row = _present(name, split, table, absent, [*notes, *([note] if note else [])])
    return row, apart.real_paths(table.image_root, used)


def _faults(table: PoseTable) -> list[str]:
    """The first of each kind that training would refuse: of annotations, then of photographs."""
    firsts = {item.what: str(item) for item in reversed(table.skipped)}
    return list(reversed(firsts.values()))


def _with_damage(table: PoseTable, progress: Progress) -> PoseTable:
    """The table that also lists photographs which training would refuse, and tells EXIF's turns."""
    if not is_dir(table.image_root):
        return table
    there = drop_missing_images(table, present_only=True, skip_bad=True)
    problems, _ = look_at_images(there, progress=progress)
    return replace(table, skipped=(*there.skipped, *problems.found))


def _names(table: PoseTable) -> list[str]:
    return [resolved(table.image_root, name.decode()) for name in table.image_names]


def _row(root: Path, dataset: str, split: str, progress: Progress) -> Row:
    files = files_of(dataset)
    folder = root / files.folder / "annotations"
    names = files.annotations[split]
    if not any(is_file(folder / name) for name in names):
        return Row(dataset, split, "missing", " or ".join(names), page=files.page)
    path = find(folder, files.annotations, split)
    try:
        if ROWS[dataset].format == "coco" and split in files.withheld:
            return _image_list(root, dataset, split, path)
        table = _with_damage(_read(root, dataset, split), progress)
    except DataError as error:
        return Row(dataset, split, "bad", path.name, note=str(error))
    notes, page = labels_of(dataset), ""
    unlike: list[str] = []
    if files.source in ROWS:
        pictures = (table.image_root / name for name in _names(table))
        notes.append(forms.describe(forms.of_annotations(path), forms.of_photographs(pictures)))
        unlike = coco_small.unlike_list(split, table.image_ids.tolist(), len(table))
    notes += [*unlike, *_faults(table)]
    beside = files.beside.get(split, ())
    if beside and not any(is_file(folder / name) for name in beside):
        notes.append(f"{beside[0]} is missing, PCKh needs it")
        page = files.page
    if not len(table):
        notes.append(_NOBODY)
    absent, note = _absent(table.image_root, _names(table))
    if absent:
        page = page or files.page
        notes.append(note)
    return replace(_present(dataset, split, table, absent, notes, page), unlike_list=bool(unlike))


def _present(
    name: str, split: str, table: PoseTable, absent: int, notes: Sequence[str], page: str = ""
) -> Row:
    return Row(
        name,
        split,
        "present",
        table.annotation_file.name,
        images=len(table.image_ids),
        absent_images=absent,
        people=len(table),
        keypoints=int((table.visibility > 0).sum()),
        boxes_outside=table.counts.get("clipped_boxes"),
        bad=len(table.skipped),
        note="; ".join(notes),
        page=page,
    )


def _read(root: Path, dataset: str, split: str) -> PoseTable:
    size = (256, 256)  # the counts do not depend on it
    if ROWS[dataset].format == "mpii":
        return mpii.load(root, split, ROWS[dataset], input_size=size, skip_bad=True)
    return coco_format.load(root, split, ROWS[dataset], input_size=size, skip_bad=True)


def _image_list(root: Path, dataset: str, split: str, path: Path) -> Row:
    """A split without answers: images only."""
    problems = Problems(path)
    images = read_images(path, ROWS[dataset], problems)
    absent, note = _absent(files_of(dataset).image_folder(root, split), images.names)
    return Row(
        dataset,
        split,
        "present",
        path.name,
        images=len(images.ids),
        absent_images=absent,
        bad=len(problems.found),
        note=note if absent else "",
        page=files_of(dataset).page if absent else "",
    )


def _absent(folder: Path, names: list[str]) -> tuple[int, str]:
    missing = np.flatnonzero(file_sizes(folder, names) < 0)
    if not len(missing):
        return 0, ""
    return len(missing), f"{len(missing)} images absent from {folder}, first {names[missing[0]]}"


def _with_leak(root: Path, row: Row, progress: Progress) -> Row:
    """CrowdPose trainval's row with the images that are also COCO val's."""
    if (row.dataset, row.split, row.status) != ("crowdpose", "trainval", "present"):
        return row
    try:
        crowd, val = (_read(root, *which) for which in (("crowdpose", "trainval"), ("coco", "val")))
    except DataError:
        said = "not compared with COCO val, which is missing or bad"
    else:
        pairs = shared_images(crowd, val, progress)
        said = f"{len(pairs)} images are also in COCO val: do not train on both and test there"
        if pairs:
            said += f" ({', '.join(name for name, _ in pairs[:5])}{', ...' * (len(pairs) > 5)})"
    note = f"{row.note}; {said}" if row.note else said
    return Row(**{**asdict(row), "note": note})

"""People as arrays: what every reader returns and everything else takes.

Arrays, not Python objects: forked loader workers share their pages, because nothing ever touches a
reference count in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hevitpose.data.images import Looked, file_sizes, look, resolved
from hevitpose.data.registry import Declared
from hevitpose.data.truth import PoseTruth
from hevitpose.errors import DataError, notice_once
from hevitpose.metrics.pckh import MpiiGroundTruth
from hevitpose.models.keypoints import KeypointLayout
from hevitpose.progress import Progress, silent
from hevitpose.records import provenance


class Skipped(NamedTuple):
    """Something that was left out because it was bad."""

    what: str  # "annotation", "image", "box"
    where: str  # which one
    why: str  # what it has and what was expected
    derivable: bool = False  # ``derive: true`` may be an answer to it

    def __str__(self) -> str:
        return f"{self.what} {self.where}: {self.why}"


@dataclass(frozen=True, eq=False)
class PoseTable:
    """N people in M images. Pixels are 0-based; sizes are (W, H); boxes are (x, y, w, h)."""

    declared: Declared
    split: str
    image_root: Path
    annotation_file: Path
    image_ids: np.ndarray  # (M,) int64
    image_names: np.ndarray  # (M,) bytes, UTF-8, below image_root
    image_sizes: np.ndarray  # (M, 2) int32; 0 where the annotations do not say
    image_index: np.ndarray  # (N,) int32 into the images
    person_ids: np.ndarray  # (N,) int64: annotation id, or position in the file
    centers: np.ndarray  # (N, 2) float32, of the crop
    sizes: np.ndarray  # (N, 2) float32: box extended to the input's aspect ratio and padded
    bboxes: np.ndarray  # (N, 4) float32
    keypoints: np.ndarray  # (N, K, 2) float32; 0 where not labelled
    visibility: np.ndarray  # (N, K) uint8, labelled where > 0
    areas: np.ndarray  # (N,) float32; 0 where the dataset has none or they are not used
    box_scores: np.ndarray  # (N,) float32; 1 for ground truth
    boxes: str = "gt"  # or "FILE>=threshold"
    counts: dict[str, int] = field(default_factory=dict)  # people, dropped_*, absent_images, ...
    skipped: tuple[Skipped, ...] = ()
    category_ids: tuple[int, ...] = (1,)  # the annotation file's, of people
    crowd_index: np.ndarray | None = None  # (M,) float64: CrowdPose's, of images
    truth: PoseTruth | None = field(default=None, repr=False)  # of OKS; None: nothing to score by
    heads: MpiiGroundTruth | None = field(default=None, repr=False)  # of PCKh, a row per person

    @property
    def dataset(self) -> str:
        """The name of the dataset, as records have it; a label that decides nothing."""
        return self.declared.name

    @property
    def layout(self) -> KeypointLayout:
        """The meaning of the K keypoints."""
        return self.declared.layout

    def __len__(self) -> int:
        return len(self.person_ids)

    @property
    def category_id(self) -> int:
        """Of what is written; people of several categories are scored as one."""
        return self.category_ids[0]

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.layout)

    @property
    def needed_images(self) -> np.ndarray:
        """(M,) bool: images that somebody is in, to be predicted or to be compared with."""
        needed = np.zeros(len(self.image_ids), bool)
        needed[self.image_index] = True
        if self.truth is not None:
            needed[self.truth.image_index[~self.truth.ignored]] = True
        return needed

    def image_path(self, person: int) -> Path:
        """The image file that person number ``person`` of this table is in."""
        return self.image_root / self.image_names[self.image_index[person]].decode()

    def take(self, people: np.ndarray | Sequence[int]) -> PoseTable:
        """The table of some of the people (indices or a mask), scored as such; images stay."""
        people = np.asarray(people)
        changed: dict[str, Any] = {key: getattr(self, key)[people] for key in PERSON_ARRAYS}
        count = len(changed["person_ids"])
        if self.truth is not None and self.boxes == "gt":
            truth = self.truth
            changed["truth"] = truth.take(truth.ignored | np.isin(truth.ids, changed["person_ids"]))
        if self.heads is not None:
            changed["heads"] = self.heads.take(people)
        return dataclasses.replace(self, **changed, counts={**self.counts, "people": count})

    def without_images(self, bad: np.ndarray) -> PoseTable:
        """The table without the people of some images, who are not scored either.

        Args:
            bad: (M,) bool.
        """
        left = self.take(~bad[self.image_index])
        if left.truth is None:
            return left
        return dataclasses.replace(left, truth=left.truth.take(~bad[left.truth.image_index]))


#: The fields with one row per person.
PERSON_ARRAYS = (
    *("image_index", "person_ids", "centers", "sizes", "bboxes"),
    *("keypoints", "visibility", "areas", "box_scores"),
)


class Problems:
    """Collects what is bad in a file, so that one message can name several.

    Args:
        path: the file in whose name the message speaks.
    """

    SHOWN = 5

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[Skipped] = []

    def add(self, what: str, where: object, why: str, derivable: bool = False) -> None:
        """Notes one bad thing, which ``derive: true`` may be an answer to."""
        self.found.append(Skipped(what, str(where), why, derivable))

    def raise_or_list(self, skip_bad: bool) -> tuple[Skipped, ...]:
        """What was left out; without ``skip_bad`` anything bad ends here.

        Raises:
            DataError: there is something bad, and it may not be skipped.
        """
        if self.found and not skip_bad:
            first = "; ".join(str(problem) for problem in self.found[: self.SHOWN])
            rest = len(self.found) - self.SHOWN
            more = f"; and {rest} more" if rest > 0 else ""
            derive = "derive: true in a custom dataset's yaml reads them; "
            if not any(problem.derivable for problem in self.found):
                derive = ""
            raise DataError(
                f"{self.path}: {first}{more} ({derive}--skip-bad, or data.skip_bad=true in a "
                "config, leaves such records out)"
            )
        return tuple(self.found)


def drop_missing_images(table: PoseTable, *, present_only: bool, skip_bad: bool) -> PoseTable:
    """Deals with image files that are absent or empty, by their directory entries alone.

    Args:
        table: people as the annotations have them.
        present_only: people whose image is absent are left out and the images counted.
        skip_bad: absent and empty images are left out and listed.

    Returns:
        The table of people whose image is there; with ``present_only``, its images are those
        present.

    Raises:
        DataError: an image that somebody is in is absent or empty, or nobody is left.
    """
    names = [name.decode() for name in table.image_names]
    try:
        sizes = file_sizes(table.image_root, names)
        for index in np.flatnonzero(sizes < 0):
            names[index] = resolved(table.image_root, names[index])
        sizes = file_sizes(table.image_root, names)
    except OSError as error:
        raise DataError(f"{table.image_root}: {error.strerror or error}, expected images") from None
    table = dataclasses.replace(table, image_names=image_name_array(names))
    needed = table.needed_images
    absent, empty = sizes < 0, sizes == 0
    problems = Problems(table.image_root)
    if not present_only:
        missing = np.flatnonzero(absent & needed)
        if len(missing) and not (skip_bad and len(missing) < needed.sum()):
            first = ", ".join(names[index] for index in missing[: Problems.SHOWN])
            raise DataError(
                f"{table.image_root}: {len(missing)} of the {needed.sum()} images that "
                f"{table.annotation_file} has people in are absent, the first are {first} "
                "(data.present_only=true leaves their people out and counts them)"
            )
        for index in missing:
            problems.add("image", names[index], "absent, expected a file")
    for index in np.flatnonzero(empty & needed):
        problems.add("image", names[index], "zero bytes, expected an image")
    skipped = problems.raise_or_list(skip_bad)
    left = table.without_images((absent if present_only else absent & needed) | (empty & needed))
    counts = {**left.counts, "skipped": left.counts.get("skipped", 0) + len(skipped)}
    counts["absent_images"] = int((absent if present_only else absent & needed).sum())
    left = dataclasses.replace(left, counts=counts, skipped=(*table.skipped, *skipped))
    return _present_images(left, ~absent) if present_only else left


def _present_images(table: PoseTable, present: np.ndarray) -> PoseTable:
    new_index = np.cumsum(present, dtype=np.int32) - 1
    truth, crowd_index = table.truth, table.crowd_index
    if truth is not None:
        index = new_index[truth.image_index].astype(np.int32)
        truth = dataclasses.replace(truth, image_index=index)
    return dataclasses.replace(
        table,
        truth=truth,
        crowd_index=None if crowd_index is None else crowd_index[present],
        image_ids=table.image_ids[present],
        image_names=table.image_names[present],
        image_sizes=table.image_sizes[present],
        image_index=new_index[table.image_index].astype(np.int32),
    )


def verify_images(
    table: PoseTable,
    *,
    workers: int | None = None,
    skip_bad: bool = False,
    progress: Progress = silent,
) -> PoseTable:
    """Looks into every image that somebody is in, before hours are spent on the rest.

    First and last bytes and the header are read (COCO train: some 20 s on two cores); pixels
    only where those are suspicious. Damage that leaves them whole shows when the image is loaded.

    Args:
        table: the people.
        workers: threads; None for a few per core.
        skip_bad: leave out and list what is bad.
        progress: told how many images are done, of how many.

    Returns:
        The table of people whose image can be read.

    Raises:
        DataError: an image is truncated, empty, absent, not an image, or of another size than the
            annotations say; or nobody is left.

    Warns:
        Notice: EXIF turns some of them.
    """
    problems, bad = look_at_images(table, workers=workers, progress=progress)
    skipped = problems.raise_or_list(skip_bad)
    if not skipped:
        return table
    left = table.without_images(bad)
    counts = {**left.counts, "skipped": left.counts.get("skipped", 0) + len(skipped)}
    return require_people(
        dataclasses.replace(left, counts=counts, skipped=(*left.skipped, *skipped))
    )


def look_at_images(
    table: PoseTable, *, workers: int | None = None, progress: Progress = silent
) -> tuple[Problems, np.ndarray]:
    """What is wrong with the images that somebody is in; see :func:`verify_images`.

    Returns:
        (the problems, (M,) bool of their images).

    Warns:
        Notice: EXIF turns some of them.
    """
    needed = np.flatnonzero(table.needed_images)

    def of(index: int) -> Looked:
        size = table.image_sizes[index]
        path = table.image_root / table.image_names[index].decode()
        return look(path, (int(size[0]), int(size[1])), table.declared.stored_pixels)

    problems, bad = Problems(table.image_root), np.zeros(len(table.image_names), bool)
    turned: dict[str, list[str]] = {}
    with ThreadPoolExecutor(workers or min(16, 2 * provenance.cores())) as pool:
        for done, (index, found) in enumerate(
            zip(needed, pool.map(of, needed, chunksize=64), strict=True), 1
        ):
            progress(done, len(needed))
            if found.fault:
                bad[index] = True
                problems.add("image", table.image_names[index].decode(), found.fault)
            elif found.turned:
                turned.setdefault(found.turned, []).append(table.image_names[index].decode())
    _tell_turned(table.image_root, turned)
    return problems, bad


#: How photographs are read that EXIF turns, by which of their two forms has the annotated size.
_TURNED = {
    "stored": "have the annotated size as stored, and are read as stored",
    "displayed": "have the annotated size as displayed, and are read as displayed",
    "either": "have it both ways, and are read as displayed: where keypoints lie beside the "
    "people, they were made on the stored pixels (`exif: stored` in a custom yaml reads those)",
}


def _tell_turned(root: Path, turned: Mapping[str, Sequence[str]]) -> None:
    """Warn of photographs whose stored and displayed orientation differ.

    Warns:
        Notice: once a folder, with the counts.
    """
    if turned:
        parts = [
            f"{len(turned[key])} ({turned[key][0]}{', ...' * (len(turned[key]) > 1)}) {how}"
            for key, how in _TURNED.items()
            if key in turned
        ]
        count = sum(map(len, turned.values()))
        notice_once(f"{root}: EXIF turns {count} photographs; {'; '.join(parts)}")


def require_people(table: PoseTable) -> PoseTable:
    """The table itself.

    Raises:
        DataError: nobody is in it.
    """
    if len(table):
        return table
    counted = ", ".join(f"{key} {value}" for key, value in table.counts.items() if value)
    raise DataError(
        f"{table.annotation_file}: no usable people ({counted or 'none listed'}), "
        "expected at least one"
    )


def require_truth(table: PoseTable) -> PoseTable:
    """The table itself.

    Raises:
        DataError: its dataset's protocol has nothing to score it by.
    """
    path, protocol = table.annotation_file, table.declared.protocol
    if protocol.startswith("pckh") and table.heads is None:
        raise DataError(
            f"{path}: PCKh needs head boxes, which MPII has for val only (mpii_gt_val.mat "
            "beside it); use data.val_split=val"
        )
    scored_by_oks = protocol not in ("pck", "pckh")
    if scored_by_oks and (table.truth is None or table.truth.ignored.all()):
        raise DataError(
            f"{path}: no person with labelled keypoints to score, expected annotations "
            "(`hevitpose infer-testdev` is for splits without)"
        )
    if protocol == "crowdpose":
        index = table.crowd_index
        assert index is not None
        bad = np.flatnonzero(~((index >= 0) & (index <= 1)))  # also NaN
        if len(bad):
            raise DataError(
                f"{path}: image {table.image_ids[bad[0]]} has crowdIndex {index[bad[0]]:g}, "
                "expected a number in 0..1"
            )
    return table


def image_name_array(names: list[str]) -> np.ndarray:
    """File names as one array of bytes."""
    return np.array([name.encode() for name in names], dtype=np.bytes_)

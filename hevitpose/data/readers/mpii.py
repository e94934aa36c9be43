"""MPII as pose repositories distribute it: a list of people with centre, scale and joints, 1-based.

Rules of protocols: centre y += 15 * scale, then centre -= 1; the box is 200 * scale, padded by
1.25; joints -= 1. From here on everything is 0-based.
"""

from __future__ import annotations

import dataclasses
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose import json_file
from hevitpose.data.files import find
from hevitpose.data.keypoints import MPII_TO_CROWDPOSE
from hevitpose.data.readers import fields
from hevitpose.data.registry import Declared, files_of
from hevitpose.data.table import PoseTable, Problems, image_name_array
from hevitpose.data.transforms import box_to_center_size
from hevitpose.data.truth import AREA_OF_BOX, PoseTruth
from hevitpose.errors import DataError, UsageError
from hevitpose.metrics.pckh import MpiiGroundTruth, load_ground_truth

#: Pixels that a joint may differ between two files of the same people: one of them may be rounded.
_APART = 1.5
_LOST = 0.5  # a coordinate up to here is none, in 1-based pixels


def load(
    root: Path,
    split: str,
    declared: Declared,
    *,
    input_size: tuple[int, int],
    boxes: str = "gt",
    truth: bool = True,
    skip_bad: bool = False,
) -> PoseTable:
    """The people of one split of a dataset laid out as MPII; ``person_ids`` are positions in it."""
    if boxes != "gt":
        raise UsageError(f"boxes {boxes!r}: MPII's protocol gives centre and scale, expected gt")
    files = declared.layout_on_disk
    assert files is not None
    table = read(
        find(root / files.folder / "annotations", files.annotations, split),
        files.image_folder(root, split),
        declared,
        split=split,
        input_size=input_size,
        truth=truth,
        skip_bad=skip_bad,
    )
    if table.declared.protocol == "pckh+oks" and table.heads is not None:
        joints = files_of("crowdpose")  # the 14 that the protocol's AP is over
        people = find(root / joints.folder / "annotations", joints.annotations, split)
        return dataclasses.replace(table, truth=_crowdpose_truth(table, people))
    return table


def read(
    path: Path,
    image_root: Path,
    declared: Declared,
    *,
    split: str,
    input_size: tuple[int, int],
    truth: bool = True,
    skip_bad: bool = False,
    head_file: Path | None = None,
) -> PoseTable:
    """One file of people; MPII's test split has no joints. Image files are not looked at.

    Args:
        path: the list of people.
        image_root: the folder that ``image`` is relative to.
        declared: of ``mpii``, ``synthetic``, or a custom dataset in the same format with joints of
            its own.
        split: of the table; MPII's ``val`` keeps everybody and has the head boxes.
        input_size: the network's (W, H).
        truth: also keep what PCKh compares with, where the file for it is there.
        skip_bad: leave bad records out and list them.
        head_file: the .mat that PCKh compares with; None takes the one beside the file.

    Raises:
        DataError: the file or a record is not what it should be, or the .mat has other people.
    """
    problems, own = Problems(path), declared.protocol == "pck"
    found = _people(path, problems, len(declared.layout), split, own=own)
    skipped = problems.raise_or_list(skip_bad)
    bboxes = _boxes(np.array(found.places, np.float64).reshape(-1, 3))
    labelled = np.array(found.flags, np.uint8).reshape(-1, len(declared.layout))
    keypoints = np.array(found.points, np.float64).reshape(*labelled.shape, 2) - 1
    keypoints[labelled == 0] = 0
    centers, sizes = box_to_center_size(bboxes, input_size[0] / input_size[1])
    heads = None
    if truth and not own:
        matrix = head_file or _beside(path, declared, split)
        heads = None if matrix is None else _heads(matrix, path, found)
    return PoseTable(
        declared=declared,
        split=split,
        image_root=image_root,
        annotation_file=path,
        image_ids=np.arange(len(found.names), dtype=np.int64),
        image_names=image_name_array(list(found.names)),
        image_sizes=np.zeros((len(found.names), 2), np.int32),
        image_index=np.array(found.image_index, np.int32),
        person_ids=np.array(found.ids, np.int64),
        centers=centers.astype(np.float32),
        sizes=sizes.astype(np.float32),
        bboxes=bboxes.astype(np.float32),
        keypoints=keypoints.astype(np.float32),
        visibility=labelled,
        areas=np.zeros(len(found.ids), np.float32),
        box_scores=np.ones(len(found.ids), np.float32),
        counts={
            "images": len(found.names),
            "people": len(found.ids),
            "dropped_unlabelled": found.dropped,
            "skipped": len(skipped),
        },
        skipped=skipped,
        heads=heads,
    )


def head_files(declared: Declared, split: str) -> tuple[str, ...]:
    """Names of the .mat that PCKh's head boxes are read from, beside a split's people."""
    files = declared.layout_on_disk
    return files.beside.get(split, ()) if files else ()


@dataclass
class _People:
    """The people of a file, as flat numbers in its order."""

    names: dict[str, int] = field(default_factory=dict)  # image -> its index
    ids: array[int] = field(default_factory=lambda: array("q"))
    image_index: array[int] = field(default_factory=lambda: array("q"))
    places: array[float] = field(default_factory=lambda: array("d"))  # x, y, scale
    points: array[float] = field(default_factory=lambda: array("d"))  # x, y of every joint
    flags: array[int] = field(default_factory=lambda: array("b"))  # whether it is labelled
    dropped: int = 0
    listed: int = 0  # of the file, also those left out


def _people(path: Path, problems: Problems, joints: int, split: str, *, own: bool) -> _People:
    """Everybody who counts; MPII's val keeps all, so that its order stays the ground truth's.

    Args:
        path: the file.
        problems: told what is wrong with a person, who is left out.
        joints: K.
        split: its name.
        own: of a user's dataset in this format, whose splits all have joints.
    """
    found, labelled = _People(), own or split != "test"
    for key, position, record in json_file.records(path, "annotations"):
        if key != "" or (position < 0 and record != []):
            raise DataError(f"{path}: an object, expected MPII's list of people")
        if position < 0:
            break
        found.listed += 1
        try:
            name, center, scale = _place(record)
            points, visible = [0.0] * (2 * joints), [0] * joints
            if labelled:
                points, visible = _joints(record, joints)
        except ValueError as error:
            problems.add("person", f"[{position}]", str(error))
            continue
        index = found.names.setdefault(name, len(found.names))
        if labelled and not any(visible) and (own or split != "val"):
            found.dropped += 1
            continue
        found.ids.append(position)
        found.image_index.append(index)
        found.places.extend((*center, scale))
        found.points.extend(points)
        found.flags.extend(visible)
    return found


def _beside(path: Path, declared: Declared, split: str) -> Path | None:
    """The evaluators' file beside a list of people; None where it is not there."""
    files = [path.parent / name for name in head_files(declared, split)]
    return next((file for file in files if file.is_file()), None)


def _heads(matrix: Path, path: Path, found: _People) -> MpiiGroundTruth:
    """The rows of the evaluators' file that the people are: by position, so the lists must agree.

    Raises:
        DataError: the file is damaged, or lists other people.
    """
    truth, people = load_ground_truth(matrix), np.array(found.ids, np.int64)
    _require_as_many(matrix, len(truth), path, found.listed)
    rows = truth.take(people)
    labelled = np.array(found.flags, bool).reshape(rows.missing.shape) & ~rows.missing
    points = np.array(found.points, np.float64).reshape(rows.keypoints.shape)
    # MPII's own file has a coordinate of zero where a few joints were lost.
    compared = labelled[..., None] & (np.abs(rows.keypoints) > _LOST)
    _require_same_people(matrix, path, people, np.where(compared, points - rows.keypoints, 0))
    return rows


def _require_as_many(matrix: Path, there: int, path: Path, listed: int) -> None:
    if there != listed:
        raise DataError(f"{matrix}: {there} people, {path} has {listed}; expected the same list")


def _require_same_people(
    matrix: Path, path: Path, people: np.ndarray, difference_NK2: np.ndarray
) -> None:
    """Refuse joints that lie elsewhere in the other file.

    Raises:
        DataError: the first person who has one.
    """
    apart = np.abs(difference_NK2).max(-1)
    other = np.flatnonzero((apart > _APART).any(1))
    if len(other):
        row = other[0]
        raise DataError(
            f"{matrix}: joint {apart[row].argmax()} of person {people[row]} is "
            f"{apart[row].max():.0f} px from that in {path} ({len(other)} of {len(people)} people "
            "differ); expected the same people in the same order"
        )


def _crowdpose_truth(table: PoseTable, path: Path) -> PoseTruth:
    """The rendered people as CrowdPose has them: 14 of the 16 joints, areas of boxes.

    The boxes alone are not in MPII's format; they are those of the same people's CrowdPose file,
    row by row.

    Raises:
        DataError: the file is absent or lists other people.
    """
    boxes, points, mapping = [], [], list(MPII_TO_CROWDPOSE)
    keys = {"annotations": ("bbox", "keypoints")}
    for key, position, record in json_file.records(path, "annotations", keys):
        if key == "annotations" and position >= 0:
            try:
                boxes.append(fields.numbers(record, "bbox", 4))
                points.append(fields.keypoints(record, "keypoints", len(mapping)))
            except (ValueError, AttributeError) as error:
                raise DataError(f"{path}: annotations[{position}]: {error}") from None
    people = table.person_ids
    _require_as_many(path, len(boxes), table.annotation_file, len(people) + len(table.skipped))
    theirs = np.array(points, np.float64).reshape(-1, len(mapping), 3)[people]
    both = (theirs[..., 2] > 0) & (table.visibility[:, mapping] > 0)
    apart = np.where(both[..., None], theirs[..., :2] - table.keypoints[:, mapping], 0)
    _require_same_people(path, table.annotation_file, people, apart)
    raw = np.array(boxes, np.float64).reshape(-1, 4)[people]
    return PoseTruth(
        ids=people,
        image_index=table.image_index,
        keypoints=table.keypoints[:, mapping],
        visibility=table.visibility[:, mapping],
        boxes=raw,
        areas=raw[:, 2] * raw[:, 3] * AREA_OF_BOX,
        crowd=np.zeros(len(people), bool),
        order=people,
    )


def _boxes(place: np.ndarray) -> np.ndarray:
    """(N, 3) centre x, y and scale, 1-based, to 0-based square boxes (N, 4), not padded."""
    side = 200 * place[:, 2]
    x = place[:, 0] - 1
    y = place[:, 1] + 15 * place[:, 2] - 1
    return np.stack((x - side / 2, y - side / 2, side, side), axis=1)


def _place(record: Any) -> tuple[str, list[float], float]:
    if not isinstance(record, dict):
        raise ValueError("not an object, expected image, center, scale and joints")
    name = fields.file_name(record, "image")
    center = fields.numbers(record, "center", 2)
    scale = fields.number(record, "scale")
    if not 1e-5 < scale < 1e4:
        raise ValueError(f"scale is {scale:g}, expected a positive height / 200 px")
    return name, center, scale


def _joints(record: dict[str, Any], count: int) -> tuple[list[float], list[int]]:
    joints = record.get("joints")
    if not isinstance(joints, list) or len(joints) != count:
        found = len(joints) if isinstance(joints, list) else "no list of"
        raise ValueError(f"{found} joints, expected {count}")
    flat: list[float] = []
    for index, joint in enumerate(joints):
        flat += fields.numbers({f"joints[{index}]": joint}, f"joints[{index}]", 2)
    flags = fields.numbers(record, "joints_vis", count)
    if any(flag not in (0, 1) for flag in flags):
        raise ValueError(f"joints_vis is {flags}, expected zeros and ones")
    return flat, [int(flag) for flag in flags]

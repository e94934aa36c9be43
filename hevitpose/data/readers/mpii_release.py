"""MPII's own release, a MATLAB structure, as the lists of people that pose repositories use.

The split is Tompson's (CVPR 2015), person by person: the ground truth file says who is val, people
are found again by their joints. Train is every annotated person of the training images in which
nobody is val; other people of val's images are in neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from hevitpose import mat_file
from hevitpose.errors import DataError

_JOINTS = 16
_CANDIDATES = 16


@dataclass(frozen=True)
class _Person:
    image: str
    image_index: int  # of annolist, from 0
    person_index: int  # of annorect, from 0
    training: bool
    single: bool  # sufficiently separated: the people that MPII's test evaluates
    center: tuple[float, float] | None
    scale: float | None
    joints: np.ndarray  # (16, 2), 1-based pixels; 0 where missing
    labelled: np.ndarray  # (16,) bool


def convert(release: Path, ground_truth: Path) -> dict[str, list[dict[str, Any]]]:
    """The release as ``train``, ``val`` and ``test`` lists of people, 1-based as in the release.

    Val is in the ground truth's order. Test is the people that MPII evaluates ("sufficiently
    separated"), by image and person, with their 1-based ``annolist_index`` and ``person_index``.

    Args:
        release: ``mpii_human_pose_v1_u12_1.mat``.
        ground_truth: ``mpii_gt_val.mat``.

    Raises:
        DataError: a file is not what it should be, or someone of val is not in the release.
    """
    people = list(_people(release))
    labelled = [p for p in people if p.training and p.labelled.any() and p.scale and p.center]
    if not labelled:
        raise DataError(f"{release}: no annotated people, expected MPII's release")
    val = [labelled[i] for i in _find_val(labelled, ground_truth)]
    val_images = {person.image_index for person in val}
    return {
        "train": [_record(p) for p in labelled if p.image_index not in val_images],
        "val": [_record(p) for p in val],
        "test": [
            _place(p) | {"annolist_index": p.image_index + 1, "person_index": p.person_index + 1}
            for p in people
            if not p.training and p.single and p.scale and p.center
        ],
    }


def _record(person: _Person) -> dict[str, Any]:
    return _place(person) | {
        "joints": person.joints.tolist(),
        "joints_vis": person.labelled.astype(int).tolist(),
    }


def _place(person: _Person) -> dict[str, Any]:
    return {"image": person.image, "center": list(person.center or ()), "scale": person.scale}


def _people(path: Path) -> Iterator[_Person]:
    """Every rectangle of the release that is a person."""
    content = mat_file.read(path, squeeze_me=True, struct_as_record=False)
    try:
        release = content["RELEASE"]
        images = np.atleast_1d(release.annolist)
        training = np.atleast_1d(release.img_train)
        single = np.atleast_1d(release.single_person)
        if not len(images) == len(training) == len(single):
            raise ValueError("annolist, img_train and single_person differ in length")
        for index, image in enumerate(images):
            chosen = {int(number) - 1 for number in np.atleast_1d(single[index])}
            for number, rectangle in enumerate(_structs(getattr(image, "annorect", None))):
                joints, labelled = _points(rectangle)
                yield _Person(
                    image=str(image.image.name),
                    image_index=index,
                    person_index=number,
                    training=bool(training[index]),
                    single=number in chosen,
                    center=_center(rectangle),
                    scale=_scalar(getattr(rectangle, "scale", None)),
                    joints=joints,
                    labelled=labelled,
                )
    except (KeyError, AttributeError, ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: {error}, expected MPII's release structure") from None


def _structs(value: Any) -> list[Any]:
    """MATLAB's struct array, single struct or empty matrix as a list."""
    return [item for item in np.atleast_1d(value) if hasattr(item, "_fieldnames")]


def _scalar(value: Any) -> float | None:
    value = np.asarray(value if value is not None else [])
    return float(value) if value.size == 1 and value.dtype.kind in "iuf" else None


def _center(rectangle: Any) -> tuple[float, float] | None:
    place = getattr(rectangle, "objpos", None)
    x, y = _scalar(getattr(place, "x", None)), _scalar(getattr(place, "y", None))
    return None if x is None or y is None else (x, y)


def _points(rectangle: Any) -> tuple[np.ndarray, np.ndarray]:
    joints, labelled = np.zeros((_JOINTS, 2)), np.zeros(_JOINTS, bool)
    annotated = getattr(rectangle, "annopoints", None)
    for point in _structs(getattr(annotated, "point", None)):
        joint = int(point.id)
        if not 0 <= joint < _JOINTS:
            raise ValueError(f"point id {joint}, expected 0 to {_JOINTS - 1}")
        joints[joint], labelled[joint] = (float(point.x), float(point.y)), True
    if not np.isfinite(joints).all():
        raise ValueError("a joint is not finite")
    return joints, labelled


def _find_val(people: list[_Person], path: Path) -> list[int]:
    """Index of each person of the ground truth, in its order.

    Joints agree to a pixel (the release has fractions), but in 13 of 47,328 the ground truth has
    a coordinate of zero. So the nearest few people are found first, and compared again where the
    ground truth is not zero.
    """
    content = mat_file.read(path, squeeze_me=True, struct_as_record=False)
    try:
        points = np.asarray(content["pos_gt_src"], float).reshape(_JOINTS, 2, -1)
        missing = np.asarray(content["jnt_missing"]).reshape(_JOINTS, -1).T != 0
        if not len(missing) or points.shape[2] != len(missing):
            raise ValueError(f"{points.shape[2]} and {len(missing)} people")
        points = np.where(missing[..., None], 0, points.transpose(2, 0, 1))
        if not np.isfinite(points).all():
            raise ValueError("a joint is not finite")
        truth = points.reshape(len(missing), -1)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}, expected pos_gt_src and jnt_missing") from None
    joints = np.stack([person.joints for person in people]).reshape(len(people), -1)
    _, near = cKDTree(joints).query(truth, k=range(1, min(_CANDIDATES, len(people)) + 1), p=1)
    known = (np.abs(truth) > 0.5)[:, None]
    difference = np.where(known, np.abs(joints[near] - truth[:, None]), 0)
    best = difference.sum(-1).argmin(1)
    rows = np.arange(len(truth))
    agree = (difference[rows, best] < 1).all(1) & known[:, 0].any(1)
    lost = np.flatnonzero(~agree)
    if len(lost):
        raise DataError(
            f"{path}: {len(lost)} of {len(truth)} people are not in the release, first number "
            f"{lost[0]}"
        )
    chosen = near[rows, best]
    if len(np.unique(chosen)) != len(chosen):
        raise DataError(f"{path}: two people are the same one of the release")
    return chosen.tolist()

"""PCKh, MPII's metric: the share of joints within a fraction of the head size.

Andriluka et al., 2D Human Pose Estimation: New Benchmark and State of the Art Analysis, CVPR 2014;
numbers as MPII's own evaluation and the usual evaluators give them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hevitpose import mat_file
from hevitpose.errors import DataError, UsageError

#: MPII's joints as its ground-truth file names them.
JOINTS = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor"),
    *("neck", "head", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
#: What is reported: the plain average of these joints' PCKh.
GROUPS = {
    "Head": (9,),
    "Shoulder": (12, 13),
    "Elbow": (11, 14),
    "Wrist": (10, 15),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
#: The Mean leaves out pelvis and thorax and keeps the upper neck.
IN_MEAN = tuple(joint for joint in range(len(JOINTS)) if joint not in (6, 7))
#: The head size is this share of the head box's diagonal.
HEAD_SIZE = 0.6


@dataclass(frozen=True)
class MpiiGroundTruth:
    """MPII ground truth as the usual evaluators read it, in the order of ``mpii_val.json``."""

    keypoints: np.ndarray  # (N, 16, 2) float64, image pixels, 1-based
    missing: np.ndarray  # (N, 16) bool: not counted
    head_boxes: np.ndarray  # (N, 2, 2) float64: corners x y, image pixels

    def __len__(self) -> int:
        return len(self.keypoints)

    def take(self, people: np.ndarray) -> MpiiGroundTruth:
        """Some of the people, by indices or a mask."""
        return MpiiGroundTruth(
            self.keypoints[people], self.missing[people], self.head_boxes[people]
        )


def load_ground_truth(path: str | Path) -> MpiiGroundTruth:
    """Read ``mpii_gt_val.mat``.

    Args:
        path: a MATLAB 5 file with ``jnt_missing`` (16, N), ``pos_gt_src`` (16, 2, N),
            ``headboxes_src`` (2, 2, N) and ``dataset_joints``.

    Raises:
        DataError: absent, truncated or not such a file; the message has the key and what was
            expected.
    """
    path = Path(path)
    keys = ("jnt_missing", "pos_gt_src", "headboxes_src", "dataset_joints")
    content = mat_file.read(path, keys)
    for key in keys:
        if key not in content:
            raise DataError(f"{path}: no {key!r}, expected MPII's ground truth of val")
    names = (np.ravel(name) for name in content["dataset_joints"].ravel())
    joints = tuple(str(name[0]) for name in names if name.size)
    if joints != JOINTS:
        raise DataError(f"{path}: dataset_joints {joints}, expected {JOINTS}")
    people = content["jnt_missing"].shape[-1]
    expected = {"jnt_missing": (16, people), "pos_gt_src": (16, 2, people)}
    for key, shape in (expected | {"headboxes_src": (2, 2, people)}).items():
        array = content[key]
        if array.shape != shape or array.dtype.kind not in "uifb":
            raise DataError(
                f"{path}: {key} is {array.shape} {array.dtype}, expected numbers {shape}"
            )
    truth = MpiiGroundTruth(
        keypoints=np.ascontiguousarray(content["pos_gt_src"].transpose(2, 0, 1), np.float64),
        missing=np.ascontiguousarray(content["jnt_missing"].T != 0),
        head_boxes=np.ascontiguousarray(content["headboxes_src"].transpose(2, 0, 1), np.float64),
    )
    if not np.isfinite(truth.keypoints[~truth.missing]).all():
        raise DataError(f"{path}: pos_gt_src is not finite where jnt_missing is 0")
    sizes = _head_sizes(truth.head_boxes)
    if not (sizes > 0).all():  # also false for NaN
        person = int(np.flatnonzero(~(sizes > 0))[0])
        raise DataError(f"{path}: headboxes_src of person {person} has no diagonal")
    return truth


def pckh(
    predictions_NK2: np.ndarray,
    ground_truth_NK2: np.ndarray,
    head_boxes: np.ndarray,
    missing_NK: np.ndarray,
    threshold: float = 0.5,
) -> dict[str, float]:
    """PCKh per joint group and on average.

    A joint is right when its error is at most ``threshold`` x 0.6 x the head box's diagonal.

    Args:
        predictions_NK2: (N, 16, 2), in the coordinates of the ground truth: 1-based where that is
            MPII's file.
        ground_truth_NK2: (N, 16, 2).
        head_boxes: (N, 2, 2) corners, or (N,) diagonals.
        missing_NK: (N, 16); joints that are not counted.
        threshold: fraction of the head size.

    Returns:
        Percent: Head (the head top), Shoulder, Elbow, Wrist, Hip, Knee, Ankle (plain averages of
        right and left), Mean (over all counted joints but pelvis and thorax) and Mean@0.1 (the
        same at threshold 0.1). NaN where nobody has the joint.

    Raises:
        UsageError: shapes that do not agree.
        DataError: a prediction that is not finite.
    """
    distance = head_errors(predictions_NK2, ground_truth_NK2, head_boxes)
    missing = np.asarray(missing_NK) != 0
    if missing.shape != distance.shape:
        raise UsageError(f"pckh: missing is {missing.shape}, expected {distance.shape}")
    counted = ~missing
    counts = counted.sum(0)
    right = ((distance <= threshold) & counted).sum(0)
    close = ((distance <= 0.1) & counted).sum(0)
    with np.errstate(invalid="ignore"):  # 0 of 0 is NaN
        per_joint = 100 * right / counts
        mean, mean_close = (
            100 * hits[list(IN_MEAN)].sum() / counts[list(IN_MEAN)].sum() for hits in (right, close)
        )
    # One side may be missing in a handful of people; with neither side the group is NaN.
    groups = {}
    for name, members in GROUPS.items():
        seen = [joint for joint in members if counts[joint]]
        groups[name] = float(per_joint[seen].mean()) if seen else float("nan")
    return groups | {"Mean": float(mean), "Mean@0.1": float(mean_close)}


def head_errors(
    predictions_NK2: np.ndarray, ground_truth_NK2: np.ndarray, head_boxes: np.ndarray
) -> np.ndarray:
    """Each joint's error in head sizes, 0.6 x the head box's diagonal; see :func:`pckh`.

    Returns:
        (N, 16) float64.

    Raises:
        UsageError: shapes that do not agree.
        DataError: a prediction that is not finite.
    """
    predictions = np.asarray(predictions_NK2, np.float64)
    truth = np.asarray(ground_truth_NK2, np.float64)
    boxes = np.asarray(head_boxes, np.float64)
    sizes = boxes if boxes.ndim == 1 else _head_sizes(boxes)
    people, shapes = len(truth), (predictions.shape, truth.shape, sizes.shape)
    if shapes != ((people, 16, 2), (people, 16, 2), (people,)):
        raise UsageError(
            f"pckh: predictions, ground truth, head sizes are {shapes}, "
            "expected (N, 16, 2), (N, 16, 2), (N,)"
        )
    if not np.isfinite(predictions).all():
        person, joint = np.argwhere(~np.isfinite(predictions))[0][:2]
        raise DataError(f"predictions: person {person}, joint {joint} is not a finite number")
    return np.linalg.norm(predictions - truth, axis=2) / (HEAD_SIZE * sizes)[:, None]


def _head_sizes(boxes: np.ndarray) -> np.ndarray:
    if boxes.ndim != 3 or boxes.shape[1:] != (2, 2):
        raise UsageError(f"pckh: head boxes {boxes.shape}, expected (N, 2, 2) or (N,)")
    return np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=1)

"""Keypoint layouts as data: names, flip pairs, OKS sigmas, skeletons, joint weights."""

from __future__ import annotations

import re
import unicodedata

from hevitpose.errors import DataError, notice_once, unknown_name
from hevitpose.models.keypoints import KeypointLayout

COCO = KeypointLayout(
    name="coco",
    names=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
    skeleton=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7)),
        *((6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    upper_body=tuple(range(11)),
)

#: Sigmas: MMPose's for MPII, adapted from COCO's (MPII itself has no OKS).
MPII = KeypointLayout(
    name="mpii",
    names=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    sigmas=(
        *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026),
        *(0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
    ),
    skeleton=(
        *((0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8)),
        *((8, 9), (8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15)),
    ),
    upper_body=tuple(range(7, 16)),
    joint_weights=(
        *(1.5, 1.2, 1.0, 1.0, 1.2, 1.5, 1.0, 1.0),
        *(1.0, 1.0, 1.5, 1.2, 1.0, 1.0, 1.2, 1.5),
    ),
)

CROWDPOSE = KeypointLayout(
    name="crowdpose",
    names=(
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
        "head_top",
        "neck",
    ),
    flip_pairs=((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)),
    sigmas=(
        *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107),
        *(0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
    ),
    skeleton=(
        *((10, 8), (8, 6), (11, 9), (9, 7), (6, 7), (0, 6), (1, 7)),
        *((0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (12, 13), (13, 0), (13, 1)),
    ),
    upper_body=(0, 1, 2, 3, 4, 5, 12, 13),
)

LAYOUTS = {layout.name: layout for layout in (COCO, MPII, CROWDPOSE)}

#: Joints that two layouts call differently (MPII's name first).
_SYNONYMS = {"upper_neck": "neck"}


def layout(name: str) -> KeypointLayout:
    """One of the three fixed layouts.

    Raises:
        UsageError: no layout has this name.
    """
    if name not in LAYOUTS:
        raise unknown_name("keypoint layout", name, LAYOUTS)
    return LAYOUTS[name]


def assumed(where: str, count: int) -> KeypointLayout | None:
    """The layout with this many keypoints, for weights that do not say what theirs are.

    Warns:
        Notice: which layout was taken.
    """
    found = next((layout for layout in LAYOUTS.values() if len(layout) == count), None)
    if found is not None:
        notice_once(
            f"{where} does not say what its keypoints are: taken as {found.name}'s, "
            f"by their number ({count})"
        )
    return found


def require_same_order(where: str, names: tuple[str, ...], layout: KeypointLayout) -> None:
    """Check names from a file against a layout's, by their letters and digits, case aside.

    Names that the layout does not know are somebody's own words for its joints.

    Raises:
        DataError: a joint of both stands at another position.
    """
    spelled = {_spelled(name): index for index, name in enumerate(layout.names)}
    # Letters and digits alone where they tell: `leg 1 1` and `leg 11` have the same.
    plain = [_plain(name) for name in layout.names]
    place = {name: index for index, name in enumerate(plain) if name and plain.count(name) == 1}

    def found(index: int, name: str) -> int:
        return spelled.get(_spelled(name), place.get(_plain(name), index))

    if any(found(index, name) != index for index, name in enumerate(names)):
        raise DataError(
            f"{where}: keypoints are in another order: {', '.join(names)}; "
            f"expected {', '.join(layout.names)} ({layout.name})"
        )


def _spelled(name: str) -> str:
    """Upper case, hyphens and spaces aside."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def _plain(name: str) -> str:
    """Letters and digits: ``leftEye``, ``left.eye`` and ``Left-Eye`` are one name."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name)).casefold()


def mapping(source: KeypointLayout, target: KeypointLayout) -> tuple[int, ...]:
    """Where each joint of ``target`` is found in ``source``, by name.

    MPII to CrowdPose is complete; MPII to COCO lacks the five joints of the face.

    Returns:
        One index into ``source`` per joint of ``target``; -1 where ``source`` has no such joint.
    """
    index = {_SYNONYMS.get(name, name): i for i, name in enumerate(source.names)}
    return tuple(index.get(_SYNONYMS.get(name, name), -1) for name in target.names)


MPII_TO_CROWDPOSE = mapping(MPII, CROWDPOSE)

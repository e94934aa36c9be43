"""The annotation files: COCO, MPII (json and gt .mat), CrowdPose and OCHuman, from one skeleton.

A person has the same id in every format, and row i of ``mpii_SPLIT.json`` is annotation i of
``coco_SPLIT.json``, ``crowdpose_SPLIT.json`` and ``ochuman_SPLIT.json``. Coordinates are rounded to
1/100 pixel once, so that the formats agree exactly: MPII's are COCO's plus one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hevitpose.data.synthetic.body import POINTS
from hevitpose.data.synthetic.seal import FORMATS

if TYPE_CHECKING:  # the renderer is imported where it renders
    from hevitpose.data.synthetic.scene import Person

#: The splits of every format; the same name means the same images everywhere.
SPLITS = ("train", "val", "test")

_COCO_NAMES = POINTS[:17]
_COCO_SKELETON = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8)),
    *((7, 9), (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)
_MPII_NAMES = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "thorax", "upper_neck", "head_top"),
    *("right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
_MPII_SHORT = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
_CROWDPOSE_NAMES = (
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    *("head_top", "upper_neck"),
)
_COCO = np.array([POINTS.index(name) for name in _COCO_NAMES])
_MPII = np.array([POINTS.index(name) for name in _MPII_NAMES])
_CROWDPOSE = np.array([POINTS.index(name) for name in _CROWDPOSE_NAMES])
#: CrowdPose calls its last two points so.
_CROWDPOSE_LABELS = (*_CROWDPOSE_NAMES[:12], "head", "neck")

#: MPII's box is moved down by this many pixels at 200 * scale = 200 (see the MPII reader).
_MPII_SHIFT = 15.0


@dataclass(frozen=True)
class Picture:
    """One written image: its id, file name, side in pixels, split, and (id, person) pairs."""

    id: int
    file_name: str
    size: int
    split: str
    people: list[tuple[int, Person]]
    sha256: str = ""  # of its file, as it was rendered


def folders(split: str) -> list[str]:
    """Where the images of a split lie, below the root; the first holds the file, others link."""
    out = [f"coco/images/{split}2017", "mpii/images", "crowdpose/images"]
    return out if split == "train" else [*out, "ochuman/images"]


def crowd_index(boxes: np.ndarray, points: np.ndarray, labelled: np.ndarray) -> float:
    """CrowdPose's crowdIndex of an image (Li et al., CVPR 2019, equation 8).

    The mean over people of the ratio of other people's joints to the person's own joints within
    the person's box.

    Args:
        boxes: (N, 4) x, y, w, h.
        points: (N, K, 2) in the same pixels.
        labelled: (N, K) bool; only these joints count.

    Returns:
        At least 0; 0 for one person alone.
    """
    x, y = points[None, ..., 0], points[None, ..., 1]  # box i, joint (j, k)
    b = boxes[:, None, None]
    inside = (x >= b[..., 0]) & (x <= b[..., 0] + b[..., 2])
    inside &= (y >= b[..., 1]) & (y <= b[..., 1] + b[..., 3]) & labelled[None]
    counts = inside.sum(-1)  # joints of person j in box i
    own = np.diagonal(counts)
    foreign = counts.sum(1) - own
    return float(np.mean(foreign / np.maximum(own, 1)))


def write(root: Path, pictures: list[Picture]) -> None:
    """Write every annotation file of every format.

    Args:
        root: the folder that holds ``coco``, ``mpii``, ``crowdpose`` and ``ochuman``.
        pictures: all images, by ascending id.

    Raises:
        OSError: a file could not be written.
    """
    by_split = {split: [p for p in pictures if p.split == split] for split in SPLITS}
    for name in FORMATS:
        (root / name / "annotations").mkdir(parents=True, exist_ok=True)
    for split, chosen in by_split.items():
        _dump(
            root / f"coco/annotations/coco_{split}.json", _coco(chosen, with_people=split != "test")
        )
        _dump(
            root / f"mpii/annotations/mpii_{split}.json", _mpii(chosen, with_joints=split != "test")
        )
        _dump(root / f"crowdpose/annotations/crowdpose_{split}.json", _crowdpose(chosen))
        if split != "train":
            _dump(root / f"ochuman/annotations/ochuman_{split}.json", _coco(chosen))
    _dump(
        root / "crowdpose/annotations/crowdpose_trainval.json",
        _crowdpose(by_split["train"] + by_split["val"]),
    )
    _mpii_mat(root / "mpii/annotations/mpii_gt_val.mat", by_split["val"])


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def _image(picture: Picture) -> dict[str, Any]:
    side = picture.size
    return {"id": picture.id, "file_name": picture.file_name, "width": side, "height": side}


def _category(names: tuple[str, ...], skeleton: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    return {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(names),
        "skeleton": [list(pair) for pair in skeleton],
    }


def _rows(pictures: list[Picture]) -> Iterator[tuple[Picture, int, Person]]:
    for picture in pictures:
        for person_id, person in picture.people:
            yield picture, person_id, person


def _keypoints(person: Person, order: np.ndarray) -> tuple[list[float], int]:
    """Flat x, y, v triples as COCO writes them (0, 0, 0 where not labelled), and their count."""
    v = person.visibility[order]
    xy = np.where(v[:, None] > 0, person.points[order].round(2), 0.0)
    flat = np.concatenate((xy, v[:, None]), 1).reshape(-1).tolist()
    flat[2::3] = [int(value) for value in flat[2::3]]
    return flat, int(np.count_nonzero(v))


def _common(picture: Picture, person_id: int, person: Person, order: np.ndarray) -> dict[str, Any]:
    keypoints, count = _keypoints(person, order)
    return {
        "id": person_id,
        "image_id": picture.id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": person.box.round(2).tolist(),
        "keypoints": keypoints,
        "num_keypoints": count,
    }


def _coco(pictures: list[Picture], with_people: bool = True) -> dict[str, Any]:
    content: dict[str, Any] = {
        "info": {"description": "Synthetic people"},
        "licenses": [],
        "categories": [_category(_COCO_NAMES, _COCO_SKELETON)],
        "images": [_image(p) for p in pictures],
    }
    if with_people:  # COCO's test-dev file has none
        content["annotations"] = [
            _common(picture, person_id, person, _COCO)
            | {"area": float(person.area), "segmentation": person.polygons}
            for picture, person_id, person in _rows(pictures)
        ]
    return content


def _crowdpose(pictures: list[Picture]) -> dict[str, Any]:
    images = []
    for p in pictures:
        boxes = np.array([person.box for _, person in p.people])
        points = np.array([person.points[_CROWDPOSE] for _, person in p.people])
        labelled = np.array([person.visibility[_CROWDPOSE] > 0 for _, person in p.people])
        images.append(_image(p) | {"crowdIndex": round(crowd_index(boxes, points, labelled), 2)})
    return {
        "categories": [_category(_CROWDPOSE_LABELS, _COCO_SKELETON[:12])],
        "images": images,
        "annotations": [_common(*row, _CROWDPOSE) for row in _rows(pictures)],
    }


def _mpii_joints(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """(16, 2) 1-based pixels, 0 where missing, and (16,) bool labelled."""
    labelled = person.visibility[_MPII] > 0
    joints = np.where(labelled[:, None], person.points[_MPII].round(2) + 1.0, 0.0)
    return joints.round(2), labelled


def _mpii(pictures: list[Picture], with_joints: bool) -> list[dict[str, Any]]:
    rows = []
    for picture, person_id, person in _rows(pictures):
        # As on MPII, the joints span about nine tenths of the box's side.
        scale = round(0.95 * person.span / 200.0, 6)
        x, y = person.centre + 1.0
        row: dict[str, Any] = {
            "image": picture.file_name,
            "center": [round(float(x), 2), round(float(y) - _MPII_SHIFT * scale, 2)],
            "scale": scale,
            "id": person_id,
            "image_id": picture.id,
        }
        if with_joints:
            joints, labelled = _mpii_joints(person)
            row |= {"joints": joints.tolist(), "joints_vis": labelled.astype(int).tolist()}
        rows.append(row)
    return rows


def _mpii_mat(path: Path, pictures: list[Picture]) -> None:
    """``mpii_gt_val.mat`` with the fields, axes and types of the evaluators' file."""
    from scipy.io import savemat

    people = [person for _, _, person in _rows(pictures)]
    joints, labelled = zip(*(_mpii_joints(person) for person in people), strict=True)
    names = np.empty((1, len(_MPII_SHORT)), object)
    names[0] = _MPII_SHORT
    # Head boxes are x0, y0, x1, y1 in 1-based pixels: (2 corners, 2 coordinates, N).
    heads = np.stack([person.head_box.reshape(2, 2) + 1.0 for person in people], -1)
    content = {
        "dataset_joints": names,
        "jnt_missing": (~np.stack(labelled, -1)).astype(np.uint8),
        "pos_gt_src": np.stack(joints, -1).astype(np.float64),
        "headboxes_src": heads.astype(np.float64),
    }
    buffer = io.BytesIO()
    savemat(buffer, content, do_compression=False)
    # The 116 bytes of free text before the header's offset and version hold the date; the same
    # people should give the same bytes.
    text = b"MATLAB 5.0 MAT-file, synthetic people".ljust(116)
    path.write_bytes(text + buffer.getvalue()[116:])

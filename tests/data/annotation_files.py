"""Small data sets in every format, generated: what the readers' tests start from."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import cv2
import numpy as np

from hevitpose.data.keypoints import COCO, CROWDPOSE

SIZE = (64, 48)  # W, H of the images


def coco(layout=COCO, people=3):
    """A COCO file: two images, ``people`` people in the first, one crowd, one unlabelled."""
    rng = np.random.default_rng(0)
    annotations = []
    for index in range(people + 2):
        points = np.zeros((len(layout), 3))
        if index < people:
            points[:, :2] = rng.integers(2, 44, (len(layout), 2))
            points[:, 2] = 1 + np.arange(len(layout)) % 2
            points[index % len(layout)] = 0
        annotations.append(
            {
                "id": 100 + index,
                "image_id": 7 if index < people else 9,
                "category_id": 1,
                "iscrowd": int(index == people),
                "bbox": [3.0 + index, 4.0, 30.0, 20.0],
                "area": 321.5,
                "num_keypoints": int((points[:, 2] > 0).sum()),
                "keypoints": points.ravel().tolist(),
                "segmentation": [[1.0, 2.0, 3.0]],
            }
        )
    return {
        "info": {},
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]},
            {"id": 9, "file_name": "b.jpg", "width": SIZE[0], "height": SIZE[1]},
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(layout.names)}],
    }


def crowdpose():
    """As :func:`coco` with 14 keypoints and a crowdIndex, without areas."""
    content = coco(CROWDPOSE)
    for record in content["annotations"]:
        del record["area"]
    for record in content["images"]:
        record["crowdIndex"] = 0.5
    return content


def mpii():
    """Two people of MPII in one-based pixels; the second has two joints missing."""
    rng = np.random.default_rng(1)
    people = []
    for index in range(2):
        joints = rng.integers(5, 45, (16, 2)).astype(float)
        flags = np.ones(16, int)
        if index:
            joints[:2], flags[:2] = 0, 0
        people.append(
            {
                "image": "a.jpg",
                "center": [30.0 + index, 20.0],
                "scale": 0.2,
                "joints": joints.tolist(),
                "joints_vis": flags.tolist(),
            }
        )
    return people


def boxes():
    """Detections: two of people in image 7, one of another category, one of low score."""
    return [
        {"image_id": 7, "category_id": 1, "bbox": [-5.0, 3.0, 90.0, 20.0], "score": 0.9},
        {"image_id": 7, "category_id": 1, "bbox": [5.0, 3.0, 20.0, 20.0], "score": 0.5},
        {"image_id": 9, "category_id": 2, "bbox": [5.0, 3.0, 20.0, 20.0], "score": 0.9},
        {"image_id": 9, "category_id": 1, "bbox": [5.0, 3.0, 20.0, 20.0], "score": 0.1},
    ]


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def image(path: Path, size=SIZE) -> Path:
    """A smooth picture as JPEG (or what the suffix says)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2))
    return path


def root(folder: Path, **changed) -> Path:
    """All four data sets below one folder; keywords replace the content of a file."""
    content = {"coco": coco(), "crowdpose": crowdpose(), "ochuman": coco(), "mpii": mpii()}
    content = copy.deepcopy(content | changed)
    write(folder / "coco/annotations/coco_val.json", content["coco"])
    write(folder / "crowdpose/annotations/crowdpose_test.json", content["crowdpose"])
    write(folder / "ochuman/annotations/ochuman_test.json", content["ochuman"])
    write(folder / "mpii/annotations/mpii_val.json", content["mpii"])
    write(folder / "coco/person_detection_results/boxes.json", changed.get("boxes", boxes()))
    for place in ("coco/images/val2017", "crowdpose/images", "ochuman/images", "mpii/images"):
        for name in ("a.jpg", "b.jpg"):
            image(folder / place / name)
    return folder

"""Annotated people and detections made up for tests, in COCO's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hevitpose.data.files import declared
from hevitpose.data.keypoints import COCO
from hevitpose.data.readers.coco_format import read
from hevitpose.data.readers.results import check_results
from hevitpose.data.table import PoseTable
from hevitpose.evaluation.diagnosis.diagnose import Diagnosis, diagnose_results
from hevitpose.metrics.pckh import JOINTS

SIDE = 600


def person(number: int, image: int, points: np.ndarray, **changed: Any) -> dict[str, Any]:
    """An annotation; ``points`` (K, 2), all labelled unless ``visible`` says otherwise."""
    visible = changed.pop("visibility", np.full(len(points), 2))
    xyv = np.concatenate((np.where(visible[:, None] > 0, points, 0), visible[:, None]), 1)
    low, high = points.min(0), points.max(0)
    made = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": xyv.ravel().tolist(),
        "num_keypoints": int((visible > 0).sum()),
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "area": float(np.prod(high - low)),
        "iscrowd": 0,
    }
    return made | changed


def detection(image: int, points: np.ndarray, score: float = 0.9) -> dict[str, Any]:
    """An entry of a result file."""
    xys = np.concatenate((points, np.ones((len(points), 1))), 1)
    return {"image_id": image, "category_id": 1, "keypoints": xys.ravel().tolist(), "score": score}


def truth_of(people: list[dict[str, Any]], images: int = 1) -> dict[str, Any]:
    """An annotation file's content."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE}
            for i in range(1, images + 1)
        ],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.names)}],
    }


def table_of(truth: dict[str, Any], folder: Path, dataset: str = "coco") -> PoseTable:
    """The reader's table of it."""
    path = folder / "truth.json"
    path.write_text(json.dumps(truth))
    return read(path, folder, declared(dataset), split="", input_size=(256, 256))


def diagnosed(
    truth: dict[str, Any], results: list[dict[str, Any]], folder: Path, **options: Any
) -> Diagnosis:
    """A diagnosis of content in memory."""
    table = table_of(truth, folder)
    return diagnose_results(table, check_results(results, 17), **options)


def body(rng: np.random.Generator, size: float = 200, corner: float = 50) -> np.ndarray:
    """(17, 2) whole pixels in a square."""
    return corner + rng.integers(0, int(size), (17, 2)).astype(float)


def random_case(seed: int, joints: int = 17) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Crowds, small, unlabelled and overlapping people; duplicated, swapped, absent detections."""
    rng = np.random.default_rng(seed)
    people: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    images = int(rng.integers(1, 6))
    for image in range(1, images + 1):
        for _ in range(int(rng.integers(0, 5))):
            size = float(rng.choice([28, 60, 150, 300]))
            points = rng.integers(0, SIDE - int(size)) + rng.integers(0, int(size), (joints, 2))
            points = points.astype(float)
            visible = rng.choice([0, 1, 2], joints, p=[0.2, 0.2, 0.6])
            if rng.random() < 0.1:
                visible[:] = 0
            crowd = int(rng.random() < 0.15)
            made = person(len(people) + 1, image, points, visibility=visible, iscrowd=crowd)
            people.append(made)
            for _ in range(int(rng.integers(0, 4))):
                noise = rng.normal(0, size * float(rng.choice([0, 0.02, 0.06, 0.2])), points.shape)
                moved = points + noise
                if rng.random() < 0.3:
                    moved = moved[rng.permutation(joints)]
                results.append(detection(image, moved, float(rng.integers(1, 9)) / 10))
        for _ in range(int(rng.choice([0, 1, 25], p=[0.6, 0.3, 0.1]))):
            points = rng.uniform(0, SIDE, (joints, 2))
            results.append(detection(image, points, float(rng.integers(1, 9)) / 10))
    people.append(person(len(people) + 1, 1, 100 + rng.integers(0, 200, (joints, 2)).astype(float)))
    return truth_of(people, images), results


def mpii_files(folder: Path, people: int = 6) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A list of people, the evaluators' file and perfect predictions, all 1-based."""
    from scipy.io import savemat

    points = np.random.default_rng(people).uniform(5, 400, (people, 16, 2))
    rows = [
        {"image": f"{i}.jpg", "center": [200, 200], "scale": 2.0, "joints_vis": [1] * 16}
        | {"joints": each.round().tolist()}
        for i, each in enumerate(points)
    ]
    names = np.empty((1, 16), object)
    names[0] = [np.array([name]) for name in JOINTS]
    heads = np.broadcast_to(np.array([[[0.0], [0.0]], [[60.0], [80.0]]]), (2, 2, people))
    truth = {
        "dataset_joints": names,
        "jnt_missing": np.zeros((16, people), np.uint8),
        "pos_gt_src": points.transpose(1, 2, 0),
        "headboxes_src": heads,
    }
    (folder / "mpii_val.json").write_text(json.dumps(rows))
    savemat(folder / "mpii_gt_val.mat", truth)
    np.save(folder / "perfect.npy", points)
    return rows, truth

"""Plain calls of the reference libraries, and rescoring and suppression written out in loops.

Shares no code with the package: what the fuzz tests hold our path against. Also makes ground truth
and wild predictions.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import math

import numpy as np

LIMBS = [0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089]
COCO_SIGMAS = [0.026, 0.025, 0.025, 0.035, 0.035, *LIMBS]
CROWDPOSE_SIGMAS = [*LIMBS, 0.079, 0.079]


def pycocotools(path, results):
    """The ten numbers, as a plain script gets them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats.tolist()


def xtcocotools(path, results_path):
    """The nine numbers of CrowdPose, as a plain script gets them."""
    from xtcocotools.coco import COCO
    from xtcocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        found = truth.loadRes(str(results_path))
        evaluator = COCOeval(
            truth, found, "keypoints_crowd", np.array(CROWDPOSE_SIGMAS), use_area=False
        )
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats.tolist()


def raw_list(people):
    return [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": [float(v) for joint in person["keypoints"] for v in joint],
            "score": float(person["box_score"]),
        }
        for person in people
    ]


def rescored_and_thinned(people, sigmas, threshold):
    """The list that reference code would hand to the library, by loops over plain floats."""
    kept_of_all = []
    for image in dict.fromkeys(person["image_id"] for person in people):
        crowd = []
        for person in people:
            if person["image_id"] != image:
                continue
            good = [joint[2] for joint in person["keypoints"] if joint[2] > 0.2]
            mean = sum(good) / len(good) if good else 0.0
            crowd.append(person | {"box_score": person["box_score"] * mean})
        crowd.sort(key=lambda person: -person["box_score"])
        kept = []
        for person in crowd:
            if all(similarity(person, other, sigmas) <= threshold for other in kept):
                kept.append(person)
        kept_of_all += kept
    return raw_list(kept_of_all)


def similarity(one, other, sigmas):
    total = 0.0
    area = (one["area"] + other["area"]) / 2
    for (x1, y1, _), (x2, y2, _), sigma in zip(
        one["keypoints"], other["keypoints"], sigmas, strict=True
    ):
        squared = (x1 - x2) ** 2 + (y1 - y2) ** 2
        total += math.exp(-squared / (2 * (2 * sigma) ** 2 * area))
    return total / len(sigmas)


# ------------------------------------------------------------------------------ data for the fuzz


def make_ground_truth(rng, K, images=4, crowd_index=False, area=True):
    """People of all sizes; crowd regions, unlabelled people, images without anybody."""
    truth = {
        "info": {},
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    for number in range(images):
        image = {"id": 7 * number + 3, "width": 640, "height": 480, "file_name": f"{number}.jpg"}
        if crowd_index:
            image["crowdIndex"] = round(float(rng.random()), 2)
        truth["images"].append(image)
        for _ in range(rng.integers(0, 4) if number else 2):
            w, h = rng.uniform(15, 300), rng.uniform(20, 400)
            x, y = rng.uniform(0, 300), rng.uniform(0, 100)
            points = np.stack((x + rng.random(K) * w, y + rng.random(K) * h), 1)
            visible = rng.choice([0, 1, 2], K, p=[0.25, 0.15, 0.6])
            if rng.random() < 0.1:
                visible[:] = 0
            points[visible == 0] = 0
            person = {
                "id": len(truth["annotations"]) + 1,
                "image_id": image["id"],
                "category_id": 1,
                "bbox": [x, y, w, h],
                "keypoints": np.column_stack((points, visible)).ravel().tolist(),
                "num_keypoints": int((visible > (1 if crowd_index else 0)).sum()),
                "iscrowd": int(rng.random() < 0.07),
            }
            if area:
                person["area"] = w * h * rng.uniform(0.3, 0.8)
            truth["annotations"].append(person)
    return truth


def wild_predictions(rng, truth, K):
    """Jitter, misses, duplicates, swapped people, strangers, empty images; never an empty list."""
    empty = {image["id"] for image in truth["images"] if rng.random() < 0.15}
    jitter = rng.choice([0.0, 0.01, 0.04, 0.15])
    people = []
    for annotation in truth["annotations"]:
        if annotation["image_id"] in empty or rng.random() < 0.15:
            continue
        x, y, w, h = annotation["bbox"]
        points = np.array(annotation["keypoints"], float).reshape(K, 3)[:, :2]
        points[~points.any(1)] = [x + w / 2, y + h / 2]
        points += rng.normal(0, jitter, (K, 2)) * [w, h]
        for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
            repeated = points + rng.normal(0, rng.choice([0, 0.005, 0.05]), (K, 2)) * [w, h]
            people.append(person_of(rng, annotation["image_id"], repeated, w * h))
    for one, other in itertools.pairwise(people):
        if rng.random() < 0.15:
            one["keypoints"], other["keypoints"] = other["keypoints"], one["keypoints"]
    for image in truth["images"]:
        for _ in range(
            rng.integers(0, 3) if rng.random() < 0.3 and image["id"] not in empty else 0
        ):
            points = rng.uniform(0, 400, (K, 2))
            people.append(person_of(rng, image["id"], points, rng.uniform(1e3, 1e5)))
    if not people:
        first = truth["images"][0]["id"]
        people.append(person_of(rng, first, rng.uniform(0, 400, (K, 2)), 1e4))
    rng.shuffle(people)
    return people


def person_of(rng, image_id, points, area):
    scores = rng.uniform(0, 1, len(points)) * rng.choice([0.15, 0.6, 1.0])
    return {
        "image_id": image_id,
        "keypoints": np.column_stack((points, scores)).tolist(),
        "box_score": rng.random(),
        "area": float(area * 1.25**2 * rng.uniform(1, 1.6)),
    }


def columns(people):
    """The same people as the arrays that our path takes."""
    points = np.array([person["keypoints"] for person in people])
    return points[..., :2], points[..., 2], {
        "box_scores": np.array([person["box_score"] for person in people]),
        "image_ids": np.array([person["image_id"] for person in people]),
        "areas": np.array([person["area"] for person in people]),
    }  # fmt: skip


def write(path, content):
    path.write_text(json.dumps(content))
    return path

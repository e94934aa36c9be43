"""Error diagnosis, timed: ``nox -s bench -- bench/test_diagnosis.py``."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from hevitpose.data.keypoints import COCO
from hevitpose.evaluation.diagnosis.diagnose import diagnose

PEOPLE, IMAGES = 5000, 2000


def write_people(folder):
    """5,000 people in 2,000 images; 6,000 detections of them, some wrong, some of nobody."""
    rng = np.random.default_rng(0)
    truth = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480}
            for i in range(1, IMAGES + 1)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO.names)}],
        "annotations": [],
    }
    results = []
    for number in range(1, PEOPLE + 1):
        image = int(rng.integers(1, IMAGES + 1))
        size = float(rng.uniform(40, 300))
        points = rng.uniform(0, 300, 2) + rng.uniform(0, size, (17, 2))
        visible = rng.choice([0, 2], (17, 1), p=[0.2, 0.8])
        low, high = points.min(0), points.max(0)
        truth["annotations"].append(
            {
                **{"id": number, "image_id": image, "category_id": 1, "iscrowd": 0},
                "keypoints": np.concatenate((points * (visible > 0), visible), 1).ravel().tolist(),
                "num_keypoints": int((visible > 0).sum()),
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "area": float(np.prod(high - low)),
            }
        )
        for _ in range(1 + int(rng.random() < 0.2)):
            moved = points + rng.normal(0, 0.05 * size, points.shape)
            left, right = COCO.flip_pairs[int(rng.integers(8))]
            if rng.random() < 0.3:
                moved[[left, right]] = moved[[right, left]]
            keypoints = np.concatenate((moved, rng.random((17, 1))), 1).ravel().tolist()
            score = float(rng.random())
            results.append(
                {"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score}
            )
    for name, content in (("truth", truth), ("results", results)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / "truth.json", folder / "results.json"


@pytest.mark.benchmark(group="diagnosis", timer=time.process_time)
def test_diagnose(benchmark, tmp_path):
    """From two files to every number, reading included; processor time, one thread."""
    truth, results = write_people(tmp_path)
    benchmark.extra_info.update(people=PEOPLE, images=IMAGES)
    found = benchmark.pedantic(
        diagnose, ("coco", truth, results), rounds=3, warmup_rounds=1, iterations=1
    )
    assert found.people > 0.9 * PEOPLE

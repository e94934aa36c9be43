"""Predictions of other systems: result lists, arrays, lists of images."""

from __future__ import annotations

import io
import struct
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.io import savemat

from hevitpose.metrics.pckh import JOINTS
from tests.data import annotation_files as files
from tests.data.feeding_back import custom
from tests.fuzz.campaign import Make, Reading, cli, target
from tests.fuzz.mutation import damaged, put, put_json, put_yaml
from tests.fuzz.targets.annotations import mat


def _score(dataset: object, truth: Path, predictions: Path, *more: object) -> Reading:
    return partial(
        cli, "evaluate-predictions", "--dataset", dataset, "--ground-truth", truth,
        "--predictions", predictions, *more,
    )  # fmt: skip


@target(2)
def results(shared: Path) -> Make:
    """``evaluate-predictions`` with result lists; now and then the truth is odd, too."""
    kinds: dict[str, Any] = {"coco": files.coco(people=2), "crowdpose": files.crowdpose()}
    for name, content in kinds.items():
        files.write(shared / f"{name}.json", content)
    mine = custom(shared / "mine", files.coco(people=2))

    def make(rng: Random, folder: Path) -> list[Reading]:
        name = rng.choice(("coco", "crowdpose", "mine"))
        content = kinds["crowdpose" if name == "crowdpose" else "coco"]
        entries = [
            {"image_id": p["image_id"], "category_id": 1, "keypoints": p["keypoints"], "score": 0.5}
            for p in content["annotations"]
            if p["num_keypoints"]
        ]
        path = put_json(rng, folder / "results.json", entries)
        truth = shared / ("mine/ann.json" if name == "mine" else f"{name}.json")
        if rng.random() < 0.2:
            truth = put_json(rng, folder / "truth.json", content)
        skip = rng.choice(((), ("--skip-bad",), ("--json",), ("--max-dets", 1)))
        return [_score(mine if name == "mine" else name, truth, path, *skip)]

    return make


@target()
def arrays(shared: Path) -> Make:
    """``evaluate-predictions`` with ``.npy`` and ``.mat``, and lists of images."""
    joints = np.array(JOINTS, object)
    content = {
        "jnt_missing": np.zeros((16, 2)),
        "pos_gt_src": np.ones((16, 2, 2)),
        "headboxes_src": np.arange(8.0).reshape(2, 2, 2),
        "dataset_joints": joints,
    }
    savemat(shared / "truth.mat", content)
    said = {"by": "bbox", "threshold": 0.5}
    mine = custom(shared / "mine", files.coco(people=2), pck=said)

    def make(rng: Random, folder: Path) -> list[Reading]:
        shape = rng.choice(((2, 16, 2), (2, 17, 2), (16, 2, 2), (2, 16, 3), (0, 16, 2)))
        if rng.random() < 0.5:
            value = {rng.choice(("preds", "pos_pred_src", "x")): np.ones(shape)}
            path = put(rng, folder / "p.mat", mat(rng, value), 0)
        else:
            path = put(rng, folder / "p.npy", _npy(rng, shape), 0.3)
        lines = rng.choice(("7\na.jpg\n", "a.jpg", "9", "", "x\n"))
        listed = put(rng, folder / "images.txt", lines.encode(), 0.3)
        truth = shared / "mine/ann.json"
        return [
            _score("mpii", shared / "truth.mat", path),
            _score(mine, truth, path),
            _score(mine, truth, path, "--images", listed),
        ]

    return make


def _npy(rng: Random, shape: tuple[int, ...]) -> bytes:
    """An array's file, now and then with a header that says something else."""
    buffer = io.BytesIO()
    np.save(buffer, np.ones(shape, rng.choice(("f8", "f4", "i8", "?", "c16", "S2"))))
    data = buffer.getvalue()
    if rng.random() < 0.4:
        header = rng.choice((
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 16, 2), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 16, 2), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (2, 16, 2), }",
            "{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999999, 2), }",
            "__import__('os').mkdir('executed')",
            "(" * 300, "{" * 9000, "[" * 100_000, "{'descr': '|V0', 'shape': (2**40,)}",
            "{'descr': '<f8', 'fortran_order': 1, 'shape': 2, 'x': 1}",
            "{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000, 16, 2), }",
            "{'descr': '<U0', 'fortran_order': False, 'shape': (2, 16, 2), }",
        ))  # fmt: skip
        data = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header.encode() + data[128:]
    return damaged(rng, data) if rng.random() < 0.2 else data


@target(0.5)
def custom_results(shared: Path) -> Make:
    """``evaluate-predictions`` under a mutated yaml."""
    content = files.coco(people=2)
    files.write(shared / "ann.json", content)
    entries = [
        {"image_id": 7, "category_id": 1, "keypoints": p["keypoints"], "score": 0.5}
        for p in content["annotations"][:2]
    ]
    files.write(shared / "results.json", entries)
    said = {
        "name": "mine",
        "keypoints": list(files.COCO.names),
        "flip_pairs": [list(pair) for pair in files.COCO.flip_pairs],
        "sigmas": list(files.COCO.sigmas),
        "category": "person",
        "pck": {"by": "bbox", "threshold": 0.2},
        "splits": {"val": {"annotations": "ann.json", "images": "images"}},
    }

    def make(rng: Random, folder: Path) -> list[Reading]:
        path = put_yaml(rng, folder / "mine.yaml", said)
        return [_score(path, shared / "ann.json", shared / "results.json")]

    return make

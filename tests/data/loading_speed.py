"""The cost of loading one augmented person, as a multiple of a bare ``cv2.imread`` of its file.

    python -m tests.data.loading_speed [--images FOLDER]

One core, interleaved: in every round each image is read bare, then loaded (decode, crop, joints),
and the batch of the round is normalised and its targets encoded. The ratio's interval is a
bootstrap over rounds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from hevitpose import codec
from hevitpose.data import load
from hevitpose.data.loader import PoseDataset, normalise
from hevitpose.data.transforms import Augmentation
from tests.data import annotation_files as files

COUNT = 32


def photographs(folder: Path, source: Path | None) -> None:
    """640x480 JPEGs at quality 95: the given pictures resized, or smooth noise with grain."""
    pictures = sorted(source.rglob("*.jpg")) if source else []
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        if pictures:
            image = cv2.imread(str(pictures[index % len(pictures)]))
        else:
            coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            image = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
            image = cv2.add(image, rng.integers(0, 24, image.shape, dtype=np.uint8))
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        cv2.imwrite(str(folder / f"{index}.jpg"), cv2.resize(image, (640, 480)), quality)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="a folder of photographs to use")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = root / "coco/images/val2017"
        folder.mkdir(parents=True)
        photographs(folder, arguments.images)
        content = files.coco(people=COUNT)
        content["images"] = [
            {"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(COUNT)
        ]
        content["annotations"] = content["annotations"][:COUNT]
        for index, record in enumerate(content["annotations"]):
            points = np.random.default_rng(index).uniform((150, 60), (390, 420), (17, 2))
            flags = np.full((17, 1), 2)
            record |= {"image_id": index, "bbox": [150, 60, 240, 360]}
            record["keypoints"] = np.hstack((points, flags)).ravel().tolist()
        files.write(root / "coco/annotations/coco_val.json", content)
        table = load("coco", root, "val", input_size=(256, 256))
        measure(table, arguments.rounds)


def measure(table, rounds: int) -> None:
    dataset = PoseDataset(
        table,
        (256, 256),
        augmentation=Augmentation(shift_probability=0.3, half_body_probability=0.3),
    )
    paths = [str(table.image_path(index)) for index in range(len(table))]
    clock = time.perf_counter
    times = np.zeros((rounds + 2, 3))
    for step in range(rounds + 2):
        items = []
        for index, path in enumerate(paths):
            start = clock()
            cv2.imread(path)
            middle = clock()
            items.append(dataset[step, index])
            times[step, :2] += middle - start, clock() - middle
        start = clock()
        batch = torch.utils.data.default_collate(items)
        normalise(batch["image"])
        codec.encode(batch["keypoints"], batch["visibility"], (256, 256), (64, 64))
        times[step, 2] = clock() - start
    times = times[2:] / len(paths) * 1e3
    rng = np.random.default_rng(0)
    for label, columns in (("crop and joints", [1]), ("with input and target", [1, 2])):
        cost, bare = times[:, columns].sum(1), times[:, 0]
        picks = rng.integers(0, rounds, (2000, rounds))
        low, high = np.quantile(
            np.median(cost[picks], 1) / np.median(bare[picks], 1), (0.025, 0.975)
        )
        print(
            f"{label:22} {np.median(cost):.3f} ms, bare read {np.median(bare):.3f} ms, "
            f"ratio {np.median(cost) / np.median(bare):.2f} [{low:.2f}, {high:.2f}]"
        )


if __name__ == "__main__":
    main()

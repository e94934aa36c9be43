"""Reads a generated file of COCO train2017's size and prints time and memory.

    python -m tests.data.readers.coco_scale

118,287 images and 262,465 annotations with polygons, at least 240 MB, as the real one has; the
reader must peak at most 1.5 GB above the process's baseline, hold at most 150 MB and take under
60 s. Forked workers then touch every person, and must not copy the table.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from hevitpose.data.keypoints import COCO
from hevitpose.data.readers.coco_format import read
from hevitpose.data.registry import ROWS

IMAGES, ANNOTATIONS, LABELLED = 118_287, 262_465, 149_813
POLYGON_POINTS = 52  # numbers per polygon that bring the file to the real one's size


def write(path: Path, images: int = IMAGES, annotations: int = ANNOTATIONS, seed: int = 0) -> None:
    """Writes a COCO keypoint file; about 57% of the people are labelled, some are crowds."""
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        file.write('{"info": {"description": "generated"}, "licenses": [], "images": [')
        for index in range(images):
            record = {
                "license": 3,
                "file_name": f"{index + 1:012d}.jpg",
                "coco_url": f"http://images.example.org/train2017/{index + 1:012d}.jpg",
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": "http://farm9.example.org/8186/8119368305_4e622c8349_z.jpg",
                "id": index + 1,
            }
            file.write((", " if index else "") + json.dumps(record))
        file.write('], "annotations": [')
        labelled = annotations * LABELLED // ANNOTATIONS
        for index in range(annotations):
            record = _person(rng, index, images, index < labelled)
            file.write((", " if index else "") + json.dumps(record))
        category = {"id": 1, "name": "person", "keypoints": list(COCO.names)}
        file.write('], "categories": [' + json.dumps(category) + "]}")


def _person(rng: np.random.Generator, index: int, images: int, labelled: bool) -> dict:
    x, y, w, h = np.round(rng.uniform((0, 0, 20, 20), (400, 300, 200, 170)), 2).tolist()
    polygon = np.round(rng.uniform(0, 640, 2 * POLYGON_POINTS), 2).tolist()
    crowd = not labelled and index % 50 == 0
    points = np.zeros((17, 3), int)
    if labelled:
        points[:, :2] = rng.integers((0, 0), (640, 480), (17, 2))
        points[:, 2] = rng.integers(0, 3, 17)
        points[0] = x, y, 2
    return {
        "segmentation": {"counts": [5] * 400, "size": [480, 640]} if crowd else [polygon],
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "area": round(w * h * 0.6, 4),
        "iscrowd": int(crowd),
        "keypoints": points.ravel().tolist(),
        "image_id": index % images + 1,
        "bbox": [x, y, w, h],
        "category_id": 1,
        "id": index + 1,
    }


def memory(pid: str | int = "self", field: str = "VmRSS") -> float:
    """A field of /proc/PID/status, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def private() -> float:
    """Memory of this process that no other shares, in MB."""
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kilobytes = [int(line.split()[1]) for line in rollup if line.startswith("Private_")]
    return sum(kilobytes) / 1024


class Peak(threading.Thread):
    """The largest resident size while it runs, sampled every 5 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.value, self._stop_asked = 0.0, threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(0.005):
            self.value = max(self.value, memory())

    def stop(self) -> float:
        self._stop_asked.set()
        self.join()
        return self.value


def _touch(table: object, queue: multiprocessing.Queue) -> None:
    gc.collect()
    before = private()
    total = sum(
        float(table.keypoints[i].sum()) + len(str(table.image_path(i)))
        for i in range(0, len(table), 7)
    )
    queue.put((private() - before, total))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, help="read this instead of generating one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file or Path(folder) / "coco_train.json"
        if not arguments.file:
            write(path)
        print(f"file          {path.stat().st_size / 1e6:8.1f} MB")
        gc.collect()
        baseline, watch = memory(), Peak()
        watch.start()
        began = time.perf_counter()
        table = read(path, Path(folder), ROWS["coco"], split="train", input_size=(192, 256))
        seconds = time.perf_counter() - began
        peak = watch.stop()
        gc.collect()
        print(f"people        {len(table):8d} of {table.counts}")
        print(f"seconds       {seconds:8.1f}")
        print(f"peak above    {peak - baseline:8.1f} MB")
        print(f"held after    {memory() - baseline:8.1f} MB")
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        worker = context.Process(target=_touch, args=(table, queue))
        worker.start()
        print(f"worker copied {queue.get()[0]:8.1f} MB")
        worker.join()


if __name__ == "__main__":
    sys.exit(main())
